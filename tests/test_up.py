"""`up`: everything in one terminal, stopped with it, and nothing else; killed, its guardian does it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from terminals import Terminal
from toolbox import PATIENCE_SECONDS, PYTHON, Being, Scratch, being, ended, eventually, marked, parent, stat

from devtasks.errors import UsageError
from devtasks.up import reasons

LOGGER = "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.05)\n"


class Up:
    """One `devtasks up --json` in the background, and what it said so far."""

    def __init__(self, scratch: Scratch, *arguments: str) -> None:
        self.child = scratch.background("up", "--json", *arguments)
        self.said: list[dict[str, Any]] = []
        self._at = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.said.append(json.loads(line))

    @property
    def pid(self) -> int:
        return self.child.pid

    def expect(self, event: str, service: str | None = None) -> dict[str, Any]:
        """The next line of this kind."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and (self._reader.is_alive() or self._at < len(self.said)):
            while self._at < len(self.said):
                one = self.said[self._at]
                self._at += 1
                if one["event"] == event and service in (None, one["service"]):
                    return one
            time.sleep(0.01)
        raise AssertionError(f"no {event} of {service}: {self.said}")

    def end(self, number: signal.Signals | None = None) -> int:
        """The exit code, once everything was said."""
        if number is not None:
            self.child.send_signal(number)
        code = self.child.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self.child.stderr is not None
        assert self.child.stderr.read() == ""
        return code

    def events(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.said if one["event"] == event]

    def guardian(self) -> Being:
        """Its one child that is no runner of a service."""
        return eventually(self._guardian, "the guardian is there")

    def _guardian(self) -> Being | None:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and stat(int(entry)) and _argv(int(entry))[3:4] == [str(GUARDIAN)]:
                try:
                    if parent(int(entry)) == self.pid:
                        return being(int(entry), "guardian")
                except OSError:
                    continue
        return None


GUARDIAN = Path(reasons.__file__).with_name("guardian.py")


