"""`start`: one instance, ready when it says so, and nothing left of what did not start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from toolbox import (
    PATIENCE_SECONDS,
    PROGRAMS,
    PYTHON,
    Scratch,
    answers,
    being,
    eventually,
    expect_gone,
    free_port,
    is_free,
    parent,
)


def outcome(report: dict, name: str = "web") -> str:
    return next(service["outcome"] for service in report["services"] if service["name"] == name)


# --- one instance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.soak)])
def test_many_starts_at_once(scratch: Scratch, count: int) -> None:
    scratch.declare({"web": scratch.server()})
    done = scratch.stage.popen(
        [PYTHON, PROGRAMS / "stampede.py", str(count), "start", "--json"],
        scratch.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = done.communicate(timeout=150)
    results = json.loads(out or "null")
    assert results, err
    bad = [result for result in results if result[0] != 0]
    assert not bad, (len(bad), bad[0])
    reports = [json.loads(said) for _, said, _ in results]
    assert len(scratch.stage.announced("main")) == 1, "one instance, ever"
    main = scratch.stage.one("main")
    assert {report["services"][0]["pid"] for report in reports} == {main.pid}
    outcomes = [outcome(report) for report in reports]
    assert outcomes.count("started") == 1
    assert outcomes.count("already-running") == count - 1
    expect_gone([main], scratch.run("stop"))


def test_a_second_start_says_so(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    pid = scratch.start()
    report = scratch.run("start")
    assert outcome(report) == "already-running"
    assert report["services"][0]["pid"] == pid
    assert len(scratch.stage.announced("main")) == 1
    scratch.run("stop")


def test_one_that_was_started_by_hand_runs_already(scratch: Scratch) -> None:
    port = free_port()
    scratch.install("main.py")
    command = ["python", "main.py", "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}})
    scratch.stage.detached("launch", command, scratch.root)
    main = scratch.stage.one("main")
    report = scratch.run("start")
    assert outcome(report) in ("already-running", "started")
    assert len(scratch.stage.living("main")) == 1
    assert scratch.run("stop")["ok"]
    assert not main.alive


def test_its_own_orphan_on_the_port_is_stopped_first(scratch: Scratch) -> None:
    scratch.install("app.py")
    port = free_port()
    command = [PYTHON, "-m", "uvicorn", "app:app", "--reload", "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}})
    top = being(scratch.start())
    orphan = scratch.stage.one("worker")
    top.kill()
    assert answers(port)
    report = scratch.run("start")
    assert outcome(report) == "started"
    assert not orphan.alive
    assert report["services"][0]["pid"] != top.pid
    assert scratch.run("stop")["ok"]


# --- readiness ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ready", "words"),
    [
        ({}, []),
        ({"tcp": True}, []),
        ({"http": "/health"}, []),
        ({"log": "frobnicator is (up|ready)"}, ["--say", "the frobnicator is ready"]),
    ],
    ids=["listening", "tcp", "http", "log"],
)
def test_it_waits_until_ready(scratch: Scratch, ready: dict[str, object], words: list[str]) -> None:
    """The service opens its port, and logs, only when the test lets it."""
    gate = scratch.stage.folder / "gate"
    service = scratch.server("--after", str(gate), *words, **({"ready": ready} if ready else {}))
    scratch.declare({"web": service})
    starting = scratch.background("start", "--json")
    waiting = scratch.stage.one("main-waiting")
    assert starting.poll() is None, "not ready yet"
    gate.touch()
    out, err = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode == 0, out + err
    assert json.loads(out)["services"][0]["pid"] == waiting.pid
    assert answers(int(str(service["port"])))
    scratch.run("stop")


def test_without_a_port_it_is_ready_when_it_lives(scratch: Scratch) -> None:
    scratch.install("main.py")
    scratch.declare({"web": {"command": [PYTHON, "main.py", "--mute"]}})
    main = being(scratch.start())
    scratch.stage.one("main")
    expect_gone([main], scratch.run("stop"))


def test_one_that_is_never_ready_is_stopped(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--mute", ready={"timeout": 1})})
    report = scratch.run("start", expect=1)
    assert outcome(report) == "not-ready"
    expect_gone(scratch.stage.announced("main"))


def test_an_old_log_line_makes_nothing_ready(scratch: Scratch) -> None:
    scratch.state.mkdir(mode=0o700)
    (scratch.state / "web.log").write_text("the frobnicator is ready\n")
    scratch.declare({"web": scratch.server(ready={"log": "frobnicator is ready", "timeout": 1})})
    assert outcome(scratch.run("start", expect=1)) == "not-ready"


# --- what does not start -----------------------------------------------------------------------------


def test_one_that_dies_at_once(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--exit", "7")})
    assert outcome(scratch.run("start", expect=1)) == "exited"
    done = scratch.raw("start")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "cannot find the frobnicator" in said, "its last words"
    assert "7" in said, "its exit code"
    assert not scratch.pid_file().exists()


@pytest.mark.parametrize(
    "service",
    [
        {"command": "no-such-program-anywhere --port 1"},
        {"command": "python main.py", "cwd": "no-such-folder"},
        {"command": "./main.py"},
        {"command": "python main.py", "env_file": "no-such.env"},
        {"command": "python main.py", "before": ["false"]},
        {"command": "python main.py", "before": ["no-such-program-anywhere"]},
    ],
    ids=["command", "folder", "not executable", "env file", "before fails", "before is missing"],
)
def test_what_cannot_be_started(scratch: Scratch, service: dict[str, object]) -> None:
    """One clear message, no traceback, nothing runs; the other service starts all the same."""
    scratch.install("main.py")
    (scratch.root / "main.py").chmod(0o644)
    scratch.declare({"web": service, "other": scratch.server("--name", "other")})
    done = scratch.raw("start")
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2), said
    assert "Traceback" not in said
    assert "web" in said
    assert not scratch.stage.announced("main")
    scratch.run("stop")


def test_a_stranger_on_the_port_is_a_refusal(scratch: Scratch, tmp_path: Path) -> None:
    port = free_port()
    scratch.declare({"web": scratch.server("--name", "ours", port=port)})
    other = Scratch(scratch.stage, tmp_path / "other")
    other.install("main.py")
    command = ["python", "main.py", "--name", "stranger", "--port", str(port)]
    scratch.stage.detached("launch", command, other.root)
    stranger = scratch.stage.one("stranger")
    assert outcome(scratch.run("start", expect=3)) == "refused"
    done = scratch.raw("start")
    assert str(stranger.pid) in done.stdout + done.stderr, "it is named"
    assert stranger.alive
    assert answers(port)
    assert not scratch.stage.announced("ours")


def test_readiness_is_not_a_strangers(scratch: Scratch, tmp_path: Path) -> None:
    """Another process takes the port while ours is starting."""
    port, gate = free_port(), scratch.stage.folder / "gate"
    scratch.declare({"web": scratch.server("--after", str(gate), port=port, ready={"tcp": True, "timeout": 2})})
    starting = scratch.background("start", "--json")
    scratch.stage.one("main-waiting")
    other = Scratch(scratch.stage, tmp_path / "other")
    other.install("main.py")
    command = ["python", "main.py", "--name", "stranger", "--port", str(port)]
    scratch.stage.detached("launch", command, other.root)
    stranger = scratch.stage.one("stranger")
    out, err = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode in (1, 3), out + err
    assert stranger.alive
    expect_gone(scratch.stage.announced("main-waiting"))


# --- the run -----------------------------------------------------------------------------------------


def test_the_runner_is_killed(scratch: Scratch) -> None:
    """The service lives, and is still stopped whole."""
    scratch.install("parent.py")
    port = free_port()
    scratch.declare({"web": {"command": [PYTHON, "parent.py", "daemon", "--port", str(port)], "port": port}})
    main = being(scratch.start())
    child = scratch.stage.one("child")
    runner = being(parent(main.pid))
    assert runner.pid != 1
    runner.kill()
    assert answers(port)
    assert main.alive
    assert child.alive
    status = scratch.run("status")
    assert status["services"][0]["pid"] == main.pid
    expect_gone([main, child], scratch.run("stop"))


def test_the_starter_is_killed_at_any_moment(scratch: Scratch) -> None:
    """What is left is recognised: another start gives one instance, and stop ends it."""
    scratch.declare({"web": scratch.server()})
    for delay in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        starting = scratch.background("start", "--json")
        try:
            starting.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            starting.kill()
        starting.communicate(timeout=PATIENCE_SECONDS)
        scratch.run("start")
        eventually(lambda: len(scratch.stage.living("main")) == 1, "one instance")
        expect_gone(scratch.stage.living("main"), scratch.run("stop"))


def test_the_services_environment(scratch: Scratch) -> None:
    dump = scratch.stage.folder / "environ"
    (scratch.root / "web.env").write_text('FROM_FILE="a value"\nBOTH=file\n')
    service = scratch.server("--dump-env", str(dump), env={"BOTH": "table"}, env_file="web.env")
    scratch.declare({"web": service})
    scratch.run("start", env={"DEVTASKS_KEEP": "1", "DEVTASKS_ID": "x/y/z", "DEVTASKS_OTHER": "1", "KEPT": "yes"})
    pairs = dict(item.split("=", 1) for item in dump.read_text().split("\0") if "=" in item)
    assert pairs["FROM_FILE"] == "a value"
    assert pairs["BOTH"] == "table"
    assert pairs["KEPT"] == "yes"
    assert pairs["SPT_NOENV"] == "1"
    assert pairs["PYTHONUNBUFFERED"] == "1"
    assert {name for name in pairs if name.startswith("DEVTASKS_")} == {"DEVTASKS_ID"}
    digest, name, nonce = pairs["DEVTASKS_ID"].split("/")
    assert digest != "x"
    assert name == "web"
    assert nonce
    scratch.run("stop")


def test_a_session_of_its_own_and_an_open_stdin(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server(), "closed": scratch.server("--name", "closed", stdin="null")})
    scratch.start()
    main, closed = scratch.stage.one("main"), scratch.stage.one("closed")
    assert os.getsid(main.pid) == main.pid
    assert os.readlink(f"/proc/{main.pid}/fd/0").startswith("pipe:")
    assert os.readlink(f"/proc/{closed.pid}/fd/0") == "/dev/null"
    inherited = {os.readlink(f"/proc/{main.pid}/fd/{entry}") for entry in os.listdir(f"/proc/{main.pid}/fd")}
    assert not any(".lock" in target or "state.db" in target for target in inherited), inherited
    scratch.run("stop")


def test_dependencies_come_first_and_leave_last(scratch: Scratch) -> None:
    leave = ("--on", "TERM=leave")
    scratch.declare(
        {
            "web": scratch.server("--name", "web", *leave, depends_on=["api"]),
            "api": scratch.server("--name", "api", *leave, depends_on=["db"]),
            "db": scratch.server("--name", "db", *leave),
        }
    )
    scratch.start()
    assert scratch.stage.order() == ["db", "api", "web"]
    beings = {one.pid: one.name for one in scratch.stage.announced()}
    scratch.run("stop")
    lines = (scratch.stage.folder / "announced").read_text().splitlines()
    left = [beings[int(line.split()[1])] for line in lines if line.startswith("got-TERM")]
    assert left == ["web", "api", "db"]


def test_what_runs_before_each_start(scratch: Scratch) -> None:
    note = f"{PYTHON} -c \"open('before', 'a').write('x')\""
    scratch.declare({"web": scratch.server(before=[note, note])})
    for expected in ("xx", "xxxx"):
        scratch.start()
        assert (scratch.root / "before").read_text() == expected
        scratch.run("stop")


def test_a_server_that_daemonises_itself(scratch: Scratch) -> None:
    """Its launcher's exit 0 is no death; the file it writes is only read."""
    port = free_port()
    (scratch.root / "data").mkdir()
    scratch.install("main.py")
    command = f"{PYTHON} main.py --port {port} & echo $! > data/x.pid"
    scratch.declare(
        {
            "web": {
                "command": ["setsid", "--fork", "sh", "-c", command],
                "port": port,
                "daemon_pid_file": "data/x.pid",
            }
        }
    )
    report = scratch.run("start")
    assert outcome(report) == "started"
    daemon = scratch.stage.one("main")
    assert (scratch.root / "data/x.pid").read_text() == f"{daemon.pid}\n"
    assert scratch.run("status")["services"][0]["state"] == "running"
    assert outcome(scratch.run("start")) == "already-running"
    expect_gone([daemon], scratch.run("stop"))
    assert is_free(port)


