"""Where a service stands, as far as one look tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import BOOT, NAMESPACE, Actor, FakeWorld, marker, project, recorded, service

from devtasks.model import Identity, Project, Run
from devtasks.observing import Observer
from devtasks.showing import Showing
from devtasks.standing import Stand, stand
from devtasks.store.state import State

NONCE = "a" * 16


class Place:
    """A project on a fake machine, with a state that stays in memory."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.world = FakeWorld()
        fields = {"cwd": folder, "ports": (), "pid_file": folder / "web.pid", **fields}
        self.project: Project = project(service(**fields), root=folder)
        self.state = State.open(self.project, create=False)

    def remember(self, run: Run, *, ended: bool = False) -> None:
        self.state.intend(
            run.service, run.nonce, boot=run.boot, namespace=run.namespace, started_at=run.started_at
        )
        if run.main is not None:
            self.state.record(run.nonce, main=run.main, session=run.session)
        if ended:
            self.state.finish(run.nonce, ended_at=1.0, cause="stopped")

    def stand(self) -> Stand:
        return stand(Observer(self.world, self.project, self.state).observe(), self.project.services[0])  # type: ignore[arg-type]

    def standing(self) -> tuple[str, int | None]:
        found = self.stand()
        return found.standing, found.main.pid if found.main is not None else None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    one = Place(tmp_path)
    yield one
    one.state.close()


def by_hand(place: Place, **script: Any) -> Actor:
    return place.world.add("python main.py", cwd=place.project.root, session=50, terminal=1, **script)


def test_absent(place: Place) -> None:
    assert place.standing() == ("absent", None)


def test_running_as_recorded(place: Place) -> None:
    _, main = place.world.run()
    place.world.add("worker", parent=main)
    place.remember(recorded(main))
    found = place.stand()
    assert (found.standing, found.main and found.main.pid, found.by_hand) == ("running", main.pid, False)
    assert found.run is not None
    assert found.run.nonce == NONCE


def test_running_though_nobody_recorded_it(place: Place) -> None:
    """The state was deleted, or its starter was killed right after the launch."""
    _, main = place.world.run()
    place.world.add("worker", parent=main)
    assert place.standing() == ("running", main.pid)
    assert place.stand().run is None


def test_running_though_only_the_intent_was_recorded(place: Place) -> None:
    _, main = place.world.run()
    place.remember(recorded(main, main=None, session=None))
    assert place.standing() == ("running", main.pid)


def test_running_though_its_runner_is_gone(place: Place) -> None:
    runner, main = place.world.run()
    place.remember(recorded(main))
    place.world.end(runner)
    assert place.standing() == ("running", main.pid)


def test_orphaned(place: Place) -> None:
    _, main = place.world.run()
    place.world.add("worker", parent=main)
    place.remember(recorded(main))
    place.world.end(main)
    assert place.standing() == ("orphaned", None)


def test_an_orphan_that_leads_a_session_is_no_main_process(place: Place) -> None:
    """Its run is remembered, and so is that another was its main process."""
    _, main = place.world.run()
    place.world.add("worker", parent=main, session=None)
    place.remember(recorded(main))
    place.world.end(main)
    assert place.standing() == ("orphaned", None)


def test_another_process_with_the_recorded_number_is_no_main_process(place: Place) -> None:
    _, main = place.world.run()
    worker = place.world.add("worker", parent=main)
    place.remember(recorded(main))
    place.world.reuse(main, "worker", parent=worker, session=main.session)
    assert place.standing() == ("orphaned", None)


def test_beginning(place: Place) -> None:
    """A runner that has not launched anything yet."""
    runner, main = place.world.run()
    del place.world.actors[main.pid]
    place.remember(recorded(main, main=None, session=None))
    assert place.standing() == ("beginning", None)
    child = place.world.add("python -I -S runner.py", parent=runner)
    child.runner = True  # forked, and not yet executed
    assert place.standing() == ("beginning", None)


def test_what_runs_before_it_is_a_beginning(place: Place) -> None:
    """`before` commands carry the marker of the run that is intended."""
    command = place.world.add(
        "alembic upgrade head", parent=place.world.me, marker=marker(), cwd=place.project.root
    )
    place.remember(recorded(command, main=None, session=None))
    assert place.standing() == ("beginning", None)


