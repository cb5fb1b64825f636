"""When a service is started again: values in, values out, no clock but the one that a test moves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks import restarts
from devtasks.model import RestartPolicy
from devtasks.restarts import Budget, backoff_seconds, ended, left, restored, spend, well
from devtasks.values import replace

POLICY = RestartPolicy(max=3, window_seconds=20, backoff_seconds=1, max_backoff_seconds=8, cooldown_seconds=30)


class Life:
    """A service that always fails, and its monitor, on a clock of their own.

    `slept` is what a suspend adds to the time that passes for people.
    """

    def __init__(self, policy: RestartPolicy, *, begin: float = 1000.0) -> None:
        self.policy = policy
        self.now = begin
        self.slept = 0.0
        self.budget = Budget()
        self.restarts: list[float] = []  # on the monotonic clock
        self.for_people: list[float] = []  # on a clock that goes on during a suspend

    def fail(self, *, chance: float = 0.5) -> str:
        self.budget, verdict = ended(self.budget, self.policy, self.now, failure=True, chance=chance)
        return verdict

    def wait_and_restart(self, *, late: float = 0.0) -> bool:
        """At the moment that the budget names, or later. False: there is none."""
        for _ in range(10):
            at = restarts.due_at(self.budget)
            if at is None:
                return False
            self.now = max(self.now, at) + late
            spent = spend(self.budget, self.policy, self.now)
            if spent is not None:
                self.budget = restarts.begun(well(spent, self.now), self.now)
                self.restarts.append(self.now)
                self.for_people.append(self.now + self.slept)
                return True
            self.budget = restarts.overdrawn(self.budget, self.policy, self.now)
        raise AssertionError(f"never due: {self.budget}")

    def another_monitor(self, *, clock: float = 0.0) -> None:
        """A monitor that was killed, and one that reads what it left; `clock` shifts what it reads."""
        kept = self.budget
        self.budget = restored(
            self.policy,
            self.now,
            spent=[at + clock for at in kept.spent],
            total=kept.total,
            streak=kept.streak,
            next_at=None if kept.next_at is None else kept.next_at + clock,
            failed_at=None if kept.failed_at is None else kept.failed_at + clock,
            failed_until=None if kept.failed_until is None else kept.failed_until + clock,
        )


def most_in_a_window(times: list[float], window: float) -> int:
    return max((sum(1 for one in times if start <= one < start + window) for start in times), default=0)


@pytest.mark.parametrize("lifetime", [0, 0.5, 1.3, 3, 11])
@pytest.mark.parametrize("backoff", [0, 1])
def test_no_lifetime_gets_around_the_limit(lifetime: float, backoff: float):
    policy = replace(POLICY, backoff_seconds=backoff, max=5, window_seconds=60, cooldown_seconds=60)
    life = Life(policy)
    for _ in range(200):
        life.now += lifetime
        life.fail()
        assert life.wait_and_restart()
    assert most_in_a_window(life.restarts, 60) <= 5
    assert len(life.restarts) == 200  # and it is tried again, for ever


policies = st.builds(
    RestartPolicy,
    policy=st.sampled_from(["always", "on-failure"]),
    max=st.integers(0, 6),
    window_seconds=st.floats(0.5, 1000),
    backoff_seconds=st.floats(0, 5),
    max_backoff_seconds=st.floats(5, 100),
    cooldown_seconds=st.one_of(st.just(0.0), st.floats(0.1, 2000)),
)
lifetimes = st.lists(st.one_of(st.sampled_from([0, 0.5, 1.3, 3, 11]), st.floats(0, 200)), min_size=1, max_size=60)


@settings(max_examples=300, deadline=None)
@given(policy=policies, lives=lifetimes, data=st.data())
def test_no_schedule_exceeds_the_limit_in_any_window(
    policy: RestartPolicy, lives: list[float], data: st.DataObject
):
    """Whatever the lifetimes, however late the monitor is, however long the machine sleeps, and however often
    another monitor takes over.
    """
    life = Life(policy)
    for lived in lives:
        life.now += lived
        happens = data.draw(st.sampled_from(["nothing", "nothing", "suspend", "killed", "killed-ahead", "late"]))
        if happens == "suspend":
            life.slept += data.draw(st.floats(0, 10_000))
        life.fail(chance=data.draw(st.floats(0, 1)))
        if happens == "killed":
            life.another_monitor()
        elif happens == "killed-ahead":  # as in a time namespace: what was written lies in the future
            life.another_monitor(clock=data.draw(st.floats(0, 10_000)))
        if not life.wait_and_restart(late=data.draw(st.floats(0, 50)) if happens == "late" else 0.0):
            assert policy.max == 0 or policy.cooldown_seconds == 0
            break
    for times in (life.restarts, life.for_people):
        assert most_in_a_window(times, policy.window_seconds) <= policy.max


def test_it_gives_up_for_the_cooldown_and_at_least_the_window():
    for cooldown, expected in ((30, 30), (5, 20)):
        life = Life(replace(POLICY, cooldown_seconds=cooldown, backoff_seconds=0))
        for _ in range(3):
            assert life.fail() == "restart"
            assert life.wait_and_restart()
        assert life.fail() == "failed"
        assert life.budget.failed
        assert left(life.budget, life.policy, life.now) == 0
        assert life.budget.failed_until == life.now + expected
        assert spend(life.budget, life.policy, life.now + expected - 0.01) is None
        assert life.wait_and_restart()
        assert [life.fail() for _ in range(3) if life.wait_and_restart() or True] == [
            "restart",
            "restart",
            "failed",
        ]


def test_without_a_cooldown_someone_has_to_start_it():
    life = Life(replace(POLICY, cooldown_seconds=0, max=1, backoff_seconds=0))
    life.fail()
    life.wait_and_restart()
    assert life.fail() == "failed"
    assert life.budget.failed_until is None
    assert restarts.due_at(life.budget) is None
    assert spend(life.budget, life.policy, life.now + 1e9) is None


@pytest.mark.parametrize(
    ("policy", "code", "verdict"),
    [
        ("always", 0, "restart"),
        ("always", 1, "restart"),
        ("on-failure", 0, "leave"),
        ("on-failure", 1, "restart"),
        ("on-failure", -15, "restart"),
        ("on-failure", None, "restart"),  # nobody knows: a failure
        ("never", 1, "leave"),
        ("never", None, "leave"),
    ],
)
def test_the_policy_decides_which_ends_count(policy: str, code: int | None, verdict: str):
    failure = restarts.is_failure(code)
    found = ended(Budget(), replace(POLICY, policy=policy), 10.0, failure=failure, chance=0.5)
    assert found[1] == verdict


def test_max_zero_never_starts_anything():
    life = Life(replace(POLICY, max=0))
    assert life.fail() == "failed"
    assert not life.wait_and_restart()


@given(backoff=st.floats(0, 100), factor=st.floats(1, 100), streak=st.integers(0, 2**31), chance=st.floats(0, 1))
def test_a_pause_is_never_out_of_bounds(backoff: float, factor: float, streak: int, chance: float):
    policy = replace(POLICY, backoff_seconds=backoff, max_backoff_seconds=backoff * factor)
    pause = backoff_seconds(policy, streak, chance)
    assert backoff <= pause <= backoff * factor or math.isclose(pause, backoff)


def test_pauses_double_up_to_the_limit_and_differ_by_chance():
    pauses = [backoff_seconds(POLICY, streak, 0.0) for streak in range(6)]
    assert pauses == [1, 2, 4, 6, 6, 6]  # of max_backoff chance takes a quarter
    assert [backoff_seconds(POLICY, streak, 1.0) for streak in range(6)] == [1.25, 2.5, 5, 8, 8, 8]


def test_a_minute_of_health_starts_the_backoff_over():
    life = Life(replace(POLICY, max=100))
    for _ in range(3):
        life.fail(chance=0.0)
        life.wait_and_restart()
    assert life.budget.streak == 3
    life.now += 59
    life.fail(chance=0.0)
    assert life.budget.next_at == life.now + 6
    life.wait_and_restart()
    life.now += 61
    life.fail(chance=0.0)
    assert life.budget.next_at == life.now + 1


def test_health_that_was_interrupted_is_no_minute():
    life = Life(replace(POLICY, max=100))
    life.fail()
    life.wait_and_restart()
    life.now += 50
    life.budget = restarts.unwell(life.budget, life.now)
    life.budget = well(life.budget, life.now)
    life.now += 50
    life.fail()
    assert life.budget.streak == 2


def test_what_recovers_before_it_is_restarted_keeps_what_it_spent():
    life = Life(POLICY)
    life.fail()
    life.wait_and_restart()
    life.fail()
    budget = restarts.recovered(life.budget, life.now)
    assert restarts.due_at(budget) is None
    assert left(budget, POLICY, life.now) == 2


hostile = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.text(), st.binary(), st.integers()
)


@settings(max_examples=300, deadline=None)
@given(spent=st.lists(hostile, max_size=20), rest=st.lists(hostile, min_size=5, max_size=5), now=st.floats(0, 1e9))
def test_what_is_read_back_is_never_better_than_it_could_be(spent: list[object], rest: list[object], now: float):
    """Nothing that stands in a file makes a budget larger than a fresh one, or a wait longer than the policy's."""
    names = ("total", "streak", "next_at", "failed_at", "failed_until")
    budget = restored(POLICY, now, spent=spent, **dict(zip(names, rest, strict=True)))
    assert all(0 <= at <= now for at in budget.spent)
    assert 0 <= left(budget, POLICY, now) <= POLICY.max
    due = restarts.due_at(budget)
    assert due is None or due <= now + 30
    assert budget.failed or budget.failed_until is None


def test_a_budget_survives_a_monitor():
    life = Life(POLICY)
    for _ in range(3):
        life.fail()
        life.wait_and_restart()
    life.another_monitor()
    assert life.fail() == "failed"
    life.another_monitor()
    assert life.budget.failed
    assert life.budget.failed_until == life.now + 30
