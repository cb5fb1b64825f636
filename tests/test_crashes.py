"""What a crash leaves is found by the next command: start, then, gives exactly one instance, and stop none.

Commands are killed with -9 before each of their system calls that change anything; disks fill up, folders become
read-only or vanish, descriptors run out, and the runner dies or freezes. Every result is observed from outside.

DEVTASKS_EXHAUSTIVE=1 tries every system call, each followed by a start and by a stop; else a sample is tried.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crashes.pair import Pair
from crashes.points import Point, chosen, hit, record
from filetools import fill, small_disk
from toolbox import PATIENCE_SECONDS, PYTHON, Being, Stage, being, eventually, parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="observed through /proc")

EXHAUSTIVE = os.environ.get("DEVTASKS_EXHAUSTIVE") == "1"
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
CHUNKS = 3  # of each scene: what is tried on different workers


@pytest.fixture
def pair(stage: Stage) -> Pair:
    return Pair(stage)


# --- kill -9 before each system call -----------------------------------------------------------------

SCENES: dict[str, Callable[[Pair], object]] = {
    "nothing": Pair.members,
    "running": Pair.start,
    "orphan": lambda pair: pair.start().kill(),
}
_recorded: dict[tuple[str, str], list[Point]] = {}


def points(verb: str, scene: str, stage: Stage) -> list[Point]:
    """The system calls of `verb` in that scene, recorded once a worker."""
    if (verb, scene) not in _recorded:
        pair = Pair(stage)
        SCENES[scene](pair)
        _recorded[verb, scene] = record(pair, [verb])
        pair.stop()
    return _recorded[verb, scene]


@needs_strace
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(
    ("verb", "scene"), [("start", "nothing"), ("start", "orphan"), ("stop", "running"), ("force-clean", "running")]
)
def test_killed_before_each_system_call(stage: Stage, verb: str, scene: str, chunk: int) -> None:
    sample = chosen(points(verb, scene, stage), everything=EXHAUSTIVE)
    tries = [
        (point, next_)
        for index, point in enumerate(sample)
        for turn, next_ in enumerate(("start", "stop"))
        if EXHAUSTIVE or point.is_pivot or turn == index % 2
    ]
    mine = tries[chunk::CHUNKS]
    wrong, missed = [], 0
    for point, next_ in mine:
        pair = Pair(stage)
        SCENES[scene](pair)
        try:
            missed += not hit(pair, point, [verb])
            if next_ == "start":
                pair.start()
            pair.stop()
        except AssertionError as error:
            wrong.append(f"{point}; then {next_}: {error}")
            for one in pair.members():
                one.kill()
    assert not wrong, "\n\n".join(wrong)
    assert missed <= len(mine) // 3, "most are hit: runs differ in who collects the record of an exit"


def test_a_start_after_a_stop_that_was_killed_half_way(pair: Pair) -> None:
    """What was asked to end, and takes its time, is no instance any more: it is ended, and another one begun."""
    pair.declare("slow", stop={"timeout": 1})
    first = pair.start()
    stopping = pair.scratch.background("stop")
    eventually(lambda: pair.stage.announced(f"{pair.name}-asked"), "it is asked")
    stopping.kill()
    stopping.wait()
    assert first.alive
    pair.run("start")
    (pair.root / "gate").touch()
    eventually(lambda: not first.alive, "it ends")
    assert pair.expect_one() != first
    pair.stop()


def test_a_start_after_a_stop_that_failed(pair: Pair) -> None:
    """What may not be killed, and did not end when it was asked, runs on."""
    pair.declare("stubborn", stop={"timeout": 0.2, "kill": False})
    first = pair.start()
    pair.run("stop", expect=1)
    assert pair.start() == first
    pair.declare(stop={"timeout": 0.2})
    pair.stop()


# --- disks that are full, or read-only ---------------------------------------------------------------


def test_a_full_disk(stage: Stage, tmp_path: Path) -> None:
    """Wherever in a start the room ends, it says so and leaves nothing; with enough room it starts."""
    with small_disk(tmp_path / "disk", 512) as disk:
        outcomes = set()
        for pages in range(0, 42, 3):
            pair = Pair(stage, disk / f"shop{pages}")
            ballast = fill(disk)
            os.truncate(ballast, ballast.stat().st_size - pages * resource.getpagesize())
            code, output, errors = pair.raw("start")
            outcomes.add(code)
            if code != 0:
                expect_clear(1, "no space left|disk is full|disk I/O error", code, output, errors)
                pair.expect_none((pages, output, errors))
            else:
                pair.expect_one()
            ballast.unlink()
            pair.stop()
            shutil.rmtree(pair.root)
        assert outcomes == {0, 1}, "both were tried"


def test_a_disk_that_fills_up(stage: Stage, tmp_path: Path) -> None:
    """What runs is stopped whole, and is not started again."""
    with small_disk(tmp_path / "disk", 512) as disk:
        pair = Pair(stage, disk / "shop")
        first = pair.start()
        ballast = fill(disk)
        assert pair.run("start")["services"][0]["pid"] == first.pid
        pair.stop()
        code, output, errors = pair.raw("restart")
        expect_clear(1, "no space left|disk is full|disk I/O error", code, output, errors)
        pair.expect_none()
        ballast.unlink()
        pair.start()
        pair.stop()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written in `folder`: a mount for root, permissions for others."""
    if os.geteuid() != 0:
        modes = {Path(place): Path(place).stat().st_mode for place, _, _ in os.walk(folder)}
        for place in modes:
            place.chmod(0o500)
        try:
            yield
        finally:
            for place, mode in modes.items():
                place.chmod(mode)
        return
    if subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("what", ["project", "state"])
