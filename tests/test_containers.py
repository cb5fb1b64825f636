"""Services that are containers: everything through the engine, which is a fake one but for the last tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toolbox import PROGRAMS, PYTHON, Being, Scratch, Stage, being, eventually, free_port

from devtasks.config import parsing
from devtasks.engines import state
from devtasks.errors import ConfigError

ID = "0123456789abcdef" * 4


class Engine:
    """A fake engine on PATH, and its containers."""

    def __init__(self, scratch: Scratch, *names: str) -> None:
        self.scratch = scratch
        self.bin = scratch.stage.folder / "engines"
        self.state = scratch.stage.folder / "containers"
        self.bin.mkdir()
        self.state.mkdir()
        for name in names or ("docker",):
            (self.bin / name).write_text(f"#!{PYTHON} -S\n" + (PROGRAMS / "engine.py").read_text())
            (self.bin / name).chmod(0o755)
        os.symlink(PYTHON, self.bin / "python")
        self.environ = {"PATH": str(self.bin), "ENGINE_STATE": str(self.state)}
        scratch.stage.environ |= self.environ

    def create(self, name: str, number: int = 0, **fields: Any) -> None:
        health = fields.pop("health", None)
        ports = {f"{one}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(one)}] for one in fields.pop("ports", ())}
        row = {
            "Id": f"{number:x}" + ID[1:],
            "Name": name,
            "State": {"Status": "created", "Pid": 0, "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z"},
            "RestartCount": 0,
            "NetworkSettings": {"Ports": ports},
        }
        if health is not None:
            row["State"]["Health"] = {"Status": health}
        (self.state / f"{name}.json").write_text(json.dumps(row))

    def change(self, name: str, **fields: Any) -> None:
        row = json.loads((self.state / f"{name}.json").read_text())
        row["State"] |= fields
        (self.state / f"{name}.json").write_text(json.dumps(row))

    def mode(self, mode: str) -> None:
        (self.state / "mode").write_text(mode)

    def calls(self) -> list[str]:
        path = self.state / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def process(self, name: str = "db") -> Being:
        return being(json.loads((self.state / f"{name}.json").read_text())["State"]["Pid"])


@pytest.fixture
def engine(scratch: Scratch) -> Iterator[Engine]:
    made = Engine(scratch)
    made.create("db", ports=[5432])
    yield made
    for file in made.state.glob("*.json"):
        pid = json.loads(file.read_text())["State"]["Pid"]
        if pid:
            being(pid).kill()


def test_its_whole_life(scratch, engine):
    scratch.declare({"db": {"container": "db", "port": 5432}})
    assert scratch.run("status", "--check", expect=3)["services"][0]["state"] == "stopped"
    started = scratch.run("start")["services"][0]
    assert (started["outcome"], started["pid"], started["detail"]) == ("started", None, "container db")
    inside = engine.process()
    assert scratch.run("start")["services"][0]["outcome"] == "already-running"
    row = scratch.run("status", "--check")["services"][0]
    assert (row["state"], row["pid"], row["processes"]) == ("running", None, 0)
    assert row["uptime_seconds"] >= 0
    shown = scratch.run("show-processes")["services"][0]["processes"]
    assert [(one["pid"], one["command"], one["evidence"][0]["kind"]) for one in shown] == [
        (inside.pid, "postgres -D /data", "container")
    ]
    lines = scratch.run("logs", "--lines", "2")["lines"]
    said = [(line["service"], line["line"]) for line in lines]
    assert said == [("db", f"db said \\x1b[31m{number}") for number in (28, 29)]
    restarted = scratch.run("restart")
    assert restarted["stop"]["services"][0]["containers"] == ["db"]
    assert restarted["start"]["services"][0]["outcome"] == "started"
    assert not inside.alive
    planned = scratch.run("stop", "--dry-run")["services"][0]
    assert planned["containers"] == ["db"]
    stopped = scratch.run("stop")
    assert (stopped["ok"], stopped["services"][0]["containers"]) == (True, ["db"])
    assert scratch.run("stop")["services"][0]["containers"] == []
    scratch.run("start")
    assert scratch.run("force-clean")["services"][0]["containers"] == ["db"]
    assert "docker kill db" in engine.calls()
    assert "docker stop -t 5 db" in engine.calls()


def test_nothing_is_signalled_from_here(scratch, engine):
    """The engine that stops nothing: its container's process lives on, and that is said."""
    scratch.declare({"db": {"container": "db", "port": 5432}})
    scratch.run("start")
    inside = engine.process()
    engine.mode("deaf")
    for verb in ("stop", "force-clean"):
        report = scratch.run(verb, expect=1)
        assert "still runs" in report["services"][0]["failure"]
    assert inside.alive
    assert "DEVTASKS_KEEP=1" in Path(f"/proc/{inside.pid}/environ").read_text()


