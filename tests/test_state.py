"""What is remembered of runs, and that nothing about the database stops anybody."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filetools import NOBODY, as_ordinary_user, fill, ordinary_folder, project_at, python, small_disk

from devtasks.model import Identity, Project
from devtasks.store import database, statedir
from devtasks.store.database import Database
from devtasks.store.registered import RegisteredChild, RegisteredPort
from devtasks.store.state import State

MAIN = Identity("boot", 4026531836, 4711, 987_654)
RUNNER = Identity("boot", 4026531836, 4710, 987_650)


def nonce(number: int) -> str:
    return f"{number:016x}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_at(tmp_path / "shop", "web", "api")


@pytest.fixture
def state(project: Project) -> Iterator[State]:
    state = State.open(project, create=True)
    yield state
    state.close()


def begin(state: State, number: int, service: str = "web", main: Identity | None = MAIN) -> bool:
    kept = state.intend(
        service, nonce(number), boot="boot", namespace=4026531836, started_at=1000.0 + number, port=8000
    )
    if main is not None:
        kept &= state.record(nonce(number), main=main, runner=RUNNER, session=4711)
    return kept


def path_of(project: Project) -> Path:
    return project.state_dir / "state.db"


# --- runs ------------------------------------------------------------------------------------------------


def test_a_run_from_intent_to_end(state: State) -> None:
    assert state.intend("web", nonce(1), boot="boot", namespace=3, started_at=5.5, port=8000)
    (run,) = state.open_runs("web")
    assert (run.nonce, run.boot, run.namespace, run.started_at, run.port) == (nonce(1), "boot", 3, 5.5, 8000)
    assert (run.main, run.runner, run.ended_at) == (None, None, None)
    odd = "/srv/\udcff/é"  # a path is bytes
    assert state.record(nonce(1), main=MAIN, runner=RUNNER, session=4711, cgroup=odd, pid_file=Path("/x.pid"))
    run = state.last_run("web")
    assert run is not None
    assert (run.main, run.runner, run.session, run.cgroup, run.pid_file) == (MAIN, RUNNER, 4711, odd, "/x.pid")
    assert state.finish(nonce(1), ended_at=9.0, exit_code=-15, cause="stopped")
    run = state.last_run("web")
    assert run is not None
    assert (run.ended_at, run.exit_code, run.cause) == (9.0, -15, "stopped")
    assert state.open_runs() == ()
    assert state.notes == []


def test_the_first_end_stays_and_a_missing_exit_code_is_filled_in(state: State) -> None:
    begin(state, 1)
    state.finish(nonce(1), ended_at=9.0, cause="stopped")
    state.finish(nonce(1), ended_at=10.0, exit_code=3, cause="exited")
    state.finish(nonce(1), ended_at=11.0, exit_code=4, cause="exited")
    run = state.last_run("web")
    assert run is not None
    assert (run.ended_at, run.exit_code, run.cause) == (9.0, 3, "stopped")


def test_newest_first_whatever_the_clock_says(state: State) -> None:
    for number in (3, 1, 2):
        begin(state, number)
    begin(state, 9, "api")
    assert [run.nonce for run in state.open_runs("web")] == [nonce(2), nonce(1), nonce(3)]
    assert [run.nonce for run in state.runs("web", 2)] == [nonce(2), nonce(1)]
    assert [run.service for run in state.open_runs()] == ["api", "web", "web", "web"]
    last = state.last_run("api")
    assert last is not None
    assert last.nonce == nonce(9)
    assert state.last_run("none") is None


def test_which_pids_were_ours(state: State) -> None:
    begin(state, 1)
    state.finish(nonce(1), ended_at=9.0, cause="stopped")
    assert state.knows_pid("web", 4711)
    assert not state.knows_pid("api", 4711)
    assert not state.knows_pid("web", 4710)


def test_pruning_spares_what_has_not_ended(state: State) -> None:
    for number in range(20):
        begin(state, number)
        if number % 4:
            state.finish(nonce(number), ended_at=1.0, cause="stopped")
    begin(state, 99, "api")
    state.finish(nonce(99), ended_at=1.0, cause="stopped")
    assert state.prune("web", keep=3)
    assert [run.nonce for run in state.runs("web", 100)] == [nonce(n) for n in (19, 18, 17, 16, 12, 8, 4, 0)]
    assert state.last_run("api") is not None


def test_events_are_bounded(state: State, project: Project) -> None:
    assert state.event("web", "started", pid=4711, detail="\udcff", at=1.0)
    with sqlite3.connect(path_of(project)) as connection:
        connection.execute("UPDATE events SET id = 1")
        connection.executemany(
            "INSERT INTO events (at, service, kind) VALUES (?, 'web', 'x')", [(float(n),) for n in range(10_050)]
        )
    connection.close()
    assert state.event("web", "stopped")
    connection = sqlite3.connect(path_of(project))
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (10_000,)
    assert connection.execute("SELECT kind FROM events ORDER BY id DESC LIMIT 1").fetchone() == ("stopped",)
    connection.close()


def test_usage_is_the_last_sample_of_each(state: State) -> None:
    assert state.previous_usage() == {}
    now = time.time()
    state.record_usage({"web": ("4711:5", 1.5, now - 60), "api": ("4712:6", 2.0, now - 100_000)})
    state.record_usage({"web": ("4711:5", 2.5, now)})
    state.record_usage({})
    assert state.previous_usage() == {"web": ("4711:5", 2.5, now)}


# --- what a service opens while it runs ------------------------------------------------------------------

CHILD = Identity("boot", 4026531836, 4712, 987_700)


def port_row(name: str, port: int, at: float, **more: Any) -> RegisteredPort:
    given = {"service": "web", "owner": MAIN, **more}
    return RegisteredPort(name=name, port=port, registered_at=at, **given)


def child_row(name: str, child: Identity, **more: Any) -> RegisteredChild:
    return RegisteredChild(service="web", name=name, child=child, parent=MAIN, **more)


def test_registered_ports_from_opening_to_the_end_of_their_owner(state: State) -> None:
    assert state.registered_ports() == ()
    assert state.register_port("web", 9001, name="proxy-a", owner=MAIN, at=5.0)
    assert state.register_port("web", 9002, name="\udcff", owner=MAIN, at=6.0)
    assert state.register_port("api", 9003, name="echo", owner=CHILD, at=7.0)
    assert state.register_port("web", 9001, name="proxy-b", owner=MAIN, at=8.0)  # the same, under another name
    assert state.beat(MAIN, at=9.0)
    assert state.registered_ports() == (
        port_row("\udcff", 9002, 6.0, beat_at=9.0),
        port_row("echo", 9003, 7.0, service="api", owner=CHILD),
        port_row("proxy-b", 9001, 8.0, beat_at=9.0),
    )
    assert state.forget_ports(MAIN)
    assert [port.port for port in state.registered_ports()] == [9003]


def test_registered_children_and_their_first_end(state: State) -> None:
    assert state.register_child("web", name="tunnel", child=CHILD, parent=MAIN, at=5.0)
    assert state.register_child("web", name="idle", child=RUNNER, parent=MAIN, at=6.0)
    state.register_port("web", 9003, name="tunnel", owner=CHILD)
    assert state.registered_children() == (
        child_row("tunnel", CHILD, started_at=5.0),
        child_row("idle", RUNNER, started_at=6.0),
    )
    assert state.finish_child(CHILD, ended_at=9.0, exit_code=-15, cause="stopped")
    assert state.finish_child(CHILD, ended_at=99.0, cause="gone")
    assert [child.name for child in state.registered_children()] == ["idle"]
    assert state.registered_children(ended=True)[0] == child_row(
        "tunnel", CHILD, started_at=5.0, ended_at=9.0, exit_code=-15, cause="stopped"
    )
    assert state.registered_ports() == ()


def test_what_is_registered_is_bounded(state: State, project: Project) -> None:
    state.register_port("web", 1, name="x", owner=MAIN)
    state.register_child("web", name="x", child=MAIN, parent=MAIN)
    with sqlite3.connect(path_of(project)) as connection:
        connection.executemany(
            "INSERT INTO ports VALUES ('web', 'x', ?, 'boot', 3, 2, 2, 1.0, NULL)", [(n,) for n in range(2, 2500)]
        )
        connection.executemany(
            "INSERT INTO children VALUES ('web', 'x', 'boot', 3, ?, 2, 3, 3, 1.0, NULL, NULL, NULL)",
            [(n,) for n in range(2, 2500)],
        )
    connection.close()
    state.register_port("web", 3000, name="x", owner=MAIN)
    state.register_child("web", name="last", child=CHILD, parent=MAIN)
    assert len(state.registered_ports()) == 2000
    assert len(state.registered_children()) == 2000
    assert state.registered_children()[-1].name == "last"


def test_registrations_that_nobody_can_have_made_are_left_out(state: State, project: Project) -> None:
    state.register_port("web", 1, name="x", owner=MAIN)
    state.register_child("web", name="x", child=MAIN, parent=MAIN)
    wrong = [
        *(("port", value) for value in (0, 65536, "http", b"1")),
        *(("pid", value) for value in (1, -1, 2**33, "x")),
        *(("start", value) for value in (-1, "x")),
        *(("registered_at", value) for value in (-1.0, float("inf"), "now")),
        *(("name", value) for value in (b"x", 3.5)),
    ]
    with sqlite3.connect(path_of(project)) as connection:
        for number, (column, value) in enumerate(wrong):
            row = {"port": 9000, "pid": 20, "start": number, "registered_at": 1.0, "name": "y"} | {column: value}
            connection.execute(
                "INSERT INTO ports VALUES ('web', :name, :port, 'boot', 3, :pid, :start, :registered_at, NULL)",
                row,
            )
            if column in ("pid", "name"):
                connection.execute(
                    """INSERT INTO children VALUES
                    ('web', :name, 'boot', 3, :pid, :start, 3, 3, 1.0, NULL, NULL, NULL)""",
                    row,
                )
    connection.close()
    assert {port.name for port in state.registered_ports()} == {"x", "3.5"}  # a column of text makes text of it
    assert {child.name for child in state.registered_children()} == {"x", "3.5"}
    assert state.notes == []


def test_a_database_of_the_first_version_learns_to_register(project: Project) -> None:
    state = State.open(project, create=True)
    begin(state, 1)
    state.close()
    with sqlite3.connect(path_of(project)) as connection:
        connection.execute("DROP TABLE ports")
        connection.execute("DROP TABLE children")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    state = State.open(project, create=False)
    assert state.registered_ports() == ()
    assert state.register_port("web", 1, name="x", owner=MAIN)
    assert len(state.registered_ports()) == 1
    assert len(state.open_runs()) == 1
    assert state.notes == []
    state.close()


# --- exits -----------------------------------------------------------------------------------------------


def leave_exit(project: Project, name: str, content: bytes) -> Path:
    path = project.state_dir / "exits" / name
    path.write_bytes(content)
    return path


def test_exits_that_runners_wrote_are_taken_over(state: State, project: Project) -> None:
    begin(state, 1)
    begin(state, 2)
    begin(state, 3, main=None)
    state.finish(nonce(2), ended_at=50.0, cause="stopped")
    left = [
        leave_exit(project, nonce(1), b"4711 3 1234.567\n"),
        leave_exit(project, nonce(2), b"4711 -9 60\n"),
        leave_exit(project, nonce(3), b"4713 0 70\n"),
        leave_exit(project, nonce(4), b"1 0 70\n"),  # of no run that is known
    ]
    assert state.collect_exits(project) == 4
    found = {run.nonce: (run.ended_at, run.exit_code, run.cause) for run in state.runs("web", 9)}
    assert found == {
        nonce(1): (1234.567, 3, "exited"),
        nonce(2): (50.0, -9, "stopped"),
        nonce(3): (70.0, 0, "exited"),
    }
    assert not any(path.exists() for path in left)
    assert state.collect_exits(project) == 0


def test_a_launchers_exit_is_not_its_daemons(state: State, project: Project) -> None:
    begin(state, 1)
    leave_exit(project, nonce(1), b"4000 0 70\n")
    state.collect_exits(project)
    assert [run.nonce for run in state.open_runs("web")] == [nonce(1)]


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"4711 3",
            b"4711 3 12",
            b"4711 3 12\n\n",
            b"-4711 3 12\n",
            b"4711 99999999999 12\n",
            b"4711 -129 1\n",
        ),
        *(b"4711 3 nan\n", b"4711 3 1e9\n", b"\xff\n", b"4711 3 12\n" + b" " * 5000),
    ],
)
def test_what_no_runner_writes_is_not_believed(state: State, project: Project, content: bytes) -> None:
    begin(state, 1)
    path = leave_exit(project, nonce(1), content)
    assert state.collect_exits(project) == 0
    assert len(state.open_runs()) == 1
    assert path.exists()


def test_no_link_in_exits_is_followed(state: State, project: Project, tmp_path: Path) -> None:
    begin(state, 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / nonce(1)).write_bytes(b"4711 3 12\n")
    exits = project.state_dir / "exits"
    (exits / nonce(1)).symlink_to(elsewhere / nonce(1))
    os.mkfifo(exits / nonce(2))
    (exits / "..-not-a-nonce").write_bytes(b"4711 3 12\n")
    assert state.collect_exits(project) == 0
    for entry in exits.iterdir():
        entry.unlink()
    exits.rmdir()
    exits.symlink_to(elsewhere)
    assert state.collect_exits(project) == 0
    assert (elsewhere / nonce(1)).exists()


def test_exits_stay_while_the_database_cannot_keep_them(state: State, project: Project) -> None:
    begin(state, 1)
    state.close()
    path = leave_exit(project, nonce(1), b"4711 3 12\n")
    with sqlite3.connect(path_of(project)) as connection:
        connection.execute("PRAGMA user_version = 900")
    connection.close()
    assert State.open(project, create=True).collect_exits(project) == 0
    assert path.exists()


# --- files -----------------------------------------------------------------------------------------------


def test_looking_creates_nothing(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "web")
    state = State.open(project, create=False)
    assert state.open_runs() == ()
    assert state.previous_usage() == {}
    assert state.collect_exits(project) == 0
    assert state.record_usage({"web": ("1:2", 1.0, 5.0)})
    assert state.previous_usage() == {"web": ("1:2", 1.0, 5.0)}
    begin(state, 1)
    assert len(state.open_runs()) == 1
    state.close()
    assert os.listdir(project.root) == []
    assert state.notes == []


def test_looking_at_nothing_does_not_import_sqlite(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from devtasks.model import Project
from devtasks.store.state import State
root = Path({str(tmp_path)!r})
project = Project(name="x", root=root, digest="d", state_dir=root / ".devtasks", source="test")
state = State.open(project, create=False)
assert state.open_runs() == () and state.previous_usage() == {{}}
state.close()
sys.exit("sqlite3" in sys.modules)
"""
    with python(program) as process:
        assert process.wait(60) == 0


