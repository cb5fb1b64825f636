"""A command carried out in the test's own process: what a user gets, for the price of the work alone."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest import mock

from toolbox import Scratch

from devtasks.command import perform


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str


@contextmanager
def environment(scratch: Scratch) -> Iterator[None]:
    """This process has the stage's environment, as the commands that a user types there have."""
    with mock.patch.dict(os.environ, scratch.stage.environ, clear=True), mock.patch("sys.argv", ["inv"]):
        yield


def said(scratch: Scratch, verb: str, *names: str, **flags: Any) -> Said:
    """`inv VERB` for `names`, with flags as Invoke's parser gives them."""
    out, err = io.StringIO(), io.StringIO()
    values = {"only": list(names)} if names else {}
    with environment(scratch), redirect_stdout(out), redirect_stderr(err):
        code = perform.perform(verb, scratch.root, None, {**values, **flags})
    return Said(code, out.getvalue(), err.getvalue())


def run(scratch: Scratch, verb: str, *names: str, expect: int = 0, **flags: Any) -> dict[str, Any]:
    """The same with --json; compares the exit code and returns what it says."""
    done = said(scratch, verb, *names, json=True, **flags)
    assert done.code == expect, done
    assert "Traceback" not in done.stderr, done
    report: dict[str, Any] = json.loads(done.stdout)
    return report
