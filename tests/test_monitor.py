"""The monitor with real services: what it starts again, how often, and what it leaves alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filetools import fill, small_disk
from toolbox import PATIENCE_SECONDS, PYTHON, Being, Scratch, Stage, eventually, free_port, is_free

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="observed through /proc")

AT_ONCE = {"backoff": 0, "max_backoff": 0, "max": 50, "window": 1000}


class Watch:
    """A project, and its monitor as a child of the test."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self.stage = scratch.stage
        self.monitors: list[subprocess.Popen[str]] = []

    def declare(self, services: Mapping[str, Mapping[str, object]], **table: object) -> None:
        self.scratch.install("main.py", "brief.sh")
        self.scratch.declare(services, **table)

    def brief(self, name: str, seconds: float, status: int, **restart: object) -> dict[str, object]:
        """A service that announces itself, and ends by itself."""
        command = ["sh", "brief.sh", name, str(seconds), str(status)]
        return {"command": command, "ready": {"command": ["true"]}, "restart": {**AT_ONCE, **restart}}

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a monitor and wait until it watches."""
        with open(self.scratch.root / f"monitor-{len(self.monitors)}.out", "w") as log:
            child = self.stage.popen(
                [PYTHON, "-m", "devtasks", "monitor", *arguments],
                self.scratch.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.monitors.append(child)
        eventually(lambda: "watching" in self.said() or child.poll() is not None, "the monitor watches")
        return child

    def said(self) -> str:
        """What the last monitor wrote."""
        if not self.monitors:
            return (self.scratch.state / "monitor.log").read_text()
        return (self.scratch.root / f"monitor-{len(self.monitors) - 1}.out").read_text()

    def go(self) -> None:
        """From now on what is brief ends."""
        (self.scratch.root / "go").touch()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        child = self.monitors[-1]
        child.send_signal(number)
        return child.wait(PATIENCE_SECONDS)

    def wait_for(self, words: str) -> None:
        eventually(lambda: words in self.said(), f"the monitor says {words!r}: {self.said()}")

    def status(self, name: str, **options: Any) -> dict[str, Any]:
        report = self.scratch.run("status", **options)
        found: dict[str, Any] = next(row for row in report["services"] if row["name"] == name)
        return found

    def times(self, name: str) -> list[float]:
        """When it announced itself, in seconds."""
        lines = (self.stage.folder / "announced").read_text().splitlines()
        return [float(line.split()[3]) for line in lines if line.split()[0] == name]

    def restarted(self, name: str, count: int) -> Being:
        """Wait until it has been started so often; the present one."""
        eventually(lambda: len(self.stage.announced(name)) >= count, f"{count} starts of {name}: {self.said()}")
        return self.stage.announced(name)[-1]


@pytest.fixture
def watch(scratch: Scratch) -> Iterator[Watch]:
    watch = Watch(scratch)
    try:
        yield watch
    finally:
        for child in watch.monitors:
            if child.poll() is None:
                child.kill()
            child.wait()
        for pid in [one for one in (scratch.state / "monitor.pid",) if one.exists()]:
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)
        if (scratch.root / "devtasks.toml").exists():
            scratch.raw("force-clean")


# --- how often ---------------------------------------------------------------------------------------


def most_in_a_window(times: list[float], window: float) -> int:
    return max((sum(1 for one in times if start <= one < start + window) for start in times), default=0)


def test_crash_loops_never_exceed_the_limit_whatever_the_lifetime(watch: Watch):
    """Lifetimes of 0, 0.5, 1.3, 3 and 11 s, and a window of 60 s, ten times as fast."""
    lives = {"a": 0, "b": 0.05, "c": 0.13, "d": 0.3, "e": 1.1}
    limit = {"max": 3, "window": 3, "cooldown": 3, "backoff": 0, "max_backoff": 0}
    watch.declare({name: watch.brief(name, life, 1, **limit) for name, life in lives.items()})
    watch.scratch.run("start")
    watch.begin()
    watch.go()
    began = time.monotonic()
    for name in ("a", "b", "c", "d"):
        # three restarts, then failed, then a budget of three more
        eventually(lambda name=name: len(watch.times(name)) >= 6, f"{name} is tried again: {watch.said()}")
    eventually(lambda: len(watch.times("e")) >= 4, f"e: {watch.said()}")
    assert time.monotonic() - began >= 3
    for name in lives:
        starts = watch.times(name)[1:]  # the first was no restart
        assert most_in_a_window(starts, 2.8) <= 3, (name, starts)  # a start is announced a little later than it is
    assert "given up" in watch.said()


def test_what_gives_up_says_why(watch: Watch):
    watch.declare({"web": watch.brief("web", 0.3, 7, max=1, cooldown=0)})
    watch.scratch.start()
    watch.begin()
    watch.go()
    for words in ("given up", "exited with code 7 after", "last words of web"):
        watch.wait_for(words)
    row = eventually(
        lambda: row if (row := watch.status("web"))["state"] == "failed" else None, "status says failed"
    )
    assert row["restarts"] == 1
    assert row["restart"]["left"] == 0
    assert row["restart"]["failed"] is True
    assert row["restart"]["failed_until"] is None
    assert "exited with code 7" in row["restart"]["cause"]
    assert "  | last words of web" in row["restart"]["cause"].splitlines()
    text = watch.scratch.raw("status").stdout
    assert "failed" in text
    assert "inv start-web" in text
    assert watch.scratch.raw("status", "--check").returncode == 1
    events = watch.scratch.run("history")["events"]
    assert [event["kind"] for event in events if event["service"] == "web"].count("restart") == 1
    assert any(event["kind"] == "failure" and "given up" in event["detail"] for event in events)


def test_someone_who_starts_it_gives_a_new_budget(watch: Watch):
    watch.declare({"web": watch.brief("web", 0.3, 1, max=1, cooldown=0)})
    watch.scratch.start()
    watch.begin()
    watch.go()
    watch.wait_for("given up")
    count = len(watch.stage.announced("web"))
    watch.scratch.start()
    watch.restarted("web", count + 2)


# --- which ends ---------------------------------------------------------------------------------------


def test_policies(watch: Watch):
    services = {
        "always": watch.brief("always", 0.2, 0, policy="always"),
        "clean": watch.brief("clean", 0.2, 0),
        "failing": watch.brief("failing", 0.2, 3),
        "never": watch.brief("never", 0.2, 3, policy="never"),
    }
    watch.declare(services)
    watch.scratch.run("start")
    watch.begin()
    watch.go()
    watch.restarted("always", 3)
    watch.restarted("failing", 3)
    assert len(watch.stage.announced("clean")) == 1
    assert len(watch.stage.announced("never")) == 1
    watch.scratch.run("stop")


def test_a_killed_service_is_running_again_at_once(watch: Watch):
    server = watch.scratch.server(restart=AT_ONCE)
    watch.declare({"web": server})
    watch.scratch.start()
    watch.begin()
    first = watch.stage.one("main")
    first.kill()
    second = watch.restarted("main", 2)
    assert second != first
    watch.wait_for("runs again")
    row = watch.status("web")
    assert (row["state"], row["pid"], row["restarts"]) == ("running", second.pid, 1)
    assert watch.end() == 143
    assert second.alive
    assert "the services go on" in watch.said()


def test_a_dependant_waits_for_what_it_depends_on(watch: Watch):
    gate = watch.scratch.root / "gate"
    gate.touch()
    db = watch.scratch.server("--name", "db", "--after", str(gate), restart=AT_ONCE)
    web = watch.scratch.server("--name", "web", restart=AT_ONCE)
    other = watch.scratch.server("--name", "other", restart=AT_ONCE)
    watch.declare({"db": db, "web": {**web, "depends_on": ["db"]}, "other": {**other, "depends_on": ["db"]}})
    watch.scratch.start()
    watch.begin()
    gate.unlink()
    watch.stage.one("db").kill()
    eventually(lambda: len(watch.stage.announced("db-waiting")) == 2, "db is started, and not ready")
    watch.stage.one("web").kill()
    watch.wait_for("waits for db")
    row = eventually(lambda: r if (r := watch.status("web"))["restart"]["waits_for"] else None, "status tells")
    assert row["restart"]["waits_for"] == "db"
    assert len(watch.stage.announced("web")) == 1
    gate.touch()
    watch.restarted("web", 2)
    assert watch.stage.at("web") > watch.stage.at("db")
    assert len(watch.stage.announced("other")) == 1  # it is healthy: nobody touches it


# --- what somebody stopped stays stopped -----------------------------------------------------------------


@pytest.mark.parametrize("verb", ["stop", "force-clean", "free-port"])
def test_what_was_stopped_is_not_started_again(watch: Watch, verb: str):
    """Running, or crashed and waiting for its restart; nor by a monitor that comes later."""
    port = free_port()
    late = {**AT_ONCE, "backoff": 3, "max_backoff": 3}
    watch.declare({"web": watch.scratch.server(port=port, restart=late)})
    words = [verb, "--port", str(port)] if verb == "free-port" else [verb]
    watch.scratch.start()
    watch.begin()
    watch.scratch.run(*words)
    watch.scratch.start()
    watch.stage.one("main").kill()
    watch.wait_for("restarting in")
    watch.scratch.run(*words)
    row = eventually(lambda: r if (r := watch.status("web"))["restart"] is None else None, "it is forgotten")
    assert row["state"] == ("stale" if verb == "free-port" else "stopped")
    assert watch.end() == 143
    watch.begin()
    watch.end()
    assert len(watch.stage.announced("main")) == 2
    assert "restarting" not in watch.said()


def test_what_crashed_unwatched_is_started_when_a_monitor_comes(watch: Watch):
    services = {name: watch.scratch.server("--name", name, restart=AT_ONCE) for name in ("one", "two", "three")}
    watch.declare(services)
    watch.scratch.run("start", "--only", "one", "--only", "two")
    watch.stage.one("one").kill()
    watch.begin()
    watch.restarted("one", 2)
    watch.wait_for("runs again")
    assert len(watch.stage.announced("two")) == 1
    assert not watch.stage.announced("three")  # nobody ever started it


# --- health and memory --------------------------------------------------------------------------------


def test_what_lives_and_does_not_answer_is_started_again(watch: Watch):
    health = {"http": "/", "interval": 0.2, "timeout": 0.5, "failures": 2}
    watch.declare({"web": watch.scratch.server(health=health, restart=AT_ONCE)})
    watch.scratch.start()
    watch.begin()
    eventually(lambda: watch.status("web")["health"] == "healthy", "it is healthy")
    watch.stage.one("main").send(signal.SIGSTOP)
    watch.restarted("main", 2)
    watch.wait_for("runs again")
    assert "unhealthy" in watch.said()
    eventually(lambda: watch.status("web")["health"] == "healthy", "it is healthy again")
    kinds = [event["kind"] for event in watch.scratch.run("history")["events"]]
    assert "unhealthy" in kinds
    assert "restart" in kinds


def test_a_probe_that_hangs_holds_up_nobody_else(watch: Watch):
    hangs = {"command": ["sleep", "60"], "interval": 0.1, "timeout": 30}
    services = {
        "slow": watch.scratch.server("--name", "slow", health=hangs, restart=AT_ONCE),
        "web": watch.scratch.server("--name", "web", restart=AT_ONCE),
    }
    watch.declare(services)
    watch.scratch.start()
    watch.begin()
    time.sleep(0.3)  # a probe is in flight by then, and for half a minute
    watch.stage.one("web").kill()
    watch.restarted("web", 2)
    assert len(watch.stage.announced("slow")) == 1


def test_a_tree_that_outgrows_its_memory_is_started_again(watch: Watch):
    watch.scratch.install("stage.py")
    (watch.scratch.root / "big.py").write_text(
        "import stage, os, time\nstage.announce('big')\n"
        "while not os.path.exists('grow'): time.sleep(0.05)\n"
        "if len(open(stage.FOLDER + '/announced').readlines()) == 1: data = bytearray(80 << 20)\n"
        "time.sleep(600)\n"
    )
    restart = {**AT_ONCE, "memory_above": "60MiB"}
    watch.declare({"big": {"command": [PYTHON, "big.py"], "restart": restart}})
    watch.scratch.start()
    watch.begin()
    (watch.scratch.root / "grow").touch()
    watch.restarted("big", 2)
    assert "MiB of memory, above 60 MiB" in watch.said()


# --- monitors -----------------------------------------------------------------------------------------


def test_a_second_monitor_says_who_watches(watch: Watch):
    watch.declare({"web": watch.brief("web", 60, 0)})
    first = watch.begin()
    report = watch.scratch.run("monitor")
    assert report["state"] == "watching"
    assert report["pid"] == first.pid
    assert report["since"] <= time.time()
    assert f"PID {first.pid} watches, since" in watch.scratch.raw("monitor", "--detach").stdout
    assert watch.scratch.run("monitor", "--status")["pid"] == first.pid
    first.kill()  # what it leaves is stale, and stands in nobody's way
    first.wait()
    assert watch.scratch.run("monitor", "--status")["state"] == "not-watching"
    watch.begin()


def test_a_monitor_in_the_background(watch: Watch):
    watch.declare({"web": watch.scratch.server(restart=AT_ONCE)})
    watch.scratch.start()
    report = watch.scratch.run("monitor", "--detach")
    assert report["state"] == "started"
    pid = report["pid"]
    assert (watch.scratch.state / "monitor.pid").read_text() == f"{pid}\n"
    shown = watch.scratch.run("show-processes")["services"]
    (group,) = (group for group in shown if group["name"] == "monitor")
    assert [row["pid"] for row in group["processes"]] == [pid]
    assert "runner" not in group["guarantee"]
    assert {"service": "monitor", "pid": pid} in watch.scratch.run("clean")["running"]
    watch.stage.one("main").kill()
    watch.restarted("main", 2)
    eventually(lambda: watch.status("web")["state"] == "running", "it runs again")
    watch.scratch.run("stop", "--only", "web")
    assert watch.scratch.run("monitor", "--status")["state"] == "watching"
    watch.scratch.start("--only", "web")
    watch.scratch.run("stop")
    assert watch.scratch.run("monitor", "--status")["state"] == "not-watching"
    assert not (watch.scratch.state / "monitor.pid").exists()
    assert len(watch.stage.living("main")) == 0
    assert "runs again" in (watch.scratch.state / "monitor.log").read_text()
    watch.scratch.start()
    watch.scratch.run("monitor", "--detach")
    would = watch.scratch.run("monitor", "--stop", "--dry-run")
    assert (would["dry_run"], would["state"]) == (True, "stopped")
    assert watch.scratch.run("monitor", "--status")["pid"] == would["pid"]
    assert watch.scratch.run("monitor", "--stop")["state"] == "stopped"
    assert watch.status("web")["state"] == "running"


def test_a_monitor_that_was_killed_has_a_successor(watch: Watch):
    """It adopts what runs, and goes on with the budget."""
    limit = {"backoff": 0, "max_backoff": 0, "max": 2, "window": 600, "cooldown": 600}
    watch.declare({"web": watch.scratch.server(restart=limit), "db": watch.scratch.server("--name", "db")})
    watch.scratch.start()
    watch.begin()
    watch.stage.one("main").kill()
    watch.restarted("main", 2)
    watch.wait_for("runs again")
    watch.end(signal.SIGKILL)
    watch.begin()
    row = watch.status("web")
    assert (row["restarts"], row["restart"]["left"]) == (1, 1)
    watch.stage.one("main").kill()
    watch.restarted("main", 3)
    watch.wait_for("runs again")
    watch.stage.one("main").kill()
    watch.wait_for("given up")
    assert len(watch.stage.announced("main")) == 3
    assert len(watch.stage.announced("db")) == 1


def test_what_a_monitor_found_wanted_is_wanted_by_its_successor(watch: Watch):
    """Killed between a decision and what follows: the run that ended had not been confirmed before."""
    watch.declare({"web": watch.scratch.server(restart=AT_ONCE)})
    watch.scratch.start()
    watch.begin()
    watch.stage.one("main").kill()
    watch.restarted("main", 2)
    watch.wait_for("runs again")
    watch.end(signal.SIGKILL)
    recorded(watch, "UPDATE wanted SET nonce = 'an earlier one'")
    watch.declare({"web": watch.scratch.server(restart={**AT_ONCE, "backoff": 60, "max_backoff": 60})})
    watch.begin()
    watch.stage.one("main").kill()
    watch.wait_for("restarting in")
    watch.end(signal.SIGKILL)
    recorded(watch, "UPDATE budgets SET nonce = 'one that never began', next_at = NULL")
    watch.begin()
    watch.wait_for("restarting in")


def recorded(watch: Watch, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(watch.scratch.state / "state.db", isolation_level=None)) as database:
        database.execute(statement)


def killed_at(watch: Watch, delays: list[float]) -> None:
    """The monitor is killed so long after a service was; its successor leaves exactly one that lives."""
    watch.declare({"web": watch.scratch.server(restart={**AT_ONCE, "max": 1000})})
    watch.scratch.start()
    for delay in delays:
        watch.begin()
        count = len(watch.stage.announced("main"))
        watch.stage.one("main").kill()
        time.sleep(delay)
        watch.end(signal.SIGKILL)
        watch.begin()
        watch.restarted("main", count + 1)
        eventually(lambda: watch.status("web")["state"] == "running", f"it runs, after {delay}: {watch.said()}")
        assert len(watch.stage.living("main")) == 1, delay
        assert len(watch.stage.announced("main")) <= count + 2, delay
        watch.end(signal.SIGKILL)


def test_a_monitor_killed_at_any_moment_of_a_restart(watch: Watch):
    killed_at(watch, [0.0, 0.004, 0.012, 0.025, 0.05, 0.12])


@pytest.mark.soak
def test_a_monitor_killed_at_many_moments_of_a_restart(watch: Watch):
    killed_at(watch, [step * 0.002 for step in range(100)])


# --- races --------------------------------------------------------------------------------------------


def race(watch: Watch, rounds: int) -> None:
    """Stops and restarts, at the moment at which the monitor starts it again."""
    watch.declare({"web": watch.scratch.server(restart={**AT_ONCE, "max": 1000})})
    watch.begin()
    for number in range(rounds):
        watch.scratch.start()
        one = watch.stage.living("main")[-1]
        one.kill()
        time.sleep(number % 8 * 0.01)
        if number % 3 == 2:
            watch.scratch.run("restart")
            assert len(watch.stage.wait_for("main")) == 1, number
        verb = ("stop", "force-clean")[number % 2]
        watch.scratch.run(verb)
        assert not watch.stage.living("main"), (number, watch.said())
        assert watch.status("web")["state"] == "stopped", (number, watch.said())
    time.sleep(0.3)  # long enough for a restart that should not be
    assert not watch.stage.living("main")


def test_commands_race_with_the_monitor(watch: Watch):
    race(watch, 8)


@pytest.mark.soak
def test_commands_race_with_the_monitor_for_long(watch: Watch):
    race(watch, 200)


# --- the disk -----------------------------------------------------------------------------------------


def test_the_state_is_deleted_under_it(watch: Watch):
    """`git clean` takes all that is known; the monitor knows it still, and writes it down again."""
    import shutil

    watch.declare({"web": watch.scratch.server(restart=AT_ONCE)})
    watch.scratch.start()
    watch.begin()
    shutil.rmtree(watch.scratch.state)
    eventually((watch.scratch.state / "monitor.pid").exists, f"it claims again: {watch.said()}")
    assert watch.scratch.run("monitor", "--status")["state"] == "watching"
    watch.stage.one("main").kill()
    watch.restarted("main", 2)
    watch.wait_for("runs again")
    assert watch.status("web")["state"] == "running"
    watch.scratch.run("stop")
    assert not watch.stage.living("main")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_makes_no_storm(watch: Watch, tmp_path: Path):
    """Nothing can be recorded: what crashes is tried in measure, and what is stopped stays so."""
    with small_disk(watch.scratch.state, 2048):
        watch.declare({"web": watch.scratch.server(restart={"max": 30, "window": 60, "backoff": 0})})
        watch.scratch.start()
        watch.begin()
        filler = fill(watch.scratch.state)
        try:
            watch.stage.one("main").kill()
            watch.wait_for("restarting")
            time.sleep(3)
            assert watch.said().count("could not be started") <= 2
            filler.unlink()
            watch.scratch.run("stop")
            watch.end()
            assert not watch.stage.living("main")
        finally:
            watch.monitors[-1].kill()
            watch.monitors[-1].wait()
            watch.scratch.raw("force-clean")
            eventually(lambda: not watch.stage.everything(), "everybody has left the disk")


# --- telling ------------------------------------------------------------------------------------------


def test_a_command_is_told_what_happens(watch: Watch):
    (watch.scratch.root / "hook.py").write_text(
        "import json, os, sys\n"
        "told = {k: v for k, v in os.environ.items() if k.startswith('DEVTASKS_')}\n"
        "line = json.dumps([told, json.loads(sys.stdin.read())])\n"
        "open('told', 'a').write(line + '\\n')\n"
        "sys.exit(3)\n"
    )
    watch.declare({"web": watch.brief("web", 0.3, 5, max=1, cooldown=0)}, on_event=[PYTHON, "-S", "hook.py"])
    watch.scratch.start()
    watch.begin()
    watch.go()
    told = watch.scratch.root / "told"

    def kinds() -> list[str]:
        return [json.loads(line)[1]["event"] for line in told.read_text().splitlines()] if told.exists() else []

    eventually(lambda: "failure" in kinds(), f"it is told: {kinds()}")
    assert kinds()[:3] == ["exit", "restart", "ready"]
    environ, event = json.loads(told.read_text().splitlines()[-1])
    assert environ["DEVTASKS_EVENT"] == "failure"
    assert environ["DEVTASKS_EVENT_SERVICE"] == event["service"] == "web"
    assert environ["DEVTASKS_KEEP"] == "1"
    assert "DEVTASKS_ID" not in environ
    assert "last words of web" in "\n".join(event["report"])


def test_an_idle_monitor_sleeps(watch: Watch):
    """Ten services: at most one wake-up a second in all, heartbeats included."""
    services = {f"s{number}": watch.brief(f"s{number}", 600, 0) for number in range(10)}
    watch.declare(services)
    watch.scratch.run("start")
    child = watch.begin()
    time.sleep(1)  # it is done with beginning

    def wakes() -> int:
        total = 0
        for task in Path(f"/proc/{child.pid}/task").iterdir():
            lines = (task / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
        return total

    before = wakes()
    time.sleep(6)
    assert wakes() - before <= 6
    beat = time.time()
    with contextlib.closing(sqlite3.connect(watch.scratch.state / "state.db")) as connection:
        rows = connection.execute("SELECT service, at FROM heartbeats").fetchall()
    assert len(rows) == 11
    assert all(beat - at < 10 for _, at in rows)
    watch.scratch.run("stop", "--timeout", "1")


def test_ports_are_free_at_the_end(watch: Watch):
    port = free_port()
    watch.declare({"web": watch.scratch.server(port=port, restart=AT_ONCE)})
    watch.scratch.start()
    watch.begin()
    watch.scratch.run("stop")
    assert is_free(port)
    assert watch.stage is not None
    assert isinstance(watch.stage, Stage)
