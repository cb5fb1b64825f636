"""Logs that are rotated while they are written: every line once, whoever writes, reads or is killed meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filetools import fill, small_disk
from toolbox import PROGRAMS, PYTHON, Scratch, being, eventually, parent

from devtasks.store import logs
from devtasks.store.logs import rotation
from devtasks.store.logs.follow import Follower
from devtasks.store.logs.logfile import LogFile, patiently
from devtasks.store.logs.reader import Reader
from devtasks.store.logs.tail import blocks_backwards

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes parts out of files")

FOLDERS = ["/var/tmp", "/dev/shm"]  # mostly one that collapses (ext4, xfs), and one that only punches (tmpfs)

WRITER = """
import os, sys, time
for number in range(int(sys.argv[2])):
    os.write(1, b"%s %d %s\\n" % (sys.argv[1].encode(), number, b"x" * (number * 7 % 150)))
    if number % 500 == 0:
        time.sleep(0.005)
"""


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    if not os.access(request.param, os.W_OK):
        pytest.skip(f"there is no {request.param} to write to")
    made = Path(tempfile.mkdtemp(dir=request.param, prefix="devtasks-test-"))
    try:
        with open(made / "try", "wb") as file:
            if not rotation.can_rotate(file.fileno()):
                pytest.skip(f"{request.param} cannot do it")
        yield made
    finally:
        shutil.rmtree(made)


STEPS = ("setxattr", "replace", "unlink", "sendfile", "fsync", "open")  # what a rotation changes something by


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %d %s\n" % (number, b"x" * (number % 90)) for number in range(first, first + count))


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def rotate(path: Path, max_bytes: int) -> bool:
    there = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    log = os.open(path, os.O_RDWR)
    try:
        return rotation.rotate(there, path.name, log, max_bytes)
    finally:
        os.close(log)
        os.close(there)


def on_disk(path: Path) -> bytes:
    """What all files of the log hold, oldest first, as somebody sees it who knows that holes read as NUL."""
    names = [path.with_name(f"{path.name}.{number}") for number in range(rotation.KEPT, 0, -1)]
    return b"".join(name.read_bytes() for name in (*names, path) if name.exists()).replace(b"\0", b"")


def forwards(path: Path) -> bytes:
    reader = Reader(path, 0)
    found = b"".join(iter(lambda: patiently(reader.read), b""))
    reader.close()
    return found


def backwards(path: Path) -> bytes:
    with LogFile(path) as log:
        return b"".join(reversed(list(blocks_backwards(log, log.end()))))


# --- one rotation ------------------------------------------------------------------------------------------------


def test_what_is_whole_goes_and_what_is_not_stays(folder: Path) -> None:
    path = folder / "web.log"
    whole = numbered(0, 3000)
    append(path, whole + b"half a line")
    assert not rotate(path, len(whole) * 2)
    assert rotate(path, 50_000)
    assert path.with_name("web.log.1").read_bytes().endswith(b"x\n")
    append(path, b", whole by now\n")
    assert on_disk(path) == forwards(path) == backwards(path) == whole + b"half a line, whole by now\n"
    assert logs.tail(path, 1) == ("half a line, whole by now",)
    assert path.stat().st_blocks * 512 < len(whole) * 3 // 4
    assert sorted(os.listdir(folder)) == ["try", "web.log", "web.log.1"]
    assert path.with_name("web.log.1").stat().st_mode & 0o777 == 0o600


def test_many_and_ten_are_kept(folder: Path) -> None:
    path = folder / "web.log"
    for turn in range(14):
        append(path, numbered(turn * 500, 500))
        assert rotate(path, 10_000)
        assert forwards(path) == backwards(path) == on_disk(path)
    lines = on_disk(path).splitlines(keepends=True)
    assert lines == numbered(0, 7000).splitlines(keepends=True)[-len(lines) :]
    assert len(lines) > 4000
    assert [number for number in range(12) if path.with_name(f"web.log.{number}").exists()] == [*range(1, 11)]


def test_a_log_is_read_on_through_a_new_start(folder: Path) -> None:
    path = folder / "web.log"
    os.close(logs.open_log(path))
    append(path, numbered(0, 1000))
    reader = Reader(path, 0)
    assert rotate(path, 10_000)
    append(path, numbered(1000, 500))
    os.close(logs.open_log(path))  # rotated with its hole, where it has one
    append(path, numbered(1500, 1000))
    assert rotate(path, 10_000)
    assert b"".join(iter(reader.read, b"")) == numbered(0, 2500)
    reader.close()
    assert forwards(path) == backwards(path) == numbered(1500, 1000)
    assert logs.tail(path, 5000) == tuple(numbered(1500, 1000).decode().splitlines())


def test_who_reads_too_slowly_is_told_what_was_missed(folder: Path) -> None:
    path = folder / "web.log"
    append(path, b"first\nhalf a")
    follower = Follower({"web": path}, lines=1)
    assert [line for _, line in follower.poll()] == []
    for turn in range(14):
        append(path, numbered(turn * 500, 500))
        assert rotate(path, 10_000)
    found: list[str] = []
    while follower.timeout_seconds == 0:
        found += [line for _, line in follower.poll()]
    assert found[0] == "half a"
    kept = on_disk(path)
    assert found[-len(kept.splitlines()) :] == kept.decode().splitlines()
    missed = len(b"first\nhalf a" + numbered(0, 7000)) - len(kept) - len("first\nhalf a")
    assert follower.problems() == [("web", f"{missed} bytes were rotated away before they could be read")]
    assert follower.problems() == []
    follower.close()


def test_a_line_that_is_longer_than_the_log_may_be_is_cut(folder: Path) -> None:
    path = folder / "web.log"
    append(path, b"y" * 100_000)
    assert rotate(path, 50_000)
    append(path, b"\nnext\n")
    assert on_disk(path) == forwards(path) == b"y" * 100_000 + b"\nnext\n"
    assert logs.tail(path, 2) == ("y" * 4096 + "…", "next")


def test_long_lines(folder: Path) -> None:
    """No line ends at the end of a block: the present file begins with what is left of one."""
    path = folder / "web.log"
    text = b"".join(b"%d %s\n" % (number, b"z" * 9000) for number in range(40))
    append(path, text)
    assert rotate(path, 100_000)
    assert on_disk(path) == forwards(path) == backwards(path) == text
    append(path, text)
    assert rotate(path, 100_000)
    assert on_disk(path) == forwards(path) == backwards(path) == text * 2
    assert path.with_name("web.log.1").read_bytes()[-1:] == b"\n"


def test_truncated_by_somebody(folder: Path) -> None:
    path = folder / "web.log"
    append(path, numbered(0, 3000))
    assert rotate(path, 50_000)
    os.truncate(path, 0)
    append(path, numbered(7000, 2000))
    assert forwards(path)[-1000:] == numbered(7000, 2000)[-1000:]
    assert logs.tail(path, 2000) == tuple(numbered(7000, 2000).decode().splitlines())
    assert rotate(path, 50_000)
    assert logs.tail(path, 2000) == tuple(numbered(7000, 2000).decode().splitlines())


def test_another_file_by_that_name_is_left_alone(folder: Path) -> None:
    path = folder / "web.log"
    append(path, numbered(0, 2000))
    there, log = os.open(folder, os.O_RDONLY), os.open(path, os.O_RDWR)
    path.rename(folder / "moved")
    assert not rotation.rotate(there, path.name, log, 100)
    append(path, numbered(0, 2000))
    assert not rotation.rotate(there, path.name, log, 100)
    path.unlink()
    path.symlink_to(folder / "moved")
    assert not rotation.rotate(there, path.name, log, 100)
    os.close(log)
    os.close(there)


def test_a_mark_that_means_nothing(folder: Path) -> None:
    path = folder / "web.log"
    append(path, numbered(0, 100))
    for value in (b"", b"x" * 200, b"settled 5 3 0", b"settled -1 2 3", b"moving 1", b"settled 0 999 0", b"copy"):
        os.setxattr(path, "user.devtasks.log", value)
        assert logs.tail(path, 1) == (numbered(99, 1).decode().rstrip("\n"),), value
        assert forwards(path) == numbered(0, 100), value


def test_a_copy_that_is_gone(folder: Path) -> None:
    path = folder / "web.log"
    append(path, numbered(0, 3000))
    assert rotate(path, 50_000)
    path.with_name("web.log.1").unlink()
    left = on_disk(path)
    assert forwards(path) == backwards(path) == left
    path.with_name("web.log.1").write_bytes(b"somebody else's\n")
    assert forwards(path) == backwards(path) == left


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256) as disk:
        path = disk / "web.log"
        append(path, numbered(0, 2000))
        ballast = fill(disk)
        before = path.read_bytes()
        with pytest.raises(OSError, match="No space left"):
            rotate(path, 10_000)
        assert path.read_bytes() == before
        assert sorted(os.listdir(disk)) == ["ballast", "web.log"]
        assert forwards(path) == before
        ballast.unlink()
        assert rotate(path, 10_000)
        assert on_disk(path) == forwards(path) == before


@pytest.mark.parametrize("written", [100, 60_000])
def test_written_at_every_step(folder: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    path = folder / "web.log"
    append(path, numbered(0, 3000))
    count, inside = 3000, False

    def writing(call: Callable[..., object]) -> Callable[..., object]:
        def first(*arguments: object, **options: object) -> object:
            nonlocal count, inside
            if not inside:
                inside = True
                append(path, numbered(count, written))
                count += written
                inside = False
            return call(*arguments, **options)

        return first

    for name in STEPS:
        monkeypatch.setattr(os, name, writing(getattr(os, name)))
    for name in ("_fallocate", "_cut", "_copy", "recover"):
        monkeypatch.setattr(rotation, name, writing(getattr(rotation, name)))
    assert rotate(path, 10_000)
    monkeypatch.undo()
    assert count > 3000 + 10 * written
    assert on_disk(path) == forwards(path) == numbered(0, count)


# --- killed ------------------------------------------------------------------------------------------------------


def killed_at(path: Path, step: int) -> bool:
    """Rotate in a child that is killed before its `step`th call that changes something. False: it has fewer."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    done = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **options: object) -> object:
            nonlocal done
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return call(*arguments, **options)

        return counting

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    rotation._fallocate = counted(rotation._fallocate)  # type: ignore[assignment]
    rotate(path, 10_000)
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forks, in a process that may have threads
def test_killed_at_every_step(folder: Path) -> None:
    """Whoever reads then sees every line once, whatever is written after it, and so does the next rotation."""
    step = 0
    while True:
        path = folder / f"{step}.log"
        append(path, numbered(0, 300))
        assert rotate(path, 10_000)
        append(path, numbered(300, 300))
        if not killed_at(path, step):
            break
        assert forwards(path) == backwards(path) == numbered(0, 600), step
        append(path, numbered(600, 300))
        assert forwards(path) == backwards(path) == numbered(0, 900), step
        if step % 2:
            assert rotate(path, 5_000)
            assert forwards(path) == on_disk(path) == numbered(0, 900), step
            assert not path.with_name(f"{path.name}.0").exists()
        else:  # a new start comes before it
            os.close(logs.open_log(path))
            assert path.read_bytes() == b""
            assert on_disk(path) == numbered(0, 900), step
        step += 1
    assert step > 9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_killed_at_every_step_and_truncated_then(folder: Path) -> None:
    """What was copied stays in the copy, and what was written since stays in the log."""
    step = 0
    while True:
        path = folder / f"{step}.log"
        append(path, numbered(0, 600))
        if not killed_at(path, step):
            break
        os.truncate(path, 0)
        append(path, numbered(5000, 1000))
        assert logs.tail(path, 300) == tuple(numbered(5700, 300).decode().splitlines()), step
        assert rotate(path, 5_000)
        assert on_disk(path).endswith(numbered(5000, 1000)), step
        assert on_disk(path).count(b"line 5000 ") == 1, step
        step += 1
    assert step > 7