def test_private(state: State, project: Project) -> None:
    begin(state, 1)
    for entry in project.state_dir.glob("state.db*"):
        assert entry.stat().st_mode & 0o777 == 0o600
    assert project.state_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo in a user's project")
def test_roots_database_is_the_users() -> None:
    with ordinary_folder() as folder:
        project = project_at(folder, "web")
        state = State.open(project, create=True)
        assert begin(state, 1)
        state.close()

        def go_on() -> tuple[bool, list[str], int]:
            state = State.open(project, create=True)
            return begin(state, 2), state.notes, len(state.open_runs())

        assert as_ordinary_user(go_on) == (True, [], 2)
        assert {entry.stat().st_uid for entry in folder.rglob("*")} == {NOBODY}


def test_deleted_under_an_open_connection(state: State, project: Project) -> None:
    begin(state, 1)
    path_of(project).unlink()
    assert state.open_runs() == ()
    assert begin(state, 2)
    assert [run.nonce for run in state.open_runs()] == [nonce(2)]
    again = State.open(project, create=False)
    assert [run.nonce for run in again.open_runs()] == [nonce(2)]
    again.close()


def test_deleted_right_before_it_is_opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(project)
    really = statedir.unfit

    def look_then_delete(*arguments: Any) -> str | None:
        found = really(*arguments)
        path_of(project).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(statedir, "unfit", look_then_delete)
    state = State.open(project, create=True)
    assert state.open_runs() == ()
    assert not path_of(project).exists()
    assert state.notes == []  # as if it had been deleted before
    state.close()


