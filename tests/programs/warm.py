"""Run `devtasks` many times and pay for its start-up once.

Takes lines of JSON, [folder, [argument…]]; answers each with [exit code, output, errors]. Every command is a
process of its own, forked from this one, which has imported the program and done nothing else with it.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import sqlite3  # noqa: F401 - imported by the program when needed
import sys
import tempfile

import devtasks
from devtasks.command import cli

for module in pkgutil.walk_packages(devtasks.__path__, "devtasks."):
    if not module.name.endswith((".__main__", ".runner")) and not module.name.startswith("devtasks.dashboard"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)

for line in sys.stdin:
    folder, words = json.loads(line)
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            cli.main(["devtasks", *words])
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    answer = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    for file in (output, errors):
        file.seek(0)
        answer.append(file.read().decode("utf-8", "replace"))
        file.close()
    print(json.dumps(answer), flush=True)