class Tally:
    """How often each line of each writer was met."""

    def __init__(self, lines: int) -> None:
        self._counts = {name: bytearray(lines) for name in "abc"}
        self.total = 0

    def add(self, line: str) -> None:
        name, number, filling = f"{line} ".split(" ", 2)
        assert len(filling.rstrip()) == int(number) * 7 % 150, line
        self._counts[name][int(number)] += 1
        self.total += 1

    @property
    def complete(self) -> bool:
        return all(count == 1 for counts in self._counts.values() for count in counts)

    @property
    def doubled(self) -> bool:
        return any(max(counts) > 1 for counts in self._counts.values())


def storm(folder: Path, *, lines: int, max_bytes: int, killed_every_seconds: float, seconds: float) -> None:
    """Three writers, one that rotates and is killed again and again, and one that follows: all lines, once."""
    path = folder / "web.log"
    output = logs.open_log(path)
    follower = Follower({"web": path}, lines=1)
    writers = [
        subprocess.Popen([PYTHON, "-I", "-S", "-c", WRITER, name, str(lines)], stdout=output) for name in "abc"
    ]
    os.close(output)
    command = [PYTHON, "-I", "-S", PROGRAMS / "rotate.py", rotation.__file__, path, str(max_bytes)]
    rotator, kills, seen = subprocess.Popen(command), 0, Tally(lines)
    chance = random.Random(lines)
    following = time.monotonic() + chance.random() * killed_every_seconds
    deadline = time.monotonic() + seconds
    try:
        while seen.total < 3 * lines:
            assert time.monotonic() < deadline, f"{seen.total} of {3 * lines} lines after {kills} kills"
            if time.monotonic() > following:
                rotator.kill()
                rotator.wait()
                kills += 1
                rotator = subprocess.Popen(command)
                following = time.monotonic() + chance.random() * killed_every_seconds
            for _, line in follower.poll():
                seen.add(line)
            follower.wait(0.05)
        assert all(writer.wait() == 0 for writer in writers)
    finally:
        for child in (rotator, *writers):
            child.kill()
            child.wait()
    assert follower.poll() == []
    follower.close()
    assert seen.complete
    assert kills > 2
    rotate(path, 1)  # what was killed last is finished
    kept = Tally(lines)
    for name in (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, rotation.KEPT + 1))):
        if name.exists():
            with open(name, encoding="ascii") as file:
                for line in file:
                    if text := line.lstrip("\0").rstrip("\n"):
                        kept.add(text)
    assert not kept.doubled
    assert kept.complete or path.with_name(f"{path.name}.{rotation.KEPT}").exists()


