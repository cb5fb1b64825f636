"""What happened: which events are kept, how they are shown, and that a follower sees what comes."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import inprocess
import pytest
from filetools import fill, project_at, small_disk
from toolbox import PYTHON, Scratch, Stage, being, eventually, free_port

from devtasks import phrases, recording
from devtasks.command.moments import moment
from devtasks.ending import Ending, Target
from devtasks.model import Evidence, Identity, Match, Process, StopPolicy
from devtasks.outcomes import History
from devtasks.report import history, shapes
from devtasks.report.look import Look, columns
from devtasks.store.events import Event
from devtasks.store.state import State

MAIN = Identity("boot", 4026531836, 4711, 987_654)


def kinds(events: list[dict[str, Any]], service: str) -> list[str]:
    return [event["kind"] for event in events if event["service"] == service]


# --- one story, and what is told of it ---------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(module_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A project in which everything has happened that is an event."""
    shop = Scratch(module_stage, tmp_path_factory.mktemp("story") / "shop")
    taken = free_port()
    shop.declare(
        {
            "web": shop.server("--name", "web", stop={"timeout": 0.2}),
            "deaf": shop.server("--name", "deaf", "--on", "TERM=ignore", stop={"timeout": 0.2}),
            "broken": shop.server("--exit", "3", "--name", "broken"),
            "late": shop.server("--mute", "--name", "late", ready={"timeout": 0.3}),
            "refused": shop.server("--name", "refused", port=taken),
            "needy": {"command": "sleep 1000", "depends_on": ["broken"]},
        }
    )
    stranger = module_stage.detached(
        "stranger", [PYTHON, str(Path(__file__).parent / "programs" / "main.py"), "--port", str(taken)], Path("/")
    )
    try:
        inprocess.run(shop, "start", "web", "deaf")
        inprocess.run(shop, "restart", "web")
        inprocess.run(shop, "stop", "deaf")
        inprocess.run(shop, "start", "broken", expect=1)
        inprocess.run(shop, "start", "late", expect=1)
        inprocess.run(shop, "start", "needy", expect=1)
        inprocess.run(shop, "start", "refused", expect=3)
        inprocess.run(shop, "free-port", port=taken, expect=3)
        inprocess.run(shop, "free-port", port=taken, force=True)
        being(int(shop.pid_file().read_text())).kill()
        inprocess.run(shop, "status")
        inprocess.run(shop, "start", "web")
        inprocess.run(shop, "force-clean", "web", keep_logs=True)
        yield shop
    finally:
        stranger.kill()
        inprocess.run(shop, "force-clean")


@pytest.fixture(scope="module")
def story(shop: Scratch) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = shop.run("history")["events"]
    return events


def test_a_life_is_told_from_start_to_end(story: list[dict[str, Any]]) -> None:
    assert kinds(story, "web") == [
        *("start", "ready", "restart", "stop", "exit", "start", "ready"),
        *("exit", "start", "ready", "kill", "exit"),
    ]
    web = [event for event in story if event["service"] == "web"]
    first, second = web[0]["pid"], web[5]["pid"]
    assert [event["pid"] for event in web[:7]] == [first, first, second, first, first, second, second]
    user = recording._user()
    assert web[0]["detail"].startswith(f"by inv start ({user}), for port ")
    assert web[1]["detail"].endswith(f", http://127.0.0.1:{web[0]['detail'].rpartition(' ')[2]}")
    assert web[2]["detail"] == f"by inv restart ({user}): runs again as PID {second}"
    assert web[3]["detail"].startswith(f"by inv restart ({user}), with TERM: PID {first} ended in ")
    assert web[4]["detail"].startswith("was ended by SIGTERM after ")
    assert web[4]["detail"].endswith(", in a stop")
    assert web[7]["detail"].startswith("was ended by SIGKILL after ")
    assert "in a stop" not in web[7]["detail"], "nobody of ours killed it"


def test_every_kill_has_its_evidence(story: list[dict[str, Any]]) -> None:
    (deaf,) = [event for event in story if event["service"] == "deaf" and event["kind"] == "kill"]
    assert kinds(story, "deaf") == ["start", "ready", "stop", "kill", "exit"]
    asked = rf"by inv stop \({recording._user()}\), [0-9.]+s after it was asked to end; "
    assert re.match(asked, deaf["detail"])
    assert "pid-file: named there, and the recorded identity agrees; marker: DEVTASKS_ID=" in deaf["detail"]
    assert "main.py --name deaf" in deaf["detail"]


def test_what_did_not_start_says_why(story: list[dict[str, Any]]) -> None:
    assert "failure" in kinds(story, "broken")
    told = next(event["detail"] for event in story if event["service"] == "broken" and event["kind"] == "failure")
    assert "exited with code 3" in told
    assert kinds(story, "late") == ["start", "stop", "exit", "failure"]
    assert kinds(story, "needy") == ["failure"]
    assert kinds(story, "refused") == ["refused"]