def test_a_compose_service(scratch, engine):
    engine.create("mail", 2)
    (scratch.root / "stack").mkdir()
    scratch.declare({"mail": {"compose": "mail", "cwd": "stack", "stop": {"timeout": 3}}})
    assert scratch.run("status")["services"][0]["state"] == "stopped"
    assert scratch.run("start")["services"][0]["detail"] == "compose service mail"
    assert scratch.run("status")["services"][0]["state"] == "running"
    assert scratch.run("logs", "--lines", "1")["lines"]
    assert scratch.run("stop")["services"][0]["containers"] == ["mail"]
    calls = [call for call in engine.calls() if " compose " in call]
    assert set(calls) == {
        "docker compose ps --all --quiet mail",
        "docker compose up --detach mail",
        "docker compose logs --no-color --no-log-prefix --tail 1 mail",
        "docker compose stop -t 3 mail",
    }


def test_an_engine_without_compose(scratch, engine):
    scratch.declare({"mail": {"compose": "mail"}})
    engine.mode("composeless")
    report = scratch.run("start", expect=1)["services"][0]
    assert "docker has no compose" in report["detail"]
    assert "docker-compose-plugin" in report["hint"]


def test_health_is_the_engines(scratch, engine):
    engine.create("db", health="healthy")
    scratch.declare({"db": {"container": "db"}})
    row = scratch.run("health", expect=1)["services"][0]
    assert (row["health"], row["probe"]) == ("unhealthy", "engine")
    scratch.run("start")
    assert scratch.run("health")["services"][0]["health"] == "healthy"
    scratch.run("stop")


def test_an_export_leaves_containers_to_their_engine(scratch, engine):
    scratch.declare({"db": {"container": "db"}, "web": {"command": "serve", "depends_on": ["db"]}})
    report = scratch.run("export", "--to", "procfile", "--output", str(scratch.root / "out"))
    db, web = report["services"]
    assert any(one["key"] == "container" for one in db["unmapped"])
    assert "db" not in (scratch.root / "out" / "Procfile").read_text().splitlines()[-1]
    assert any(one["key"] == "depends_on" for one in web["unmapped"])
    refused = scratch.run("export", "db", "--to", "procfile", expect=2)
    assert "is a container already" in refused["error"]["message"]


def test_a_port_that_the_kernel_passes_on(scratch, engine):
    """Nobody is seen to listen where docker works without its proxy."""
    port = free_port()
    engine.create("db", ports=[port])
    scratch.declare({"db": {"container": "db", "port": port}})
    assert scratch.run("ports")["ports"][0]["state"] == "free"
    scratch.run("start")
    (row,) = scratch.run("ports")["ports"]
    assert (row["state"], row["holders"][0]["container"]) == ("container", "db")
    assert "container db" in scratch.raw("ports").stdout
    scratch.run("stop")


def test_who_depends_on_a_container_waits_for_its_health(scratch, engine):
    engine.create("db", health="starting")
    server = scratch.server("serve", depends_on=["db"])
    scratch.declare({"web": server, "db": {"container": "db"}})
    starting = scratch.background("start", "--json")
    eventually(lambda: "docker start db" in engine.calls(), "the container is started")
    seen = len(engine.calls())
    eventually(lambda: len(engine.calls()) > seen + 2, "its health is asked for")
    assert not scratch.stage.announced("main")
    engine.change("db", Health={"Status": "healthy"})
    said, errors = starting.communicate(timeout=60)
    assert starting.returncode == 0, errors
    assert [one["name"] for one in json.loads(said)["services"]] == ["db", "web"]
    assert scratch.run("status")["services"][1]["health"] == "healthy"
    engine.change("db", Health={"Status": "unhealthy"})
    assert scratch.run("status", "--check", expect=1)["services"][1]["state"] == "unhealthy"
    scratch.run("stop")


