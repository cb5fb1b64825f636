"""A state database in every bad condition, beside a service that runs: the truth is told, and a stop stops.

The process table knows what runs; the database is never needed for that (docs/history.md, "The state").
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import inprocess
import pytest
from filetools import fill, small_disk
from toolbox import Scratch, Stage, being

from devtasks.store import database

Damage = Callable[[Path, random.Random], "Iterator[None]"]


def _truncated(path: Path, chance: random.Random) -> Iterator[None]:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content) + 1)])
    yield


def _overwritten(path: Path, chance: random.Random) -> Iterator[None]:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 50))):
        where = chance.randrange(chance.choice((100, len(content))))
        patch = chance.randbytes(chance.choice((1, 4, 64)))
        content[where : where + len(patch)] = patch
    path.write_bytes(content)
    yield


def _garbage(path: Path, chance: random.Random) -> Iterator[None]:
    path.write_bytes(chance.randbytes(chance.choice((0, 1, 100, 5000))))
    yield


def _deleted(path: Path, _chance: random.Random) -> Iterator[None]:
    path.unlink()
    yield


def _journal_left(path: Path, chance: random.Random) -> Iterator[None]:
    path.with_name(f"{path.name}-journal").write_bytes(chance.randbytes(2000))
    yield


def _folder(path: Path, _chance: random.Random) -> Iterator[None]:
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()


def _fifo(path: Path, _chance: random.Random) -> Iterator[None]:
    path.unlink()
    os.mkfifo(path)
    yield
    path.unlink()


def _link(path: Path, _chance: random.Random) -> Iterator[None]:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    yield
    assert elsewhere.read_bytes() == before
    path.unlink()
    elsewhere.unlink()


def _newer(path: Path, _chance: random.Random) -> Iterator[None]:
    path.unlink()  # an earlier damage would be found first
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (nonce TEXT)")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    yield
    assert path.read_bytes() == before, "a newer database is left alone"
    path.unlink()


def _other_schema(path: Path, chance: random.Random) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    with suppress(sqlite3.DatabaseError):  # it is damaged already
        connection.execute(f"DROP TABLE {chance.choice(('runs', 'events', 'usage'))}")
    connection.close()
    yield


def _unreadable(path: Path, _chance: random.Random) -> Iterator[None]:
    path.chmod(0)
    yield
    path.chmod(0o600)


def _locked(path: Path, mode: str) -> Iterator[None]:
    holder = sqlite3.connect(path, isolation_level=None)
    with suppress(sqlite3.DatabaseError):
        holder.execute(f"BEGIN {mode}")
    yield
    holder.close()


def _locked_for_writing(path: Path, _chance: random.Random) -> Iterator[None]:
    yield from _locked(path, "IMMEDIATE")


def _locked_whole(path: Path, _chance: random.Random) -> Iterator[None]:
    yield from _locked(path, "EXCLUSIVE")


DAMAGES: dict[str, Damage] = {
    "truncated": _truncated,
    "overwritten": _overwritten,
    "garbage": _garbage,
    "deleted": _deleted,
    "a journal left": _journal_left,
    "a folder": _folder,
    "a FIFO": _fifo,
    "a link": _link,
    "newer": _newer,
    "another schema": _other_schema,
    **({} if os.geteuid() == 0 else {"unreadable": _unreadable}),
    "locked for writing": _locked_for_writing,
    "locked whole": _locked_whole,
}
LOOKS: dict[str, dict[str, Any]] = {
    "status": {},
    "show-processes": {},
    "ports": {},
    "history": {},
    "health": {},
    "logs": {},
    "clean": {},
    "start": {},  # it runs already
    "stop": {"dry_run": True},
}
ENDS: dict[str, dict[str, Any]] = {"stop": {}, "force-clean": {}, "restart": {}}


@pytest.fixture
def shop(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    scratch.declare({"web": scratch.server(ready={"tcp": True})})
    yield scratch
    inprocess.run(scratch, "force-clean")


def one_warning(done: inprocess.Said) -> inprocess.Said:
    """What a command says while the database is damaged: no traceback, and one line about it."""
    said = done.stderr
    assert "Traceback" not in said, said
    assert "internal error" not in said, said
    lines = [line for line in said.splitlines() if "state.db" in line]
    assert len(lines) <= 1, lines
    return done


def do(shop: Scratch, verb: str, **flags: Any) -> inprocess.Said:
    return one_warning(inprocess.said(shop, verb, json=True, **flags))


def state_of(shop: Scratch) -> tuple[str, int | None]:
    row = inprocess.run(shop, "status")["services"][0]
    return row["state"], row["pid"]


def main_of(shop: Scratch) -> int:
    return int(shop.pid_file().read_text())


def one_round(shop: Scratch, damage: Damage, chance: random.Random) -> None:
    """Damage it; everything that looks tells the truth and touches nothing; then what ends it does."""
    database_file = shop.state / "state.db"
    inprocess.run(shop, "start")
    main = being(main_of(shop))
    if not database_file.is_file():
        inprocess.run(shop, "history")
    inprocess.run(shop, "clean")
    with contextmanager(damage)(database_file, chance):
        for verb in (*chance.sample(sorted(LOOKS), 3), "status"):
            assert do(shop, verb, **LOOKS[verb]).code == 0, verb
            assert main.alive
        assert state_of(shop) == ("running", main.pid)
        verb = chance.choice(sorted(ENDS))
        done = do(shop, verb, **ENDS[verb])
        assert not main.alive, (verb, done)
        unwritable = damage in (_unreadable, _locked_for_writing, _locked_whole)
        assert done.code == 0 or (verb == "restart" and unwritable), done
        if verb != "restart":
            assert state_of(shop) == ("stopped", None)
    state, pid = state_of(shop)
    assert (state, pid) == (("running", main_of(shop)) if shop.pid_file().exists() else ("stopped", None))
    assert inprocess.said(shop, "history", json=True).code == 0


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_beside_a_running_service(shop: Scratch, name: str) -> None:
    one_round(shop, DAMAGES[name], random.Random(name))


def test_on_a_full_disk_it_stops_all_the_same(stage: Stage, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        shop = Scratch(stage, disk / "shop")
        shop.declare({"web": shop.server(ready={"tcp": True})})
        inprocess.run(shop, "start")
        main = being(main_of(shop))
        ballast = fill(disk)
        for verb in ("status", "history", "stop"):
            assert do(shop, verb).code == 0
        assert not main.alive
        assert do(shop, "start").code == 1, "what cannot be remembered is not begun"
        ballast.unlink()
        assert state_of(shop) == ("stopped", None)
        kinds = [event["kind"] for event in inprocess.run(shop, "history")["events"]]
        assert kinds[:2] == ["start", "ready"]


@pytest.mark.soak
def test_damaged_again_and_again(shop: Scratch) -> None:
    for seed in range(150):
        chance = random.Random(seed)
        name = chance.choice(["truncated", "overwritten", *DAMAGES])
        try:
            one_round(shop, DAMAGES[name], chance)
        except AssertionError as error:
            raise AssertionError(f"round {seed}, {name}: {error}") from error
