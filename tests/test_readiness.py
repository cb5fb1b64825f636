"""Readiness and health of real services: `start` waits for it, `health` and `status --check` ask once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from toolbox import PYTHON, Scratch, Stage, eventually, free_port


def moody(scratch: Scratch, **service: Any) -> dict[str, Any]:
    scratch.install("moody.py")
    port = service.setdefault("port", free_port())
    name = service.pop("called", "moody")
    return {"command": [PYTHON, "moody.py", "--name", name, "--port", str(port)], **service}


def in_mood(scratch: Scratch, mood: str) -> None:
    fresh = scratch.root / "mood.new"
    fresh.write_text(mood)
    fresh.replace(scratch.root / "mood")


def row(report: dict[str, Any], name: str = "web") -> dict[str, Any]:
    return next(one for one in report["services"] if one["name"] == name)


# --- start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", ["error", "nothing", "half", "drip", "hang"])
def test_start_waits_for_the_answer_and_not_for_the_port(scratch: Scratch, mood: str):
    in_mood(scratch, mood)
    scratch.declare({"web": moody(scratch, ready={"http": "/", "body": "^(ok|fine)$"})})
    starting = scratch.background("start")
    scratch.stage.one("moody")
    eventually(lambda: scratch.run("status")["services"][0]["ports"], "it listens")
    assert starting.poll() is None, "not ready yet"
    in_mood(scratch, "200 fine")
    assert starting.wait(30) == 0, starting.communicate()
    scratch.run("stop")


@pytest.mark.parametrize(
    ("ready", "mood", "said"),
    [
        ({"http": "/up"}, "hang", "GET /up"),
        ({"http": "/up"}, "error", "GET /up answers 500"),
        ({"http": "/up", "body": "fine"}, "200 ok", "the body does not match fine"),
        ({"command": ["sleep", "600"]}, "ok", "sleep"),
        ({"command": ["nowhere-to-be-found"]}, "ok", "command not found: nowhere-to-be-found"),
        ({"log": "(a+)+b"}, "ok", "takes too long"),
    ],
)
def test_what_is_never_ready_is_stopped_in_time_and_says_why(
    scratch: Scratch, ready: dict[str, Any], mood: str, said: str
):
    in_mood(scratch, mood)
    service = moody(scratch, ready={**ready, "timeout": 4})
    if "log" in ready:
        service["command"] = ["sh", "-c", f"echo {'a' * 60}; exec {' '.join(service['command'])}"]
    scratch.declare({"web": service})
    began = time.monotonic()
    report = scratch.run("start", expect=1)
    assert row(report)["outcome"] == "not-ready"
    assert said in row(report)["detail"], report
    assert time.monotonic() - began < 40
    assert not scratch.stage.living("moody")


def test_somebody_elses_answer_makes_nothing_ready(scratch: Scratch, stage: Stage):
    """The URL that is asked is a stranger's; it answers, and ours lives."""
    scratch.install("moody.py")
    port = free_port()
    command = [PYTHON, "moody.py", "--name", "stranger", "--port", str(port)]
    stage.detached("stranger", command, scratch.root, announce=False)  # it says so itself, when it listens
    ready = {"http": f"http://127.0.0.1:{port}/", "timeout": 2}
    scratch.declare({"web": moody(scratch, ready=ready)})
    report = scratch.run("start", expect=1)
    assert f"port {port} is held by somebody else" in row(report)["detail"]
    scratch.declare({"web": moody(scratch, ready=ready, listener="any")})
    scratch.run("start")
    scratch.run("stop")


def test_a_dependant_waits_for_what_it_depends_on_and_for_nothing_else(scratch: Scratch):
    scratch.declare(
        {
            "slow": scratch.server("--after", str(scratch.root / "gate"), "--name", "slow"),
            "db": scratch.server("--name", "db"),
            "web": scratch.server("--name", "web", depends_on=["db"]),
            "top": scratch.server("--name", "top", depends_on=["web", "slow"]),
        }
    )
    starting = scratch.background("start")
    scratch.stage.wait_for("web")
    assert starting.poll() is None
    assert "slow" not in scratch.stage.order()
    assert "top" not in scratch.stage.order()
    (scratch.root / "gate").touch()
    assert starting.wait(30) == 0, starting.communicate()
    assert scratch.stage.order().index("slow") < scratch.stage.order().index("top")
    scratch.run("stop")