def test_one_that_is_not_ready_is_stopped_again(scratch, engine):
    engine.create("db", health="starting")
    scratch.declare({"db": {"container": "db"}, "web": scratch.server("serve", depends_on=["db"])})
    report = scratch.run("start", "--timeout", "1", expect=1)
    db, web = report["services"]
    assert (db["outcome"], web["outcome"]) == ("not-ready", "exited")
    assert "health check says starting" in db["detail"]
    assert db["log_tail"]
    assert scratch.run("status")["services"][0]["state"] == "stopped"


def test_an_interrupted_start_stops_what_it_began(scratch, engine):
    engine.create("db", health="starting")
    scratch.declare({"db": {"container": "db"}})
    starting = scratch.background("start")
    eventually(lambda: sum("inspect" in call for call in engine.calls()) > 2, "it waits")
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=60)
    assert starting.returncode == 130
    assert scratch.run("status")["services"][0]["state"] == "stopped"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("away", "does not answer: Cannot connect"),
        ("babble", "printed what no engine prints"),
        ("flood", "prints more than 4 MiB"),
    ],
)
def test_an_engine_that_cannot_be_asked(scratch, engine, mode, words):
    scratch.declare({"db": {"container": "db"}, "web": scratch.server("serve")})
    engine.mode(mode)
    status = scratch.run("status", "--check", "--only", "db", expect=4)["services"][0]
    assert status["state"] == "elsewhere"
    assert words in status["detail"]
    assert "\x1b" not in status["detail"]
    report = scratch.run("start", expect=1)
    outcomes = {one["name"]: one["outcome"] for one in report["services"]}
    assert outcomes == {"db": "exited", "web": "started"}
    stopped = scratch.run("stop", expect=1)
    assert words in next(one["failure"] for one in stopped["services"] if one["name"] == "db")
    assert "no log" in scratch.run("logs", "--only", "db")["lines"][0]["line"]


def test_a_daemon_that_hangs_is_given_up(scratch, engine):
    scratch.declare({"db": {"container": "db"}})
    engine.mode("hang")
    row = scratch.run("status", seconds=60)["services"][0]
    assert (row["state"], "did not answer within 5 s" in row["detail"]) == ("elsewhere", True)


def test_no_engine(scratch):
    scratch.declare({"db": {"container": "db"}})
    empty = scratch.stage.folder / "empty"
    empty.mkdir()
    done = scratch.raw("start", env={"PATH": str(empty)})
    assert done.returncode == 1
    assert "neither docker nor podman is installed" in done.stdout
    assert 'engine = "podman"' in done.stdout


def test_no_such_container(scratch, engine):
    scratch.declare({"db": {"container": "nobody"}})
    report = scratch.run("start", expect=1)["services"][0]
    assert report["detail"] == "there is no container nobody"
    assert report["hint"] == "create it: docker create --name nobody IMAGE"


def test_the_engine_that_answers_is_asked(scratch):
    both = Engine(scratch, "docker", "podman")
    both.create("db")
    (both.bin / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    scratch.declare({"db": {"container": "db"}, "cache": {"container": "db", "engine": "docker"}})
    rows = scratch.run("status")["services"]
    assert [row["state"] for row in rows] == ["stopped", "elsewhere"]
    chosen = scratch.run("status", env={"DEVTASKS_CONTAINER_ENGINE": "podman"})["services"]
    assert [row["state"] for row in chosen] == ["stopped", "stopped"]


# --- the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"container": "db", "command": "x"}, "services.db.command: is for a service that is a process"),
        ({"container": "db", "compose": "db"}, "services.db.compose: container is given too"),
        ({"container": "-v"}, "services.db.container: must be the name"),
        ({"container": "db", "restart": {}}, "services.db.restart: is for a service that is a process"),
        ({"container": "db", "stop": {"signal": "INT"}}, "services.db.stop.signal: is for"),
        ({"container": "db", "ready": {"log": "x"}}, "services.db.ready.log: the engine keeps its log"),
        ({"container": "db", "engine": "lxc"}, 'services.db.engine: must be "docker" or "podman"'),
        ({"command": "x", "engine": "docker"}, "services.db.engine: unknown key"),
        ({"container": "db", "prot": 1}, "services.db.prot: unknown key; did you mean"),
    ],
)
def test_contradictions(tmp_path, table, problem):
    with pytest.raises(ConfigError) as caught:
        parsing.parse({"services": {"db": table}}, root=tmp_path, source="x", project_name=None, environ={})
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


# --- what engines print ----------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "Id": ID,
    "Name": "/db",
    "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-22T13:26:49.672332576Z"},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None, "53/udp": []}},
}


