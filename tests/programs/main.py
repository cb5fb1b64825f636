"""A server. `--on TERM=ignore` and `--on TERM=leave` choose how it takes a signal."""

import argparse
import os
import sys
import time

import stage

parser = argparse.ArgumentParser()
parser.add_argument("words", nargs="*")
parser.add_argument("--port", type=int)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--name", default="main")
parser.add_argument("--on", action="append", default=[])
parser.add_argument("--mute", action="store_true", help="never listen")
parser.add_argument("--after", help="listen once this file exists")
parser.add_argument("--say", help="a line for the log, before listening")
parser.add_argument("--exit", type=int, help="say so and end at once with this status")
parser.add_argument("--dump-env", help="write the environment, NUL-separated, to this file")
options = parser.parse_args()

if options.exit is not None:
    print("cannot find the frobnicator", flush=True)
    sys.exit(options.exit)
for rule in options.on:
    stage.on_signal(*rule.split("="))
if options.dump_env:
    with open(options.dump_env, "wb") as file, open("/proc/self/environ", "rb") as environ:
        file.write(environ.read())
if options.after:
    stage.announce(f"{options.name}-waiting")
    while not os.path.exists(options.after):
        time.sleep(0.01)
if options.say:
    print(options.say, flush=True)
listener = None if options.mute or not options.port else stage.listen(options.port, options.host)
stage.announce(options.name)
stage.serve(listener)