def test_deleted_whenever_it_is_to_be_opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "_open", lambda self: self._path.unlink(missing_ok=True) or OPEN(self))
    state = State.open(project, create=True)
    assert not begin(state, 1)
    assert state.notes == [f"{path_of(project)}: not written: unable to open database file"]
    state.close()


OPEN = Database._open


def test_a_folder_whose_name_means_something_in_a_uri(tmp_path: Path) -> None:
    project = project_at(tmp_path / "50% of? a#b&mode=memory \udcff", "web")
    state = State.open(project, create=True)
    assert begin(state, 1)
    state.close()
    assert path_of(project).stat().st_size > 0


def test_the_whole_folder_deleted(state: State, project: Project) -> None:
    begin(state, 1)
    subprocess.run(["rm", "-r", project.state_dir], check=True)
    assert state.open_runs() == ()
    assert not begin(state, 2)
    (note,) = state.notes
    assert note.startswith(f"{path_of(project)}: not written: ")
    assert note.endswith("no such file or directory")


def test_a_journal_left_by_a_deleted_database_is_not_played_back(state: State, project: Project) -> None:
    begin(state, 1)
    state.close()
    good = path_of(project).read_bytes()
    crash = f"""
import os, sqlite3, sys
connection = sqlite3.connect({str(path_of(project))!r}, isolation_level=None)
connection.execute("PRAGMA cache_size=1")
connection.execute("BEGIN IMMEDIATE")
connection.executemany("INSERT INTO events (at, service, kind) VALUES (1, 'web', ?)", [("x" * 900,)] * 400)
os._exit(0)
"""  # noqa: S608
    subprocess.run([sys.executable, "-c", crash], check=True)
    journal = project.state_dir / "state.db-journal"
    assert journal.stat().st_size > 0
    hot = journal.read_bytes()
    assert len(state.open_runs()) == 1  # rolled back
    state.close()
    path_of(project).write_bytes(good)
    journal.write_bytes(hot)
    path_of(project).unlink()
    assert begin(state, 2)
    assert [run.nonce for run in state.open_runs()] == [nonce(2)]
    assert state.notes == []


