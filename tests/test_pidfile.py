"""PID files are hostile input, and are written whole or not at all."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from filetools import NOBODY, as_ordinary_user, fill, ordinary_folder, small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks.errors import DevtasksError
from devtasks.store import pidfile

ROOT = os.geteuid() == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backend.pid"


@pytest.mark.parametrize(
    ("content", "pid"), [(b"4711\n", 4711), (b"4711", 4711), (b"2\n", 2), (b"4194304\n", 2**22)]
)
def test_a_pid_is_read(path: Path, content: bytes, pid: int) -> None:
    path.write_bytes(content)
    reading = pidfile.read(path)
    assert (reading.state, reading.pid, reading.reason) == ("pid", pid, None)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"abc",
            b"-1\n",
            b"0\n",
            b"1\n",
            b"1000000000000\n",
            b"99999999999999999999",
            b"+5\n",
            b"1_000\n",
            b"007\n",
        ),
        *(b" 12\n", b"12 \n", b"12\r\n", b"12\n\n", b"12\n13\n", b"12 13\n", b"1e3", b"0x1f", b"\x00", b"12\x00"),
        *("\uff15\uff15\n".encode(), b"\xff\xfe", b"\xb2\n", b"4194305\n", b"12\n" + b"\n" * 100),
    ],
)
def test_garbage_is_told_as_garbage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    reading = pidfile.read(path)
    assert (reading.state, reading.pid) == ("garbage", None)
    assert reading.reason
    assert reading.reason.isprintable()


@settings(deadline=None, database=None)
@given(st.binary(max_size=40) | st.from_regex(rb"[-+0-9 \n_]{1,14}", fullmatch=True))
def test_only_one_way_of_writing_a_pid_is_taken(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{os.getpid()}.pid"
    path.write_bytes(content)
    reading = pidfile.read(path)
    if reading.state == "pid":
        assert content.removesuffix(b"\n") == str(reading.pid).encode()
        assert reading.pid is not None
        assert 2 <= reading.pid <= 2**22
    else:
        assert (reading.state, reading.pid) == ("garbage", None)
        assert reading.reason


def said(reading: pidfile.Reading) -> tuple[str, int | None, str | None]:
    return reading.state, reading.pid, reading.reason


def test_content_is_quoted_without_its_control_characters(path: Path) -> None:
    path.write_bytes(b"\x1b[2Jabc")
    assert pidfile.read(path).reason == r"holds '\x1b[2Jabc', which is no PID"


def test_an_empty_file_and_one_of_a_megabyte(path: Path) -> None:
    path.write_bytes(b"")
    assert pidfile.read(path).reason == "is empty"
    path.write_bytes(b"4711" + b"\n" * 2**20)
    assert said(pidfile.read(path)) == ("garbage", None, "is larger than 4 KiB")


def test_absent(path: Path) -> None:
    assert pidfile.read(path) == pidfile.Reading(path=path, state="absent")
    path.write_text("")
    assert pidfile.read(path / "below a file").state == "absent"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    real = path.with_name("real")
    real.write_text("4711\n")
    path.symlink_to(real)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = [
    (_fifo, "is a FIFO"),
    (Path.mkdir, "is a folder"),
    (_link, "is a symbolic link"),
    (_dangling, "is a symbolic link"),
    (_loop, "is a symbolic link"),
    (_socket, "is a socket"),
]


@pytest.mark.parametrize(("make", "reason"), SPECIAL)
def test_what_is_no_regular_file_is_neither_read_nor_replaced(path: Path, make, reason: str) -> None:
    make(path)
    before = os.lstat(path)
    reading = pidfile.read(path)
    assert said(reading) == ("unreadable", None, reason)
    assert not pidfile.remove_if_unchanged(path, reading)
    with pytest.raises(DevtasksError, match=f"backend.pid: the PID file cannot be written: {reason}"):
        pidfile.write(path, 4711)
    assert os.path.samestat(before, os.lstat(path))
    assert not list(path.parent.glob(".*"))


@pytest.mark.skipif(not ROOT, reason="only root can make a device or a stranger's file")
def test_a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero never ends
    except PermissionError:
        pytest.skip("this container may not make devices")
    assert pidfile.read(path).reason == "is a device"


@pytest.mark.skipif(not ROOT, reason="only root can make a stranger's file")
def test_somebody_elses_file(path: Path) -> None:
    path.write_text("4711\n")
    os.chown(path, NOBODY, NOBODY)
    assert said(pidfile.read(path)) == ("unreadable", None, f"belongs to another user (uid {NOBODY})")
    assert pidfile.read(path, frozenset({NOBODY})).pid == 4711


@pytest.mark.skipif(not ROOT, reason="only root works in another user's folder")
def test_root_reads_what_the_owner_of_the_folder_wrote_and_writes_for_the_owner(path: Path) -> None:
    os.chown(path.parent, NOBODY, NOBODY)
    path.write_text("4711\n")
    os.chown(path, NOBODY, NOBODY)
    assert pidfile.read(path).pid == 4711
    pidfile.write(path, 4712)
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
    os.link(path, path.with_name("another name"))
    assert pidfile.read(path).reason == "has another hard link"


def test_a_file_that_may_not_be_read() -> None:
    with ordinary_folder() as folder:
        path = folder / "backend.pid"

        def read() -> pidfile.Reading:
            path.write_text("4711\n")
            path.chmod(0)
            return pidfile.read(path)

        assert said(as_ordinary_user(read)) == ("unreadable", None, "permission denied")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    assert pidfile.read(tmp_path / "a\0b").state == "unreadable"
    assert pidfile.read(tmp_path / ("x" * 5000)).state == "unreadable"


def test_written_so_that_a_shell_can_use_it(path: Path) -> None:
    pidfile.write(path, 4711)
    assert path.read_bytes() == b"4711\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert pidfile.read(path).pid == 4711
    assert os.listdir(path.parent) == [path.name]


def test_what_a_killed_writer_left_is_in_nobodys_way(path: Path) -> None:
    path.with_name(".backend.pid.new").write_text("47")
    pidfile.write(path, 4711)
    assert os.listdir(path.parent) == [path.name]
    path.with_name(".backend.pid.new").symlink_to(path.with_name("elsewhere"))
    pidfile.write(path, 4712)
    assert os.listdir(path.parent) == [path.name]


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    pidfile.write(path, 1111)
    done = threading.Event()
    seen = set()

    def read() -> None:
        while not done.is_set():
            seen.add(said(pidfile.read(path))[:2])

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        pidfile.write(path, 1111)
        pidfile.write(path, 2222222)
    done.set()
    reader.join()
    assert seen <= {("pid", 1111), ("pid", 2222222)}


def test_no_folder_to_write_in(tmp_path: Path) -> None:
    with pytest.raises(DevtasksError, match="no such file") as caught:
        pidfile.write(tmp_path / "run" / "x.pid", 4711)
    assert caught.value.hint == f"make the folder: mkdir -p {tmp_path / 'run'}"


def test_a_full_disk_leaves_the_former_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        path = disk / "backend.pid"
        pidfile.write(path, 1111)
        ballast = fill(disk)
        with pytest.raises(DevtasksError, match="no space left on device") as caught:
            pidfile.write(path, 2222)
        assert caught.value.hint == "free some disk space, then try again"
        assert pidfile.read(path).pid == 1111
        assert sorted(os.listdir(disk)) == ["backend.pid", "ballast"]
        ballast.unlink()
        pidfile.write(path, 2222)
        assert pidfile.read(path).pid == 2222


def test_a_read_only_folder() -> None:
    with ordinary_folder() as folder:
        path = folder / "backend.pid"
        folder.chmod(0o555)

        def write() -> str:
            with pytest.raises(DevtasksError) as caught:
                pidfile.write(path, 4711)
            return caught.value.message

        assert as_ordinary_user(write) == f"{path}: the PID file cannot be written: permission denied"


def test_removed_only_while_it_is_what_was_read(path: Path) -> None:
    pidfile.write(path, 1111)
    reading = pidfile.read(path)
    pidfile.write(path, 2222)
    assert not pidfile.remove_if_unchanged(path, reading)
    assert pidfile.read(path).pid == 2222
    assert pidfile.remove_if_unchanged(path, pidfile.read(path))
    assert not path.exists()
    assert not pidfile.remove_if_unchanged(path, reading)


def test_rewritten_in_place_is_noticed(path: Path) -> None:
    path.write_text("1111\n")
    reading = pidfile.read(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert not pidfile.remove_if_unchanged(path, reading)


def test_garbage_is_never_removed(path: Path) -> None:
    path.write_text("precious")
    assert not pidfile.remove_if_unchanged(path, pidfile.read(path))
    assert path.read_text() == "precious"