def test_a_stranger_on_a_port_is_told_of(story: list[dict[str, Any]]) -> None:
    services = {event["service"] for event in story} - {"web", "deaf", "broken", "late", "needy", "refused"}
    (port,) = services
    assert kinds(story, port) == ["refused", "stop"]
    assert "not this project's" in next(event["detail"] for event in story if event["service"] == port)


def test_times_are_in_order_and_exits_have_their_own(story: list[dict[str, Any]]) -> None:
    times = [event["at"] for event in story]
    assert times == sorted(times)
    assert time.time() - 300 < times[0] <= times[-1] <= time.time()


def test_chosen_and_bounded(shop: Scratch, story: list[dict[str, Any]]) -> None:
    def shown(*names: str, **flags: Any) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = inprocess.run(shop, "history", *names, **flags)["events"]
        return events

    assert shown("deaf") == [event for event in story if event["service"] == "deaf"]
    assert shown(lines="3") == story[-3:]
    middle = datetime.fromtimestamp(story[8]["at"]).astimezone().isoformat()
    assert shown(since=middle) == story[8:]
    assert shown(since="0") == []
    assert len(shop.raw("history", "web", "--lines", "2").stdout.splitlines()) >= 3
    assert inprocess.said(shop, "history", since="soon").code == 2
    assert inprocess.said(shop, "history", "webb").code == 2


def test_a_dry_run_and_looking_tell_nothing(shop: Scratch, story: list[dict[str, Any]]) -> None:
    inprocess.run(shop, "start", "web", dry_run=True)
    inprocess.run(shop, "restart", "web", dry_run=True)
    inprocess.run(shop, "force-clean", dry_run=True)
    for verb in ("status", "show-processes", "ports", "logs", "clean", "stop"):
        inprocess.run(shop, verb)
    assert inprocess.run(shop, "history")["events"] == story