def test_a_read_only_folder(pair: Pair, what: str) -> None:
    folder = {"project": pair.root, "state": pair.state}[what]
    if what == "state":
        pair.start()
        pair.stop()
    with read_only(folder):
        code, output, errors = pair.raw("start")
        expect_clear(1, "read-only|permission denied", code, output, errors)
        pair.expect_none()
        pair.stop()
    pair.start()
    pair.stop()


def test_a_folder_that_becomes_read_only(pair: Pair) -> None:
    """Its PID file cannot be removed: the next command takes it for what it is, a stale one."""
    first = pair.start()
    with read_only(pair.state):
        code, output, errors = pair.raw("start")
        if code != 0:  # it cannot even lock
            expect_clear(1, "read-only|permission denied", code, output, errors)
        assert pair.expect_one() == first
        pair.expect_none(pair.run("stop"))
        assert pair.run("status")["services"][0]["state"] in ("stale", "stopped", "failed")
    assert pair.start().pid != first.pid
    pair.stop()


def expect_clear(expected: int, pattern: str, code: int, output: str, errors: str) -> None:
    """It failed as it should, and said why in a line."""
    said = f"exit {code}\n{output}\n{errors}"
    assert code == expected, said
    assert "Traceback" not in said, said
    assert "internal error" not in said, said
    assert re.search(pattern, said, re.IGNORECASE), said


