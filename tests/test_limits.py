"""Limits: what the runner sets before the program is executed, what a cgroup would, and what is said of both."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest
from toolbox import PYTHON, Scratch, eventually

from devtasks import limiting
from devtasks.model import Limits
from devtasks.world import cgroup
from devtasks.world.linux import LinuxWorld

SHOW = (
    "import json, resource as r, sys, time; "
    "open(sys.argv[1], 'w').write(json.dumps([r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_NPROC)])); "
    "time.sleep(600)"
)


def limited(scratch: Scratch, **limits: object) -> tuple[list[list[int]], str]:
    """The soft and hard limits of open files and processes that a service runs under, and what its start said."""
    told = scratch.root / "limits.json"
    scratch.declare(
        {"web": {"command": [PYTHON, "-c", SHOW, str(told)], "limits": limits, "stop": {"timeout": 0}}}
    )
    [started] = scratch.run("start")["services"]
    eventually(lambda: told.exists() and told.read_text(), "the service tells")
    scratch.run("stop")
    return json.loads(told.read_text()), started["detail"] or ""


def test_the_program_runs_under_them(scratch: Scratch):
    files, processes = limited(scratch, nofile=64, nproc=4000)[0]
    assert files == [64, 64]
    assert processes == [4000, 4000]


def test_without_limits_the_callers_are_inherited(scratch: Scratch):
    files, detail = limited(scratch)
    assert files[0] == list(resource.getrlimit(resource.RLIMIT_NOFILE))
    assert detail == ""


def test_what_may_not_be_raised_is_set_to_the_hard_limit_and_said(scratch: Scratch):
    above = int(Path("/proc/sys/fs/nr_open").read_text()) + 1  # not even root may have as many
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (files, _), detail = limited(scratch, nofile=above)
    assert files == [hard, hard]
    assert f"nofile is {hard}, not {above}: the hard limit here, which we may not raise" in detail


def test_memory_is_limited_or_said_not_to_be(scratch: Scratch):
    _, detail = limited(scratch, memory="64MiB", cpu=0.5)
    world = LinuxWorld()
    path = world.make_cgroup(f"devtasks-test-{os.getpid()}", ("memory", "cpu"))
    held = frozenset() if path is None else world.limit_cgroup(path, memory_bytes=2**26, cpu=0.5)
    if path is not None:
        world.remove_cgroup(path)
    if not held:
        assert "memory and cpu cannot be limited: there is no cgroup for us with that here" in detail


@pytest.mark.parametrize(
    ("limits", "given", "line"),
    [
        (Limits(), {}, None),
        (Limits(nofile=64, nproc=64), {}, None),
        (Limits(nproc=64), {"root": True}, "limits: nproc does not count for root"),
        (Limits(nofile=64), {"lowered": None}, "limits: nofile cannot be limited on this system"),
        (
            Limits(nofile=64, cpu=1.5),
            {"lowered": {"nofile": 32}},
            (
                "limits: nofile is 32, not 64: the hard limit here, which we may not raise; "
                "cpu cannot be limited: there is no cgroup for us with that here"
            ),
        ),
        (Limits(memory_bytes=1, cpu=1), {"controlled": {"memory", "cpu"}}, None),
    ],
)
def test_what_is_said(limits: Limits, given: dict[str, object], line: str | None):
    assert limiting.objection(limits, **{"lowered": {}, "controlled": (), "root": False, **given}) == line


# The kernel's files as a folder: on most machines the real ones are not for us to write.


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup of ours below another, which has controllers to hand down."""
    own = tmp_path / "slice" / "scope"
    own.mkdir(parents=True)
    for folder in (own, own.parent):
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroup, "_own", lambda: str(own))
    return own


def test_it_is_made_where_the_controllers_are(tree: Path):
    (tree.parent / "cgroup.subtree_control").write_text("memory pids")
    assert cgroup.make("web-1") == str(tree / "web-1")
    assert cgroup.make("web-2", ("memory",)) == str(tree.parent / "web-2")
    cgroup.clear("web-")
    assert not (tree / "web-1").exists()
    assert not (tree.parent / "web-2").exists()


def test_without_any_controllers_it_is_made_under_our_own(tree: Path):
    (tree.parent / "cgroup.subtree_control").write_text("memory")
    (tree.parent / "cgroup.procs").unlink()  # nobody can be moved there
    assert cgroup.make("web-1", ("memory",)) == str(tree / "web-1")


def test_what_is_written(tree: Path):
    (tree / "memory.max").write_text("")
    (tree / "cpu.max").write_text("")
    world = LinuxWorld()
    assert world.limit_cgroup(str(tree), memory_bytes=2**31, cpu=1.5) == {"memory", "cpu"}
    assert (tree / "memory.max").read_text() == "2147483648"
    assert (tree / "cpu.max").read_text() == "150000 100000"
    (tree / "cpu.max").unlink()
    assert world.limit_cgroup(str(tree), memory_bytes=None, cpu=1.5) == set()
    assert not (tree / "cpu.max").exists()
