"""Stopping, against a machine whose processes do what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Actor, FakeWorld, project, recorded, service

from devtasks.ending import KILL_SECONDS, Ending
from devtasks.errors import Interrupted
from devtasks.model import Service, StopPolicy
from devtasks.observing import Observer
from devtasks.stopping import Ended, Stopper
from devtasks.store.state import State

DEAF = frozenset(("KILL",))
IMMORTAL: frozenset[str] = frozenset()


class Site:
    """A project on a fake machine, and stops of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = FakeWorld()
        self.services: tuple[Service, ...] = (self.service(),)
        self.state: State | None = None
        self.runs: list[Any] = []

    def service(self, name: str = "web", **policy: Any) -> Service:
        return service(
            name, cwd=self.folder, pid_file=self.folder / f"{name}.pid", ports=(), stop=StopPolicy(**policy)
        )

    def configure(self, **policy: Any) -> None:
        self.services = (self.service(**policy),)

    def run(self, name: str = "web", *, cgroup: str | None = None, **script: Any) -> Actor:
        """A service that runs, as a start recorded it."""
        _, main = self.world.run(name, name.ljust(16, "0"), cwd=self.folder, cgroup=cgroup, **script)
        self.runs.append(recorded(main, name=name, nonce=name.ljust(16, "0"), cgroup=cgroup))
        return main

    def observer(self) -> Observer:
        known = project(*self.services, root=self.folder)
        self.state = State.open(known, create=False)
        for run in self.runs:
            self.state.intend(
                run.service, run.nonce, boot=run.boot, namespace=run.namespace, started_at=run.started_at
            )
            self.state.record(run.nonce, main=run.main, session=run.session, cgroup=run.cgroup)
        return Observer(self.world, known, self.state)  # type: ignore[arg-type]

    def stop(self, *names: Service | str, **options: Any) -> Ended:
        observer = self.observer()
        ended = Stopper(observer, observer.observe()).stop(names or self.services, **options)
        assert not self.world.pins, "a descriptor was kept"
        return ended

    def web(self, **options: Any) -> Ending:
        return self.stop(**options).endings["web"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    if one.state is not None:
        one.state.close()


def asked(world: FakeWorld, *actors: Actor) -> list[tuple[str, str]]:
    """Who was sent what, in order, CONT left out."""
    names = {actor.pid: actor.argv[0] for actor in actors}
    return [(names[pid], name) for _, pid, name in world.log if name != "CONT" and pid in names]


def outcome(ending: Ending) -> tuple[set[int], set[int], set[int]]:
    return set(ending.stopped), set(ending.killed), {one.pid for one in ending.survivors}


# --- in which order, and what ------------------------------------------------------------------------


def test_nothing_to_stop(site: Site) -> None:
    assert outcome(site.web()) == (set(), set(), set())
    assert site.world.log == []
    assert site.world.time < 1000.1, "a second stop is fast"


def test_the_roots_first_then_what_remains(site: Site) -> None:
    main = site.run(command="main", lingers=0.2)
    child = site.world.add("child", parent=main, lingers=0.1)
    grandchild = site.world.add("grandchild", parent=child)
    ending = site.web()
    assert asked(site.world, main, child, grandchild) == [
        ("main", "TERM"), ("child", "TERM"), ("grandchild", "TERM"),
    ]  # fmt: skip
    assert child.asked_at["TERM"] >= main.ended_at  # type: ignore[operator]
    assert grandchild.asked_at["TERM"] >= child.ended_at  # type: ignore[operator]
    assert outcome(ending) == ({main.pid, child.pid, grandchild.pid}, set(), set())


def test_a_root_that_ends_its_own_children_is_all_that_is_asked(site: Site) -> None:
    main = site.run(command="master", lingers=0.3)
    workers = [site.world.add("worker", parent=main) for _ in range(4)]

    def reap(name: str) -> None:
        if name == "TERM":
            for worker in workers:
                site.world.after(0.1, lambda worker=worker: site.world.end(worker))  # type: ignore[misc]

    main.on_signal = reap
    ending = site.web()
    assert [name for one in workers for name in one.signals] == []
    assert outcome(ending)[0] == {main.pid, *(one.pid for one in workers)}


def test_cont_follows_each_signal_but_kill(site: Site) -> None:
    site.configure(signals=("INT", "TERM"), timeout_seconds=2)
    main = site.run(dies_of=DEAF)
    site.web()
    assert main.signals == ["INT", "CONT", "TERM", "CONT", "KILL"]


def test_a_stopped_process_handles_what_it_was_sent(site: Site) -> None:
    main = site.run(state="T")
    assert outcome(site.web()) == ({main.pid}, set(), set())
    assert site.world.time < 1001


def test_it_waits_on_exits_not_on_a_clock(site: Site) -> None:
    site.run(lingers=0.3)
    site.web()
    assert 1000.3 <= site.world.time < 1000.4


def test_several_services_at_the_same_time(site: Site) -> None:
    site.services = (site.service("web"), site.service("api"))
    both = [site.run(name, lingers=2.0) for name in ("web", "api")]
    ended = site.stop()
    assert [set(ended.endings[name].stopped) for name in ("web", "api")] == [{one.pid} for one in both]
    assert site.world.time < 1002.5


def test_a_service_that_is_configured_no_more_goes_by_its_name(site: Site) -> None:
    gone = site.run("gone")
    assert set(site.stop("gone").endings["gone"].stopped) == {gone.pid}


def test_the_others_are_left_alone(site: Site) -> None:
    site.services = (site.service("web"), site.service("api"))
    web, api = site.run("web"), site.run("api")
    stranger = site.world.add("python main.py", cwd="/opt")
    site.stop(site.services[0])
    assert not web.alive
    assert api.alive
    assert (api.signals, stranger.signals) == ([], [])


# --- escalation --------------------------------------------------------------------------------------


def test_kill_at_the_timeout_and_not_before(site: Site) -> None:
    site.configure(timeout_seconds=3)
    main = site.run(dies_of=DEAF)
    ending = site.web()
    assert 1003 <= main.asked_at["KILL"] < 1003.1
    assert outcome(ending) == (set(), {main.pid}, set())


def test_one_that_leaves_just_in_time_is_not_killed(site: Site) -> None:
    site.configure(timeout_seconds=3)
    main = site.run(lingers=2.9)
    assert outcome(site.web()) == ({main.pid}, set(), set())
    assert "KILL" not in main.signals


def test_a_list_of_signals_shares_the_timeout(site: Site) -> None:
    site.configure(signals=("HUP", "INT", "QUIT"), timeout_seconds=3)
    main = site.run(dies_of=DEAF)
    site.web()
    times = [round(main.asked_at[name] - main.asked_at["HUP"], 1) for name in ("HUP", "INT", "QUIT", "KILL")]
    assert times == [0, 1, 2, 3]


def test_a_timeout_by_hand_replaces_the_configured_one(site: Site) -> None:
    main = site.run(dies_of=DEAF)
    site.web(timeout_seconds=0.5)
    assert 1000.5 <= main.asked_at["KILL"] < 1000.6


def test_no_patience_at_all(site: Site) -> None:
    main = site.run(dies_of=DEAF)
    assert outcome(site.web(timeout_seconds=0)) == (set(), {main.pid}, set())
    assert main.signals == ["TERM", "CONT", "KILL"]


def test_everything_is_killed_not_only_the_roots(site: Site) -> None:
    main = site.run(dies_of=DEAF)
    children = [site.world.add("child", parent=main) for _ in range(3)]
    ending = site.web(timeout_seconds=1)
    assert outcome(ending) == (set(), {main.pid, *(one.pid for one in children)}, set())
    assert all(one.signals == ["KILL"] for one in children)


def test_by_force_it_begins_with_kill(site: Site) -> None:
    main = site.run(dies_of=DEAF)
    child = site.world.add("child", parent=main)
    assert outcome(site.web(force=True)) == (set(), {main.pid, child.pid}, set())
    assert main.signals == child.signals == ["KILL"]
    assert site.world.time < 1000.5


def test_without_leave_to_kill_it_survives_and_is_named(site: Site) -> None:
    site.configure(timeout_seconds=2, kill=False)
    main = site.run(dies_of=DEAF)
    ending = site.web()
    assert "KILL" not in main.signals
    assert [one.pid for one in ending.survivors] == [main.pid]
    assert "2 s after TERM" in ending.survivors[0].reason
    assert "kill = false" in ending.survivors[0].reason
    assert site.world.time < 1002.5


def test_one_that_not_even_kill_ends_is_given_up_and_named(site: Site) -> None:
    site.configure(timeout_seconds=1)
    main = site.run(dies_of=IMMORTAL, state="D")
    ending = site.web()
    assert [one.pid for one in ending.survivors] == [main.pid]
    assert "after KILL" in ending.survivors[0].reason
    assert site.world.time < 1001 + KILL_SECONDS + 0.5


def test_a_survivor_of_one_service_does_not_hold_up_another(site: Site) -> None:
    site.services = (site.service("web", timeout_seconds=1), site.service("api", timeout_seconds=1))
    web, api = site.run("web", dies_of=IMMORTAL), site.run("api", lingers=0.2)
    ended = site.stop()
    assert outcome(ended.endings["web"])[2] == {web.pid}
    assert outcome(ended.endings["api"]) == ({api.pid}, set(), set())


# --- who may not be signalled ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuses", "unpinnable"])
def test_one_of_another_user_concerns_nobody_else(site: Site, how: str) -> None:
    site.configure(timeout_seconds=1)
    main = site.run()
    other = site.world.add("sudo thing", parent=main, uid=0, **{how: True})
    child = site.world.add("child", parent=other)
    ending = site.web()
    assert outcome(ending) == ({main.pid, child.pid}, set(), {other.pid})
    assert "may not be signalled" in ending.survivors[0].reason
    assert site.world.time < 1001.2


def test_one_of_another_user_that_leaves_with_its_parent_is_no_survivor(site: Site) -> None:
    """Sudo ends when what it relays for does."""
    main = site.run()
    other = site.world.add("sudo thing", parent=main, uid=0, refuses=True)
    main.on_end = lambda: site.world.after(0.2, lambda: site.world.end(other))
    assert outcome(site.web()) == ({main.pid, other.pid}, set(), set())


def test_one_of_another_user_does_not_hold_up_the_rest(site: Site) -> None:
    main = site.run(lingers=0.1)
    site.world.add("sudo thing", uid=0, refuses=True, marker=main.marker)
    child = site.world.add("child", parent=main)
    site.web()
    assert child.asked_at["TERM"] < 1000.2


# --- the evidence is read again ----------------------------------------------------------------------


def changed(site: Site, change: Callable[[], Any]) -> Ended:
    """A stop for which something changes after the look, right before the first signal."""
    site.world.before["pin"] = [change]
    return site.stop()


def test_one_that_got_the_number_is_not_signalled(site: Site) -> None:
    main = site.run()
    strangers: list[Actor] = []
    ended = changed(site, lambda: strangers.append(site.world.reuse(main, "stranger", marker=None, cwd="/opt")))
    assert strangers[0].signals == []
    assert strangers[0].alive
    assert outcome(ended.endings["web"]) == ({main.pid}, set(), set())


def test_a_likeness_that_has_become_something_else_is_dropped(site: Site) -> None:
    one = site.world.add("python main.py", cwd=site.folder, session=50, start=1)

    def execute() -> None:
        one.argv = ("vim", "main.py")

    ended = changed(site, execute)
    assert one.signals == []
    assert outcome(ended.endings["web"]) == (set(), set(), set())


def test_a_child_on_its_way_to_be_kept_is_dropped(site: Site) -> None:
    main = site.run()
    child = site.world.add("sh", parent=main)

    def keep() -> None:
        child.keep = True

    ended = changed(site, keep)
    assert child.alive
    assert child.signals == []
    assert outcome(ended.endings["web"]) == ({main.pid}, set(), set())


def test_one_that_has_become_another_services_is_dropped(site: Site) -> None:
    site.services = (site.service("web"), site.service("api"))
    one = site.world.add("python main.py", cwd=site.folder, marker=f"{project().digest}/web/{'w' * 16}")

    def execute() -> None:
        one.marker = f"{project().digest}/api/{'w' * 16}"

    site.world.before["pin"] = [execute]
    ended = site.stop(site.services[0])
    assert one.signals == []
    assert outcome(ended.endings["web"]) == (set(), set(), set())


def test_one_that_ends_meanwhile_is_stopped(site: Site) -> None:
    main = site.run()
    ended = changed(site, lambda: site.world.end(main))
    assert outcome(ended.endings["web"]) == ({main.pid}, set(), set())


@pytest.mark.parametrize("trusted", [True, False])
def test_orphans_keep_their_descent(site: Site, trusted: bool) -> None:
    """What cleared its environment is ours by its parent, and stays so when that ends first."""
    site.world.cursor_trusted = trusted
    main = site.run()
    site.world.end(site.world.actors[main.ppid])  # its runner
    child = site.world.add("child", parent=main, marker=None, session=None, cwd="/")
    grandchild = site.world.add("grandchild", parent=child, cwd="/")
    main.on_end = lambda: site.world.add("somebody", cwd="/opt")
    ending = site.web()
    assert outcome(ending) == ({main.pid, child.pid, grandchild.pid}, set(), set())


# --- until nothing is left ---------------------------------------------------------------------------


def respawn(site: Site, actor: Actor, times: int, **script: Any) -> None:
    """Each that ends leaves a successor of the same kind."""
    if times:

        def again() -> None:
            script.setdefault("parent", actor.ppid)
            respawn(
                site, site.world.add("successor", marker=actor.marker, session=None, **script), times - 1, **script
            )

        actor.on_end = again


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_what_forks_while_it_is_ended_is_followed(site: Site, force: bool, trusted: bool) -> None:
    site.world.cursor_trusted = trusted
    respawn(site, site.run(), 30)
    ending = site.web(force=force)
    assert len(ending.stopped) + len(ending.killed) == 31
    assert not ending.survivors
    assert not [one for one in site.world.actors.values() if one.marker]


def test_what_replaces_itself_and_ignores_the_signal_is_killed(site: Site) -> None:
    """A process that forks and exits every few milliseconds: nobody is ever there when the time is over."""
    site.configure(timeout_seconds=0.5)

    def hop(actor: Actor) -> None:
        if actor.alive:
            heir = site.world.add("hop", parent=actor, dies_of=DEAF)
            site.world.end(actor)
            site.world.after(0.003, lambda: hop(heir))

    main = site.run(dies_of=DEAF)
    site.world.after(0.003, lambda: hop(main))
    ending = site.web()
    assert len(ending.killed) == 1
    assert not ending.survivors
    assert not [one for one in site.world.actors.values() if one.marker]
    assert site.world.time < 1000.6


def surround(site: Site, count: int) -> list[Actor]:
    """Processes that replace each other: who dies has a successor 1 ms later, as long as one can see it."""
    ring: list[Actor] = []

    def join(above: Actor) -> None:
        member = site.world.add("member", parent=above, session=None)
        member.on_end = lambda: site.world.after(0.001, replaced)
        ring.append(member)

    def replaced() -> None:
        able = [one for one in ring if one.alive and one.state != "T"]
        if able:
            join(able[0])

    main = site.run()
    for _ in range(count):
        join(main)
    return ring


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_what_replaces_each_other_is_held_still(site: Site, force: bool, trusted: bool) -> None:
    site.world.cursor_trusted = trusted
    site.configure(timeout_seconds=0.5)
    ring = surround(site, 20)
    ending = site.web(force=force)
    assert not ending.survivors
    assert not [one for one in ring if one.alive]
    assert site.world.time < 1001


def test_what_is_held_and_spared_goes_on(site: Site) -> None:
    """A second Ctrl-C, or a process that turns out not to be ours: nothing stays stopped."""
    site.configure(timeout_seconds=0.1)
    ring = surround(site, 20)
    held: list[Actor] = []

    def interrupt(name: str) -> None:
        held.extend(one for one in ring if one.state == "T")
        raise KeyboardInterrupt

    def arm() -> None:
        for one in ring:
            one.on_signal = lambda name: interrupt(name) if name == "KILL" and one_is_held() else None

    def one_is_held() -> bool:
        return any(one.alive and one.state == "T" for one in ring)

    site.world.after(0.1, arm)
    with pytest.raises(KeyboardInterrupt):
        site.web(force=False)
    assert held
    assert not [one for one in held if one.alive and one.state == "T"]


def test_numbers_that_wrap_around(site: Site) -> None:
    site.world.pid_max = 400
    site.world.last_pid = 398
    main = site.run()
    assert main.pid == 400
    born = []
    main.on_end = lambda: born.append(site.world.add("late", parent=main.ppid, marker=main.marker, session=None))
    assert set(site.web().stopped) == {main.pid, born[0].pid}
    assert born[0].pid == 300


def test_without_a_count_two_looks_have_to_find_nothing(site: Site) -> None:
    site.world.cursor_trusted = False
    main = site.run()
    site.world.end(site.world.actors[main.ppid])  # nor is there a runner to wait for
    born: list[Actor] = []

    def fork() -> None:
        shown = site.world.time + 0.00015
        born.append(site.world.add("late", parent=1, marker=main.marker, session=None, visible_at=shown))

    observer = site.observer()
    stopper = Stopper(observer, observer.observe())
    site.world.before["newer"] = [fork]
    ended = stopper.stop(site.services)
    assert outcome(ended.endings["web"]) == ({main.pid, born[0].pid}, set(), set())


@pytest.mark.parametrize("late", [0.0001, 0.0004])
def test_one_that_shows_only_after_its_number_was_given_out(site: Site, late: float) -> None:
    """In the kernel a process has its number before it is in the table."""
    main = site.run()
    site.world.end(site.world.actors[main.ppid])  # there is no runner to wait for
    born: list[Actor] = []

    def fork() -> None:
        shown = site.world.time + late
        born.append(site.world.add("late", parent=1, marker=main.marker, session=None, visible_at=shown))

    main.on_end = fork
    assert outcome(site.web()) == ({main.pid, born[0].pid}, set(), set())


def test_a_stranger_that_forks_all_the_time_holds_nothing_up(site: Site) -> None:
    def fork() -> None:
        one = site.world.add("stranger", cwd="/opt")
        site.world.after(0.001, lambda: site.world.end(one))
        site.world.after(0.0007, fork)

    main = site.run()
    fork()
    assert outcome(site.web()) == ({main.pid}, set(), set())
    assert site.world.time < 1003


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("pause", [0.0, 0.01, 0.5])
def test_what_a_stranger_starts_again_and_again_ends_in_time(site: Site, pause: float, force: bool) -> None:
    """systemd, docker or a script outside the project restarts the service whenever it ends."""
    site.world.pace = 0.002
    stranger = site.world.add("supervise", cwd="/opt", session=None)

    def start() -> None:
        one = site.world.add(
            "python main.py", parent=stranger, cwd=site.folder, session=None, marker=None, on_end=again
        )
        started.append(one)

    def again() -> None:
        if pause:
            site.world.after(pause, start)
        else:
            start()

    started: list[Actor] = []
    start()
    ending = site.web(force=force)
    assert site.world.time < 1000 + 5 + KILL_SECONDS + 3
    assert stranger.signals == []
    alive = {one.pid for one in started if one.alive}
    assert {one.pid for one in ending.survivors} == alive
    assert all("again" in one.reason for one in ending.survivors)


def test_a_child_that_cannot_be_ended_and_has_children_ends_in_time(site: Site) -> None:
    site.configure(timeout_seconds=1, kill=False)
    main = site.run(dies_of=IMMORTAL)

    def fork() -> None:
        site.world.add("child", parent=main)
        site.world.after(0.3, fork)

    fork()
    ending = site.web()
    assert main.pid in {one.pid for one in ending.survivors}
    assert site.world.time < 1010


def test_rows_that_name_each_other_as_parent(site: Site) -> None:
    one, two = site.run("web"), site.world.add("x", marker=f"{project().digest}/web/x")
    one.start = two.start
    site.runs.clear()
    one.ppid, two.ppid = two.pid, one.pid
    assert outcome(site.web())[0] == {one.pid, two.pid}


# --- runs that just begin ----------------------------------------------------------------------------


def beginning(site: Site) -> tuple[Actor, Actor]:
    """A runner that was told what to do, and its child right after the fork, which still looks like it."""
    main = site.run()
    runner = site.world.actors[main.ppid]
    main.argv, main.runner = runner.argv, True
    site.runs.clear()
    return runner, main


def test_a_run_that_is_about_to_execute_its_service_is_awaited(site: Site) -> None:
    _, main = beginning(site)

    def execute() -> None:
        main.argv, main.runner = ("python", "main.py"), False

    site.world.after(0.05, execute)
    ending = site.web()
    assert not main.alive
    assert outcome(ending) == ({main.pid}, set(), set())


def test_a_run_that_is_about_to_fork_is_awaited(site: Site) -> None:
    main = site.run()
    runner = site.world.actors[main.ppid]
    site.runs.clear()
    del site.world.actors[main.pid]
    born: list[Actor] = []
    site.world.after(
        0.05, lambda: born.append(site.world.add("main", parent=runner, runner=False, session=None, cwd="/"))
    )
    assert outcome(site.web())[0] == {born[0].pid}


def test_a_runner_that_hangs_is_not_waited_for_for_ever(site: Site) -> None:
    beginning(site)
    site.web()
    assert site.world.time < 1003


def test_the_runner_has_left_when_a_stop_is_done(site: Site) -> None:
    main = site.run()
    runner = site.world.actors[main.ppid]
    site.web()
    assert not runner.alive
    assert runner.signals == []


def test_a_runner_that_stays_with_a_browser_is_not_waited_for(site: Site) -> None:
    main = site.run()
    runner = site.world.actors[main.ppid]
    browser = site.world.add("firefox", parent=main, session=None)
    site.web()
    assert runner.alive
    assert browser.alive
    assert browser.signals == []
    assert site.world.time < 1000.2


# --- interruption ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), Interrupted(15)], ids=["Ctrl-C", "TERM"])
@pytest.mark.parametrize("call", ["wait", "newer", "reread", "pin"])
def test_an_interruption_hastens_and_is_handed_back(site: Site, interruption: BaseException, call: str) -> None:
    site.configure(timeout_seconds=60)
    main = site.run(dies_of=DEAF, start=1)
    child = site.world.add("child", parent=main, dies_of=DEAF)

    def interrupt() -> None:
        raise interruption

    observer = site.observer()
    stopper = Stopper(observer, observer.observe())
    site.world.before[call] = [interrupt]
    if call in ("newer", "reread"):
        main.dies_of = child.dies_of = DEAF | {"TERM"}
    ended = stopper.stop(site.services)
    if call == "reread" and ended.interrupted is None:
        pytest.skip("nothing had to be read again")
    assert ended.interrupted is interruption
    assert not main.alive
    assert not child.alive
    assert site.world.time < 1001
    assert not site.world.pins


def test_a_second_interruption_ends_it_and_keeps_no_descriptor(site: Site) -> None:
    site.configure(timeout_seconds=60)
    site.run(dies_of=IMMORTAL)

    def interrupt() -> None:
        site.world.before["wait"] = [interrupt]
        raise KeyboardInterrupt

    observer = site.observer()
    stopper = Stopper(observer, observer.observe())
    site.world.before["wait"] = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        stopper.stop(site.services)
    assert not site.world.pins


def test_an_interruption_does_not_kill_what_may_not_be_killed(site: Site) -> None:
    site.configure(timeout_seconds=2, kill=False)
    main = site.run(lingers=1.0)

    def interrupt() -> None:
        raise KeyboardInterrupt

    observer = site.observer()
    stopper = Stopper(observer, observer.observe())
    site.world.before["wait"] = [interrupt]
    ended = stopper.stop(site.services)
    assert main.signals == ["TERM", "CONT"]
    assert outcome(ended.endings["web"]) == ({main.pid}, set(), set())


# --- few descriptors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [-5, 0, 1, 3])
def test_few_descriptors(site: Site, room: int) -> None:
    pins = site.world.pins
    site.world.room = max(room, 0) + 1  # what is spared for moments
    site.world.pin_room = lambda: room - len(pins)  # type: ignore[method-assign]
    main = site.run(dies_of=DEAF)
    children = [site.world.add("child", parent=main, lingers=0.05) for _ in range(8)]
    ending = site.web(timeout_seconds=1)
    assert not ending.survivors
    assert len(ending.killed) == 1 + len(children)


def test_fewer_descriptors_than_there_seemed_to_be(site: Site) -> None:
    """Somebody else took the last of the system's while we were about to pin."""
    site.world.room = 2
    site.world.pin_room = lambda: 100  # type: ignore[method-assign]
    main = site.run(dies_of=DEAF)
    for _ in range(8):
        site.world.add("child", parent=main)
    ending = site.web(timeout_seconds=1)
    assert not ending.survivors
    assert len(ending.killed) == 9


# --- cgroups -----------------------------------------------------------------------------------------


def test_a_cgroup_is_frozen_while_it_is_killed_and_thawed_after(site: Site) -> None:
    main = site.run(cgroup="/run")
    child = site.world.add("child", parent=main)
    seen: list[bool] = []
    main.on_signal = lambda _: seen.append(site.world.cgroups["/run"])
    assert outcome(site.web(force=True))[1] == {main.pid, child.pid}
    assert seen == [True]
    assert site.world.cgroups == {"/run": False}


def test_a_cgroup_that_a_killed_stop_left_frozen_is_thawed_first(site: Site) -> None:
    main = site.run(cgroup="/run")
    site.world.cgroups["/run"] = True
    assert outcome(site.web()) == ({main.pid}, set(), set())
    assert site.world.time < 1001


def test_one_that_does_not_freeze_in_time_is_thawed_all_the_same(site: Site) -> None:
    """Asked to freeze, it may do so later; what is to be left alone in it would stay frozen."""
    main = site.run(cgroup="/run")
    kept = site.world.add("kept", parent=main, keep=True)
    site.world.freezable = False
    assert outcome(site.web(force=True))[1] == {main.pid}
    assert kept.alive
    assert site.world.cgroups == {"/run": False}


def test_an_interruption_while_it_freezes_leaves_nothing_frozen(site: Site) -> None:
    main = site.run(cgroup="/run")
    kept = site.world.add("kept", parent=main, keep=True)
    freeze = site.world.freeze

    def interrupted(path: str, frozen: bool) -> bool:
        done = freeze(path, frozen)
        if frozen:
            raise KeyboardInterrupt
        return done

    site.world.freeze = interrupted  # type: ignore[method-assign]
    observer = site.observer()
    with pytest.raises(KeyboardInterrupt):  # for each time that it is frozen
        Stopper(observer, observer.observe()).stop(site.services, force=True)
    assert kept.alive
    assert site.world.cgroups == {"/run": False}
