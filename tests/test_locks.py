"""One holder at a time, however holders end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from filetools import NOBODY, as_ordinary_user, fill, ordinary_folder, python, small_disk, until

from devtasks.errors import DevtasksError
from devtasks.store import locks
from devtasks.store.locks import service_lock

HOLD = """
import sys, time
from pathlib import Path
from devtasks.store.locks import service_lock
with service_lock(Path(sys.argv[1]), timeout_seconds=None, tell=None):
    print("held", flush=True)
    time.sleep(600)
"""

# Each asks for the lock many times and counts, under it, in a file that tells of any overlap.
COUNT = """
import os, sys
from pathlib import Path
from devtasks.store.locks import service_lock
lock, folder = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    with service_lock(lock, timeout_seconds=None, tell=None):
        inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)  # fails if anybody else is inside
        counter = folder / "counter"
        counter.write_text(str(int(counter.read_text()) + 1))
        os.close(inside)
        os.unlink(folder / "inside")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backend.lock"


def free(path: Path) -> bool:
    try:
        with service_lock(path, timeout_seconds=0, tell=None):
            return True
    except DevtasksError:
        return False


def test_held_for_the_block_and_kept_afterwards(path: Path) -> None:
    with service_lock(path, timeout_seconds=None, tell=None):
        assert not free(path)
        assert path.stat().st_mode & 0o777 == 0o600
    assert free(path)
    assert path.exists()


def test_let_go_when_the_block_fails(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), service_lock(path):
        _ = 1 / 0
    assert free(path)


def test_200_processes_are_inside_one_at_a_time(path: Path, tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    # Python's own start-up would keep them apart: most of the 200 are forks, let loose together.
    crowd = f"""
import os, sys
program = {COUNT!r}
import devtasks.store.locks  # once, not 50 times
gate, opened = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.close(opened)
        os.read(gate, 1)
        try:
            exec(compile(program, "count", "exec"))
        except BaseException:
            os._exit(1)
        os._exit(0)
os.close(opened)
bad = sum(os.wait()[1] != 0 for _ in range(50))
sys.exit(bad)
"""
    crowds = [python(crowd, path, tmp_path, 2) for _ in range(4)]
    assert [process.wait(120) for process in crowds] == [0] * 4
    for process in crowds:
        assert process.stdout is not None
        process.stdout.close()
    assert (tmp_path / "counter").read_text() == "400"


def test_a_killed_holder_lets_go(path: Path) -> None:
    with python(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert not free(path)
        holder.kill()
        holder.wait()
        assert free(path)


def test_not_inherited_by_what_is_started_under_it(path: Path) -> None:
    with service_lock(path):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        assert free(path)
    finally:
        child.kill()
        child.wait()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_not_kept_by_a_child_that_was_only_forked(path: Path) -> None:
    with service_lock(path):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
        os.close(ours)
    try:
        assert free(path)
    finally:
        os.close(theirs)
        os.waitpid(child, 0)


def test_an_unlinked_file_is_not_locked_by_two(path: Path) -> None:
    """`git clean` while one holds the lock and one waits: the waiter must not get a file that nobody sees."""
    entered, leave = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with service_lock(path):
            entered.set()
            leave.wait(60)

    waiter = threading.Thread(target=wait_for_it)
    with service_lock(path):
        waiter.start()
        # The waiter has opened the first file once its descriptor shows up.
        until(lambda: sum(_opened(name, path) for name in os.listdir("/proc/self/fd")) == 2)
        path.unlink()
        assert entered.wait(20)
        assert not free(path)
    assert not free(path)
    leave.set()
    waiter.join()
    assert free(path)


def _opened(name: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}") == str(path)
    except OSError:
        return False


def test_a_file_unlinked_right_before_it_is_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    really = locks._try_lock

    def unlinked_first(descriptor: int) -> bool:
        opened.append(os.fstat(descriptor).st_ino)
        if len(opened) == 1:
            path.unlink()
        return really(descriptor)

    monkeypatch.setattr(locks, "_try_lock", unlinked_first)
    with service_lock(path):
        monkeypatch.undo()
        assert len(opened) == 2
        assert path.exists()
        assert not free(path)


def test_waiting_is_told_once_with_the_pid(path: Path) -> None:
    told: list[str] = []
    path.write_text("999999999\nand more from another time\n")
    with python(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DevtasksError) as caught, service_lock(path, timeout_seconds=1.5, tell=told.append):
            pytest.fail("held by two")
        holder.kill()
    assert told == [f"waiting: another command (PID {holder.pid}) is starting backend"]
    assert caught.value.message == (
        f"backend: another command (PID {holder.pid}) has been starting it for more than 1.5 s"
    )
    assert caught.value.hint


def test_a_hint_is_only_a_hint(path: Path) -> None:
    with python(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        path.write_bytes(b"\x1b[2J-1\n")
        with (
            pytest.raises(DevtasksError, match="backend: another command has been"),
            service_lock(path, timeout_seconds=0),
        ):
            pytest.fail("held by two")
        holder.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting(path: Path, number: signal.Signals) -> None:
    waiter_program = f"""
import signal, sys
from pathlib import Path
from devtasks.store import locks
from devtasks.errors import Interrupted
from devtasks.store.locks import service_lock
def handler(number, frame):
    raise Interrupted(number)
signal.signal({int(number)}, handler)
try:
    with service_lock(Path(sys.argv[1]), timeout_seconds=None, tell=lambda line: print(line, flush=True)):
        sys.exit(1)
except Interrupted as interrupted:
    sys.exit(interrupted.exit_code)
"""
    with python(HOLD, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with python(waiter_program, path) as waiter:
            assert waiter.stdout is not None
            assert waiter.stdout.readline().startswith("waiting: ")
            waiter.send_signal(number)
            assert waiter.wait(20) == 128 + number
        assert not free(path)
        holder.kill()


@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_only_a_regular_file_is_locked(path: Path, what: str) -> None:
    target = path.with_name("precious")
    target.write_text("precious")
    {"link": lambda: path.symlink_to(target), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[what]()
    with (
        pytest.raises(DevtasksError, match=r"backend\.lock: the lock file cannot be opened: is a ") as caught,
        service_lock(path),
    ):
        pytest.fail("locked")
    assert caught.value.hint == f"remove or rename {path}"
    assert target.read_text() == "precious"


def test_a_read_only_folder_is_said() -> None:
    with ordinary_folder() as folder:
        folder.chmod(0o555)

        def lock() -> str:
            with pytest.raises(DevtasksError) as caught, service_lock(folder / "backend.lock"):
                pytest.fail("locked")
            return caught.value.message

        assert as_ordinary_user(lock).endswith("backend.lock: the lock file cannot be opened: permission denied")


def test_a_full_disk_takes_the_hint_but_not_the_lock(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        path = disk / "backend.lock"
        assert free(path)
        path.write_text("")
        fill(disk)
        with service_lock(path):
            assert not free(path)
        assert free(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo in a user's project")
def test_roots_lock_does_not_lock_the_user_out() -> None:
    with ordinary_folder() as folder:
        assert free(folder / "backend.lock")
        assert (folder / "backend.lock").stat().st_uid == NOBODY
        assert as_ordinary_user(lambda: free(folder / "backend.lock"))