# --- few descriptors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [10, 14, 20, 32])
def test_few_descriptors(pair: Pair, few: int) -> None:
    """A stop stops in spite of them; a start starts, or says what is missing and leaves nothing."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))

    pair.start()
    report = pair.scratch.run("stop", preexec_fn=limit)
    pair.expect_none(report)
    done = pair.scratch.raw("start", preexec_fn=limit)
    if done.returncode == 0:
        pair.expect_one()
    else:
        expect_clear(1, "too many open files", done.returncode, done.stdout, done.stderr)
        pair.expect_none(done)
    pair.stop()


# --- a memory that is lost ---------------------------------------------------------------------------


def _git_clean(pair: Pair) -> None:
    for words in (["init", "-q"], ["add", "pair.sh", "devtasks.toml"], ["clean", "-fdxq"]):
        subprocess.run(["git", *words], cwd=pair.root, env=pair.stage.environ, check=True)
    assert not pair.state.exists()


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_link(path: Path) -> None:
    elsewhere = path.parent.parent.parent / f"elsewhere-{path.parent.parent.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


LOSSES: dict[str, Callable[[Pair], object]] = {
    "database deleted": lambda pair: (pair.state / "state.db").unlink(),
    "database empty": lambda pair: (pair.state / "state.db").write_bytes(b""),
    "database damaged": lambda pair: (pair.state / "state.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192),
    "database cut short": lambda pair: os.truncate(pair.state / "state.db", 5000),
    "database a folder": lambda pair: _replace_by_folder(pair.state / "state.db"),
    "database a FIFO": lambda pair: _replace_by_fifo(pair.state / "state.db"),
    "database a link": lambda pair: _replace_by_link(pair.state / "state.db"),
    "locks deleted": lambda pair: [path.unlink() for path in pair.state.glob("*.lock")],
    "PID file deleted": lambda pair: pair.pid_file.unlink(),
    "folder deleted": lambda pair: shutil.rmtree(pair.state),
    "git clean": _git_clean,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_memory_that_is_lost(stage: Stage, loss: str) -> None:
    """What runs still runs for the next start, and the next stop stops it."""
    for next_ in ("start", "stop"):
        pair = Pair(stage)
        if loss in ("folder deleted", "git clean"):
            pair.declare(ready={})  # its log is gone too
        pair.run("start")
        stage.wait_for(f"{pair.name}-child")
        first = pair.expect_one()
        LOSSES[loss](pair)
        if next_ == "start":
            assert pair.run("status")["services"][0]["state"] == "running"
            pair.run("start")
            assert pair.expect_one() == first
        pair.stop()
        if loss in ("database a folder", "database a FIFO", "database a link"):
            code, output, errors = pair.raw("start")
            assert code in (0, 1), (output, errors)
            if code:
                pair.expect_none((output, errors))
        else:
            pair.run("start")
            stage.wait_for(f"{pair.name}-child")
            pair.expect_one()
        pair.stop()


@pytest.mark.parametrize("place", ["file", "link"])
def test_a_state_folder_that_is_none(pair: Pair, tmp_path: Path, place: str) -> None:
    """Nothing is written through it; there is no second instance; it is stopped."""
    first = pair.start()
    shutil.rmtree(pair.state)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if place == "file":
        pair.state.write_text("a file in its place")
    else:
        pair.state.symlink_to(elsewhere)
    assert pair.raw("start")[0] == 3
    assert stage_of(pair) == [first]
    pair.expect_none(pair.run("stop"))
    assert not list(elsewhere.iterdir())


def stage_of(pair: Pair) -> list[Being]:
    return pair.stage.living(pair.name)


def test_a_log_that_was_deleted(pair: Pair) -> None:
    """A line is logged once: what has run for longer than a start waits is not asked for it."""
    pair.start()
    (pair.state / f"{pair.name}.log").unlink()
    pair.declare(ready={"log": "^up$", "timeout": 0.5})
    assert pair.run("start")["services"][0]["outcome"] == "already-running"
    pair.stop()


# --- the runner --------------------------------------------------------------------------------------


def test_kill_9_of_the_runner(pair: Pair) -> None:
    """The service lives, is known, and is stopped whole; an end that nobody saw is a failure."""
    main = pair.start()
    being(parent(main.pid)).kill()
    assert main.alive
    assert pair.run("status")["services"][0]["state"] == "running"
    pair.start()
    assert pair.expect_one() == main
    pair.stop()
    main = pair.start()
    being(parent(main.pid)).kill()
    for one in pair.members():
        one.kill()
    assert pair.run("status")["services"][0]["state"] in ("failed", "stale")
    pair.start()
    pair.stop()


def test_kill_9_of_the_runner_in_the_middle_of_a_stop(pair: Pair) -> None:
    pair.declare("stubborn", stop={"timeout": 1})
    main = pair.start()
    runner = being(parent(main.pid))
    stopping = pair.scratch.background("stop", "--json")
    eventually(lambda: pair.stage.announced(f"{pair.name}-asked"), "it is asked")
    runner.kill()
    output, errors = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 0, (output, errors)
    pair.expect_none((output, errors))
    pair.start()
    pair.stop()


def test_a_frozen_runner(pair: Pair) -> None:
    """Neither a stop nor a start waits for it for ever, and it does no harm when it goes on."""
    first = pair.start()
    runner = pair.stage.adopt(being(parent(first.pid)))
    runner.send(signal.SIGSTOP)
    report = pair.run("stop")
    assert report["seconds"] < 6, report
    assert not pair.members()
    pair.run("start")
    second = pair.stage.one(pair.name)
    assert len(stage_of(pair)) == 1
    assert pair.pid_file.read_text() == f"{second.pid}\n"
    runner.send(signal.SIGCONT)
    eventually(lambda: not runner.alive, "it leaves")
    assert pair.expect_one() == second
    pair.stop()


def test_kill_9_of_the_main_process_while_a_start_waits(pair: Pair) -> None:
    """Its child does not outlive it."""
    pair.declare("gate")
    starting = pair.scratch.background("start", "--json")
    pair.stage.one(f"{pair.name}-child")
    pair.stage.one(pair.name).kill()
    output, errors = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode == 1, (output, errors)
    assert json.loads(output)["services"][0]["outcome"] == "exited"
    pair.expect_none((output, errors))
    assert not pair.pid_file.exists()


def test_kill_9_of_the_runner_while_a_start_waits(pair: Pair) -> None:
    pair.declare("gate")
    starting = pair.scratch.background("start", "--json")
    pair.stage.one(f"{pair.name}-child")
    being(parent(pair.stage.one(pair.name).pid)).kill()
    (pair.root / "gate").touch()
    output, errors = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode == 0, (output, errors)
    pair.expect_one()
    pair.stop()


@needs_strace
@pytest.mark.parametrize(
    ("call", "number", "code"), [("clone,clone3", 1, 1), ("write", 1, 1), ("chdir", 1, 0), ("write", 2, 0)]
)
def test_kill_9_of_the_runner_before_a_system_call(pair: Pair, call: str, number: int, code: int) -> None:
    """Before it forks; before it answers; before it lets go; before it writes down how the service ended."""
    runner = pair.root / "python"
    inject = f"inject={call}:signal=KILL:when={number}"
    runner.write_text(f'#!/bin/sh\nexec strace -D -qq -o /dev/null -e trace={call} -e {inject} {PYTHON} "$@"\n')
    runner.chmod(0o755)
    program = "import sys; sys.executable = sys.argv.pop(1); from devtasks.command.cli import main; main()"
    done = subprocess.run(
        [PYTHON, "-c", program, runner, "start"],
        cwd=pair.root,
        env=pair.stage.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    if code == 0:
        main = pair.expect_one()
        if number == 2:
            main.kill()
            eventually(lambda: not pair.runners(), "its runner was killed before it wrote")
    else:
        pair.expect_none(done)
    pair.start()
    pair.stop()


# --- how runs ended, as somebody else wrote it -------------------------------------------------------


def test_hostile_records_of_exits(pair: Pair, tmp_path: Path) -> None:
    """They are neither followed nor believed nor waited for, and the true ones are read all the same."""
    main = pair.start()
    exits = pair.state / "exits"
    victim = tmp_path / "victim"
    victim.write_text(f"{main.pid} 0 1700000000.000\n")
    (exits / ("a" * 16)).symlink_to(victim)
    os.mkfifo(exits / ("b" * 16))
    (exits / ("c" * 16)).write_bytes(b"1" * 1_000_000)
    (exits / ("d" * 16)).mkdir()
    (exits / ("e" * 16)).write_bytes(b"")
    (exits / ("f" * 16)).write_text("-1 0 1700000000.000\n")
    (exits / ("0" * 16)).write_text(f"{main.pid} 99999999999 1\n")
    (exits / ("1" * 16)).write_text(f"{main.pid} 0 inf\n")
    (exits / "-rf").write_text("1 0 1\n")
    (exits / "\x1b[31m").write_text("1 0 1\n")
    assert pair.run("status")["services"][0]["state"] == "running"
    pair.start()
    main.kill()
    eventually(lambda: len(list(exits.iterdir())) == 11, "the runner writes down the true one")
    pair.run("clean")
    assert len(list(exits.iterdir())) <= 10, "it is read"
    pair.stop()
    assert victim.read_text() == f"{main.pid} 0 1700000000.000\n"
    pair.start()
    pair.stop()


def test_a_folder_of_exits_that_leads_elsewhere(pair: Pair, tmp_path: Path) -> None:
    """A runner writes nothing through a link."""
    pair.start()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(pair.state / "exits")
    (pair.state / "exits").symlink_to(elsewhere)
    pair.stop()
    assert not list(elsewhere.iterdir())
    code, output, errors = pair.raw("start")
    expect_clear(1, "symbolic link", code, output, errors)
    pair.expect_none()
