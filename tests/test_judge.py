"""Whatever a process table looks like: judging never raises, never wavers, never reaches whom it must not."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fakes import (
    DIGEST,
    ME,
    NAMESPACE,
    NAMESPACES,
    ROOT,
    TICKS,
    Actor,
    FakeWorld,
    facts,
    marker,
    project,
    recorded,
    service,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtasks.model import Match, Process, Rejection, Run
from devtasks.ownership import Candidates, Facts, Judge

FOREIGN = "0123456789/web/" + "b" * 16
SHOP = project(service("web"), service("api", ports=(8001,), patterns=(), command=("uvicorn", "api:app")))
COMMANDS = (
    "python main.py",
    "uvicorn api:app --port 8001",
    "node server.js",
    "tmux new -d",
    "bash",
    "vim main.py",
    "pytest main.py",
    "firefox",
    "make start",
    "python -c from multiprocessing.spawn import spawn_main --multiprocessing-fork",
    "sh -c python main.py",
    "\udcff\x1b[31m python main.py",
    "",
)
MARKERS = (
    None,
    marker(),
    marker("api", "c" * 16),
    marker("gone"),
    FOREIGN,
    "",
    "/",
    "//",
    DIGEST,
    f"{DIGEST}/web",
    f"{DIGEST}/web/n/x",
    "x" * 500,
)
FOLDERS = (str(ROOT), f"{ROOT}/src", "/srv/shop2", "/", "/opt", None, "", "relative", f"{ROOT} (deleted)")
PIDS = st.integers(2, 40)

processes = st.builds(
    lambda **given: given,
    pid=PIDS,
    parent=st.integers(0, 45),
    session=st.integers(0, 45),
    start=st.integers(0, 5),
    command=st.sampled_from(COMMANDS),
    marker=st.sampled_from(MARKERS),
    keep=st.booleans() | st.just(False),
    runner=st.sampled_from([False, False, False, True]),
    terminal=st.sampled_from([0, 0, 34816]),
    kernel=st.sampled_from([False, False, False, True]),
    state=st.sampled_from(["S", "R", "T", "D", "Z", "X"]),
    blurred=st.sampled_from([False, False, True]),
    cwd=st.sampled_from(FOLDERS),
    uid=st.sampled_from([ME, ME, 0, 33, None]),
    namespaces=st.sampled_from([NAMESPACES, NAMESPACES, (NAMESPACE + 1, 2, 3), (NAMESPACE, 9, 9), None]),
    ports=st.sampled_from([(), (), (8000,), (8001, 8000), (22,)]),
    cgroup=st.sampled_from([None, None, "/run"]),
)
forests = st.lists(processes, max_size=25, unique_by=lambda one: one["pid"])
chosen = st.lists(st.integers(0, 24), max_size=4)


def scene(forest: list[dict[str, Any]], mains: list[int], caller: int) -> Facts:
    """Facts of a random forest, some of whose processes were recorded and one of which calls."""
    world = FakeWorld()
    actors = [world.add(one.pop("command"), **one) for one in [dict(one) for one in forest]]
    runs: list[Run] = []
    for nth, at in enumerate(mains):
        if at < len(actors):
            main = actors[at]
            service_name = ("web", "api")[nth % 2]
            changes: dict[str, Any] = [{}, {"cgroup": "/run"}, {"ended_at": 1.0}, {"main": None}][nth % 4]
            runs.append(recorded(main, name=service_name, nonce="abcd"[nth % 4] * 16, **changes))
    callers = frozenset({world.me.pid, *(actors[caller].pid for _ in [0] if caller < len(actors))})
    return facts(
        world,
        SHOP,
        runs=runs,
        pid_files={"web": actors[0].pid} if actors else {},
        callers=world.ancestry() | callers,
    )


def verdicts(known: Facts, order: list[int]) -> dict[int, Match | Rejection | None]:
    judge = Judge(known)
    return {pid: judge.verdict(pid) for pid in order}


many = settings(
    max_examples=int(os.environ.get("FUZZ", "150")), deadline=None, suppress_health_check=list(HealthCheck)
)


@many
@given(forests, chosen, st.integers(0, 30))
def test_judging_never_raises_and_never_reaches_whom_it_must_not(
    forest: list[dict[str, Any]], mains: list[int], caller: int
) -> None:
    known = scene(forest, mains, caller)
    judge = Judge(known)
    recorded_pids = {run.main.pid for run in known.runs if known.names(run) and run.main}
    for pid, row in known.table.processes.items():
        found = judge.verdict(pid)
        assert len(judge.explain(pid)) > 10
        if not isinstance(found, Match):
            continue
        assert found.evidence
        assert judge.evidence(found)
        assert pid > 1
        assert not row.kernel
        assert not row.gone
        assert not row.runner
        assert pid not in known.callers
        if pid not in recorded_pids:
            assert not row.keep
            assert row.marker is None or row.marker.startswith(f"{DIGEST}/")
        if not found.proven:
            details = known.details_of(pid)
            assert details.uid == ME
            assert details.namespaces == NAMESPACES


@many
@given(forests, chosen, st.integers(0, 30), st.randoms(use_true_random=False))
def test_the_order_of_questions_changes_no_answer(
    forest: list[dict[str, Any]], mains: list[int], caller: int, random: Any
) -> None:
    known = scene(grown_up(forest), mains, caller)
    order = list(known.table.processes)
    first = verdicts(known, order)
    assert verdicts(known, order) == first
    assert verdicts(known, order[::-1]) == first
    random.shuffle(order)
    assert verdicts(known, order) == first


@many
@given(forests, chosen, st.integers(0, 30))
def test_what_is_no_candidate_is_none_of_ours(forest: list[dict[str, Any]], mains: list[int], caller: int) -> None:
    """The cheap pass over the table leaves out nothing that a judgement would find."""
    known = scene(grown_up(forest), mains, caller)
    judge = Judge(known)
    candidates = Candidates(known.matchers.values())
    picked = set(candidates.of(known))
    swept = [pid for pid in picked if isinstance(judge.verdict(pid), Match) and not judge.proven(pid)]
    picked |= candidates.below(swept)
    for pid in known.table.processes.keys() - picked:
        assert judge.verdict(pid) is None


def grown_up(forest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without loops: nobody is younger than a child of theirs."""
    return [{**one, "start": one["pid"], "parent": min(one["parent"], one["pid"] - 1)} for one in forest]


