"""A process that looks like any program: run as `x -S - PADDING < mask.py`.

It overwrites its argument area with $MASK_ARGV (items joined by U+001F; the padding makes room exactly), notes
every signal that a program can take as a file $STAGE/signals/NAME.SIGNAL, announces $MASK_NAME and waits.
"""

import os
import signal
import time

stage, name = os.environ["STAGE"], os.environ["MASK_NAME"]
argv = os.environ["MASK_ARGV"].split("\x1f")
with open("/proc/self/stat", "rb") as file:
    fields = file.read().rpartition(b")")[2].split()
first, last = int(fields[45]), int(fields[46])
content = b"".join(os.fsencode(word) + b"\0" for word in argv)
if len(content) != last - first:
    raise SystemExit(f"{len(content)} bytes do not fill {last - first}")
with open("/proc/self/mem", "r+b", buffering=0) as memory:
    memory.seek(first)
    memory.write(content)
with open("/proc/self/comm", "w") as comm:
    comm.write(os.path.basename(argv[0])[:15])


def note(number, frame):
    with open(f"{stage}/signals/{name}.{signal.Signals(number).name}", "w"):
        pass


for number in ("TERM", "INT", "HUP", "QUIT", "CONT", "USR1", "USR2"):
    signal.signal(getattr(signal, f"SIG{number}"), note)
with open(f"{stage}/announced", "a") as file:
    file.write(f"{name} {os.readlink('/proc/self')} {fields[19].decode()} {time.monotonic():.4f}\n")
while True:
    signal.pause()
