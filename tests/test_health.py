"""Health from answer to answer: Kubernetes' meanings, on a clock that is only a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtasks.health import Answer, Health, begin
from devtasks.model import HealthProbe, Verdict

LETTERS: dict[str, Verdict] = {"h": "healthy", "u": "unhealthy", "f": "foreign", "?": "unknown"}


def after(answers: str, probe: HealthProbe, *, began: float = 0.0, every: float = 1.0) -> Health:
    """The health after `answers`, one letter each, `every` second."""
    health = begin(probe, began)
    for number, letter in enumerate(answers):
        now = began + number * every
        answer = Answer(state=LETTERS[letter], probe="http", seconds=0, detail="")
        health = health.asked(now).told(answer, now)
    return health


@pytest.mark.parametrize(
    ("answers", "condition"),
    [
        ("", "starting"),
        ("u", "starting"),
        ("uu", "starting"),
        ("uuu", "unhealthy"),
        ("h", "healthy"),
        ("huu", "healthy"),
        ("huuhuu", "healthy"),
        ("huuu", "unhealthy"),
        ("huuuu", "unhealthy"),
        ("uuuh", "healthy"),
        ("f", "foreign"),
        ("hf", "foreign"),
        ("hffff", "foreign"),
        ("hfh", "healthy"),
        ("h????", "unknown"),
        ("hu?u?u", "unhealthy"),
        ("uuf", "foreign"),
    ],
)
def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy(answers: str, condition: str):
    assert after(answers, HealthProbe(failures=3)).condition == condition


def test_within_the_start_period_failures_do_not_count():
    slow = HealthProbe(failures=2, start_period_seconds=10)
    assert after("u" * 10, slow).condition == "starting"
    assert after("u" * 11, slow).condition == "starting"
    assert after("u" * 12, slow).condition == "unhealthy"


def test_a_success_ends_the_start_period():
    slow = HealthProbe(failures=2, start_period_seconds=100)
    assert after("uuuuh", slow).condition == "healthy"
    assert after("uuuuhu", slow).condition == "healthy"
    assert after("uuuuhuu", slow).condition == "unhealthy"


def test_a_start_that_is_adopted_late_has_no_period_left():
    slow = HealthProbe(failures=1, start_period_seconds=10)
    answer = Answer(state="unhealthy", probe="http", seconds=0, detail="")
    assert begin(slow, 0).told(answer, 11).condition == "unhealthy"


def test_however_long_nothing_was_asked_it_is_one_probe():
    health = after("h", HealthProbe(interval_seconds=10))
    assert health.next_at == 10
    woken = health.asked(5000)
    assert woken.next_at == 5010


def test_the_next_probe_waits_for_the_answer_to_this_one():
    slow = HealthProbe(interval_seconds=1)
    answer = Answer(state="unhealthy", probe="http", seconds=7, detail="")
    assert begin(slow, 0).asked(0).told(answer, 7).next_at == 7


@given(st.text("huf?", max_size=30), st.integers(1, 5))
def test_only_that_many_failures_since_the_last_success_make_it_unhealthy(answers: str, failures: int):
    health = after(answers, HealthProbe(failures=failures))
    since = answers.rpartition("h")[2].count("u")
    assert health.failures == since
    if health.condition == "unhealthy":
        assert since >= failures
    if answers.endswith("u") and since >= failures:
        assert health.condition == "unhealthy"