# --- damage ----------------------------------------------------------------------------------------------


def use(state: State, project: Project) -> None:
    """Whatever a command does: nothing of it may raise."""
    state.open_runs()
    state.last_run("web")
    state.runs("web", 5)
    state.knows_pid("web", 4711)
    state.previous_usage()
    state.collect_exits(project)
    begin(state, 500)
    state.event("web", "started")
    state.record_usage({"web": ("1:2", 1.0, time.time())})
    state.prune("web", 10)
    state.finish(nonce(500), ended_at=5.0, cause="stopped")
    state.open_runs()


def filled(project: Project) -> bytes:
    state = State.open(project, create=True)
    for number in range(60):
        begin(state, number, ("web", "api")[number % 2])
        state.event("web", "started", detail="x" * 40)
    state.record_usage({"web": ("1:2", 1.0, time.time())})
    state.close()
    return path_of(project).read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"not a database at all" * 40, b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000],
)
def test_what_is_no_database_is_moved_aside_and_begun_anew(project: Project, content: bytes) -> None:
    filled(project)
    path_of(project).write_bytes(content)
    state = State.open(project, create=True)
    assert state.open_runs() == ()
    assert begin(state, 1)
    assert len(state.open_runs()) == 1
    assert len(state.notes) == 1
    assert state.notes[0].startswith(f"{path_of(project)}: damaged (")
    assert state.notes[0].endswith("): kept as state.db.damaged-1, begun anew")
    assert (project.state_dir / "state.db.damaged-1").read_bytes() == content
    state.close()


