"""`top`: what a whole tree uses, drawn in place on a terminal that is given back, or line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeWorld, project, service
from hypothesis import given
from hypothesis import strategies as st
from terminals import Terminal
from toolbox import Scratch

from devtasks import outcomes
from devtasks.metering import Meter
from devtasks.observing import Observer
from devtasks.report import top
from devtasks.report.bars import bars
from devtasks.report.look import Look, columns
from devtasks.store.state import State

ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"


# --- what is measured --------------------------------------------------------------------------------


class Scene:
    """One service on a fake machine, measured."""

    def __init__(self, folder: Path) -> None:
        self.world = FakeWorld()
        of = project(service(cwd=folder, ports=(), pid_file=folder / "web.pid"), root=folder)
        self.state = State.open(of, create=False)
        self.observer = Observer(self.world, of, self.state)  # type: ignore[arg-type]
        self.runner, self.main = self.world.run(cwd=folder)
        self.meter = Meter(self.world, self.world.monotonic, {})  # type: ignore[arg-type]

    def percent(self, *, after: float = 10.0) -> float | None:
        """Of a core, `after` so many seconds: what the tree has used since the last time it was asked."""
        self.world.time += after - (self.world.monotonic() - self._last) if self._last else 0
        self.meter.look(self.observer.observe())
        self._last = self.meter.samples["tree/web"][2]
        value = self.meter.trees.get("web")
        return None if value is None else round(value)

    _last = 0.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.state.close()


def test_the_cpu_of_a_tree_is_that_of_all_its_members(scene: Scene) -> None:
    child = scene.world.add("python worker.py", parent=scene.main)
    scene.main.cpu_seconds = 100.0
    assert scene.percent() is None
    scene.main.cpu_seconds += 1
    child.cpu_seconds += 4
    assert scene.percent() == 50
    assert scene.meter.percents[child.pid] == pytest.approx(40, abs=1)


def test_what_short_lived_children_did_is_not_lost_and_not_counted_twice(scene: Scene) -> None:
    child = scene.world.add("python worker.py", parent=scene.main)
    child.cpu_seconds = 500.0
    scene.percent()
    child.cpu_seconds += 2
    scene.world.end(child)
    scene.main.reaped_seconds += child.cpu_seconds  # as the kernel does when it is waited for
    scene.main.reaped_seconds += 3  # of one that came and went between the looks
    assert scene.percent() == 50


def test_an_orphan_that_its_runner_waits_for_counts(scene: Scene) -> None:
    orphan = scene.world.add("python worker.py", parent=scene.runner)
    orphan.cpu_seconds = 50.0
    scene.percent()
    orphan.cpu_seconds += 5
    scene.world.end(orphan)
    scene.runner.reaped_seconds += orphan.cpu_seconds
    assert scene.percent() == 50


def test_cpu_that_nobody_inherited_is_not_negative(scene: Scene) -> None:
    child = scene.world.add("python worker.py", parent=scene.main)
    child.cpu_seconds = 50.0
    scene.percent()
    scene.world.end(child)
    assert scene.percent() == 0


def test_another_run_is_another_tree(scene: Scene) -> None:
    scene.main.cpu_seconds = 5.0
    scene.percent()
    scene.world.end(scene.main)
    scene.world.add("python main.py", parent=scene.runner, marker=scene.runner.marker, session=None)
    assert scene.percent() is None


# --- how it looks ------------------------------------------------------------------------------------


def test_bars() -> None:
    assert bars((0, 10, 30, 50, 70, 90, 100), 8, full=100, unicode=True) == "  ▁▂▃▅▇▇"
    assert bars((0, 10, 30, 50, 70, 90, 500), 6, full=100, unicode=False) == ".:-=##"
    assert bars((5.0,), 0, full=10, unicode=True) == ""
    assert bars((5.0, float("nan")), 3, full=0, unicode=True) == "   "


def row(name: str = "backend", **changes: object) -> outcomes.ServiceStatus:
    given: dict[str, object] = {
        "name": name,
        "state": "running",
        "health": None,
        "pid": 4711,
        "ports": (8000,),
        "uptime_seconds": 11_532.4,
        "restarts": 2,
        "cpu_percent": 12.3,
        "rss_bytes": 64_000_000,
        "processes": 3,
        "holder": None,
    }
    return outcomes.ServiceStatus(**(given | changes))


def frame(*rows: outcomes.ServiceStatus) -> outcomes.Frame:
    trail = outcomes.Trail(cpu_percent=(1.0, 350.0) * 30, rss_bytes=(1e6, 64e6) * 30)
    return outcomes.Frame(
        at=1_700_000_000.0,
        status=outcomes.Status(project="shop", environment="development", services=rows),
        trails={one.name: trail for one in rows},
    )


def test_the_table_at_80_columns() -> None:
    lines = top.table(frame(row(), row("db", state="failed", cpu_percent=None, pid=None)), Look(), 24)
    assert lines[1].split() == ["SERVICE", "STATE", "CPU", "MEMORY", "PROCS", "PORTS", "UPTIME", "RESTARTS"]
    assert lines[2].split()[:3] == ["backend", "running", "12%"]
    assert "▇" in lines[2]
    assert lines[3].split()[:3] == ["db", "failed", "-"]
    assert max(map(columns, lines)) <= 80


@given(st.integers(40, 200), st.integers(1, 30), st.text(min_size=1, max_size=60), st.booleans())
def test_no_line_is_wider_than_the_terminal(width: int, height: int, detail: str, unicode: bool) -> None:
    rows = [row(f"{'service' * 9}-{n}", ports=(65535,) * 5, detail=detail) for n in range(12)]
    lines = top.table(frame(*rows), Look(width=width, unicode=unicode), height)
    assert len(lines) <= height
    assert max(map(columns, lines)) <= width
    assert not any(char < " " or char == "\x7f" for line in lines for char in line)


# --- the command -------------------------------------------------------------------------------------


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.declare({"web": scratch.server(ready={"tcp": True}), "idle": {"command": "sleep 1000"}})
    return scratch


def test_lines_when_piped(shop: Scratch) -> None:
    shop.start("web")
    done = shop.raw("top", "--count", "2", "--interval", "0.1")
    lines = [line.split()[1:3] for line in done.stdout.splitlines()]
    assert lines == [["web", "running"], ["idle", "stopped"]] * 2
    assert "\x1b" not in done.stdout
    done = shop.raw("top", "web", "--count", "2", "--interval", "0.1", "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["version"] == 1
    assert first["at"] < second["at"]
    assert [one["name"] for one in second["services"]] == ["web"]
    assert second["services"][0]["cpu_percent"] is not None
    assert second["services"][0]["rss_bytes"] > 1_000_000
    shop.run("stop")


def test_a_reader_that_leaves_ends_it(shop: Scratch) -> None:
    child = shop.background("top", "--interval", "0.1")
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(timeout=20) == 0
    assert child.stderr is not None
    assert child.stderr.read() == ""


def test_wrong_numbers_are_usage(shop: Scratch) -> None:
    for flag in (("--interval", "0"), ("--interval", "nan"), ("--count", "0"), ("--count", "-1")):
        assert shop.raw("top", *flag).returncode == 2


def test_the_terminal_is_drawn_in_place_and_given_back(shop: Scratch) -> None:
    with Terminal(shop, "top", "--interval", "0.2", NO_COLOR="1") as terminal:
        at = terminal.expect(ENTERED)
        at = terminal.expect("RESTARTS", after=at)
        assert terminal.state()[3] != terminal.before[3]
        terminal.resize(60, 10)
        terminal.expect("UPTIME  RES\x1b", after=at)
        terminal.type(b"xq")
        assert terminal.wait() == 0
        assert terminal.text.rstrip().endswith(LEFT)
        assert terminal.state() == terminal.before
        assert "\x1b[3" not in terminal.text  # no colour


@pytest.mark.parametrize(("number", "code"), [(None, 130), (signal.SIGTERM, 143)])
def test_an_interruption_gives_the_terminal_back(shop: Scratch, number: signal.Signals | None, code: int) -> None:
    with Terminal(shop, "top") as terminal:
        terminal.expect("RESTARTS")
        if number is None:
            terminal.type(b"\x03")
        else:
            terminal.signal(number)
        assert terminal.wait() == code
        assert terminal.text.count(LEFT) == terminal.text.count(ENTERED) == 1
        assert terminal.state() == terminal.before
        assert "Traceback" not in terminal.text


def test_a_crash_gives_the_terminal_back(shop: Scratch) -> None:
    with Terminal(shop, "top", "--interval", "0.1") as terminal:
        terminal.expect("RESTARTS")
        child = terminal.child.pid
        # nothing can be read any more: every look fails
        subprocess.run(["prlimit", "--nofile=3:3", "--pid", str(child)], check=True)
        assert terminal.wait() == 1
        assert terminal.text.count(LEFT) == 1
        assert terminal.state() == terminal.before


def test_a_terminal_that_goes_away_ends_it(shop: Scratch) -> None:
    terminal = Terminal(shop, "top", "--interval", "0.1")
    terminal.expect("RESTARTS")
    terminal.hang_up()
    assert terminal.child.wait(timeout=20) == 129


def test_ctrl_z_gives_the_terminal_back_meanwhile(shop: Scratch) -> None:
    with Terminal(shop, "top", "--interval", "0.1") as terminal:
        terminal.expect("RESTARTS")
        child = terminal.child.pid
        os.kill(child, signal.SIGTSTP)
        at = terminal.expect(LEFT)
        # it leads an orphaned process group here, so the kernel does not stop it
        terminal.expect("RESTARTS", after=terminal.expect(ENTERED, after=at))
        terminal.type(b"q")
        assert terminal.wait() == 0