def test_a_dependant_of_what_is_not_ready_is_not_started(scratch: Scratch):
    in_mood(scratch, "error")
    scratch.declare(
        {
            "web": moody(scratch, called="web", depends_on=["db"]),
            "db": moody(scratch, called="db", ready={"http": "/", "timeout": 2}),
            "worker": scratch.server("--name", "worker"),
        }
    )
    report = scratch.run("start", expect=1)
    assert {one["name"]: one["outcome"] for one in report["services"]} == {
        "db": "not-ready",
        "worker": "started",
        "web": "exited",
    }
    assert "web" not in scratch.stage.order()
    scratch.run("stop")


# --- health ------------------------------------------------------------------------------------------


def test_health_asks_what_lives_what_it_is_like(scratch: Scratch):
    """One service through its moods: `health`, `status` and `status --check` tell the same."""
    health = {"http": "/health", "timeout": 30, "body": "^ok$"}
    scratch.declare({"web": moody(scratch, health=health)})
    assert row(scratch.run("health", expect=1))["detail"] == "it does not run"
    assert row(scratch.run("status"))["health"] is None
    scratch.start()
    for mood, said in {
        "ok": "GET /health answers 200",
        "error": "GET /health answers 500",
        "200 sick": "the body does not match ^ok$",
        "hang": "no complete answer within 1 s",
        "drip": "no complete answer within 1 s",
        "half": "breaks off",
        "nothing": "without an answer",
        "flood": "the body does not match ^ok$",
        "redirect": "the body does not match",
    }.items():
        in_mood(scratch, mood)
        good = mood == "ok"
        patience = ["--timeout", "1"] if mood in ("hang", "drip") else []
        report = scratch.run("health", *patience, expect=0 if good else 1)
        found = row(report)
        assert report["ok"] is good
        assert (found["health"], found["probe"]) == ("healthy" if good else "unhealthy", "http"), found
        assert said in found["detail"], found
    in_mood(scratch, "ok")
    assert row(scratch.run("status"))["health"] == "unknown", "plain status asks nobody"
    assert row(scratch.run("status", "--check"))["health"] == "healthy"
    in_mood(scratch, "error")
    checked = row(scratch.run("status", "--check", expect=1))
    assert (checked["state"], checked["health"]) == ("unhealthy", "unhealthy")
    assert "500" in checked["detail"]
    assert "web  unhealthy  GET /health answers 500" in scratch.raw("health").stdout
    scratch.run("stop")
    scratch.run("status", "--check", expect=3)


def test_without_a_health_table_it_is_asked_whether_it_listens_or_lives(scratch: Scratch):
    scratch.declare(
        {
            "web": scratch.server("--name", "web"),
            "worker": {"command": [PYTHON, "main.py", "--name", "worker"]},
        }
    )
    scratch.run("start")
    report = scratch.run("health")
    assert [(one["health"], one["probe"]) for one in report["services"]] == [
        ("healthy", "port"),
        ("healthy", "alive"),
    ]
    assert all(one["health"] is None for one in scratch.run("status", "--check")["services"])
    scratch.run("stop", "worker")
    assert scratch.run("health", "web")["ok"]
    assert row(scratch.run("health", expect=1), "worker")["health"] == "unhealthy"
    scratch.run("stop")


def test_within_its_start_period_it_is_starting(scratch: Scratch):
    in_mood(scratch, "error")
    scratch.declare({"web": moody(scratch, health={"http": "/", "start_period": 600, "timeout": 30})})
    scratch.start()
    assert row(scratch.run("health", expect=1))["health"] == "starting"
    scratch.run("status", "--check", expect=4)
    in_mood(scratch, "ok")
    assert row(scratch.run("health"))["health"] == "healthy"
    scratch.run("stop")