def at(content: bytes, offset: int, patch: bytes) -> bytes:
    return content[:offset] + patch + content[offset + len(patch) :]


@pytest.mark.parametrize(
    ("offset", "patch"),
    [
        (18, b"\x07"),  # a write version that makes SQLite call the file read-only
        (18, b"\x02\x02"),  # WAL, which this one is not
        (56, b"\x00\x00\x00\x02"),  # UTF-16
        (60, b"\x7f\x00\x00\x00"),  # a version that nobody reached
        (60, b"\x00\x00\x00\x00"),
    ],
)
def test_headers_that_lie(project: Project, offset: int, patch: bytes) -> None:
    path_of(project).write_bytes(at(filled(project), offset, patch))
    state = State.open(project, create=True)
    use(state, project)
    assert begin(state, 600), state.notes
    assert state.last_run("web") is not None, state.notes
    state.close()


def test_a_schema_that_sqlite_cannot_quote(project: Project) -> None:
    good = filled(project)
    table = good.index(b"CREATE TABLE runs")
    for patch in (b"\x9c\x9c\x9c", b"\x1b[2J"):
        path_of(project).write_bytes(at(good, table + 12, patch))
        state = State.open(project, create=True)
        use(state, project)
        assert begin(state, 600), state.notes
        assert all(note.isprintable() for note in state.notes)
        state.close()


