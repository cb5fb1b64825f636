"""Run `devtasks` many times and pay for its start-up once.

Takes lines of JSON, [folder, environment, [argument…], tracer]; answers each with [exit code, output, errors].
Every command is a process of its own, forked from this one, which has imported the program and done nothing else
with it. `tracer`, if it is not null, is a command line of strace that is put on the process before it begins.
"""

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import sqlite3  # noqa: F401 - imported by the program when needed
import subprocess
import sys
import tempfile
import traceback

import devtasks
from devtasks.command import cli

for module in pkgutil.walk_packages(devtasks.__path__, "devtasks."):
    if not module.name.endswith((".__main__", ".runner")) and not module.name.startswith("devtasks.dashboard"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)

PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)  # where only ancestors may trace
libc = ctypes.CDLL(None)


def traced(pid, command):
    """The tracer that is put on the process, which has not begun."""
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    said = tracer.stderr.readline()
    if "attached" not in said:
        sys.exit(f"cannot trace: {said}")
    return tracer


for line in sys.stdin:
    folder, environment, words, tracer = json.loads(line)
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(go)
            libc.prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
            os.read(wait, 1)
            os.close(wait)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            sys.argv = ["devtasks", *words]
            cli.main(sys.argv)
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    os.close(wait)
    tracing = traced(pid, tracer) if tracer else None
    os.close(go)
    answer = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    for file in (output, errors):
        file.seek(0)
        answer.append(file.read().decode("utf-8", "replace"))
        file.close()
    if tracing is not None:
        tracing.communicate()
    print(json.dumps(answer), flush=True)
