"""What is begun and not finished: interrupted between its launch and its record, or passed by another command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from toolbox import PATIENCE_SECONDS, PYTHON, Scratch, being, eventually, marked, stat

from devtasks import verbs
from devtasks.config import loading
from devtasks.model import Identity, Process
from devtasks.store.state import State
from devtasks.world.linux import LinuxWorld


class Interrupting(LinuxWorld):
    """Ctrl-C at a chosen call, once."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self._call = call

    def _reach(self, call: str) -> None:
        if call == self._call:
            self._call = ""
            raise KeyboardInterrupt

    def identity(self, process: Process) -> Identity:
        self._reach("identity")
        return super().identity(process)

    def pin(self, process: Process) -> Any:
        self._reach("pin")
        return super().pin(process)


def scope(scratch: Scratch, world: LinuxWorld) -> verbs.Scope:
    project = loading.load(scratch.root, scratch.stage.environ)
    return verbs.Scope(project, world, State.open(project, create=False), lambda _line: None)


@pytest.fixture
def alone(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """The stage's environment, for starts in this very process."""
    for name, value in scratch.stage.environ.items():
        monkeypatch.setenv(name, value)
    return scratch


def services_of(scratch: Scratch) -> list[Any]:
    """What this project's starts have launched: other tests, and other suites, run `main.py`, too."""
    found = []
    for one in marked("SPT_NOENV=1"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{one.pid}/cwd").startswith(os.path.realpath(scratch.root)):
                found.append(one)
    return found


@pytest.mark.parametrize("call", ["identity", "pin"])
def test_an_interruption_right_after_the_launch_leaves_nothing(alone: Scratch, call: str) -> None:
    alone.declare({"web": alone.server()})
    before = {one.pid for one in services_of(alone)}
    with closing(scope(alone, Interrupting(call))) as here, pytest.raises(KeyboardInterrupt):
        verbs.start(here, (), timeout_seconds=None, dry_run=False)
    assert [one for one in services_of(alone) if one.pid not in before] == []
    assert not alone.pid_file().exists()
    assert alone.run("status")["services"][0]["state"] == "stopped"


def test_an_interruption_while_an_unready_one_is_stopped_is_not_swallowed(alone: Scratch) -> None:
    """Of two services one is not ready in time; Ctrl-C while it is stopped ends the whole start."""
    alone.declare(
        {
            "web": {"command": ["sleep", "300"], "ready": {"log": "never", "timeout": 0.5}},
            "api": {"command": ["sleep", "301"], "ready": {"log": "never", "timeout": 60}},
        }
    )
    world = LinuxWorld()
    pins: list[int] = []
    with closing(scope(alone, world)) as here:

        def pin(process: Process) -> Any:
            pins.append(process.pid)
            if len(pins) == 3:  # the third is pinned to be stopped
                raise KeyboardInterrupt
            return LinuxWorld.pin(world, process)

        world.pin = pin  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            verbs.start(here, (), timeout_seconds=None, dry_run=False)
    assert {row["state"] for row in alone.run("status")["services"]} == {"stopped"}


def test_a_command_before_that_cannot_be_executed_concerns_only_its_service(scratch: Scratch) -> None:
    script = scratch.root / "migrate"
    script.write_bytes(b"\x00\x01 no program\n")
    script.chmod(0o755)
    web = {"command": ["sleep", "300"], "before": ["./migrate"]}
    scratch.declare({"web": web, "api": {"command": ["sleep", "301"]}})
    report = scratch.run("start", expect=1)
    assert {row["name"]: row["outcome"] for row in report["services"]} == {"web": "exited", "api": "started"}
    assert "cannot be executed" in next(row["detail"] for row in report["services"] if row["name"] == "web")
    scratch.run("stop")


# --- what is inherited from whoever starts -----------------------------------------------------------


def test_ignored_signals_are_not_handed_down(scratch: Scratch) -> None:
    """A script in the background ignores INT and QUIT, and some CI agents CHLD: the service must not."""
    scratch.declare({"web": {"command": [PYTHON, "-c", "import time; time.sleep(1.5); raise SystemExit(7)"]}})
    subprocess.run(
        ["sh", "-c", f"trap '' INT QUIT CHLD USR1 TSTP; exec {PYTHON} -m devtasks start"],
        cwd=scratch.root,
        env=scratch.stage.environ,
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    main = being(int(scratch.pid_file().read_text()))
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{main.pid}/status").read_text().splitlines())
    ignored = int(fields["SigIgn"], 16)
    names = [one.name for one in signal.Signals if ignored >> (one - 1) & 1]
    assert set(names) <= {"SIGPIPE", "SIGXFSZ"}, "Python ignores these by itself"
    eventually(lambda: stat(main.pid) is None or not main.alive, "the service ends")

    def code() -> int | None:
        with closing(State.open(loading.load(scratch.root, scratch.stage.environ), create=False)) as state:
            state.collect_exits(loading.load(scratch.root, scratch.stage.environ))
            run = state.last_run("web")
            return run.exit_code if run is not None else None

    assert eventually(code, "its runner tells how it ended") == 7


# --- files of a run that is not ours to judge --------------------------------------------------------


def elsewhere(scratch: Scratch) -> Path:
    """A service that runs in a container which shares the folder."""
    scratch.declare({"web": {"command": ["sleep", "300"]}})
    main = scratch.start()
    path = scratch.pid_file()
    content = path.read_text()
    world = LinuxWorld()
    row = world.reread([main])[main]
    scratch.run("stop")
    project = loading.load(scratch.root, scratch.stage.environ)
    with closing(State.open(project, create=False)) as state:
        identity = world.identity(row)._replace(namespace=world.namespace + 1)
        state.intend("web", "e" * 16, boot=world.boot, namespace=world.namespace + 1, started_at=1.0)
        state.record("e" * 16, main=identity)
    path.write_text(content)
    return path


@pytest.mark.parametrize("command", ["stop", "clean", "force-clean"])
def test_the_pid_file_of_a_service_that_runs_elsewhere_stays(scratch: Scratch, command: str) -> None:
    path = elsewhere(scratch)
    assert scratch.run("status")["services"][0]["state"] == "elsewhere"
    scratch.run(command)
    assert path.exists()
    assert scratch.run("status")["services"][0]["state"] == "elsewhere"


def test_clean_spares_the_pid_file_of_a_start_that_passed_it(alone: Scratch) -> None:
    """It looked before the start and tidies after it."""
    alone.declare({"web": {"command": ["sleep", "300"]}})
    with closing(scope(alone, LinuxWorld())) as here:
        observe = here.observer.observe

        def overtaken(previous: Any = None) -> Any:
            seen = observe(previous)
            alone.start()
            return seen

        here.observer.observe = overtaken  # type: ignore[method-assign]
        verbs.clean(here, (), older_than_days=7, dry_run=False)
    assert alone.pid_file().exists()
    assert alone.run("status")["services"][0]["state"] == "running"
    alone.run("stop")