def test_three_damaged_ones_are_kept(project: Project) -> None:
    filled(project)
    for number in range(5):
        path_of(project).write_bytes(b"damage number %d, " % number * 100)
        state = State.open(project, create=False)
        state.open_runs()
        begin(state, number)
        state.close()
    kept = sorted(project.state_dir.glob("state.db.damaged-*"))
    assert [path.read_bytes()[:15] for path in kept] == [b"damage number %d" % number for number in (4, 3, 2)]


def test_truncated_anywhere(project: Project) -> None:
    good = filled(project)
    for size in (
        0,
        1,
        15,
        16,
        99,
        100,
        512,
        4095,
        4096,
        4097,
        8192,
        len(good) // 2,
        len(good) - 4096,
        len(good) - 1,
    ):
        path_of(project).write_bytes(good[:size])
        (project.state_dir / "state.db-journal").unlink(missing_ok=True)
        state = State.open(project, create=True)
        use(state, project)
        assert begin(state, 600), (size, state.notes)
        assert state.last_run("web") is not None, (size, state.notes)
        state.close()


@pytest.mark.parametrize("seed", range(8))
def test_overwritten_at_random(project: Project, seed: int) -> None:
    good = filled(project)
    chance = random.Random(seed)
    for _ in range(25):
        bad = bytearray(good)
        for _ in range(chance.choice((1, 1, 3, 50))):
            where = chance.randrange(chance.choice((100, len(bad))))
            patch = chance.randbytes(chance.choice((1, 4, 64)))
            bad[where : where + len(patch)] = patch
        path_of(project).write_bytes(bad[: len(good)])
        (project.state_dir / "state.db-journal").unlink(missing_ok=True)
        state = State.open(project, create=True)
        use(state, project)
        for run in state.runs("web", 100):
            assert run.main is None or run.main.pid >= 2
        state.close()


def test_rows_that_do_not_fit_are_left_out(state: State, project: Project) -> None:
    changes = [
        ("pid", -1),
        ("pid", 1),
        ("pid", None),
        ("pid", 2**40),
        ("start", -5),
        ("runner_pid", 0),
        ("boot", b"boot"),
        ("service", b"web"),
        ("namespace", "x"),
        ("started_at", "yesterday"),
        ("started_at", float("inf")),
        ("port", 70_000),
        ("ended_at", "now"),
        ("exit_code", "x"),
        ("session", -1),
        ("cause", b"\xff"),
    ]
    for number in range(len(changes) + 1):
        begin(state, number)
    connection = sqlite3.connect(path_of(project))
    for number, (column, value) in enumerate(changes):
        connection.execute(f"UPDATE runs SET {column} = ? WHERE nonce = ?", (value, nonce(number)))  # noqa: S608
    connection.execute("INSERT INTO usage VALUES ('web', 'x', 'much', 5), (x'ff', 'x', 1, 5), ('api', 'x', 1, 5)")
    connection.commit()
    connection.close()
    assert [run.nonce for run in state.open_runs()] == [nonce(len(changes))]
    assert state.previous_usage() == {"api": ("x", 1.0, 5.0)}


