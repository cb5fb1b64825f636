"""A project to crash in: one service of two processes, and the program run without its start-up."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolbox import PROGRAMS, WARM, Being, Scratch, Stage, argv, eventually, stat

_numbers = itertools.count(1)


class Pair:
    """A project whose one service is two processes; its name is like no other on this machine."""

    def __init__(self, stage: Stage, root: Path | None = None) -> None:
        self.name = f"w{os.getpid()}-{next(_numbers)}"
        self.scratch = Scratch(stage, root or stage.folder.parent / self.name)
        self.root = self.scratch.root
        self.state = self.scratch.state
        self.pid_file = self.scratch.pid_file(self.name)
        self.stage = stage
        shutil.copy(PROGRAMS / "pair.sh", self.root)
        self.declare()

    def declare(self, *words: str, **service: object) -> None:
        """What the service is; `words` are further arguments of pair.sh."""
        table = {
            "command": ["sh", "pair.sh", self.name, *words],
            "ready": {"log": "^up$"},
            "stop": {"timeout": 2},
            **service,
        }
        self.scratch.declare({self.name: table}, project=self.name)

    # commands

    def raw(self, *words: str) -> tuple[int, str, str]:
        return WARM.raw(self.stage.environ, self.root, *words)

    def run(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Run a command, compare its exit code and return what it says in JSON."""
        code, output, errors = self.raw(*words, "--json")
        said = f"{words}: exit {code}\n{output}\n{errors}"
        assert code == expect, said
        assert "Traceback" not in errors, said
        assert "internal error" not in output + errors, said
        report: dict[str, Any] = json.loads(output)
        return report

    def start(self) -> Being:
        """Start; exactly one instance lives then, and the PID file and the report name it."""
        report = self.run("start")
        main = self.expect_one()
        assert report["services"][0]["pid"] == main.pid, (report, main)
        return main

    def expect_one(self) -> Being:
        """Exactly one instance lives, whole, known and thawed."""
        eventually(lambda: len(self.runners()) <= 1, f"one runner attends it: {self.runners()}")
        mains, children = self.stage.living(self.name), self.stage.living(f"{self.name}-child")
        assert (len(mains), len(children)) == (1, 1), (mains, children)
        assert self.pid_file.exists()
        assert self.pid_file.read_text() == f"{mains[0].pid}\n"
        assert (self.state / ".gitignore").read_text() == "*\n"
        assert not any("frozen 1" in (path / "cgroup.events").read_text() for path in self.cgroups())
        return mains[0]

    def stop(self) -> None:
        """Stop; nothing lives then, nothing comes, and no PID file says that something does."""
        report = self.run("stop")
        self.expect_none(report)
        assert not self.pid_file.exists(), report

    def expect_none(self, said: object = None) -> None:
        """Nothing of it lives, and nothing is on its way."""
        assert not self.members(), said
        eventually(lambda: not self.runners(), "the runner has left", seconds=5)
        assert not self.members(), ("came late", said)
        assert not self.cgroups(), said

    # what is there

    def members(self) -> list[Being]:
        return [*self.stage.living(self.name), *self.stage.living(f"{self.name}-child")]

    def runners(self) -> list[Being]:
        """The live runners of this project, by the label that shows in their command lines."""
        label = f"{self.name}/{self.name}"
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        found = _beings(pid for pid in pids if argv(pid)[-1:] == [label] and "strace" not in argv(pid)[:1])
        return [one for one in found if one.alive]

    def cgroups(self) -> list[Path]:
        """Those that were made for runs of this service and are still there."""
        folders = (folder for folder, _, _ in os.walk("/sys/fs/cgroup") if f"-{self.name}-" in folder)
        return [Path(folder) for folder in folders if os.path.isfile(f"{folder}/cgroup.events")]


def _beings(pids: Iterable[int]) -> list[Being]:
    return [Being(pid, found[1]) for pid in pids if (found := stat(pid)) is not None]