def test_what_is_below_a_member_of_a_session_is_a_candidate() -> None:
    world = FakeWorld()
    _, main = world.run()
    alike = world.add("python main.py", marker=None, session=main.session, cwd=ROOT)
    below = world.add("node", parent=alike, session=None)
    known = facts(world, runs=[recorded(main)])
    assert {alike.pid, below.pid} <= set(Candidates(known.matchers.values()).of(known))


@pytest.mark.parametrize("backwards", [False, True])
def test_a_thousand_levels_of_strangers(backwards: bool) -> None:
    """Deep trees exist: a shell script that calls itself."""
    world = FakeWorld()
    one: Actor | int = 1
    for _ in range(3000):
        one = world.add("bash deeper.sh", parent=one, cwd="/opt", start=int(world.time * TICKS))
    known = facts(world)
    order = sorted(known.table.processes, reverse=backwards)
    assert set(verdicts(known, order).values()) == {None}


def test_a_proof_is_told_apart_from_a_likeness() -> None:
    world = FakeWorld()
    _, main = world.run()
    by_hand = world.add("python main.py", cwd=ROOT)
    judge = Judge(facts(world, runs=[recorded(main)]))
    found = [judge.verdict(pid) for pid in (main.pid, by_hand.pid)]
    assert [isinstance(one, Match) and one.proven for one in found] == [True, False]
    assert [judge.proven(pid) for pid in (main.pid, by_hand.pid)] == [True, False]


def test_the_verdict_on_a_row_that_is_not_there() -> None:
    judge = Judge(facts(FakeWorld()))
    assert judge.verdict(-1) is None
    assert judge.verdict(0) is None
    assert judge.verdict(2**40) is None


def test_all_evidence_begins_with_what_decided() -> None:
    world = FakeWorld()
    _, main = world.run(cgroup="/run")
    judge = Judge(facts(world, runs=[recorded(main, cgroup="/run")], pid_files={"web": main.pid}))
    found = judge.verdict(main.pid)
    assert isinstance(found, Match)
    shown = judge.evidence(found)
    assert shown[: len(found.evidence)] == found.evidence
    assert [item.kind for item in shown] == ["pid-file", "marker", "descendant", "cgroup", "session"]


def test_a_process_is_compared_as_a_value() -> None:
    world = FakeWorld()
    one = world.add("x")
    assert isinstance(one.row, Process)
    assert one.row == one.row
    assert one.row != one.row._replace(start=0)
