"""Logs: opened without following links, read from the end, shown without commanding the terminal."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from filetools import NOBODY, as_ordinary_user, fill, ordinary_folder, project_at, small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks.errors import DevtasksError
from devtasks.store import logs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backend.log"


def write_log(path: Path, text: bytes) -> None:
    descriptor = logs.open_log(path)
    os.write(descriptor, text)
    os.close(descriptor)


# --- opening ---------------------------------------------------------------------------------------------


def test_rotated_at_start_and_ten_are_kept(path: Path) -> None:
    for number in range(14):
        write_log(path, b"start %d\n" % number)
    assert path.read_bytes() == b"start 13\n"
    kept = sorted(path.parent.iterdir(), key=lambda file: int(file.suffix[1:]) if file != path else 0)
    assert [file.name for file in kept] == ["backend.log", *(f"backend.log.{number}" for number in range(1, 11))]
    assert [file.read_bytes() for file in kept] == [b"start %d\n" % number for number in range(13, 2, -1)]


def test_an_empty_log_is_used_again(path: Path) -> None:
    write_log(path, b"")
    write_log(path, b"")
    assert os.listdir(path.parent) == [path.name]


def test_a_writer_of_the_former_run_keeps_its_file(path: Path) -> None:
    former = logs.open_log(path)
    os.write(former, b"one\n")
    write_log(path, b"two\n")
    os.write(former, b"last words\n")
    os.close(former)
    assert path.read_bytes() == b"two\n"
    assert path.with_name("backend.log.1").read_bytes() == b"one\nlast words\n"


def test_private_appending_and_not_inherited(path: Path) -> None:
    descriptor = logs.open_log(path)
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        assert not os.get_inheritable(descriptor)
        assert os.get_blocking(descriptor)
        path.write_bytes(b"somebody else's line\n")
        subprocess.run(["echo", "ours"], stdout=descriptor, check=True)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == b"somebody else's line\nours\n"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to(path.with_name("precious")), "is a symbolic link"),
        (os.mkfifo, "is a FIFO"),
        (Path.mkdir, "is a folder"),
    ],
)
def test_no_service_writes_into_what_is_no_regular_file(path: Path, make, reason: str) -> None:
    precious = path.with_name("precious")
    precious.write_text("precious")
    make(path)
    with pytest.raises(DevtasksError) as caught:
        logs.open_log(path)
    assert caught.value.message == f"{path}: the log cannot be written: {reason}"
    assert caught.value.hint == f"remove or rename {path}"
    assert precious.read_text() == "precious"
    assert logs.tail(path, 10) == ()
    assert logs.LogWatch(path, 0).new_lines() == ()


def test_no_folder_and_no_permission(tmp_path: Path) -> None:
    with pytest.raises(DevtasksError) as caught:
        logs.open_log(tmp_path / "logs" / "x.log")
    assert caught.value.hint == f"make the folder: mkdir -p {tmp_path / 'logs'}"
    with ordinary_folder() as folder:
        folder.chmod(0o555)

        def refused() -> str:
            with pytest.raises(DevtasksError) as caught:
                logs.open_log(folder / "x.log")
            return caught.value.message

        assert as_ordinary_user(refused) == f"{folder / 'x.log'}: the log cannot be written: permission denied"


def test_a_full_disk_can_still_rotate(tmp_path: Path) -> None:
    """What fails is the service's own writing; opening needs no space that a rename does not give."""
    with small_disk(tmp_path / "disk", 64) as disk:
        write_log(disk / "x.log", b"old\n")
        fill(disk)
        os.close(logs.open_log(disk / "x.log"))
        assert logs.tail(disk / "x.log.1", 5) == ("old",)


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo in a user's project")
def test_roots_log_belongs_to_the_owner_of_its_folder() -> None:
    with ordinary_folder() as folder:
        write_log(folder / "x.log", b"line\n")
        assert (folder / "x.log").stat().st_uid == NOBODY


# --- reading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, ()),
        (b"\n", 3, ("",)),
        (b"a\nb\nc\n", 2, ("b", "c")),
        (b"a\nb\nc", 2, ("b", "c")),
        (b"a\nb\n", 10, ("a", "b")),
        (b"a\n\n\n", 2, ("", "")),
        (b"a\r\nb\r\n", 2, ("a", "b")),
        (b"a\nb\n", 0, ()),
        (b"a\nb\n", -1, ()),
        (b"caf\xc3\xa9 \xff\n", 1, ("caf\u00e9 \ufffd",)),
    ],
)
def test_tail(path: Path, content: bytes, lines: int, expected: tuple[str, ...]) -> None:
    path.write_bytes(content)
    assert logs.tail(path, lines) == expected