def test_eight_that_find_the_damage_at_once_lose_no_new_row(project: Project) -> None:
    filled(project)
    path_of(project).write_bytes(b"damaged " * 1000)
    _crowd(project, 10)
    state = State.open(project, create=False)
    assert len(state.runs("web", 1000)) == 80
    state.close()
    assert len(list(project.state_dir.glob("state.db.damaged-*"))) == 1


def test_a_newer_version_is_left_alone(project: Project) -> None:
    filled(project)
    with sqlite3.connect(path_of(project)) as connection:
        connection.execute("PRAGMA user_version = 900")
        connection.execute("DROP TABLE runs")
    connection.close()
    before = path_of(project).read_bytes()
    state = State.open(project, create=True)
    assert state.open_runs() == ()
    assert begin(state, 1)
    assert len(state.open_runs()) == 1
    assert state.notes == [
        f"{path_of(project)}: written by a newer devtasks: left alone, this command keeps its state in memory"
    ]
    state.close()
    assert path_of(project).read_bytes() == before
    assert not list(project.state_dir.glob("state.db.damaged-*"))


@pytest.mark.parametrize("what", ["link", "dangling", "fifo", "folder"])
def test_only_a_regular_file_is_a_database(project: Project, tmp_path: Path, what: str) -> None:
    filled(project)
    precious = tmp_path / "precious.db"
    path_of(project).rename(precious)
    before = precious.read_bytes()
    {
        "link": lambda: path_of(project).symlink_to(precious),
        "dangling": lambda: path_of(project).symlink_to(tmp_path / "nowhere"),
        "fifo": lambda: os.mkfifo(path_of(project)),
        "folder": lambda: path_of(project).mkdir(),
    }[what]()
    state = State.open(project, create=True)
    use(state, project)
    assert len(state.notes) == 1
    assert "this command keeps its state in memory" in state.notes[0]
    state.close()
    assert precious.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()


def test_a_state_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    other = project_at(tmp_path / "other", "web")
    filled(other)
    before = path_of(other).read_bytes()
    project = project_at(tmp_path / "shop", "web")
    project.state_dir.symlink_to(other.state_dir)
    for create in (True, False):
        state = State.open(project, create=create)
        assert state.open_runs() == ()
        use(state, project)
        assert "is a symbolic link" in state.notes[0]
        state.close()
    assert path_of(other).read_bytes() == before


# --- no space, no permission, no turn --------------------------------------------------------------------


def test_a_full_disk_drops_writes_and_keeps_reading(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256) as disk:
        project = project_at(disk / "shop", "web")
        state = State.open(project, create=True)
        assert begin(state, 1)
        state.close()
        ballast = fill(disk)
        state = State.open(project, create=True)
        assert not begin(state, 2, main=None)
        use(state, project)
        assert [run.nonce for run in state.open_runs()] == [nonce(1)]
        assert len(state.notes) == 1
        assert "state.db: not written: " in state.notes[0]
        state.close()
        ballast.unlink()
        state = State.open(project, create=True)
        assert begin(state, 3)
        assert [run.nonce for run in state.open_runs()] == [nonce(3), nonce(1)]
        assert state.notes == []
        state.close()


def test_a_disk_that_was_full_from_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        project = project_at(disk / "shop", "web")
        project.state_dir.mkdir()
        fill(disk)
        for create in (True, False):
            state = State.open(project, create=create)
            use(state, project)
            assert state.notes
            state.close()


