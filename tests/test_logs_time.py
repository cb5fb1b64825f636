"""When a line was written, which lines are asked for, the order of several logs: from values and small files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks.errors import UsageError
from devtasks.model import LogLine
from devtasks.store import logs
from devtasks.store.logs.grep import Grep
from devtasks.store.logs.lookback import TimedLine, look_back
from devtasks.store.logs.merging import in_time_order, just_arrived
from devtasks.store.logs.timestamps import written_at

AT = 1795351848.0  # 2026-11-22 12:50:48 UTC
NOW = AT + 1800


@pytest.fixture(autouse=True)
def _east(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "XXX-02:00")  # two hours ahead of UTC
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-22 14:50:48 INFO: x",
        "2026-11-22 14:50:48,000 [root] INFO x",
        "2026-11-22T12:50:48Z x",
        "2026-11-22T12:50:48.000+00:00 x",
        "2026-11-22 13:50:48 +0100 x",
        "2026-11-22 12:50:48.000 UTC [71] LOG:  x",
        "[2026-11-22 12:50:48 +0000] [71] [INFO] Booting worker",
        "2026/11/22 14:50:48 [error] 1#1: x",
        "INFO:     2026-11-22 14:50:48 x",
        "INFO 2026-11-22 14:50:48 x",
        "I, [2026-11-22T14:50:48.000 #71]  INFO -- : x",
        "[web] 2026-11-22 14:50:48 x",
        "web_1  | 2026-11-22 14:50:48 x",
        r"\x1b[2m2026-11-22T12:50:48.000Z\x1b[0m x",
        '127.0.0.1 - - [22/Nov/2026:12:50:48 +0000] "GET / HTTP/1.1" 200 2',
        '::1 - bob [22/Nov/2026:12:50:48 +0000] "GET / HTTP/1.1" 200 2',
        '[22/Nov/2026 14:50:48] "GET / HTTP/1.1" 200 2',
        "1:M 22 Nov 2026 14:50:48.000 * Ready to accept connections",
        "Nov 22 14:50:48 host prog[71]: x",
        "I1122 14:50:48.000000   71 main.go:1] x",
        "14:50:48 x",
        "[14:50:48] x",
        "2:50:48 PM [vite] hmr update",
        "1795351848 x",
        "1795351848.0: x",
        "[1795351848000] x",
        '{"level":30,"time":1795351848000,"pid":71}',
        '{"level": "info", "ts": 1795351848.0}',
        '{"@timestamp":"2026-11-22T12:50:48.000Z","message":"x"}',
    ],
)
def test_the_time_that_a_line_tells(line: str) -> None:
    assert written_at(line, reference=NOW) == AT


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        'INFO:     127.0.0.1:5000 - "GET / HTTP/1.1" 200 OK',
        "the token expires 2026-11-22 12:50:48",
        "2026-99-22 12:50:48",
        "2026-11-22 25:50:48",
        "2126-11-22 12:50:48 from the future",
        "0000000000 x",
        "9999999999 x",
        "12345678901234567890 x",
        "24:50:48 x",
        '{"expires": "2026-11-22T12:50:48Z"}',
        "\u0661\u0662:\u0661\u0662:\u0661\u0662 x",
    ],
)
def test_a_line_that_tells_no_time(line: str) -> None:
    assert written_at(line, reference=NOW) is None


def test_fractions_and_what_is_left_out() -> None:
    assert written_at("2026-11-22T12:50:48.25Z", reference=NOW) == AT + 0.25
    assert written_at("15:30:00 x", reference=NOW) == AT + 2352 - 86400  # not yet today
    assert written_at("Dec 31 14:50:48 host x", reference=NOW) == AT + (39 - 365) * 86400


@settings(deadline=None, database=None)
@given(st.text(st.sampled_from('0123456789:-/. TZ[](){},|"aINFO\\x1b[mNov\u0663'), max_size=200))
def test_whatever_is_written_is_taken(line: str) -> None:
    at = written_at(line, reference=NOW)
    assert at is None or 0 < at <= NOW + 86400


# --- what a log holds ------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


def stamped(first: int, count: int) -> list[str]:
    return [
        f"{time.strftime('%F %T', time.localtime(AT + number))} line {number}"
        for number in range(first, first + count)
    ]


def texts(found: list[TimedLine]) -> list[str]:
    return [line.text for line in found]


def write(path: Path, lines: list[str], modified: float = NOW) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, (modified, modified))


def test_the_last_lines_and_their_times(path: Path) -> None:
    write(path, ["no time", stamped(0, 1)[0], "  continued", stamped(1, 1)[0]])
    found = look_back(path, lines=3, reference=NOW)
    assert found == [
        TimedLine(AT, stamped(0, 1)[0]),
        TimedLine(AT, "  continued"),
        TimedLine(AT + 1, stamped(1, 1)[0]),
    ]
    assert look_back(path, reference=NOW)[0] == TimedLine(AT, "no time")
    write(path, ["no time", "at all"], AT - 5)
    assert look_back(path, reference=NOW) == [TimedLine(AT - 5, "no time"), TimedLine(AT - 5, "at all")]


def test_since(path: Path) -> None:
    lines = stamped(0, 100)
    lines.insert(50, "belongs to 49")
    lines.insert(61, "belongs to 59")
    write(path, lines)
    assert texts(look_back(path, since=AT + 50, reference=NOW)) == lines[51:]
    assert texts(look_back(path, since=AT + 50, lines=3, reference=NOW)) == lines[-3:]
    assert look_back(path, since=NOW, reference=NOW) == []
    assert texts(look_back(path, reference=NOW)) == lines


def test_since_reaches_into_earlier_runs(path: Path) -> None:
    lines = stamped(0, 30)
    for number, start in ((2, 0), (1, 10)):
        write(path.with_name(f"web.log.{number}"), lines[start : start + 10], AT + start + 9)
    write(path, lines[20:])
    assert texts(look_back(path, reference=NOW)) == lines[20:]
    assert texts(look_back(path, since=AT + 15, reference=NOW)) == lines[15:]
    assert texts(look_back(path, since=AT - 15, reference=NOW)) == lines
    write(path, ["without", "times"])
    assert texts(look_back(path, since=AT + 15, reference=NOW)) == [*lines[15:20], "without", "times"]


def test_lines_that_match(path: Path) -> None:
    lines = stamped(0, 3000)
    write(path, lines)
    grep = Grep("line [0-9]*00$")
    assert texts(look_back(path, lines=3, matches=grep.matches, reference=NOW)) == [
        lines[2700],
        lines[2800],
        lines[2900],
    ]
    assert len(look_back(path, matches=grep.matches, since=AT + 1000, reference=NOW)) == 20


def test_long_lines_at_the_borders_of_blocks(path: Path) -> None:
    lines = ["x" * length for length in (0, 65_535, 65_536, 1, 131_072, 4096, 4097, 3, 200_000)]
    write(path, lines)
    shown = [line if len(line) <= 4096 else line[:4096] + "…" for line in lines]
    assert texts(look_back(path, reference=NOW)) == shown
    assert logs.tail(path, 4) == tuple(shown[-4:])


def test_a_log_that_is_not_there_or_no_log(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        look_back(path, reference=NOW)
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="is a symbolic link"):
        look_back(path, reference=NOW)


# --- several ---------------------------------------------------------------------------------------------------


def test_in_the_order_of_time_and_each_log_in_its_own() -> None:
    found = in_time_order(
        {
            "web": [TimedLine(1, "a"), TimedLine(1, "a, continued"), TimedLine(5, "b")],
            "api": [TimedLine(1, "c"), TimedLine(9, "later than it says"), TimedLine(2, "d")],
        }
    )
    assert [line.line for line in found] == ["a", "a, continued", "c", "b", "later than it says", "d"]
    assert in_time_order({}) == []


def test_what_has_just_arrived() -> None:
    second = stamped(1, 1)[0]
    came = [("web", second), ("web", "  more"), ("api", stamped(0, 1)[0]), ("api", "2020-01-01 00:00:00 quoted")]
    assert just_arrived(came, AT + 3) == [
        LogLine("api", stamped(0, 1)[0], AT),
        LogLine("api", "2020-01-01 00:00:00 quoted", AT),
        LogLine("web", second, AT + 1),
        LogLine("web", "  more", AT + 1),
    ]
    assert just_arrived([("web", "no time")], 5.0) == [LogLine("web", "no time", 5.0)]


def test_an_expression_that_backtracks_without_end_is_given_up_on() -> None:
    grep = Grep("(a+)+$")
    with grep.watched():
        assert grep.matches("aaa")
        with pytest.raises(UsageError, match="takes too long"):
            grep.matches("a" * 60 + "b")
    with grep.watched():
        deadline = time.process_time() + 1.2  # much to search, but in no line for long
        while time.process_time() < deadline:
            assert not grep.matches("b" * 100)
