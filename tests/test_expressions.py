"""Regular expressions that would hold up whoever searches: bounded before, or killed meanwhile."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks.asking.attempt import Attempt, Finding, Steps, settle
from devtasks.asking.expressions import AT_ONCE, Expression

ENDLESS = [
    (r"(a+)+$", "a" * 60 + "b"),
    (r"(a|aa)+$", "a" * 80 + "b"),
    (r"(.*a){25}", "a" * 60),
    (r".*.*.*.*x", "a" * 4000),
    (r"(?:(?:a*)*)*b", "a" * 60),
    (r"(\w+\s?)*:", "word " * 30 + "!"),
    (r"(?=(a+)+$)x|b", "a" * 60 + "c"),
    (r"(a*)\1*\1*c", "a" * 3000),
]


def search(expression: str, texts: Sequence[str], seconds: float) -> str:
    def steps() -> Steps:
        found = yield from Expression(expression).search(texts, seconds=seconds, label="test")
        return Finding("healthy", str(found))

    (answer,) = settle([Attempt("log", steps(), seconds=30, overdue="", clock=time.monotonic)])
    return answer.detail


@pytest.mark.parametrize(("expression", "text"), ENDLESS)
def test_what_backtracks_without_end_is_not_searched_at_once(expression: str, text: str):
    assert Expression(expression).steps([text]) > AT_ONCE


def test_what_takes_too_long_is_given_up():
    began = time.monotonic()
    assert search(*ENDLESS[0][:1], [ENDLESS[0][1]], 0.3) == "None"
    assert time.monotonic() - began >= 0.25


def test_what_is_searched_elsewhere_finds_the_same():
    long = "a" + "x" * 3000
    assert Expression(r"a.*b.*c").steps([long]) > AT_ONCE
    assert search(r"a.*b.*c", [long, "a1b2c"], 20) == "True"
    assert search(r"a.*b.*c", [long, "acb"], 20) == "False"


@pytest.mark.parametrize(
    "expression",
    [
        "Application startup complete",
        r"Listening on .*:\d+",
        r"(?i)ready in \d+ ?ms",
        r"^\[(info|warn)\] (up|ready)$",
        r"Local:\s+http://localhost:\d+/",
    ],
)
def test_what_people_write_is_searched_at_once_in_lines_of_a_log(expression: str):
    assert (
        Expression(expression).steps(["2026-01-01 12:00:00 INFO [main] something that people log"] * 20) <= AT_ONCE
    )


def test_nothing_is_left_open():
    before = set(os.listdir("/proc/self/fd"))
    search(ENDLESS[0][0], [ENDLESS[0][1]], 0.1)
    assert set(os.listdir("/proc/self/fd")) == before


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", r"\w", "^", "$", r"\b", "(?:ab|b)", "(a|b|ab)", "(?=a)"])
COUNTS = st.sampled_from(["", "", "*", "+", "?", "*?", "{2}", "{1,3}", "{2,}"])
PATTERNS = st.lists(st.tuples(ATOMS, COUNTS), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(PATTERNS, PATTERNS, st.sampled_from(["", "*", "+"]), st.text("ab", max_size=40))
def test_what_counts_as_quick_is_quick(
    first: list[tuple[str, str]], second: list[tuple[str, str]], more: str, text: str
):
    """Whatever the bound lets through takes no longer than the bound says, at a microsecond a step."""

    def written(parts: list[tuple[str, str]]) -> str:
        return "".join(atom + (count if atom not in ("^", "$", r"\b", "(?=a)") else "") for atom, count in parts)

    expression = f"{written(first)}(?:{written(second)}){more}"
    steps = Expression(expression).steps([text])
    if steps <= AT_ONCE:
        began: Any = time.process_time()
        re.compile(expression).search(text)
        assert time.process_time() - began <= 0.05 + steps * 1e-6
