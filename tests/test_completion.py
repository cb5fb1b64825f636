"""Completion: what is offered where, and that real shells insert it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toolbox import PATIENCE_SECONDS, Scratch

from devtasks.command import completion, options, tasks

SERVICES = ("backend", "frontend")
TASKS = list(tasks.tasks(Path("/nowhere"), SERVICES))
NAMES = {task.name for task in TASKS}


def offered(*words: str) -> set[str]:
    return {word for word, _ in completion.candidates(words, TASKS, SERVICES)}


def test_task_names_first():
    assert offered("") == NAMES
    assert offered("st") == NAMES
    assert offered() == NAMES


def test_flags_before_a_task_are_the_programs():
    abroad = {"--hosts", "--parallel", "--host-timeout", "--sudo"}
    own = {"--root", "--dry", "--list", "--help", "--version", "--print-completion-script"}
    assert offered("-") == own | abroad


def test_services_at_positions_and_flags_of_the_task():
    assert offered("logs", "") == {"backend", "frontend"}
    assert offered("logs", "backend", "") == {"frontend"}
    assert offered("stop", "st") == {"backend", "frontend"} | NAMES
    stop = next(verb for verb in tasks.VERBS if verb.name == "stop")
    assert offered("stop", "backend", "--") == {f"--{options.dashed(f)}" for f in stop.flags} | {"--help"}
    assert "--json" not in offered("stop", "--json", "--")
    assert "--only" in offered("stop", "--only", "backend", "--")
    assert "--only" not in offered("stop-backend", "--")
    assert offered("stop-backend", "") == NAMES


def test_values_of_flags():
    assert offered("stop", "--only", "") == {"backend", "frontend"}
    assert offered("stop", "--only=b") == {"backend", "frontend"}
    assert offered("stop", "--only", "=", "b") == {"backend", "frontend"}  # as bash breaks the words
    assert offered("stop", "--color", "") == {"auto", "always", "never"}
    assert offered("stop", "--timeout", "") == set()
    assert offered("--print-completion-script", "") == {"bash", "zsh", "fish"}
    assert offered("-C", "") == set()


def test_the_root_is_taken_from_the_words():
    assert completion.root_of(["-C", "/x", "stop", ""]) == "/x"
    assert completion.root_of(["--root=/x", "stop", ""]) == "/x"
    assert completion.root_of(["stop", ""]) is None


def test_the_command_answers_with_meanings(scratch: Scratch):
    scratch.declare({"backend": {"command": ["sleep", "1"]}})
    done = scratch.raw("--complete", "--", "devtasks", "stop", "")
    assert done.stdout == "backend\tservice\n"
    lines = scratch.raw("--complete", "--", "devtasks", "").stdout.splitlines()
    assert "stop-backend\tStop backend, whole." in lines
    broken = scratch.raw("--complete", "--", "devtasks", "-C", "/nowhere", "")
    assert (broken.returncode, broken.stdout) == (2, "")


def test_plain_invoke_completes_our_tasks_and_flags(scratch: Scratch):
    scratch.declare({"backend": {"command": ["sleep", "1"]}})

    def answer(line: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "--complete", "--", *line.split()],
            cwd=scratch.root,
            env=scratch.stage.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.split()

    assert "stop-backend" in answer("inv st")
    assert "--timeout" in answer("inv stop --t")


# --- real shells -------------------------------------------------------------------------------------


@pytest.fixture
def installed(scratch: Scratch) -> Scratch:
    """A project, with a `devtasks` on PATH."""
    scratch.declare({"backend": {"command": ["sleep", "1"]}, "frontend": {"command": ["sleep", "1"]}})
    folder = scratch.root / "bin"
    folder.mkdir()
    command = folder / "devtasks"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m devtasks "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    scratch.stage.environ["PATH"] = f"{folder}:{scratch.stage.environ['PATH']}"
    scratch.stage.environ["TERM"] = "dumb"
    return scratch


class Shell:
    """An interactive shell on a pseudo terminal: type, and wait for what it shows."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.seen = ""

    def type(self, keys: str) -> None:
        self.seen = ""
        os.write(self.master, keys.encode())

    def shows(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.seen):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:
                    pytest.fail(f"the shell ended: {self.seen!r}")


@contextmanager
def interactive(scratch: Scratch, *command: str) -> Iterator[Shell]:
    master, slave = pty.openpty()
    child = scratch.stage.popen(
        command, scratch.root, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        yield Shell(master)
    finally:
        child.kill()
        child.wait()
        os.close(master)


def needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


CASES = [
    ("devtasks logs b\t", "devtasks logs backend "),
    ("devtasks start-f\t", "devtasks start-frontend "),
    ("devtasks stop --tim\t", "devtasks stop --timeout "),
    ("devtasks stop --only fr\t", "devtasks stop --only frontend "),
    ("devtasks stop --only=fr\t", "devtasks stop --only=frontend "),
    ("devtasks stop backend fro\t", "devtasks stop backend frontend "),
    ("devtasks --vers\t", "devtasks --version "),
]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_bash_and_zsh_insert_what_is_meant(installed: Scratch, shell: str):
    options = ["--norc", "--noprofile", "-i"] if shell == "bash" else ["-f", "-i"]
    with interactive(installed, needs(shell), *options) as terminal:
        terminal.type(f'PS1="ready"\'> \'; eval "$(devtasks --print-completion-script {shell})"; echo "so"urced\n')
        terminal.shows("sourced")
        terminal.shows("ready> ")
        for typed, line in CASES:
            terminal.type(typed)
            # The rest of the word, and the blank after it, appear behind what was typed.
            terminal.shows(re.escape(line).replace(r"\ ", r" \s*"))
            terminal.type("\x15")  # kill the line


def test_fish_offers_what_is_meant(installed: Scratch):
    script = "devtasks --print-completion-script fish | source; "
    for typed, line in CASES:
        want = line.split()[-1]
        done = subprocess.run(
            [needs("fish"), "--no-config", "-c", f"{script}complete -C {typed.strip()!r}"],
            cwd=installed.root,
            env=installed.stage.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert [row.split("\t")[0] for row in done.stdout.splitlines()] == [want], (typed, done)
