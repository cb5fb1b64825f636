"""A PID file is data from outside: whatever it holds or is, nobody is signalled for it and it is not replaced."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from toolbox import PATIENCE_SECONDS, PYTHON, Being, Scratch, Stage, being

CONTENT: dict[str, bytes] = {
    "garbage": b"\x1b[31mgarbage\x00\xff",
    "empty": b"",
    "minus-one": b"-1\n",
    "zero": b"0\n",
    "one": b"1\n",
    "huge-number": b"1000000000000\n",
    "signed": b"+5\n",
    "underscore": b"1_000\n",
    "two-numbers": b"4711\n4712\n",
    "fullwidth": "\uff14\uff12\n".encode(),
    "megabyte": b"7" * 2**20,
}


def make_content(content: bytes) -> Callable[[Path, Being], object]:
    return lambda path, _: path.write_bytes(content)


def make_link(path: Path, innocent: Being) -> None:
    target = path.with_suffix(".target")
    target.write_text(f"{innocent.pid}\n")
    path.symlink_to(target)


def make_foreign(path: Path, innocent: Being) -> None:
    path.write_text(f"{innocent.pid}\n")
    os.chown(path, 65534, 65534)


MAKE: dict[str, Callable[[Path, Being], object]] = {
    **{name: make_content(content) for name, content in CONTENT.items()},
    "fifo": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "link": make_link,
    "dangling-link": lambda path, _: path.symlink_to("/nowhere/at/all"),
    "caller": lambda path, _: path.write_text(f"{os.getpid()}\n"),
    "innocent": lambda path, innocent: path.write_text(f"{innocent.pid}\n"),
    "padded": lambda path, innocent: path.write_text(f" {innocent.pid} and more\n"),
}
if os.geteuid() == 0:
    MAKE["someone-elses"] = make_foreign


def look(path: Path) -> tuple[object, ...]:
    """All that changes when a file is replaced or written."""
    found = os.lstat(path)
    content: object = None
    if stat.S_ISREG(found.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    return stat.S_IFMT(found.st_mode), found.st_ino, found.st_uid, content


@dataclass
class Scene:
    scratch: Scratch
    innocent: Being
    before: dict[str, tuple[object, ...]]
    after: dict[str, dict[str, tuple[object, ...] | None]]
    said: dict[str, str]


COMMANDS = ["status", "show-processes", "stop", "clean", "force-clean", "start", "stop", "force-clean"]


@pytest.fixture(scope="module")
def scene(module_stage: Stage) -> Scene:
    """One service for each kind of file, and every command on all of them."""
    stage = module_stage
    scratch = Scratch(stage, stage.folder.parent / "shop")
    scratch.install("main.py")
    scratch.state.mkdir(mode=0o700)
    innocent = stage.masked("innocent", ["python", "/usr/bin/innocent"], scratch.root)
    before = {}
    for name, make in MAKE.items():
        path = scratch.pid_file(name)
        make(path, innocent)
        before[name] = look(path)
    scratch.declare(
        {name: {"command": [PYTHON, "main.py", "--name", name], "stop": {"timeout": 2}} for name in MAKE}
    )
    scene = Scene(scratch, innocent, before, {}, {})
    for number, command in enumerate(COMMANDS):
        expect = {"start": (0, 1, 3)}.get(command, 0)
        done = scratch.raw(command, seconds=60)
        assert done.returncode in ((expect,) if isinstance(expect, int) else expect), (command, done)
        step = f"{number} {command}"
        scene.said[step] = done.stdout + done.stderr
        scene.after[step] = {
            name: look(scratch.pid_file(name)) if os.path.lexists(scratch.pid_file(name)) else None
            for name in MAKE
        }
    return scene


@pytest.mark.parametrize("name", MAKE)
def test_it_is_never_replaced(scene: Scene, name: str) -> None:
    changed = {step: files[name] for step, files in scene.after.items() if files[name] != scene.before[name]}
    assert not changed, (scene.before[name], changed)


@pytest.mark.parametrize("name", MAKE)
def test_it_is_reported(scene: Scene, name: str) -> None:
    """By every verb that would have used it: its path, or what is wrong with it, beside the service's name."""
    for step, said in scene.said.items():
        if step.endswith((" stop", " start")):
            assert name in said, step
    assert f"{name}.pid" in scene.said["2 stop"], scene.said["2 stop"]


def test_nobody_was_signalled(scene: Scene) -> None:
    assert scene.innocent.alive
    assert scene.scratch.stage.signals("innocent") == []


def test_no_control_character_reached_the_terminal(scene: Scene) -> None:
    assert not any("\x1b[31mgarbage" in said for said in scene.said.values())


def test_it_names_the_program_itself(scratch: Scratch) -> None:
    """`echo $$ > web.pid; exec devtasks stop` has the very PID of the stopper."""
    scratch.install("main.py")
    scratch.state.mkdir(mode=0o700)
    scratch.declare({"web": {"command": [PYTHON, "main.py"]}})
    script = f'echo $$ > .devtasks/web.pid; exec "{PYTHON}" -m devtasks "$1"'
    for command in ("stop", "force-clean"):
        done = scratch.stage.popen(
            ["sh", "-c", script, "sh", command], scratch.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert done.wait(timeout=PATIENCE_SECONDS) == 0


def test_it_holds_the_pid_and_a_newline(scratch: Scratch) -> None:
    """So that `kill $(cat web.pid)` works; and it is gone after the stop."""
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    assert scratch.pid_file().read_bytes() == b"%d\n" % main.pid
    assert stat.S_ISREG(scratch.pid_file().lstat().st_mode)
    scratch.run("stop")
    assert not scratch.pid_file().exists()
