"""Several of one service, with real processes: each with its own port, PID file and log, told as one group."""

from __future__ import annotations

from typing import Any

import pytest
from toolbox import PYTHON, Scratch, answers, eventually, free_port

from devtasks import outcomes
from devtasks.report import text
from devtasks.report.look import Look


@pytest.fixture
def three(scratch: Scratch) -> Scratch:
    port = free_port(3)
    scratch.declare(
        {
            "web": scratch.server(
                *("--name", "web{instance}", "--say", "I am {instance}"),
                port=port,
                instances=3,
                health={"http": "/", "timeout": 30},
                command=[
                    *(PYTHON, "main.py", "--name", "web{instance}"),
                    *("--say", "I am {instance}", "--port", "{port}"),
                ],
                env={"ME": "{instance}"},
            ),
            "worker": {"command": [PYTHON, "main.py", "--name", "worker"], "depends_on": ["web"]},
        }
    )
    return scratch


def rows(scratch: Scratch, verb: str = "status", *words: str, **options: Any) -> dict[str, Any]:
    return {row["name"]: row for row in scratch.run(verb, *words, **options)["services"]}


def states(scratch: Scratch) -> dict[str, str]:
    return {name: row["state"] for name, row in rows(scratch).items()}


def test_one_of_three_is_stopped_killed_and_started(three: Scratch):
    started = three.run("start")
    assert [row["name"] for row in started["services"]] == ["web.1", "web.2", "web.3", "worker"]
    found = rows(three)
    first = found["web.1"]["ports"][0]
    assert [found[f"web.{number}"]["ports"] for number in (1, 2, 3)] == [[first], [first + 1], [first + 2]]
    assert all(answers(first + number) for number in range(3))
    for number in (1, 2, 3):
        assert int(three.pid_file(f"web.{number}").read_text()) == found[f"web.{number}"]["pid"]
        assert f"I am {number}" in three.log(f"web.{number}")
    assert rows(three, "health")["web.3"]["health"] == "healthy"

    stopped = three.run("stop", "web.2")
    assert [row["name"] for row in stopped["services"]] == ["web.2"]
    assert states(three) == {"web.1": "running", "web.2": "stopped", "web.3": "running", "worker": "running"}
    assert not three.pid_file("web.2").exists()
    three.run("status", "--check", expect=3)
    assert three.run("start", "web.2")["services"][0]["outcome"] == "started"

    killed = three.stage.one("web3")
    killed.kill()
    eventually(lambda: not killed.alive, "it is gone")
    assert states(three)["web.3"] in ("stale", "failed")
    assert [states(three)[f"web.{number}"] for number in (1, 2)] == ["running", "running"]
    again = rows(three, "start")
    assert {name: row["outcome"] for name, row in again.items()} == {
        "web.1": "already-running",
        "web.2": "already-running",
        "web.3": "started",
        "worker": "already-running",
    }
    three.run("stop")
    assert set(states(three).values()) == {"stopped"}
    assert not any(three.stage.living(f"web{number}") for number in (1, 2, 3))


def test_the_group_is_addressed_by_its_name_and_has_the_only_tasks(three: Scratch):
    listed = three.raw("--list").stdout
    assert "start-web" in listed
    assert "web.1" not in listed
    assert set(rows(three, "start-web")) == {"web.1", "web.2", "web.3"}
    assert set(rows(three, "status", "--only", "web.1", "--only", "web.3")) == {"web.1", "web.3"}
    assert "I am 2" in three.raw("logs", "web.2").stdout
    restarted = three.run("restart", "web.2")
    assert [row["name"] for row in restarted["start"]["services"]] == ["web.2"]
    assert [row["name"] for row in three.run("stop-web")["services"]] == ["web.1", "web.2", "web.3"]
    unknown = three.raw("stop", "web.4")
    assert unknown.returncode == 2
    assert 'no service is called "web.4"; did you mean "web.' in unknown.stderr


def test_in_text_they_are_one_group(three: Scratch):
    three.run("start", "web")
    three.run("stop", "web.2")
    shown = three.raw("status").stdout.splitlines()
    assert [line.split()[:3] for line in shown[2:6]] == [
        ["web", "2/3", "running"],
        ["web.1", "running", "unknown"],
        ["web.2", "stopped", "-"],
        ["web.3", "running", "unknown"],
    ]
    assert shown[3].startswith("  web.1  ")
    tree = three.raw("show-processes").stdout.splitlines()
    assert tree[0] == "web: 3 instances, 2 processes"
    assert tree[1].startswith("  web.1: 1 process (held together by ")
    assert "  web.2: no processes" in tree
    assert "worker: no processes" in tree
    three.run("stop")


def test_those_that_are_configured_no_more_go_with_their_group(three: Scratch):
    three.run("start", "web")
    table = three.root / "devtasks.toml"
    table.write_text(table.read_text().replace("instances = 3", "instances = 2"))
    assert states(three)["web.3"] == "running"
    stopped = rows(three, "stop", "web")
    assert set(stopped) == {"web.1", "web.2", "web.3"}
    assert not three.stage.living("web3")


def test_a_group_sums_what_its_instances_use():
    def one(number: int, **changes: Any) -> outcomes.ServiceStatus:
        fields: dict[str, Any] = {
            "name": f"web.{number}", "state": "running", "health": "healthy", "pid": number,
            "ports": (8000 + number,), "uptime_seconds": 1.0, "restarts": 1,
            "cpu_percent": 2.0, "rss_bytes": 1024**2, "processes": 2,
            "holder": None,
        }  # fmt: skip
        return outcomes.ServiceStatus(**{**fields, **changes})

    report = outcomes.Status(
        project="shop", environment="test", services=(one(1), one(2, state="failed", cpu_percent=None), one(3))
    )
    lines = text.render(report, Look())
    assert lines[2].split() == [
        "web",
        "2/3",
        "running",
        "healthy",
        "-",
        "8001,8002,+1",
        "-",
        "4%",
        "3",
        "MiB",
        "6",
        "3",
    ]
    assert lines[4].split()[:2] == ["web.2", "failed"]
    alone = text.render(outcomes.Status(project="shop", environment="test", services=(one(2),)), Look())
    assert alone[2].split()[:2] == ["web.2", "running"]