def test_a_stranger_in_its_place_is_foreign(scratch: Scratch, stage: Stage):
    service = moody(scratch, health={"http": "/"})
    scratch.declare({"web": service})
    elsewhere = stage.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "moody.py").write_text((scratch.root / "moody.py").read_text())
    (elsewhere / "stage.py").write_text((scratch.root / "stage.py").read_text())
    command = [*service["command"], "--name", "stranger"]
    stranger = stage.detached("stranger", command, elsewhere, announce=False)  # it says so itself, when it listens
    found = row(scratch.run("health", expect=1))
    assert found["health"] == "foreign"
    assert f"PID {stranger.pid}" in found["detail"]
    scratch.run("status", "--check", expect=3)


def test_all_are_asked_at_the_same_time(scratch: Scratch):
    in_mood(scratch, "hang")
    names = [f"web-{letter}" for letter in "abcdef"]
    scratch.declare({name: moody(scratch, called=name, health={"http": "/"}) for name in names})
    scratch.run("start")
    began = time.monotonic()
    report = scratch.run("health", "--timeout", "3", expect=1)
    assert time.monotonic() - began < 3 * len(names)
    assert all("within 3 s" in one["detail"] for one in report["services"])
    scratch.run("stop")


def test_the_processes_of_a_probe_are_not_the_services(scratch: Scratch):
    """A probe that waits: meanwhile nothing counts it, nothing stops it, and then it has its answer."""
    scratch.install("parent.py", "moody.py")
    probe = ["sh", "-c", "echo > begun; while ! test -e gate; do sleep 0.05; done"]
    scratch.declare({"web": moody(scratch, health={"command": probe, "timeout": 60})})
    pid = scratch.start()
    asking = scratch.background("health", "--json")
    eventually((scratch.root / "begun").exists, "the probe runs")
    status = row(scratch.run("status"))
    assert (status["pid"], status["processes"], status["state"]) == (pid, 1, "running")
    shown = scratch.run("show-processes", "--only", "web")["services"]
    assert [one["pid"] for one in row({"services": shown})["processes"]] == [pid]
    stopped = scratch.run("stop")
    assert [(one["name"], one["stopped"] + one["killed"]) for one in stopped["services"]] == [("web", [pid])]
    assert row(scratch.run("status"))["state"] == "stopped"
    assert asking.poll() is None, "the probe goes on"
    (scratch.root / "gate").touch()
    assert asking.wait(30) == 0


def test_what_is_left_of_a_probe_is_the_projects_and_is_stopped(scratch: Scratch, stage: Stage):
    """Its warden was killed: an orphan, by its marker."""
    import os

    probe = ["sh", "-c", "echo $PPID $$ > begun.new; mv begun.new begun; exec sleep 600"]
    scratch.declare({"web": moody(scratch, health={"command": probe, "timeout": 600})})
    scratch.start()
    asking = scratch.background("health", "--json")
    eventually((scratch.root / "begun").exists, "the probe runs")
    warden, sleeper = map(int, (scratch.root / "begun").read_text().split())
    os.kill(warden, 9)
    assert asking.wait(30) == 1
    left = row(scratch.run("status"), "web+probe")
    assert left["processes"] == 1
    stopped = scratch.run("stop")
    assert sleeper in row(stopped, "web+probe")["stopped"]
    assert not stage.living("moody")


def test_a_monitors_last_word_is_what_status_tells(scratch: Scratch):
    """While it watches; after that nobody knows."""
    health = {"http": "/", "interval": 0.2, "timeout": 30, "failures": 1}
    scratch.declare({"web": moody(scratch, health=health, restart={"policy": "never"})})
    scratch.start()
    monitor = scratch.background("monitor", "--json")
    eventually(lambda: row(scratch.run("status"))["health"] == "healthy", "the monitor says so")
    in_mood(scratch, "error")
    sick = eventually(
        lambda: found if (found := row(scratch.run("status")))["health"] == "unhealthy" else None, "and now this"
    )
    assert "500" in sick["detail"]
    scratch.run("status", "--check", expect=1)
    monitor.terminate()
    monitor.wait(30)
    assert row(scratch.run("status"))["health"] == "unknown"
    scratch.run("stop")
