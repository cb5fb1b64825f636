"""What a crash leaves is found by the next command: start, then, gives exactly one instance, and stop none.

Commands are killed with -9 before each of their system calls that change anything; disks fill up, folders become
read-only or vanish, descriptors run out, and the runner dies or freezes. Every result is observed from outside.

DEVTASKS_EXHAUSTIVE=1 tries every system call, each followed by a start and by a stop; else a sample is tried.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashes.points import Point, chosen, hit, record
from toolbox import PROGRAMS, PYTHON, Being, Scratch, Stage, argv, being, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="observed through /proc")

EXHAUSTIVE = os.environ.get("DEVTASKS_EXHAUSTIVE") == "1"
CHUNKS = 3  # of each scene: what is tried on different workers

_numbers = itertools.count(1)


# --- a stage on which commands are cheap -------------------------------------------------------------


class Warm:
    """Runs the program without its start-up, for all that is not itself under test."""

    def __init__(self, stage: Stage) -> None:
        self._child = stage.popen(
            [PYTHON, PROGRAMS / "warm.py"],
            stage.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def raw(self, root: Path, *words: str) -> tuple[int, str, str]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([str(root), words]) + "\n")
        code, output, errors = json.loads(self._child.stdout.readline())
        return code, output, errors

    def run(self, root: Path, *words: str) -> dict[str, Any]:
        code, output, errors = self.raw(root, *words, "--json")
        assert code == 0, (words, code, output, errors)
        report: dict[str, Any] = json.loads(output)
        return report


@pytest.fixture
def warm(stage: Stage) -> Iterator[Warm]:
    one = Warm(stage)
    yield one
    stage.dismiss()


class Pair:
    """A project whose one service is two processes; its name is like no other on this machine."""

    def __init__(self, stage: Stage, warm: Warm) -> None:
        self.name = f"w{os.getpid()}-{next(_numbers)}"
        self.scratch = Scratch(stage, stage.folder.parent / self.name)
        self.root = self.scratch.root
        self.stage = stage
        self._warm = warm
        shutil.copy(PROGRAMS / "pair.sh", self.root)
        service = {"command": ["sh", "pair.sh", self.name], "ready": {"log": "^up$"}, "stop": {"timeout": 2}}
        self.scratch.declare({self.name: service}, project=self.name)

    def start(self) -> Being:
        """Start; exactly one instance lives then, and the PID file and the report name it."""
        report = self._warm.run(self.root, "start")
        eventually(lambda: len(self.runners()) <= 1, f"one runner attends it: {self.runners()}")
        mains, children = self.stage.living(self.name), self.stage.living(f"{self.name}-child")
        assert (len(mains), len(children)) == (1, 1), (mains, children, report)
        assert report["services"][0]["pid"] == mains[0].pid, (report, mains)
        assert self.scratch.pid_file(self.name).exists(), report
        assert self.scratch.pid_file(self.name).read_text() == f"{mains[0].pid}\n"
        assert (self.scratch.state / ".gitignore").read_text() == "*\n"
        assert not any("frozen 1" in (path / "cgroup.events").read_text() for path in self.cgroups())
        return mains[0]

    def stop(self) -> None:
        """Stop; nothing lives then, nothing comes, and no PID file says that something does."""
        report = self._warm.run(self.root, "stop")
        assert not self.members(), report
        eventually(lambda: not self.runners(), "the runner has left", seconds=5)
        assert not self.members(), ("came after the stop", report)
        assert not self.scratch.pid_file(self.name).exists(), report
        assert not self.cgroups(), report

    def members(self) -> list[Being]:
        return [*self.stage.living(self.name), *self.stage.living(f"{self.name}-child")]

    def runners(self) -> list[Being]:
        """The live runners of this project, by the label that shows in their command lines."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (words := argv(int(entry)))[-1:] == [f"{self.name}/{self.name}"]:
                found.append(Being(int(entry), 0, " ".join(words)))
        return found

    def cgroups(self) -> list[Path]:
        """Those that were made for runs of this service and are still there."""
        folders = (folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"-{self.name}-" in folder)
        return [Path(folder) for folder in folders if os.path.isfile(f"{folder}/cgroup.events")]


# --- kill -9 before each system call -----------------------------------------------------------------

SCENES = {
    "nothing": lambda pair: None,
    "running": lambda pair: pair.start(),
    "orphan": lambda pair: pair.start().kill(),
}
_recorded: dict[tuple[str, str], list[Point]] = {}


def points(verb: str, scene: str, stage: Stage, warm: Warm) -> list[Point]:
    """The system calls of `verb` in that scene, recorded once a worker."""
    if (verb, scene) not in _recorded:
        pair = Pair(stage, warm)
        SCENES[scene](pair)
        _recorded[verb, scene] = record(pair.root, pair.name, [verb], stage.environ)
        pair.stop()
    return _recorded[verb, scene]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(
    ("verb", "scene"), [("start", "nothing"), ("start", "orphan"), ("stop", "running"), ("force-clean", "running")]
)
def test_killed_before_each_system_call(stage: Stage, warm: Warm, verb: str, scene: str, chunk: int) -> None:
    sample = chosen(points(verb, scene, stage, warm), everything=EXHAUSTIVE)
    tries = [
        (point, next_)
        for index, point in enumerate(sample)
        for turn, next_ in enumerate(("start", "stop"))
        if EXHAUSTIVE or point.is_pivot or turn == index % 2
    ]
    wrong, missed = [], 0
    for point, next_ in tries[chunk::CHUNKS]:
        pair = Pair(stage, warm)
        SCENES[scene](pair)
        try:
            missed += not hit(pair.root, pair.name, point, [verb], stage.environ)
            if next_ == "start":
                pair.start()
            pair.stop()
        except AssertionError as error:
            wrong.append(f"{point}; then {next_}: {error}")
            for one in pair.members():
                one.kill()
    assert not wrong, "\n\n".join(wrong)
    assert missed <= len(tries) // 10, "a run differs from the recorded one in little"
