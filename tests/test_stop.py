"""`stop` and `force-clean` as commands: what they say, what they spare, and what does not stop them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import pytest
from toolbox import (
    PATIENCE_SECONDS,
    PYTHON,
    Scratch,
    answers,
    being,
    ended,
    eventually,
    expect_gone,
    free_port,
    is_free,
    parent,
)

# --- what they say -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_nothing_runs(scratch: Scratch, command: str) -> None:
    scratch.declare({"web": scratch.server()})
    report = scratch.run(command)
    assert report["ok"]
    assert report["dry_run"] is False
    assert ended(report) == set()
    assert [service["name"] for service in report["services"]] == ["web"]


def test_the_shape_of_the_report(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    report = scratch.run("stop")
    assert {"version", "ok", "dry_run", "seconds", "services"} <= report.keys()
    assert {"name", "stopped", "killed", "survivors", "rejected"} <= report["services"][0].keys()
    assert report["services"][0]["stopped"] == [main.pid]
    assert not scratch.pid_file().exists()
    assert is_free(scratch_port(scratch))


def scratch_port(scratch: Scratch) -> int:
    for line in (scratch.root / "devtasks.toml").read_text().splitlines():
        if line.startswith("port = "):
            return int(line.split()[2])
    raise AssertionError("no port declared")


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_a_second_one_is_a_fast_no_op(scratch: Scratch, command: str) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    expect_gone([main], scratch.run(command))
    report = scratch.run(command)
    assert ended(report) == set()
    assert report["seconds"] < 1


@pytest.mark.parametrize("command", ["stop", "force-clean", "restart", "clean", "start"])
def test_a_dry_run_touches_nothing(scratch: Scratch, command: str) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave"), "other": scratch.server("--name", "other")})
    main = being(scratch.start("web") if command != "start" else scratch.start())
    before = sorted(str(path) for path in scratch.state.iterdir())
    report = scratch.run(command, "--dry-run")
    if command in ("stop", "force-clean"):
        assert report["dry_run"] is True
        assert main.pid in ended(report), "the plan is told"
    assert main.alive
    assert not scratch.stage.announced("got-TERM")
    assert len(scratch.stage.announced("other")) == (1 if command == "start" else 0)
    assert set(before) <= {str(path) for path in scratch.state.iterdir()}
    scratch.run("stop")


def test_force_clean_kills_at_once_and_removes_files(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=ignore")})
    main = being(scratch.start())
    report = scratch.run("force-clean")
    expect_gone([main], report)
    assert report["services"][0]["killed"] == [main.pid]
    assert report["seconds"] < 4
    assert not scratch.pid_file().exists()
    assert not (scratch.state / "web.log").exists()


def test_force_clean_keeps_logs_if_asked(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--say", "hello")})
    scratch.start()
    scratch.run("force-clean", "--keep-logs")
    assert "hello" in scratch.log()


def test_through_invoke(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave")})

    def inv(*words: str) -> dict:
        done = subprocess.run(
            [PYTHON, "-m", "invoke", *words, "--json"],
            cwd=scratch.root,
            env=scratch.stage.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done
        report: dict = json.loads(done.stdout)
        return report

    main = being(inv("start")["services"][0]["pid"])
    inv("--dry", "stop")
    assert main.alive
    assert not scratch.stage.announced("got-TERM")
    expect_gone([main], inv("stop"))


@pytest.mark.parametrize(
    "arguments",
    [["stop", "wbe"], ["stop", "--only", "wbe"], ["stop", "--timeout", "soon"], ["stpo"], ["stop", "--forse"]],
    ids=" ".join,
)
def test_wrong_usage(scratch: Scratch, arguments: list[str]) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    done = scratch.raw(*arguments)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert main.alive, "nothing was stopped"
    scratch.run("stop")


# --- how it asks -------------------------------------------------------------------------------------


def test_signals_are_tried_in_turn(scratch: Scratch) -> None:
    words = ("--on", "INT=ignore", "--on", "QUIT=leave", "--on", "TERM=ignore")
    scratch.declare({"web": scratch.server(*words, stop={"signal": ["INT", "QUIT"], "timeout": 2})})
    main = being(scratch.start())
    report = scratch.run("stop")
    expect_gone([main], report)
    assert report["services"][0]["stopped"] == [main.pid]
    assert [name for name in scratch.stage.order() if name.startswith("got")] == ["got-INT", "got-QUIT"]
    assert scratch.stage.at("got-QUIT") - scratch.stage.at("got-INT") >= 0.9, "they share the timeout"


def test_a_timeout_given_by_hand(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=ignore", stop={"timeout": 60})})
    main = being(scratch.start())
    report = scratch.run("stop", "--timeout", "0.5")
    expect_gone([main], report)
    assert 0.45 <= report["seconds"] < 10


def test_one_that_may_not_be_killed_survives_and_is_named(scratch: Scratch) -> None:
    scratch.declare(
        {
            "web": scratch.server("--on", "TERM=ignore", stop={"timeout": 0.5, "kill": False}),
            "other": scratch.server("--name", "other"),
        }
    )
    main = being(scratch.start("web"))
    other = being(scratch.start("other"))
    report = scratch.run("stop", expect=1)
    assert not report["ok"]
    assert main.alive
    assert not other.alive, "one failure does not skip the others"
    survivors = {row["pid"]: row["reason"] for service in report["services"] for row in service["survivors"]}
    assert survivors.keys() == {main.pid}
    assert survivors[main.pid]
    done = scratch.raw("stop", "--timeout", "0.2")
    assert done.returncode == 1
    assert str(main.pid) in done.stdout + done.stderr
    expect_gone([main], scratch.run("force-clean"))


def test_roots_first(scratch: Scratch) -> None:
    """The child is not asked while its parent, which ends it itself, is alive."""
    scratch.install("parent.py")
    port = free_port()
    command = [PYTHON, "parent.py", "plain", "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}})
    main = being(scratch.start())
    child = scratch.stage.one("child")
    expect_gone([main, child], scratch.run("stop"))


def test_two_at_once(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave")})
    main = being(scratch.start())
    stops = [scratch.background("stop", "--json") for _ in range(4)]
    for one in stops:
        out, err = one.communicate(timeout=PATIENCE_SECONDS)
        assert one.returncode == 0, out + err
    assert not main.alive


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_an_interrupted_stop_can_be_repeated(scratch: Scratch, number: signal.Signals) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=ignore", stop={"timeout": 30})})
    main = being(scratch.start())
    stopping = scratch.background("stop")
    eventually(lambda: scratch.stage.announced("got-TERM"), "it is asked")
    stopping.send_signal(number)
    out, err = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 128 + number, out + err
    assert "Traceback" not in out + err
    scratch.run("stop", "--timeout", "0.2")
    expect_gone([main])


def test_one_that_is_killed_can_be_repeated(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=ignore", stop={"timeout": 30})})
    main = being(scratch.start())
    stopping = scratch.background("stop")
    eventually(lambda: scratch.stage.announced("got-TERM"), "it is asked")
    stopping.kill()
    stopping.communicate(timeout=PATIENCE_SECONDS)
    expect_gone([main], scratch.run("stop", "--timeout", "0.2"))


# --- what does not stop it ---------------------------------------------------------------------------


def test_no_state_folder_at_all(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    shutil.rmtree(scratch.state)
    scratch.state.write_text("a file in its place")
    expect_gone([main], scratch.run("stop"))


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000], ids=["empty", "garbage"])
def test_a_damaged_database(scratch: Scratch, content: bytes) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    for file in scratch.state.glob("state.db*"):
        file.write_bytes(content)
    assert scratch.run("status")["services"][0]["state"] == "running"
    expect_gone([main], scratch.run("stop"))
    scratch.start()
    scratch.run("stop")


def fill(file: IO[bytes]) -> None:
    while True:
        file.write(b"\0" * 1024)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk(scratch: Scratch) -> None:
    """The state folder's file system has no room left: stop still stops."""
    scratch.state.mkdir(mode=0o700)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", scratch.state], check=False, capture_output=True
    ).returncode:
        pytest.skip("may not mount here")
    try:
        scratch.declare({"web": scratch.server()})
        main = being(scratch.start())
        with open(scratch.state / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            fill(filler)
        expect_gone([main], scratch.run("stop"))
    finally:
        subprocess.run(["umount", "--lazy", scratch.state], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    scratch.state.chmod(0o500)
    try:
        report = scratch.run("stop", expect=(0, 1))
        assert not main.alive, report
    finally:
        scratch.state.chmod(0o700)


def test_few_file_descriptors(scratch: Scratch) -> None:
    """Forty processes, and room for a dozen pidfds."""
    scratch.install("main.py")
    script = f'for i in $(seq 40); do "{PYTHON}" -S main.py --name many --mute & done; wait'
    scratch.declare({"web": {"command": script, "shell": True}})
    scratch.start()
    many = scratch.stage.wait_for("many", 40)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    report = scratch.run("stop", preexec_fn=limit)
    expect_gone(many, report)


def test_production_forbids_what_rests_on_pattern_or_port(scratch: Scratch) -> None:
    port = free_port()
    scratch.install("main.py")
    command = ["python", "main.py", "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}}, environment="production")
    scratch.stage.detached("launch", command, scratch.root)
    main = scratch.stage.one("main")
    for verb in ("stop", "force-clean"):
        report = scratch.run(verb, expect=(0, 1, 3))
        assert ended(report) == set()
        assert main.alive
        assert answers(port)


def test_production_stops_what_it_started(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start(), "main")
    expect_gone([main], scratch.run("stop", env={"ENVIRONMENT": " Production "}))


# --- what it leaves ----------------------------------------------------------------------------------


def test_the_runner_leaves_when_the_last_descendant_has(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    runner = being(parent(main.pid))
    scratch.run("stop")
    eventually(lambda: not runner.alive, "the runner has left", seconds=3)


def test_the_port_is_free_at_once(scratch: Scratch) -> None:
    port = free_port()
    scratch.declare({"web": scratch.server(port=port)})
    for _ in range(3):
        scratch.start()
        scratch.run("stop")
        assert is_free(port)


def test_a_pid_file_that_changed_meanwhile_is_kept(scratch: Scratch, tmp_path: Path) -> None:
    """It no longer says what was read when it is to be removed."""
    scratch.declare({"web": scratch.server("--on", "TERM=ignore", stop={"timeout": 2})})
    main = being(scratch.start())
    stopping = scratch.background("stop", "--json")
    eventually(lambda: scratch.stage.announced("got-TERM"), "it is asked")
    scratch.pid_file().write_text("somebody else's note\n")
    out, err = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 0, out + err
    assert not main.alive
    assert scratch.pid_file().read_text() == "somebody else's note\n"


def test_it_waits_on_exits_not_on_a_clock(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave", stop={"timeout": 60})})
    main = being(scratch.start())
    began = time.monotonic()
    report = scratch.run("stop")
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert report["seconds"] < 5
    expect_gone([main], report)


def test_restart_gives_another_process(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server()})
    first = being(scratch.start())
    report = scratch.run("restart")
    assert report["ok"]
    assert ended(report["stop"]) == {first.pid}
    second = report["start"]["services"][0]["pid"]
    assert second != first.pid
    assert len(scratch.stage.living("main")) == 1
    scratch.run("stop")
