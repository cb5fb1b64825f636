"""Run as PID 1 of a PID namespace: end a service, give its number to a stranger, and stop the service.

`recycle.py WHAT PROJECT COMMAND…` with WHAT `pid` (the stranger has the main process's PID) or `session` (it is
the child of one that made a session of that number and has gone). Prints JSON: {recycled, lives, exits, out}.
"""

import json
import os
import signal
import subprocess
import sys
import time

what, project, command = sys.argv[1], sys.argv[2], sys.argv[3:]


def devtasks(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*command, *words, "--json"], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )
    reap()
    return done


def reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def numbers() -> set[int]:
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def stranger(pid: int) -> int:
    """A process with this PID; with `session` another that is left in the session of that number."""
    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.chdir("/")
            os.setsid()
            member = os.fork() if what == "session" else os.getpid()
            if member == 0 or what == "pid":
                os.write(writer, b"%d\n" % os.getpid())
                os.closerange(0, 1024)
                while True:
                    signal.pause()
            os._exit(0)
        os.close(writer)
        found = int(os.read(reader, 20))
        os.close(reader)
        if child == pid:
            if what == "session":
                os.waitpid(child, 0)
            return found
        os.kill(found, signal.SIGKILL)
        reap()
    raise SystemExit(f"PID {pid} could not be had")


report = json.loads(devtasks("start").stdout)
main = report["services"][0]["pid"]
mine = numbers() - {1}
deadline = time.monotonic() + 10
while numbers() != {1} and time.monotonic() < deadline:  # main process, children and runner
    for pid in mine & numbers():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.01)
    reap()
innocent = stranger(main)
session = os.getsid(innocent)
results = [devtasks(verb) for verb in ("stop", "force-clean", "start", "stop", "force-clean")]
try:
    os.kill(innocent, 0)
    lives = os.waitpid(innocent, os.WNOHANG)[0] == 0
except (ProcessLookupError, ChildProcessError):
    lives = False
print(
    json.dumps(
        {
            "recycled": session == main,
            "lives": lives,
            "exits": [done.returncode for done in results],
            "out": [done.stdout + done.stderr for done in results],
        }
    )
)
