"""The benchmarks: what their rows say, and that nothing is left when one is interrupted.

The limits themselves are measured by `inv benchmark`: a loaded machine says nothing about them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import table
from benchmarks.herd import Herd
from benchmarks.readings import Reading, Row
from benchmarks.timing import interleaved

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SECONDS = 60


def row(kind: str, ours: float, theirs: float | None, limit: float, **more: str) -> Row:
    reading = None if theirs is None else Reading.of([theirs])
    return Row(what="it", ours=Reading.of([ours]), against="that", theirs=reading, kind=kind, limit=limit, **more)


@pytest.mark.parametrize(
    ("one", "figure", "verdict"),
    [
        (row("ratio", 120, 100, 1.25), 1.2, "ok"),
        (row("ratio", 130, 100, 1.25), 1.3, "over"),
        (row("difference", 130, 100, 30), 30, "ok"),
        (row("value", 12, None, 11), 12, "over"),
        (row("ratio", 12, None, 11, missing="npm is not installed"), None, "skipped"),
    ],
)
def test_a_row_is_judged_by_its_figure(one: Row, figure: float | None, verdict: str):
    assert one.figure == figure
    assert one.verdict == verdict


def test_the_best_decides_and_the_median_is_shown():
    one = Row(
        what="it",
        ours=Reading.of([9, 3, 4]),
        against="that",
        theirs=Reading.of([2, 8, 8]),
        kind="ratio",
        limit=1.5,
    )
    assert one.verdict == "ok"
    assert "3.0 (4.0) ms" in table.text([one])
    assert "2.0 (8.0) ms" in table.markdown([one])
    assert json.loads(table.as_json([one]))["rows"][0]["figure"] == 1.5


def test_a_missing_peer_says_why():
    assert "skipped: npm is not installed" in table.text(
        [row("ratio", 1, None, 1, missing="npm is not installed")]
    )


def test_contenders_take_turns_and_the_first_rounds_do_not_count():
    turns: list[str] = []

    def contender(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = interleaved({"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=2, warm_up=1)
    assert turns == ["a", "b", "b", "a", "a", "b"]
    assert found["a"].best == 4
    assert found["b"].best == 3


def test_a_herd_ends_with_its_holder():
    with Herd(3) as herd:
        sleepers = psutil.Process(herd.keeper.pid).children()
        assert len(sleepers) == 3
    assert not any(sleeper.is_running() for sleeper in sleepers)


def test_an_unknown_name_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no measurement 'speed'" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_nothing(tmp_path: Path, number: int):
    benchmark = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "observation"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(inhabitants(tmp_path)) >= 2)  # both services run
        os.kill(benchmark.pid, number)
        assert benchmark.wait(LONGEST_SECONDS) == 128 + number
    finally:
        benchmark.kill()
        benchmark.wait()
    until(lambda: not inhabitants(tmp_path))
    assert not list(tmp_path.iterdir())


def inhabitants(folder: Path) -> list[psutil.Process]:
    """Whatever runs in a folder below `folder`."""
    return [
        process
        for process in psutil.process_iter(["cwd"])
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder)
    ]


def until(condition) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