def test_a_runner_whose_children_are_to_be_left_alone_begins_nothing(place: Place) -> None:
    """It stays for as long as the browser that the service once opened."""
    _, main = place.world.run()
    browser = place.world.add("firefox", parent=main, session=None)
    place.remember(recorded(main))
    place.world.end(main)
    assert browser.alive
    assert place.standing() == ("absent", None)


def test_by_hand(place: Place) -> None:
    main = by_hand(place)
    place.world.add("worker", parent=main)
    found = place.stand()
    assert (found.standing, found.main and found.main.pid, found.by_hand) == ("running", main.pid, True)


def test_by_hand_though_a_start_was_once_killed_before_it_launched_anything(place: Place) -> None:
    main = by_hand(place)
    place.world.add("worker", parent=main)
    place.remember(recorded(main, main=None, session=None))
    assert place.standing() == ("running", main.pid)
    assert place.stand().by_hand


def test_one_that_only_holds_the_port_is_a_leftover(tmp_path: Path) -> None:
    place = Place(tmp_path, ports=(8000,))
    place.world.add("node worker.js", cwd=tmp_path, ports=(8000,))
    assert place.standing() == ("orphaned", None)


def test_elsewhere(place: Place) -> None:
    identity = Identity(BOOT, NAMESPACE + 1, 7, 7)
    _, main = FakeWorld().run()
    place.remember(recorded(main, namespace=NAMESPACE + 1, main=identity))
    assert place.standing() == ("elsewhere", None)


def test_a_run_of_another_boot_is_no_run(place: Place) -> None:
    _, main = FakeWorld().run()
    place.remember(recorded(main, boot="boot-0", main=Identity("boot-0", NAMESPACE, 7, 7)))
    assert place.standing() == ("absent", None)
    assert place.state.open_runs() == ()


def test_a_daemon_that_wrote_its_own_pid_file(tmp_path: Path) -> None:
    place = Place(tmp_path, daemon_pid_file=tmp_path / "own.pid")
    _, launcher = place.world.run()
    daemon = place.world.add("server", parent=launcher, session=None)
    place.remember(recorded(launcher))
    (tmp_path / "own.pid").write_text(f"{daemon.pid}\n")
    assert place.standing() == ("running", daemon.pid)
    place.world.end(launcher)
    assert place.standing() == ("running", daemon.pid)
    (tmp_path / "own.pid").write_text(f"{place.world.me.pid}\n")
    assert place.standing() != ("running", place.world.me.pid)


# --- the state follows the table ---------------------------------------------------------------------


def test_a_run_whose_main_process_is_gone_ends(place: Place) -> None:
    _, main = place.world.run()
    place.remember(recorded(main))
    place.world.end(main)
    place.stand()
    assert place.state.open_runs() == ()


def test_a_run_that_began_after_the_look_does_not_end(place: Place) -> None:
    """A start may record its process between the look of another command and that one's bookkeeping."""
    world = place.world
    begun: list[Actor] = []

    def begin() -> None:
        _, main = world.run()
        begun.append(main)
        place.remember(recorded(main))

    listening = world.listening

    def later(ports: Any) -> frozenset[int]:
        if not begun:
            begin()
        return listening(ports)

    world.listening = later  # type: ignore[method-assign]
    place.stand()
    assert [run.main and run.main.pid for run in place.state.open_runs()] == [begun[0].pid]
    assert place.standing() == ("running", begun[0].pid)


def test_what_holds_a_tree_together(place: Place) -> None:
    observer = Observer(place.world, place.project, place.state)  # type: ignore[arg-type]

    def guarantee() -> str | None:
        group = (
            Showing(observer, observer.observe()).processes(place.project.services, everything=True).services[0]
        )
        return group.guarantee

    assert guarantee() is None
    main = by_hand(place)
    place.world.add("worker", parent=main)
    assert str(guarantee()).startswith("port and pattern")
    runner, _ = place.world.run()
    assert str(guarantee()).startswith("runner")
    place.world.end(runner)
    assert str(guarantee()).startswith("marker and descent")
