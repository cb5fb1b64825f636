"""Run a probe command, and end all that it started: when it has ended, or when its time is over."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtasks.asking.attempt import Finding, Steps, Wait
from devtasks.asking.children import Helper

ENDING_SECONDS = 1.0  # on top of the probe's own time: for its tree to die


def run(
    command: Sequence[str], *, program: str, cwd: Path, env: Mapping[str, str], seconds: float, label: str
) -> Steps:
    """Good when it exits with 0. `env` carries a marker, which its parent, the warden, gets too."""
    if sys.platform == "win32":
        return (yield from _run_alone(command, program=program, cwd=cwd, env=env))
    task = marshal.dumps(
        {
            "program": os.fsencode(program),
            "argv": [os.fsencode(word) for word in command],
            "env": {os.fsencode(key): os.fsencode(value) for key, value in env.items()},
            "cwd": os.fsencode(cwd),
            "seconds": seconds,
        }
    )
    own = {"DEVTASKS_ID": env["DEVTASKS_ID"], "DEVTASKS_RUNNER": "1"}
    warden = Helper("warden.py", label, env=own, source=subprocess.PIPE)
    try:
        yield from warden.hand_over(len(task).to_bytes(4, "little") + task)
        said = (yield from warden.output()).split()
    finally:
        warden.let_go()
    if said[:1] == [b"late"]:
        return Finding("unhealthy", f"{command[0]} does not end within {seconds:g} s")
    if said[:1] != [b"exit"] or len(said) != 2:
        return Finding("unknown", f"the parent of {command[0]} was killed")
    return _finding(command[0], int(said[1]))


def _finding(name: str, code: int) -> Finding:
    if code < 0:
        return Finding("unhealthy", f"{name} is ended by signal {-code}")
    return Finding("healthy" if code == 0 else "unhealthy", f"{name} exits with {code}")


def _run_alone(command: Sequence[str], *, program: str, cwd: Path, env: Mapping[str, str]) -> Steps:
    """Windows: no parent in between; whoever waits kills the command itself at the end of its time."""
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while (code := process.poll()) is None:
            yield Wait(None)
    finally:
        process.kill()
        process.wait()
    return _finding(command[0], code)