def test_inspect_of_docker_and_podman():
    (found,) = state.containers(json.dumps([ROW])) or ()
    assert (found.name, found.state, found.health, found.ports) == ("db", "running", None, (8080,))
    assert found.started_at is not None
    podman = {**ROW, "Name": "db", "State": {**ROW["State"], "Health": {"Status": ""}}}
    (found,) = state.containers(json.dumps([podman])) or ()
    assert found.health is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[{}]",
        json.dumps([{**ROW, "Id": "x"}]),
        json.dumps([{**ROW, "Name": "a\x1bb"}]),
        json.dumps([{**ROW, "State": {"Status": "flying"}}]),
        json.dumps([{**ROW, "State": []}]),
        json.dumps([{**ROW, "NetworkSettings": {"Ports": {"80/tcp": [1]}}}]),
        "[" * 100_000,
    ],
)
def test_what_no_engine_prints(text):
    assert state.containers(text) is None


def test_rows_of_top():
    podman = "PID PPID HPID COMMAND\n1 0 700 sh -c x\n7 1 701 sleep 5\nbroken\n"
    assert [tuple(row) for row in state.rows(podman, 4)] == [(700, 0, "sh -c x"), (701, 700, "sleep 5")]
    docker = "PID PPID COMMAND\n700 650 sh\n701 700 sleep 5\n"
    assert [tuple(row) for row in state.rows(docker, 3)] == [(700, 0, "sh"), (701, 700, "sleep 5")]


# --- a real engine ---------------------------------------------------------------------------------------

PODMAN, RUNC, BUSYBOX = (
    shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin:/bin") for name in ("podman", "runc", "busybox")
)


@pytest.fixture
def podman(stage: Stage) -> Iterator[str]:
    """A real podman with a store of its own, and an image of nothing but busybox. Its name on PATH."""
    if PODMAN is None or RUNC is None or BUSYBOX is None or os.geteuid() != 0:
        pytest.skip("takes root, podman, runc and busybox")
    folder = Path(tempfile.mkdtemp(prefix="dt", dir="/tmp"))  # podman takes short paths only
    image = folder / "image"
    image.mkdir(parents=True)
    shutil.copy(BUSYBOX, image / "busybox")
    (image / "Containerfile").write_text("FROM scratch\nCOPY busybox /bin/busybox\n")
    (folder / "podman").write_text(
        f"#!/bin/sh\nexec {PODMAN} --root {folder}/root --runroot {folder}/run --storage-driver vfs"
        f' --cgroup-manager cgroupfs --runtime {RUNC} "$@"\n'
    )
    (folder / "podman").chmod(0o755)
    port = free_port()
    try:
        _podman(folder, "build", "-q", "-t", "busy", str(image))
        _podman(
            folder,
            *("create", "--name", "web", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
            *("-p", f"127.0.0.1:{port}:80", "busy", "/bin/busybox", "httpd", "-f", "-v", "-p", "80"),
        )
        _podman(folder, "start", "web")
        _podman(folder, "stop", "-t", "0", "web")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        with contextlib.suppress(subprocess.CalledProcessError):
            _podman(folder, "rm", "--force", "--all")
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"podman cannot run a container here: {getattr(error, 'stderr', '')}")
    stage.environ["PATH"] = f"{folder}:{stage.environ['PATH']}"
    yield str(port)
    _podman(folder, "rm", "--force", "--time", "0", "--all")
    shutil.rmtree(folder, ignore_errors=True)


def _podman(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [folder / "podman", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def test_a_real_container(scratch, podman):
    port = int(podman)
    scratch.declare({"web": {"container": "web", "engine": "podman", "port": port, "stop": {"timeout": 1}}})
    assert scratch.run("start")["services"][0]["outcome"] == "started"
    assert scratch.run("status", "--check")["services"][0]["state"] == "running"
    (process,) = scratch.run("show-processes")["services"][0]["processes"]
    assert "httpd" in process["command"]
    inside = being(process["pid"])
    (row,) = scratch.run("ports")["ports"]
    assert (row["state"], row["holders"][0]["container"]) == ("container", "web")
    assert row["holders"][0]["stop"] == "podman stop web"
    told = scratch.run("explain", "--port", str(port))
    assert "container web" in told["verdict"]
    assert scratch.run("free-port", "--port", str(port), "--force", expect=3)["error"]["message"]
    assert inside.alive
    assert scratch.run("stop")["services"][0]["containers"] == ["web"]
    assert not inside.alive
    assert scratch.run("status")["services"][0]["state"] == "stopped"
