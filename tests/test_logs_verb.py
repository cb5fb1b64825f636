"""`inv logs` as a user runs it: merged, followed, searched, interrupted, with logs that cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import inprocess
import pytest
from toolbox import PATIENCE_SECONDS, PYTHON, Scratch

QUIET = {"command": ["sleep", "1000"]}


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    """Two services that do not run; the test writes their logs."""
    scratch.declare({"api": QUIET, "web": QUIET})
    scratch.state.mkdir(mode=0o700)
    return scratch


def write(shop: Scratch, service: str, text: str) -> None:
    with open(shop.state / f"{service}.log", "a") as file:
        file.write(text)


class Following:
    """`devtasks logs --follow` beside the test."""

    def __init__(self, shop: Scratch, *words: str, reader: Any = subprocess.PIPE) -> None:
        self.child = shop.stage.popen(
            [PYTHON, "-m", "devtasks", "logs", "--follow", *words],
            shop.root,
            stdin=subprocess.DEVNULL,
            stdout=reader,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        return self.child.stdout.readline().rstrip("\n")

    def interrupt(self) -> tuple[int, str]:
        self.child.send_signal(signal.SIGINT)
        _, errors = self.child.communicate(timeout=PATIENCE_SECONDS)
        return self.child.returncode, errors


@pytest.fixture
def follow(shop: Scratch) -> Iterator[Any]:
    def begin(*words: str, **options: Any) -> Following:
        return Following(shop, *words, **options)

    return begin


def test_merged_in_time_order(shop: Scratch) -> None:
    write(shop, "api", "2026-11-22 10:00:00 1\n2026-11-22 10:00:02 3\nTraceback\n2026-11-22 10:00:04 6\n")
    write(shop, "web", "2026-11-22 10:00:01 2\n2026-11-22 10:00:03 5\n")
    found = inprocess.run(shop, "logs")
    assert [(one["service"], one["line"].split()[-1]) for one in found["lines"]] == [
        ("api", "1"),
        ("web", "2"),
        ("api", "3"),
        ("api", "Traceback"),
        ("web", "5"),
        ("api", "6"),
    ]
    assert found["lines"][2]["at"] == found["lines"][3]["at"] == found["lines"][1]["at"] + 1
    assert found["problems"] == []
    assert [one["line"] for one in inprocess.run(shop, "logs", "web", grep="5$")["lines"]] == [
        "2026-11-22 10:00:03 5"
    ]
    assert inprocess.run(shop, "logs", since="5m")["lines"] == []


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(shop: Scratch) -> None:
    write(shop, "web", "here\n")
    os.mkfifo(shop.state / "api.log")
    done = shop.raw("logs")
    assert done.returncode == 1
    assert done.stdout == "web | here\n"
    assert done.stderr == f"api: {shop.state / 'api.log'}: the log cannot be read: is a FIFO\n"
    (shop.state / "api.log").unlink()
    done = shop.raw("logs")
    assert (done.returncode, done.stdout) == (0, "web | here\n")
    assert done.stderr == f"api: {shop.state / 'api.log'}: there is no log yet\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--grep", "(a"), "--grep: '(a' is not a regular expression: missing ), unterminated subpattern"),
        (("--since", "soon"), "--since: 'soon' is not a time"),
        (("--lines", "0"), "--lines: '0' is not a number of lines"),
        (("--grep", "(x+)+$"), "--grep: (x+)+$ takes too long: it backtracks without end on a line"),
    ],
)
def test_bad_flags_are_one_error(shop: Scratch, words: tuple[str, ...], message: str) -> None:
    write(shop, "web", "x" * 80 + "y\n")
    done = shop.raw("logs", *words)
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert "Traceback" not in done.stderr


def test_followed_through_a_new_start_until_interrupted(shop: Scratch, follow) -> None:
    write(shop, "web", "".join(f"old {number}\n" for number in range(30)))
    following = follow("--lines", "2")
    assert [following.line(), following.line()] == ["web | old 28", "web | old 29"]
    write(shop, "web", "half")
    write(shop, "api", "first\n")
    assert following.line() == "api | first"
    write(shop, "web", " of it\n")
    assert following.line() == "web | half of it"
    (shop.state / "web.log").rename(shop.state / "web.log.1")
    write(shop, "web", "\x1b[2Jnew\n")
    assert following.line() == r"web | \x1b[2Jnew"
    code, errors = following.interrupt()
    assert code == 130
    assert errors.splitlines()[-1] == "interrupted"


def test_followed_as_json_a_line_each_that_matches(shop: Scratch, follow) -> None:
    write(shop, "web", "error 0\nfine\n")
    following = follow("web", "--json", "--grep", "error")
    assert json.loads(following.line())["line"] == "error 0"
    write(shop, "web", "fine\n2026-11-22T10:00:00Z error 1\n")
    found = json.loads(following.line())
    assert (found["version"], found["service"], found["line"]) == (1, "web", "2026-11-22T10:00:00Z error 1")
    assert isinstance(found["at"], float)
    assert following.interrupt()[0] == 130


def test_a_reader_that_leaves_ends_it_even_when_nothing_comes(shop: Scratch, follow) -> None:
    write(shop, "web", "one\n")
    write(shop, "api", "two\n")
    following = follow()
    assert following.line()
    following.child.stdout.close()
    assert following.child.wait(timeout=PATIENCE_SECONDS) == 0
    assert following.child.stderr.read() == ""