def test_writers_a_reader_and_a_rotation_that_is_killed(folder: Path) -> None:
    storm(folder, lines=40_000, max_bytes=1_000_000, killed_every_seconds=0.06, seconds=120)


@pytest.mark.soak
def test_ten_million_lines(folder: Path) -> None:
    storm(folder, lines=3_333_334, max_bytes=150_000_000, killed_every_seconds=0.5, seconds=3600)


# --- the runner --------------------------------------------------------------------------------------------------

LOUD = """
import os, sys, time, stage
stage.announce("loud")
for number in range(int(sys.argv[1])):
    os.write(1, b"line %d %s\\n" % (number, b"x" * (number % 90)))
    if number % 2000 == 0:
        time.sleep(0.05)
stage.announce("done")
stage.serve(None)
"""


def loud(scratch: Scratch, lines: int, **options: object) -> dict[str, object]:
    scratch.install()
    (scratch.root / "loud.py").write_text(LOUD)
    return {"command": [PYTHON, "loud.py", str(lines)], **options}


def test_the_runner_rotates_and_the_service_knows_nothing_of_it(scratch: Scratch) -> None:
    scratch.declare({"web": loud(scratch, 30_000, log_max_bytes=300_000)})
    scratch.start()
    path = scratch.state / "web.log"
    eventually(lambda: path.with_name("web.log.1").exists(), "it is rotated", 60)
    eventually(lambda: scratch.stage.living("done"), "it has written all", 90)
    assert forwards(path) == numbered(0, 30_000)
    eventually(lambda: on_disk(path) == numbered(0, 30_000), "the last rotation ends")
    shown = scratch.run("logs", "--lines", "100000")["lines"]
    assert [line["line"] for line in shown] == numbered(0, 30_000).decode().splitlines()
    scratch.run("stop")