# --- interrupted -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["INT", "TERM", "HUP"],
)
def test_an_interrupted_start_leaves_nothing(scratch: Scratch, number: signal.Signals, code: int) -> None:
    scratch.declare({"web": scratch.server("--mute")})
    starting = scratch.background("start")
    main = scratch.stage.one("main")
    starting.send_signal(number)
    out, err = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode == code, out + err
    assert "Traceback" not in out + err
    eventually(lambda: not main.alive, "nothing is left half-started", seconds=3)
    assert not scratch.pid_file().exists()


def test_a_stop_during_a_start(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--mute")})
    starting = scratch.background("start", "--json")
    main = scratch.stage.one("main")
    report = scratch.run("stop")
    expect_gone([main], report)
    out, err = starting.communicate(timeout=PATIENCE_SECONDS)
    assert starting.returncode == 1, out + err
    assert outcome(json.loads(out)) == "exited"


def test_another_starter_waits_for_readiness_too(scratch: Scratch) -> None:
    gate = scratch.stage.folder / "gate"
    scratch.declare({"web": scratch.server("--after", str(gate))})
    first = scratch.background("start", "--json")
    scratch.stage.one("main-waiting")
    second = scratch.background("start", "--json")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=1)
    gate.touch()
    for starting in (first, second):
        out, err = starting.communicate(timeout=PATIENCE_SECONDS)
        assert starting.returncode == 0, out + err
    assert len(scratch.stage.living("main")) == 1
    scratch.run("stop")
