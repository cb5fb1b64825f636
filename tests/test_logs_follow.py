"""Several logs followed: rotated, restarted, removed, truncated, appearing later; without burning CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtasks.store import logs
from devtasks.store.logs.follow import Follower

PATIENCE_SECONDS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


@pytest.fixture
def opened() -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def make(*paths: Path, lines: int = 0) -> Follower:
        made.append(Follower({path.stem: path for path in paths}, lines=lines))
        return made[-1]

    yield make
    for follower in made:
        follower.close()


def append(path: Path, text: bytes) -> None:
    with open(path, "ab") as file:
        file.write(text)


def collect(follower: Follower, count: int) -> list[tuple[str, str]]:
    """So many lines, however many polls they take; and that no more come."""
    found: list[tuple[str, str]] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} lines: {found[-5:]}"
        found += follower.poll()
        follower.wait(1)
    while follower.timeout_seconds == 0:
        found += follower.poll()
    assert len(found) == count
    return found


def texts(found: list[tuple[str, str]]) -> list[str]:
    return [line for _, line in found]


def test_new_lines_of_all(tmp_path: Path, opened) -> None:
    web, api = tmp_path / "web.log", tmp_path / "api.log"
    append(web, b"old\n")
    follower = opened(web, api)
    assert follower.poll() == []
    append(web, b"1\n")
    assert collect(follower, 1) == [("web", "1")]
    append(api, b"2\n3\npart")
    assert collect(follower, 2) == [("api", "2"), ("api", "3")]
    append(api, b"ial\n")
    assert collect(follower, 1) == [("api", "partial")]


def test_the_last_lines_first(path: Path, opened) -> None:
    append(path, b"1\n2\n3\n")
    follower = opened(path, lines=2)
    assert texts(collect(follower, 2)) == ["2", "3"]
    append(path, b"4\n")
    assert texts(collect(follower, 1)) == ["4"]


def test_a_line_that_is_not_ended_yet_is_counted_and_shown_when_it_is(path: Path, opened) -> None:
    append(path, b"1\n2\n3")
    follower = opened(path, lines=2)
    assert texts(collect(follower, 1)) == ["2"]
    append(path, b"!\n")
    assert texts(collect(follower, 1)) == ["3!"]


def test_new_starts_of_the_service(path: Path, opened) -> None:
    """Each start begins a new file; what was written before the last one is not passed over."""
    follower = opened(path)
    for run in range(4):
        descriptor = logs.open_log(path)
        os.write(descriptor, b"run %d\nlast words %d" % (run, run))
        os.close(descriptor)
        if run == 0:
            assert texts(collect(follower, 1)) == ["run 0"]
    expected = ["last words 0", *(text for run in (1, 2) for text in (f"run {run}", f"last words {run}")), "run 3"]
    assert texts(collect(follower, len(expected))) == expected


def test_written_between_the_last_look_and_the_new_start(path: Path, opened) -> None:
    descriptor = logs.open_log(path)
    os.write(descriptor, b"1\n")
    follower = opened(path, lines=9)
    assert texts(collect(follower, 1)) == ["1"]
    path.rename(path.with_name("web.log.1"))
    append(path, b"3\n")
    os.write(descriptor, b"2\n")
    os.close(descriptor)
    assert texts(collect(follower, 2)) == ["2", "3"]


def test_removed_and_there_again(path: Path, opened) -> None:
    append(path, b"1\n")
    follower = opened(path)
    assert follower.problems() == []
    path.unlink()
    assert follower.poll() == []
    assert follower.problems() == [("web", f"{path}: the log was removed")]
    assert follower.problems() == []
    append(path, b"2\n")
    assert texts(collect(follower, 1)) == ["2"]


def test_a_folder_that_is_made_later(tmp_path: Path, opened) -> None:
    path = tmp_path / "later" / "web.log"
    follower = opened(path)
    assert follower.poll() == []
    assert follower.problems() == [("web", f"{path}: there is no log yet")]
    path.parent.mkdir()
    append(path, b"1\n")
    assert texts(collect(follower, 1)) == ["1"]


def test_truncated(path: Path, opened) -> None:
    append(path, b"a first line\nhalf a")
    follower = opened(path, lines=9)
    assert texts(collect(follower, 1)) == ["a first line"]
    path.write_bytes(b"new\n")
    assert texts(collect(follower, 2)) == ["half a", "new"]


def test_what_is_no_log_is_told_once_and_does_not_keep_the_others_from_being_shown(tmp_path: Path, opened) -> None:
    pipe, link, fine = tmp_path / "pipe.log", tmp_path / "link.log", tmp_path / "fine.log"
    os.mkfifo(pipe)
    link.symlink_to("/etc/passwd")
    follower = opened(pipe, link, fine)
    append(fine, b"1\n")
    assert texts(collect(follower, 1)) == ["1"]
    problems = dict(follower.problems())
    assert problems["pipe"] == f"{pipe}: the log cannot be read: is a FIFO"
    assert problems["link"] == f"{link}: the log cannot be read: is a symbolic link"
    assert follower.problems() == []
    pipe.unlink()
    append(pipe, b"2\n")
    assert collect(follower, 1) == [("pipe", "2")]


def test_a_log_that_two_services_share_is_shown_once(path: Path) -> None:
    follower = Follower({"api": path, "worker": path})
    append(path, b"1\n")
    assert collect(follower, 1) == [("api", "1")]
    follower.close()


def test_one_that_floods_does_not_keep_the_others_waiting(tmp_path: Path, opened) -> None:
    loud, quiet = tmp_path / "loud.log", tmp_path / "quiet.log"
    follower = opened(loud, quiet)
    append(loud, b"%080d\n" % 0 * 100_000)
    append(quiet, b"here\n")
    first = follower.poll()
    assert ("quiet", "here") in first
    assert follower.timeout_seconds == 0
    assert len(first) + len(collect(follower, 100_001 - len(first))) == 100_001


def test_an_endless_line_is_shown_cut_and_is_not_kept(path: Path, opened) -> None:
    follower = opened(path)
    with open(path, "ab") as file:
        file.writelines(b"x" * 2**20 for _ in range(64))
    assert texts(collect(follower, 1)) == ["x" * 4096 + "…"]
    append(path, b"end of it\nnext\n")
    assert texts(collect(follower, 1)) == ["next"]


def test_garbage(path: Path, opened) -> None:
    follower = opened(path)
    append(path, b"\x1b[2J\x1b]0;title\x07\n\xff\xfe\x00\nfine\r\n\xe2\x80\xaeevil\n")
    assert texts(collect(follower, 4)) == [
        r"\x1b[2J\x1b]0;title\x07",
        "\ufffd\ufffd\\x00",
        "fine",
        r"\u202eevil",
    ]


def test_waiting_costs_nothing_and_ends_with_a_line(path: Path, opened) -> None:
    append(path, b"1\n")
    follower = opened(path)
    while follower.timeout_seconds == 0:
        follower.poll()
    if follower.fileno() < 0:
        pytest.skip("this system does not tell when a file grows")
    spent = time.process_time()
    follower.wait(0.5)
    assert time.process_time() - spent < 0.1
    append(path, b"2\n")
    begin = time.monotonic()
    follower.wait(PATIENCE_SECONDS)
    assert time.monotonic() - begin < follower.timeout_seconds or follower.timeout_seconds < 1
    assert texts(follower.poll()) == ["2"]