@settings(deadline=None, database=None)
@given(st.lists(st.text(alphabet="ab\u00e9", max_size=40_000), max_size=12), st.integers(1, 15), st.booleans())
def test_tail_is_what_reading_everything_would_give(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int, ended: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{os.getpid()}.log"
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    path.write_text(text)
    whole = text.split("\n")[: -1 if text.endswith("\n") or not text else None]
    shown = [
        line if len(line.encode()) <= 4096 else line.encode()[:4096].decode(errors="ignore") + "…"
        for line in whole
    ]
    assert logs.tail(path, count) == tuple(shown[-count:])


def test_tail_gives_the_beginning_of_a_line_that_began_a_block_earlier(path: Path) -> None:
    path.write_bytes(b"START" + b"x" * 70_000 + b"\nlast\n")
    first, last = logs.tail(path, 2)
    assert first == "START" + "x" * 4091 + "…"
    assert last == "last"


def test_tail_of_a_file_of_many_gigabytes(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(20 * 2**30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast but one\nlast\n")
    begin = time.monotonic()
    assert logs.tail(path, 2) == ("last but one", "last")
    lines = logs.tail(path, 3)  # the third is longer than what is looked at
    assert lines[1:] == ("last but one", "last")
    assert lines[0].startswith(r"\x00\x00")
    assert lines[0].endswith("…")
    assert time.monotonic() - begin < 10


def test_tail_of_nothing(path: Path) -> None:
    assert logs.tail(path, 5) == ()
    assert logs.tail(path / "x", 5) == ()
    assert logs.tail(Path("a\0b"), 5) == ()


def test_nothing_printed_commands_the_terminal() -> None:
    assert logs.printable("\x1b[2J\x1b]0;title\x07") == r"\x1b[2J\x1b]0;title\x07"
    assert logs.printable("a\tb é 日本 🎉 …") == "a\tb é 日本 🎉 …"
    assert logs.printable("\r\n\x00\x7f\x9b31m") == r"\x0d\x0a\x00\x7f\x9b31m"
    assert logs.printable("pay \u202eevil\u2066 \u2028 \ufeff") == r"pay \u202eevil\u2066 \u2028 \ufeff"
    assert logs.printable(b"\xff\xc3".decode("utf-8", "surrogateescape")) == r"\xff\xc3"
    assert logs.printable("\ud800") == r"\ud800"


@settings(deadline=None, database=None)
@given(st.text(st.characters(codec=None)))
def test_what_is_printable_can_be_encoded_and_is_left_alone(text: str) -> None:
    shown = logs.printable(text)
    shown.encode()
    assert logs.printable(shown) == shown
    assert not any(
        character != "\t" and (ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0) for character in shown
    )


# --- watching --------------------------------------------------------------------------------------------


def test_a_watch_gives_complete_new_lines(path: Path) -> None:
    path.write_bytes(b"old\n")
    watch = logs.LogWatch(path)
    assert watch.new_lines() == ()
    with open(path, "ab", buffering=0) as file:
        file.write(b"list")
        assert watch.new_lines() == ()
        file.write(b"ening\nnext\n")
        assert watch.new_lines() == ("listening", "next")
        assert watch.new_lines() == ()
    assert logs.since(path, 0).new_lines() == ("old", "listening", "next")


def test_a_watch_begins_before_the_file_does(path: Path) -> None:
    watch = logs.since(path)
    assert watch.new_lines() == ()
    path.write_bytes(b"first\n")
    assert watch.new_lines() == ("first",)


def test_a_watch_survives_truncation_and_replacement(path: Path) -> None:
    path.write_bytes(b"a long first line\n")
    watch = logs.since(path, 0)
    assert watch.new_lines() == ("a long first line",)
    path.write_bytes(b"b\n")
    assert watch.new_lines() == ("b",)
    path.rename(path.with_name("backend.log.1"))
    path.write_bytes(b"another file, longer\n")
    assert watch.new_lines() == ("another file, longer",)


def test_a_watch_is_bounded(path: Path) -> None:
    path.write_bytes(b"x" * (3 * 2**20) + b"\nready\n")
    watch = logs.since(path, 0)
    seen: list[str] = []
    for _ in range(4):
        seen += watch.new_lines()
        assert len(watch._lines._rest) <= 5000
    assert seen == ["x" * 4096 + "…", "ready"]


# --- cleaning --------------------------------------------------------------------------------------------


def test_stale_logs_are_those_of_the_configuration_alone(tmp_path: Path) -> None:
    project = project_at(tmp_path, "web")
    folder = project.state_dir
    folder.mkdir()
    long_ago = time.time() - 8 * 86_400
    for name in ("web.log", "web.log.1", "web.log.2", "web.log.11", "other.log", "web.log.old"):
        (folder / name).write_text("x")
        os.utime(folder / name, (long_ago, long_ago))
    os.utime(folder / "web.log.1")
    (folder / "web.log.3").symlink_to(folder / "other.log")
    (folder / "web.log.4").mkdir()
    assert logs.stale_logs(project, 7) == (folder / "web.log", folder / "web.log.2")
    assert logs.stale_logs(project, 9) == ()
    assert logs.files(project.services[0]) == tuple(
        folder / name for name in ("web.log", "web.log.1", "web.log.2")
    )