def test_a_read_only_file_system(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256) as disk:
        project = project_at(disk / "shop", "web")
        filled(project)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        _reads_and_drops(project)


def _reads_and_drops(project: Project) -> None:
    for create in (False, True):
        state = State.open(project, create=create)
        assert len(state.open_runs("web")) == 30
        use(state, project)
        assert len(state.open_runs("web")) == 30
        assert any("state.db: not written: attempt to write a readonly database" in note for note in state.notes)
        state.close()


def test_a_read_only_folder() -> None:
    with ordinary_folder() as folder:
        project = project_at(folder / "shop", "web", "api")
        filled(project)
        for entry in (*folder.rglob("*"), folder):
            entry.chmod(0o500 if entry.is_dir() else 0o400)
            if os.geteuid() == 0:
                os.chown(entry, NOBODY, NOBODY)

        def go() -> int:
            state = State.open(project, create=False)
            found = len(state.open_runs("web"))
            use(state, project)
            assert state.notes
            assert len(state.open_runs("web")) == found
            state.close()
            return found

        assert as_ordinary_user(go) == 30


def test_whoever_keeps_it_locked_is_waited_for_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(project)
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.0)
    holder = sqlite3.connect(path_of(project), isolation_level=None)
    try:
        for mode, found in (("IMMEDIATE", 30), ("EXCLUSIVE", 0)):
            holder.execute(f"BEGIN {mode}")
            state = State.open(project, create=True)
            started = time.monotonic()
            use(state, project)
            assert not begin(state, 1000)
            assert len(state.open_runs("web")) == found
            assert time.monotonic() - started < 5
            assert all(note.endswith("another command keeps it locked") for note in state.notes)
            assert state.notes
            state.close()
            holder.execute("ROLLBACK")
    finally:
        holder.close()


# --- many at once ----------------------------------------------------------------------------------------

MEMBER = """
import sys
from pathlib import Path
from devtasks.model import Identity, Project
from devtasks.store.state import State
root, member, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
project = Project(name="shop", root=root, digest="d", state_dir=root / ".devtasks", source="test")
state = State.open(project, create=True)
print("ready", flush=True)
sys.stdin.read()
for number in range(count):
    nonce = f"{member:08x}{number:08x}"
    assert state.intend("web", nonce, boot="boot", namespace=3, started_at=1.0, port=None)
    assert state.record(nonce, main=Identity("boot", 3, 1000 + member, number), runner=None, session=None)
    state.record_usage({"web": ("x", 1.0, 1.0)})
    state.last_run("web")
print(state.notes, flush=True)
"""


def _crowd(project: Project, count: int) -> list[Any]:
    members = [
        python(MEMBER, project.root, member, count, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for member in range(8)
    ]
    for one in members:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in members:
        assert one.stdin is not None
        one.stdin.close()
        one.stdin = None
    said = [one.communicate(timeout=120) for one in members]
    assert [one.returncode for one in members] == [0] * 8, said
    return said


def test_eight_processes_with_50_updates_lose_none(project: Project) -> None:
    assert {output for output, _ in _crowd(project, 50)} == {"[]\n"}
    state = State.open(project, create=False)
    runs = state.runs("web", 1000)
    state.close()
    assert len(runs) == 400
    assert all(run.main is not None for run in runs)


def test_killed_at_any_moment_what_was_kept_is_kept(project: Project) -> None:
    """The writer says each nonce after it is kept; then it is killed with -9, and all that was said is there."""
    program = MEMBER.replace("    state.last_run", "    print(nonce, flush=True)\n    state.last_run")
    said: list[str] = []
    for member in range(10):
        with python(program, project.root, member, 10**6, stdin=subprocess.DEVNULL) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(5 + 13 * member)]
            writer.kill()
            lines += writer.stdout.readlines()
        said += [line.strip() for line in lines[1:] if line.endswith("\n")]
    state = State.open(project, create=True)
    kept = {run.nonce for run in state.open_runs("web") if run.main is not None}
    assert kept >= set(said)
    assert state.notes == []
    state.close()
