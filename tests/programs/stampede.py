"""Run `devtasks ARGUMENTS…` 200 times at once: `stampede.py COUNT ARGUMENTS…`. Prints a JSON list of outcomes.

The processes are forked from one that has imported the program, and released together: what differs from 200
shells is only that more of them are really at it at the same moment. Each outcome is [exit code, output, errors].
"""

import contextlib
import json
import os
import runpy
import sys
import tempfile

count, arguments = int(sys.argv[1]), sys.argv[2:]
with contextlib.suppress(ImportError):
    import devtasks.command.cli  # noqa: F401

ready, release = os.pipe(), os.pipe()
outputs, children = [], []
for _ in range(count):
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    pid = os.fork()
    if pid == 0:
        os.close(release[1])
        os.write(ready[1], b".")
        os.read(release[0], 1)  # end of file for all at once
        for descriptor in (*ready, release[0]):
            os.close(descriptor)
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        sys.argv = ["devtasks", *arguments]
        code = 70
        try:
            runpy.run_module("devtasks", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            os._exit(code)
    children.append(pid)
    outputs.append((output, errors))
os.close(release[0])
arrived = 0
while arrived < count:
    arrived += len(os.read(ready[0], count))
os.close(release[1])
results = []
for pid, files in zip(children, outputs, strict=True):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = []
    for file in files:
        file.seek(0)
        said.append(file.read().decode("utf-8", "replace"))
    results.append([code, *said])
print(json.dumps(results))