def _argv(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return []


@pytest.fixture
def shop(scratch: Scratch) -> Iterator[Scratch]:
    """Two services, one of which depends on the other."""
    declare(scratch)
    yield scratch
    scratch.raw("force-clean")


def declare(scratch: Scratch, **more: Mapping[str, object]) -> None:
    scratch.install("main.py")
    web = {
        "command": [PYTHON, "main.py", "--name", "web"],
        "depends_on": ["db"],
        "ready": {"log": "ready to serve"},
    }
    web["command"] += ["--say", "ready to serve"]  # type: ignore[operator]
    db = {"command": [PYTHON, "main.py", "--name", "db", "--say", "db is here"], "ready": {"log": "is here"}}
    scratch.declare({"web": web, "db": db, **more})


# --- in order ----------------------------------------------------------------------------------------


def test_it_starts_in_order_shows_the_logs_and_stops_in_reverse(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    assert [one["service"] for one in up.events("ready")] == ["db", "web"]
    assert {(one["service"], one["line"]) for one in up.events("log")} == {
        ("db", "db is here"),
        ("web", "ready to serve"),
    }
    services = [shop.stage.one("web"), shop.stage.one("db")]
    assert up.end(signal.SIGINT) == 130
    asked = [one["service"] for one in up.events("stopping")]
    assert asked == [None, "web", "db"]
    assert up.said[-1] == {**up.said[-1], "event": "end", "exit_code": 130, "version": 1}
    assert not any(one.alive for one in services)
    assert not shop.pid_file("web").exists()
    assert [row["state"] for row in shop.run("status")["services"]] == ["stopped", "stopped"]
    kinds = [event["kind"] for event in shop.run("history")["events"] if event["service"] == "db"]
    assert kinds == ["start", "ready", "stop", "exit"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_term_and_hup_stop_too(shop: Scratch, number: signal.Signals) -> None:
    up = Up(shop, "--only", "db")
    up.expect("ready", "db")
    db = shop.stage.one("db")
    assert up.end(number) == 128 + number
    assert not db.alive
    assert not shop.stage.announced("web")


def test_text_has_names_before_the_lines_and_escapes_what_commands_a_terminal(scratch: Scratch) -> None:
    (scratch.root / "say.py").write_text(r"print('\x1b[31mred\x1b]0;title\x07', flush=True); input()")
    scratch.declare({"db": {"command": [PYTHON, "say.py"]}, "frontend": {"command": [PYTHON, "say.py"]}})
    child = scratch.background("up", env={"COLUMNS": "80"})
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if sum("ready after" in one for one in lines) == 2 and sum("red" in one for one in lines) == 2:
            break
    child.send_signal(signal.SIGINT)
    lines += child.stdout.readlines()
    assert child.wait(PATIENCE_SECONDS) == 130
    assert "db       | \\x1b[31mred\\x1b]0;title\\x07\n" in lines
    assert "\x1b" not in "".join(lines)
    assert all(line[8:11] == " | " for line in lines), lines
    assert any(line.startswith("up       | frontend: ready after") for line in lines)


def test_a_service_that_does_not_start_ends_it_all(shop: Scratch) -> None:
    declare(shop, bad={"command": [PYTHON, "main.py", "--exit", "7"], "depends_on": ["web"]})
    up = Up(shop)
    assert up.end() == 1
    (failed,) = up.events("failed")
    assert failed["service"] == "bad"
    assert "exited with code 7" in failed["detail"]
    assert "cannot find the frobnicator" in failed["lines"]
    assert not shop.stage.living("web")
    assert not shop.stage.living("db")


def test_dry_run_starts_nothing(shop: Scratch) -> None:
    assert [one["outcome"] for one in shop.run("up", "--dry-run")["services"]] == ["started", "started"]
    assert not shop.state.exists()


# --- what is not its own -----------------------------------------------------------------------------


def test_what_start_had_started_is_joined_and_stays(shop: Scratch) -> None:
    pid = shop.start("db")
    up = Up(shop)
    up.expect("ready", "web")
    (joined,) = up.events("joined")
    assert (joined["service"], joined["pid"]) == ("db", pid)
    web = shop.stage.one("web")
    assert up.end(signal.SIGINT) == 130
    assert not web.alive
    (left,) = up.events("left")
    assert (left["service"], left["pid"]) == ("db", pid)
    assert shop.run("status")["services"][1]["pid"] == pid


def test_what_somebody_restarted_meanwhile_stays(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    shop.run("restart", "web")
    pid = shop.run("status")["services"][0]["pid"]
    assert up.end(signal.SIGINT) == 130
    assert [one["service"] for one in up.events("left")] == ["web"]
    rows = shop.run("status")["services"]
    assert [(row["state"], row["pid"]) for row in rows] == [("running", pid), ("stopped", None)]


def test_a_service_that_dies_is_started_again_and_stopped_in_the_end(shop: Scratch) -> None:
    up = Up(shop, "--only", "db")
    up.expect("ready", "db")
    first = shop.stage.one("db")
    first.kill()
    assert up.expect("exit", "db")["exit_code"] == -9
    up.expect("ready", "db")
    second = shop.stage.one("db")
    assert second != first
    assert up.end(signal.SIGINT) == 130
    assert not second.alive


def test_nothing_is_left_of_a_service_that_was_given_up(scratch: Scratch) -> None:
    job = {"command": [PYTHON, "main.py", "--name", "job", "--say", "on it"], "ready": {"log": "on it"}}
    declare(scratch, job={**job, "restart": {"policy": "never"}})
    up = Up(scratch)
    up.expect("ready", "web")  # which is the last
    scratch.stage.one("job").kill()
    up.expect("exit", "job")
    assert up.end(signal.SIGINT) == 130
    assert {row["state"] for row in scratch.run("status")["services"]} == {"stopped"}


def test_a_service_that_was_stopped_from_elsewhere_is_let_go_and_the_last_one_ends_it(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    shop.run("stop", "web")
    assert "somebody stopped it" in up.expect("exit", "web")["detail"]
    shop.run("stop", "db")
    assert up.end() == 0
    assert not up.events("restarting")


def test_where_a_monitor_watches_it_restarts(shop: Scratch) -> None:
    shop.run("start", "db")
    shop.run("monitor", "--detach")
    up = Up(shop)
    up.expect("ready", "web")
    assert any("a monitor watches already" in one["detail"] for one in [up.expect("note")])
    db = shop.stage.one("db")
    db.kill()
    up.expect("exit", "db")
    up.expect("ready", "db")
    assert up.end(signal.SIGINT) == 130
    assert [row["state"] for row in shop.run("status", "web", "db")["services"]] == ["stopped", "running"]
    shop.run("monitor", "--stop")


# --- for CI ------------------------------------------------------------------------------------------


def ender(scratch: Scratch, code: str) -> dict[str, object]:
    """A service that ends when the file `go` is there."""
    wait = "import os, sys, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
    (scratch.root / "ender.py").write_text(wait + code)
    return {"command": [PYTHON, "ender.py"]}


@pytest.mark.parametrize(
    ("code", "expected"), [("sys.exit(7)", 7), ("sys.exit(0)", 0), ("os.kill(os.getpid(), 9)", 137)]
)
@pytest.mark.parametrize("flags", [("--exit-code-from", "tests"), ("--abort-on-exit",)])
def test_the_end_of_one_is_the_end_of_all(shop: Scratch, code: str, expected: int, flags: tuple[str, ...]) -> None:
    declare(shop, tests=ender(shop, code))
    up = Up(shop, *flags)
    up.expect("ready", "tests")
    if not up.events("ready")[1:]:
        up.expect("ready")
    (shop.root / "go").touch()
    assert up.end() == expected
    assert not up.events("restarting")
    assert not shop.stage.living("web")
    assert not shop.stage.living("db")


def test_one_that_has_ended_before_it_counts_as_started_gives_its_code(shop: Scratch) -> None:
    (shop.root / "go").touch()
    declare(shop, tests={**ender(shop, "sys.exit(5)"), "depends_on": ["web"]})
    up = Up(shop, "--exit-code-from", "tests")
    assert up.end() == 5
    assert not shop.stage.living("db")


def test_others_do_not_end_it(shop: Scratch) -> None:
    declare(shop, tests=ender(shop, "sys.exit(3)"))
    up = Up(shop, "--exit-code-from", "tests")
    up.expect("ready", "web")
    shop.stage.one("db").kill()
    up.expect("exit", "db")
    up.expect("ready", "db")
    (shop.root / "go").touch()
    assert up.end() == 3


def test_contradictory_flags(shop: Scratch) -> None:
    declare(shop, worker={"command": ["sleep", "9"], "instances": 2})
    for flags in (
        ("--exit-code-from", "web", "--abort-on-exit"),
        ("--exit-code-from", "nobody"),
        ("--only", "db", "--exit-code-from", "web"),
        ("--exit-code-from", "worker"),
    ):
        done = shop.raw("up", *flags)
        assert done.returncode == 2, done
        assert "error: --exit-code-from" in done.stderr
    assert not shop.stage.announced()


def test_exit_codes_as_a_shell_says_them() -> None:
    assert [reasons.of_exit("a", code).exit_code for code in (0, 7, 255, 256, -15, -9, None)] == [
        *(0, 7, 255, 1, 143, 137, 1)
    ]
    with pytest.raises(UsageError):
        reasons.terms("a", (), abort_on_exit=False)


# --- a terminal --------------------------------------------------------------------------------------


def stubborn(scratch: Scratch, seconds: float = 30) -> dict[str, object]:
    scratch.install("main.py")
    command = [PYTHON, "main.py", "--name", "mule", "--on", "TERM=ignore", "--say", "here I stand"]
    return {"command": command, "stop": {"timeout": seconds}, "ready": {"log": "here"}}


def test_ctrl_c_in_a_terminal(shop: Scratch) -> None:
    with Terminal(shop, "up") as terminal:
        terminal.expect("web: \x1b[32mready after")
        services = [shop.stage.one("web"), shop.stage.one("db")]
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert not any(one.alive for one in services)
        assert "stopped 2 processes" in terminal.text
        assert terminal.state() == terminal.before


def test_the_second_ctrl_c_kills_and_progress_is_shown(scratch: Scratch) -> None:
    scratch.declare({"mule": stubborn(scratch)})
    with Terminal(scratch, "up", NO_COLOR="1") as terminal:
        terminal.expect("ready after")
        mule = scratch.stage.one("mule")
        terminal.type(b"\x03")
        terminal.expect("at most 30 s")
        terminal.expect(f"mule: waiting for PID {mule.pid}, at most ")
        terminal.type(b"\x03")
        assert terminal.wait() == 130
        assert "killed 1 process" in terminal.text
        assert not mule.alive


def test_a_closed_terminal_stops_it(shop: Scratch) -> None:
    terminal = Terminal(shop, "up")
    terminal.expect("web: \x1b[32mready after")
    services = [shop.stage.one("web"), shop.stage.one("db")]
    terminal.hang_up()
    assert terminal.child.wait(PATIENCE_SECONDS) == 129
    assert not any(one.alive for one in services)


def test_a_terminal_that_takes_nothing_holds_nobody_up(scratch: Scratch) -> None:
    scratch.install("main.py")
    (scratch.root / "flood.py").write_text(
        "import stage\nstage.announce('flood')\nfor n in range(20000):\n    print('line', n, 'x' * 80)\n"
        "print('written', flush=True)\nstage.announce('written')\nstage.serve(None)\n"
    )
    scratch.declare({"flood": {"command": [PYTHON, "flood.py"], "restart": {"backoff": 0}}})
    child = scratch.background("up")  # whose output nobody reads yet
    scratch.stage.one("written")
    eventually(
        lambda: any(event["kind"] == "ready" for event in scratch.run("history")["events"]), "it counts as started"
    )
    first = scratch.stage.one("flood")
    first.kill()
    eventually(lambda: len(scratch.stage.announced("written")) == 2, "it is started again")
    second = scratch.stage.one("flood")
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 130
    assert not second.alive
    assert output.count("| line ") == 40000


def test_nobody_reads_any_more(shop: Scratch) -> None:
    (shop.root / "ticker.py").write_text(LOGGER)
    declare(shop, ticker={"command": [PYTHON, "ticker.py"]})
    child = shop.background("up")
    assert child.stdout is not None
    web = shop.stage.one("web")
    child.stdout.close()
    assert child.wait(PATIENCE_SECONDS) == 0
    assert not web.alive
    assert child.stderr is not None
    assert child.stderr.read() == ""


# --- the guardian ------------------------------------------------------------------------------------


def test_killed_with_9_nothing_that_it_started_outlives_it(shop: Scratch) -> None:
    pid = shop.start("db")
    up = Up(shop)
    up.expect("ready", "web")
    web, guardian = shop.stage.one("web"), up.guardian()
    up.child.kill()
    eventually(lambda: not web.alive, "web is stopped")
    eventually(lambda: not guardian.alive, "the guardian leaves")
    rows = shop.run("status")["services"]
    assert [(row["state"], row["pid"]) for row in rows] == [("stopped", None), ("running", pid)]
    assert not shop.pid_file("web").exists()
    assert not shop.pid_file("monitor").exists()


def test_in_reverse_order_gracefully_and_within_the_timeout(shop: Scratch) -> None:
    shop.install("main.py")
    db = {"command": [PYTHON, "main.py", "--name", "db", "--on", "TERM=leave"]}
    mule = {**stubborn(shop, 0.5), "depends_on": ["db"]}
    shop.declare({"db": db, "mule": mule})
    up = Up(shop)
    up.expect("ready", "mule")
    beings = [shop.stage.one("mule"), shop.stage.one("db")]
    up.child.kill()
    eventually(lambda: not any(one.alive for one in beings), "both are stopped")
    order = shop.stage.order()
    assert order.index("got-TERM") < len(order) - 1 - order[::-1].index("got-TERM")
    assert order[-1] == "got-TERM"


def test_a_restarted_service_is_guarded_and_one_that_somebody_restarted_is_not(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    shop.stage.one("web").kill()
    up.expect("exit", "web")
    up.expect("ready", "web")
    web = shop.stage.one("web")
    shop.run("restart", "db", "--force")
    db = shop.stage.one("db")
    guardian = up.guardian()
    up.child.kill()
    eventually(lambda: not web.alive, "web is stopped")
    eventually(lambda: not guardian.alive, "the guardian leaves")
    assert db.alive


def test_killed_while_it_starts(scratch: Scratch) -> None:
    """In a command that runs before, and between launch and readiness."""
    scratch.install("main.py")
    slow = [PYTHON, "main.py", "--name", "before", "--mute"]
    scratch.declare(
        {
            "web": {"command": [PYTHON, "main.py", "--name", "web"], "before": [" ".join(slow)]},
            "late": {
                "command": [PYTHON, "main.py", "--name", "late", "--after", str(scratch.root / "never")],
                "ready": {"log": "x"},
            },
        }
    )
    for name, waits in (("web", "before"), ("late", "late-waiting")):
        up = Up(scratch, "--only", name)
        one, guardian = scratch.stage.one(waits), up.guardian()
        up.child.kill()
        eventually(lambda one=one: not one.alive, f"{waits} is stopped")  # type: ignore[misc]
        eventually(lambda guardian=guardian: not guardian.alive, "the guardian leaves")  # type: ignore[misc]
        assert scratch.run("status", name)["services"][0]["state"] == "stopped"
    assert not scratch.stage.announced("web")


@pytest.mark.soak
def test_killed_at_any_moment(shop: Scratch) -> None:
    """100 rounds; each moment of a start and of what follows is met somewhere."""
    shop.install("main.py")
    db = {"command": [PYTHON, "main.py", "--name", "db"], "before": ["sleep 0.1"]}
    web = {"command": [PYTHON, "main.py", "--name", "web"], "depends_on": ["db"]}
    shop.declare({"db": db, "web": web})
    marker = f"STAGE={shop.stage.folder}"
    for number in range(100):
        child = shop.background("up", "--json")
        time.sleep(0.02 * number)
        child.kill()
        child.wait()
        eventually(lambda: not marked(marker), f"round {number}: {marked(marker)}")
        assert not [path for path in shop.state.glob("*.pid") if path.name != "monitor.pid"], number


def test_its_pipe_is_nobody_elses_and_it_is_nobodys_service(shop: Scratch) -> None:
    shop.install("main.py")
    (shop.root / "event.py").write_text(
        "import os\nos.makedirs('fds', exist_ok=True)\n"
        "there = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]\n"
        "links = [os.readlink(one) for one in there if os.path.lexists(one)]\n"
        "open(f'fds/{os.getpid()}', 'w').write('\\n'.join(links))\n"
    )
    probe = f"{PYTHON} event.py"
    web = {
        "command": [PYTHON, "main.py", "--name", "web"],
        "before": [probe],
        "health": {"command": probe.split(), "interval": 0.2, "timeout": 10},
    }
    shop.declare({"web": web}, on_event=probe.split())
    up = Up(shop)
    up.expect("ready", "web")
    guardian = up.guardian()
    pipe = os.readlink(f"/proc/{guardian.pid}/fd/0")
    assert pipe.startswith("pipe:")
    assert descriptors(up.pid).count(pipe) == 1
    first = shop.stage.one("web")
    first.kill()
    up.expect("ready", "web")
    eventually(lambda: len(list((shop.root / "fds").iterdir())) >= 5, "before, probes and on_event have run")
    assert not [file for file in (shop.root / "fds").iterdir() if pipe in file.read_text().split("\n")]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        if int(entry) not in (up.pid, guardian.pid):
            assert pipe not in descriptors(int(entry)), _argv(int(entry))
    explained = shop.run("explain", "--pid", str(guardian.pid))
    assert explained["verdict"].startswith("not ours")
    assert guardian.pid not in ended(shop.run("force-clean"))
    assert up.end() == 0
    eventually(lambda: not guardian.alive, "the guardian leaves with it")


def descriptors(pid: int) -> list[str]:
    """What a process has open, as far as we may see."""
    found = []
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
            except OSError:
                continue
    except OSError:
        pass
    return found


def test_a_guardian_that_was_killed_is_replaced_at_the_next_launch(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    first = up.guardian()
    first.kill()
    web = shop.stage.one("web")
    web.kill()
    up.expect("ready", "web")
    second = eventually(lambda: up._guardian() or None, "another guardian")
    assert second != first
    beings = [shop.stage.one("web"), shop.stage.one("db")]
    up.child.kill()
    eventually(lambda: not any(one.alive for one in beings), "both are stopped")


def test_it_ignores_what_ends_up_and_leaves_by_itself(shop: Scratch) -> None:
    up = Up(shop)
    up.expect("ready", "web")
    guardian = up.guardian()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        guardian.send(number)
    assert up.end(signal.SIGTERM) == 143
    eventually(lambda: not guardian.alive, "the guardian leaves")


def test_the_guardian_alone(tmp_path: Path) -> None:
    """Lines in, a command out; nothing after a goodbye, nothing of a line that was cut off."""

    def told(lines: bytes) -> str:
        out = tmp_path / "out"
        out.unlink(missing_ok=True)
        copy = json.dumps([PYTHON, "-c", f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"])
        head = f'execute {copy}\nestate {{"name": "shop"}}\n'.encode()
        subprocess.run([PYTHON, "-I", "-S", GUARDIAN, "shop"], input=head + lines, check=True, timeout=20)
        return out.read_text() if out.exists() else ""

    assert told(b"run web 1\nrun db 2\nrun web 3\nrun wo") == '{"name": "shop"}\nweb 3\ndb 2\n'
    assert told(b"run web 1\nbye\n") == ""
    assert told(b"") == ""