def test_a_killed_runner_rotates_nothing_and_nothing_is_lost(scratch: Scratch) -> None:
    scratch.declare({"web": loud(scratch, 30_000, log_max_bytes=300_000)})
    pid = scratch.start()
    path = scratch.state / "web.log"
    eventually(lambda: path.with_name("web.log.1").exists(), "it is rotated", 60)
    being(parent(pid)).kill()
    eventually(lambda: scratch.stage.living("done"), "it has written all", 90)
    assert forwards(path) == numbered(0, 30_000)
    eventually(lambda: on_disk(path) == numbered(0, 30_000), "the last rotation ends")
    scratch.declare({"web": loud(scratch, 10, log_max_bytes=300_000)})
    scratch.run("restart")
    eventually(lambda: path.read_bytes() == numbered(0, 10), "it writes again")
    assert on_disk(path) == numbered(0, 30_000) + numbered(0, 10)
    scratch.run("stop")


def test_where_the_file_system_cannot_the_start_says_so(scratch: Scratch) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    there = scratch.root / "ram"
    there.mkdir()
    if subprocess.run(["mount", "-t", "ramfs", "ramfs", there], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a ramfs")
    try:
        scratch.declare({"web": loud(scratch, 10, log_max_bytes=1000, log_file="ram/web.log")})
        done = scratch.raw("start")
        assert done.returncode == 0, done
        assert "rotated at start only" in " ".join(done.stdout.split())
        scratch.run("stop")
    finally:
        subprocess.run(["umount", "-l", there], check=True)