def test_without_a_state_it_says_so(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": "sleep 1000"}})
    assert inprocess.said(scratch, "history") == inprocess.Said(0, "shop: no events are on record\n", "")
    assert inprocess.run(scratch, "history") == {"version": 1, "project": "shop", "events": []}
    assert not scratch.state.exists()


def test_what_was_swept_is_kept_where_nothing_was_kept_before(scratch: Scratch) -> None:
    """A server that was started by hand, and stopped by us: why is worth a state folder."""
    web = scratch.server()
    scratch.declare({"web": web})
    one = scratch.stage.detached("by-hand", [PYTHON, "main.py", "--port", str(web["port"])], scratch.root)
    scratch.stage.one("main")
    inprocess.run(scratch, "stop")
    assert not one.alive
    (event,) = inprocess.run(scratch, "history")["events"]
    assert (event["kind"], event["pid"]) == ("stop", one.pid)
    assert "ours by port (1)" in event["detail"] or "ours by pattern (1)" in event["detail"]


# --- following ---------------------------------------------------------------------------------------


class Follower:
    """`devtasks history --follow`, its lines as they come."""

    def __init__(self, scratch: Scratch, *words: str) -> None:
        self.child = scratch.background("history", "--follow", *words)
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        self.lines.extend(iter(self.child.stdout.readline, ""))

    def sees(self, kind: str, pid: int) -> None:
        eventually(lambda: self._found(kind, pid), f"{kind} of {pid}; seen: {self.lines}")

    def _found(self, kind: str, pid: int) -> bool:
        events = [json.loads(line) for line in self.lines]
        return any((event["kind"], event["pid"]) == (kind, pid) for event in events)


def test_following_through_a_crash_a_new_database_and_ctrl_c(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    inprocess.run(scratch, "start")
    first = int(scratch.pid_file().read_text())
    follower = Follower(scratch, "--json")
    follower.sees("ready", first)
    being(first).kill()
    follower.sees("exit", first)  # nobody else looks
    inprocess.run(scratch, "start")
    second = int(scratch.pid_file().read_text())
    follower.sees("ready", second)
    before = len(follower.lines)
    (scratch.state / "state.db").unlink()
    inprocess.run(scratch, "stop")
    follower.sees("stop", second)
    (scratch.state / "state.db").write_bytes(b"damage" * 1000)
    inprocess.run(scratch, "start")
    third = int(scratch.pid_file().read_text())
    follower.sees("ready", third)
    assert len(follower.lines) == len(set(follower.lines)), "an event was shown twice"
    assert before < len(follower.lines)
    follower.child.send_signal(signal.SIGINT)
    assert follower.child.wait(timeout=20) == 130
    assert follower.child.stderr is not None
    assert "Traceback" not in follower.child.stderr.read()
    inprocess.run(scratch, "stop")


def test_a_follower_ends_when_its_reader_has_left(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": "sleep 1000"}})
    with closing(State.open(_project(scratch), create=True)) as state:
        state.event("web", "monitor", detail="one")
        child = scratch.background("history", "--follow")
        assert child.stdout is not None
        eventually(lambda: "one" in child.stdout.readline(), "the event is shown")
        child.stdout.close()
        eventually(lambda: state.event("web", "monitor", detail="two") and child.poll() == 0, "it ends")
    child.stdout = None


def _project(scratch: Scratch) -> Any:
    from devtasks.config import loading

    return loading.load(scratch.root, scratch.stage.environ)


# --- keeping -----------------------------------------------------------------------------------------


def test_who_notices_an_end_tells_it_once(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as one, closing(State.open(project, create=True)) as two:
        one.intend("web", "a" * 16, boot="boot", namespace=4026531836, started_at=1000.0)
        one.record("a" * 16, main=MAIN)
        (project.state_dir / "exits" / ("a" * 16)).write_text("4711 -9 1061.000\n")
        two.finish("a" * 16, ended_at=1061.0, exit_code=-9, cause="exited")
        one.collect_exits(project)
        one.finish("a" * 16, ended_at=2000.0, cause="gone")
        (event,) = two.events()
        assert (event.kind, event.pid, event.at) == ("exit", 4711, 1061.0)
        assert event.detail == "was ended by SIGKILL after 1m 01s"


def test_the_end_of_a_registered_child_is_told_once(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as state:
        state.register_child("web", name="proxy", child=MAIN, parent=MAIN._replace(pid=2), at=1000.0)
        for code in (-15, 0):
            state.finish_child(MAIN, ended_at=1005.0, exit_code=code, cause="stopped")
        (event,) = state.events()
        assert (event.service, event.kind, event.pid) == ("web", "exit", 4711)
        assert event.detail == "its child proxy was ended by SIGTERM after 5.00s, in a stop"


def test_a_launchers_exit_and_a_run_that_never_began_are_no_exits(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as state:
        state.intend("web", "a" * 16, boot="boot", namespace=1, started_at=1000.0)
        state.finish("a" * 16, ended_at=1001.0, cause="before-failed")
        state.intend("web", "b" * 16, boot="boot", namespace=4026531836, started_at=1000.0)
        state.record("b" * 16, main=MAIN)
        (project.state_dir / "exits" / ("b" * 16)).write_text("4710 0 1061.000\n")
        state.collect_exits(project)
        assert state.events() == ()


def test_rows_that_nobody_can_have_written_are_left_out(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as state:
        state.event("web", "start", pid=4711, at=5.0)
        connection = sqlite3.connect(project.state_dir / "state.db")
        with connection:
            connection.executemany(
                "INSERT INTO events (at, service, kind, pid, detail) VALUES (?, ?, ?, ?, ?)",
                [
                    ("soon", "web", "x", 2, None),
                    (float("inf"), "web", "x", 2, None),
                    (1e300, "web", "x", 2, None),
                    (1.0, b"\xff", "x", 2, None),
                    (1.0, "w" * 10_000, "x", 2, None),
                    (1.0, "web", "", 2, None),
                    (1.0, "web", "x", -1, None),
                    (1.0, "web", "x", 2**40, None),
                    (1.0, "web", "x", "2", b"blob"),
                    (6.0, "web", "x", 2, "y" * 100_000),
                ],
            )
        connection.close()
        found = state.events()
        assert [event.kind for event in found] == ["start", "x"]
        assert len(found[1].detail or "") == 1000


def test_details_are_one_bounded_line(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as state:
        state.event("web", "failure", detail="a\nb\udcff" + "x" * 5000)
        (event,) = state.events()
        assert event.detail is not None
        assert event.detail.startswith("a b\udcffx")
        assert event.detail.endswith("…")
        assert len(event.detail) == 1000


def test_a_locked_database_delays_nobody(tmp_path: Path) -> None:
    """What is dropped is said; a write that a start depends on is waited for all the same."""
    project = project_at(tmp_path / "shop", "web")
    with closing(State.open(project, create=True)) as state:
        state.event("web", "start")
        holder = sqlite3.connect(project.state_dir / "state.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert not any(state.event("web", "stop") for _ in range(5))
        assert time.monotonic() - began < 4, "it waits once, and not for long"
        assert any("locked" in note for note in state.notes)
        holder.execute("ROLLBACK")
        assert state.intend("web", "a" * 16, boot="b", namespace=1, started_at=1.0)
        holder.close()


def test_a_full_disk_drops_events_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256) as disk:
        project = project_at(disk / "shop", "web")
        with closing(State.open(project, create=True)) as state:
            assert state.event("web", "start")
            fill(disk)
            dropped = [state.event("web", "start", detail="x" * 900) for _ in range(20)]
            assert not all(dropped)
            assert state.notes
            assert state.events()[0].kind == "start"


# --- in words ----------------------------------------------------------------------------------------


def _target(pid: int, *sent: str, gone: bool = True) -> Target:
    process = Process(
        pid=pid,
        ppid=1,
        session=pid,
        terminal=0,
        state="S",
        start=pid,
        cmdline=b"server\0--password\0hunter2",
        marker=None,
        keep=False,
        runner=False,
    )
    match = Match(process=process, service="web", evidence=(Evidence("marker", "DEVTASKS_ID=x"),))
    return Target(match, sent=list(sent), gone=gone)


def _ending(*targets: Target, killing_since: float | None = None) -> Ending:
    ending = Ending("web", StopPolicy(), began=10.0, killing_since=killing_since)
    ending.targets.update({target.pid: target for target in targets})
    return ending


def test_a_thousand_kills_are_a_few_events() -> None:
    targets = [_target(pid, "TERM", "KILL") for pid in range(2000, 3000)]
    told = list(
        recording.of_endings([_ending(*targets, killing_since=15.0)], "inv stop", began=1000.0, now=1006.0)
    )
    assert [event.kind for event in told] == ["stop", *["kill"] * (recording.KILLS_TOLD + 1)]
    assert {event.at for event in told[1:]} == {1005.0}
    rest = told[-1].detail or ""
    assert "980 more, ours by marker (980): PIDs 2020-2999" in rest
    assert "5.00s after it was asked to end" in rest
    assert not any("hunter2" in (event.detail or "") for event in told)


def test_what_stays_is_a_failure_and_what_was_gone_is_nothing() -> None:
    told = list(
        recording.of_endings(
            [_ending(_target(20, "TERM"), _target(21, "TERM", "KILL", gone=False), killing_since=15.0)],
            "inv stop",
            began=1000.0,
            now=1020.0,
        )
    )
    assert [(event.kind, event.pid) for event in told] == [("stop", 20), ("kill", 21), ("failure", 21)]
    assert "in vain" in (told[1].detail or "")
    assert list(recording.of_endings([_ending(_target(20))], "inv stop", began=1.0, now=2.0)) == []


def test_pids_in_a_bounded_line() -> None:
    assert phrases.pid_list([12]) == "PID 12"
    assert phrases.pid_list([14, 12, 13, 17]) == "PIDs 12-14, 17"
    many = phrases.pid_list(range(2, 4000, 2))
    assert len(many) < 400
    assert many.endswith(" more")


NOW = datetime.fromisoformat("2026-11-22T13:00").timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", NOW - 90),
        ("10m", NOW - 600),
        ("1.5h", NOW - 5400),
        ("2w", NOW - 14 * 86_400),
        ("12:30", NOW - 1800),
        ("14:00", NOW - 23 * 3600),
        ("2026-11-22", NOW - 13 * 3600),
        ("2026-11-22T12:59:30", NOW - 30),
        ("2026-11-22 12:59", NOW - 60),
        ("1970-01-01T00:00:00Z", 0.0),
    ],
)
def test_times_as_they_are_typed(text: str, expected: float) -> None:
    assert moment(text, now=NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1y", "25:00", "2026-13-01", "2026-11-22T", "٣m", "1e9", "9" * 400]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="a time: "):
        moment(text, now=NOW)


HOSTILE = Event(
    service="web",
    kind="kill",
    at=1.7e9,
    pid=4711,
    detail="x\x1b[2J\nserver --token hunter2 " + "word " * 40 + "w" * 200,
)


@pytest.mark.parametrize("unicode", [True, False])
def test_lines_fit_and_command_nothing(unicode: bool) -> None:
    long = Event(service="a-name-that-is-longer-than-columns", kind="refused", at=1.7e9)
    lines = history.lines(History(project="shop", events=(HOSTILE, long)), Look(unicode=unicode))
    assert all(columns(line) <= 80 for line in lines), lines
    assert not any("\x1b" in line or "hunter2" in line for line in lines)
    assert lines[0] == time.strftime("%Y-%m-%d", time.localtime(1.7e9))
    assert "\x1b[31mkill\x1b[39m" in "\n".join(
        history.lines(History(project="shop", events=(HOSTILE,)), Look(color=True))
    )
    said = json.loads(shapes.render_event(HOSTILE))
    assert said["version"] == 1
    assert said["at"] == 1.7e9
    assert "hunter2" not in said["detail"]
    assert "\x1b" not in said["detail"]
