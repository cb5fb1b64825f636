"""`serve`: an ASGI app in the foreground, ended gracefully by every signal, and known to every other verb."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from toolbox import (
    PROGRAMS,
    PYTHON,
    REPOSITORY,
    Being,
    Scratch,
    Stage,
    answers,
    being,
    eventually,
    free_port,
    is_free,
)

from devtasks.command.options import checked
from devtasks.config.loading import load
from devtasks.errors import UsageError
from devtasks.serving.target import resolve, served_by

GRACE_SECONDS = 5.0
SLACK_SECONDS = 4.0  # for a loaded machine


class Served:
    """One `devtasks serve` beside the test."""

    def __init__(self, scratch: Scratch, *arguments: str, port: int | None = None, **options: object) -> None:
        self.scratch = scratch
        self.port = port or free_port()
        before = len(scratch.stage.announced("asgi"))
        self.command = scratch.background("serve", "asgi:app", "--port", str(self.port), *arguments, **options)
        self.workers = eventually(
            lambda: scratch.stage.announced("asgi")[before:] or self._dead(), "the app begins"
        )
        eventually(lambda: answers(self.port), "the app answers")
        self.main = being(int(self.pid_file.read_text()))

    def _dead(self) -> None:
        assert self.command.poll() is None, self.command.communicate()

    @property
    def pid_file(self) -> Path:
        return self.scratch.root / f".server_{self.port}.pid"

    def abandon(self) -> None:
        """Kill the command, and it alone."""
        being(self.command.pid).kill()
        self.command.wait()

    def signal(self, number: signal.Signals) -> None:
        self.command.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.command.communicate(timeout=30)
        assert "Traceback (most recent call last)" not in err or "CancelledError" in err, err
        return self.command.returncode, out, err

    def expect_nothing_left(self) -> None:
        assert not self.main.alive
        assert not self.pid_file.exists()
        assert is_free(self.port)
        assert not [one for one in self.workers if one.alive]


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.install("asgi.py")
    scratch.declare({"db": {"command": "sleep 1000"}})  # so that nothing is inferred
    return scratch


def of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """What a report says of one service."""
    [row] = [row for row in report["services"] if row["name"] == name]
    return row


def connect(port: int, path: str) -> socket.socket:
    """A connection with a request on it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def told(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a command that failed says, on lines of its own."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "/devtasks/" not in done.stderr, "no traceback of ours"
    return done.stderr


@contextmanager
def stranger(stage: Stage) -> Iterator[tuple[Being, int]]:
    """Somebody else's server, outside of every project."""
    port = free_port()
    command = ["python", PROGRAMS / "main.py", "--port", str(port)]
    one = stage.detached("stranger", command, stage.folder)
    eventually(lambda: answers(port), "the stranger serves")
    yield one, port
    one.kill()


# --- signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_each_signal_stops_it_gracefully(shop: Scratch, number: signal.Signals, code: int) -> None:
    served = Served(shop)
    served.signal(number)
    ended, out, err = served.wait()
    assert (ended, served.scratch.stage.order()) == (code, ["asgi", "closed"]), (out, err)
    assert f"{number.name}, stopping" in out
    assert "stopped 1 process" in out
    served.expect_nothing_left()


def test_open_streams_and_running_requests_do_not_hold_it_up(shop: Scratch) -> None:
    served = Served(shop, env={"HANG": "1"})
    with connect(served.port, "/stream") as stream, connect(served.port, "/sleep"):
        assert stream.recv(10)
        began = time.monotonic()
        served.signal(signal.SIGTERM)
        code, out, _ = served.wait()
        assert time.monotonic() - began < GRACE_SECONDS + SLACK_SECONDS
    assert code == 143
    assert "killed 1 process" in out  # a thread that sleeps cannot be asked
    served.expect_nothing_left()


def test_an_open_stream_alone_leaves_time_for_the_shutdown_of_the_app(shop: Scratch) -> None:
    served = Served(shop, "--timeout", "2")
    with connect(served.port, "/stream") as stream:
        assert stream.recv(10)
        began = time.monotonic()
        served.signal(signal.SIGINT)
        code, out, _ = served.wait()
        assert time.monotonic() - began < 2 + SLACK_SECONDS
    assert code == 130
    assert "stopped 1 process" in out
    assert shop.stage.order()[-1] == "closed"
    served.expect_nothing_left()


def test_a_second_ctrl_c_ends_it_at_once(shop: Scratch) -> None:
    served = Served(shop, "--timeout", "60", env={"HANG": "1"})
    with connect(served.port, "/stream") as stream:
        assert stream.recv(10)
        served.signal(signal.SIGINT)
        eventually(lambda: not answers(served.port), "it listens no more")
        began = time.monotonic()
        served.signal(signal.SIGINT)
        code, _, _ = served.wait()
        assert time.monotonic() - began < SLACK_SECONDS
    assert code == 130
    served.expect_nothing_left()


# --- trees -------------------------------------------------------------------------------------------


def test_workers_do_not_survive_the_kill_of_their_master(shop: Scratch) -> None:
    served = Served(shop, "--workers", "2")
    workers = shop.stage.wait_for("asgi", 2)
    served.main.send(signal.SIGKILL)
    code, _, err = served.wait()
    assert code == 1
    assert "was ended by SIGKILL" in err
    assert not [one for one in workers if one.alive]
    served.expect_nothing_left()


def test_kill_9_of_everything_but_the_reloaded_worker_and_then_stop(shop: Scratch) -> None:
    served = Served(shop, "--reload")
    name = f"server-{served.port}"
    served.abandon()
    assert of(shop.run("status"), name)["state"] == "running", "the server lives, and is known"
    served.main.kill()
    assert of(shop.run("status", "--only", name), name)["state"] == "orphaned"
    assert answers(served.port)
    stopped = of(shop.run("stop"), name)
    assert {one.pid for one in served.workers} <= {*stopped["stopped"], *stopped["killed"]}
    served.expect_nothing_left()


def test_a_leftover_is_stopped_and_its_pid_file_reported(shop: Scratch) -> None:
    first = Served(shop, "--workers", "2")
    shop.stage.wait_for("asgi", 2)
    first.abandon()
    first.main.kill()
    second = Served(shop, port=first.port)
    assert shop.stage.living("asgi") == second.workers
    second.signal(signal.SIGTERM)
    code, out, _ = second.wait()
    assert code == 143
    assert f"{first.pid_file} was stale: PID {first.main.pid} is dead" in out.replace("PID file ", "")
    assert "stopping what an earlier run left" in out
    second.expect_nothing_left()


# --- one on a port -----------------------------------------------------------------------------------


def test_a_second_one_is_refused_and_force_takes_over(shop: Scratch) -> None:
    first = Served(shop)
    said = told(shop.raw("serve", "asgi:app", "--port", str(first.port)), 3)
    assert f"held by PID {first.main.pid} (" in said
    assert "asgi:app" in said
    for choice in (f"devtasks serve --stop --port {first.port}", "--force", "another --port"):
        assert choice in said
    said = told(
        shop.raw("serve", "asgi:app", "--port", str(first.port), "--force", env={"ENVIRONMENT": "prod"}), 3
    )
    assert "environment is prod: nothing was signalled" in said
    told(shop.raw("serve", "nothing:app", "--port", str(first.port), "--force"), 1)
    assert first.main.alive
    plan = shop.run("serve", "asgi:app", "--port", str(first.port), "--force", "--dry-run")
    assert plan["dry_run"]
    assert plan["stop"]["services"][0]["stopped"] == [first.main.pid]
    assert first.main.alive
    first.signal(signal.SIGSTOP)  # so that it cleans up after itself when the second one already serves
    second = Served(shop, "--force", port=first.port)
    first.signal(signal.SIGCONT)
    code, out, err = first.wait()
    assert code == 0, (out, err)
    assert "was stopped from outside" in out
    assert second.main != first.main
    assert second.main.alive, "the first has cleaned up after itself alone"
    assert second.pid_file.exists()
    second.signal(signal.SIGTERM)
    code, out, _ = second.wait()
    assert "stopped to make room" in out
    second.expect_nothing_left()


def test_of_two_at_once_one_serves(shop: Scratch) -> None:
    port = free_port()
    both = [shop.background("serve", "asgi:app", "--port", str(port)) for _ in range(2)]
    loser = eventually(lambda: next((one for one in both if one.poll() is not None), None), "one is refused")
    assert (loser.returncode, "runs already" in loser.communicate()[1]) == (3, True)
    [winner] = [one for one in both if one is not loser]
    eventually(lambda: answers(port), "the other serves")
    assert winner.poll() is None
    winner.send_signal(signal.SIGTERM)
    assert winner.wait(30) == 143
    assert is_free(port)


def test_a_stranger_is_touched_by_force_alone_and_never_in_production(shop: Scratch) -> None:
    with stranger(shop.stage) as (one, port):
        said = told(shop.raw("serve", "asgi:app", "--port", str(port)), 3)
        assert f"port {port} is in use" in said
        assert f"held by PID {one.pid} (" in said
        assert "--force to take it over" in said
        told(shop.raw("serve", "asgi:app", "--port", str(port), "--force", env={"ENVIRONMENT": "production"}), 3)
        for mistake in (["nothing:app"], ["asgi:app", "--host", "no-such-host.invalid"]):
            done = shop.raw("serve", *mistake, "--port", str(port), "--force")
            assert done.returncode in (1, 2), done
        told(shop.raw("serve", "--stop", "--port", str(port)), 3)
        assert one.alive
        served = Served(shop, "--force", port=port)
        assert not one.alive
        served.signal(signal.SIGTERM)
        assert served.wait()[0] == 143
        served.expect_nothing_left()


def test_what_was_started_by_hand_in_the_project_is_not_taken_for_a_leftover(shop: Scratch) -> None:
    port = free_port()
    shop.install("main.py")
    one = shop.stage.detached("hand", ["python", "main.py", "--port", str(port)], shop.root)
    eventually(lambda: answers(port), "it serves")
    said = told(shop.raw("serve", "asgi:app", "--port", str(port)), 3)
    assert f"PID {one.pid}" in said
    assert one.alive


# --- PID files ---------------------------------------------------------------------------------------


def test_a_stale_pid_file_is_reported_and_replaced(shop: Scratch) -> None:
    port = free_port()
    dead = subprocess.Popen(["true"])
    dead.wait()
    path = shop.root / f".server_{port}.pid"
    path.write_text(f"{dead.pid}\n")
    served = Served(shop, port=port)
    assert served.main.pid != dead.pid
    served.signal(signal.SIGTERM)
    _, out, _ = served.wait()
    assert f"was stale: PID {dead.pid} is dead" in out
    assert f"removed {path}" in out
    served.expect_nothing_left()


@pytest.mark.parametrize("content", ["{alive}\n", "hello\n", ""])
def test_a_foreign_pid_file_stays(shop: Scratch, content: str) -> None:
    port = free_port()
    path = shop.root / f".server_{port}.pid"
    path.write_text(content.format(alive=os.getpid()))
    before = path.read_bytes(), path.stat().st_mtime_ns
    said = told(shop.raw("serve", "asgi:app", "--port", str(port)), 3)
    assert f"the PID file {path}" in said
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not shop.stage.announced("asgi")
    command = "uvicorn asgi:app --port {port}"
    shop.declare({"backend": {"command": command, "port": port}})  # it has a PID file of its own, too
    assert f"the PID file {path}" in told(shop.raw("serve"), 3)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


# --- the other verbs ---------------------------------------------------------------------------------


def test_every_verb_knows_it(shop: Scratch) -> None:
    served = Served(shop)
    name, port = f"server-{served.port}", str(served.port)
    row = shop.run("status")["services"][-1]
    assert (row["name"], row["state"], row["pid"], row["ports"]) == (
        name,
        "running",
        served.main.pid,
        [served.port],
    )
    for more in ([], ["--port", port]):
        rows = shop.run("serve", "--status", *more)["services"]
        assert (rows[-1]["name"], rows[-1]["state"]) == (name, "running")
    assert shop.raw("serve", "--status", "--check", "--port", port).returncode == 0
    group = of(shop.run("show-processes"), name)
    kinds = {item["kind"] for item in group["processes"][0]["evidence"]}
    assert {"pid-file", "marker", "descendant"} <= kinds
    [held] = shop.run("ports")["ports"]
    assert (held["state"], held["service"]) == ("ours", name)
    assert shop.run("explain", "--port", port)["verdict"].startswith("ours")
    planned = [one["name"] for one in shop.run("start", "--dry-run")["services"]]
    assert planned == ["db"], "a start is for what is configured"
    told(shop.raw("restart", "--only", name), 2)
    assert served.main.alive
    report = shop.run("stop", "--only", "server")
    assert report["services"][0]["stopped"] == [served.main.pid]
    code, _, err = served.wait()
    assert code == 0, err
    assert not served.pid_file.exists(), "removed by the stop or by serve itself, whoever came first"
    served.expect_nothing_left()
    assert shop.raw("serve", "--status", "--check", "--port", port).returncode == 3
    assert shop.run("serve", "--stop", "--port", port)["ok"], "a second stop has nothing to do"


def test_stop_of_its_own_and_force_clean(shop: Scratch) -> None:
    first, second = Served(shop), Served(shop)
    report = shop.run("serve", "--stop", "--port", str(first.port))
    assert report["services"][0]["stopped"] == [first.main.pid]
    assert first.wait()[0] == 0
    first.expect_nothing_left()
    assert second.main.alive
    report = shop.run("force-clean")
    assert of(report, f"server-{second.port}")["killed"] == [second.main.pid]
    assert second.wait()[0] == 1
    second.expect_nothing_left()


def test_its_state_lost_it_is_known_by_its_marker(shop: Scratch) -> None:
    served = Served(shop)
    served.abandon()
    shutil.rmtree(shop.state)
    row = shop.run("status")["services"][-1]
    assert (row["name"], row["state"], row["pid"]) == (f"server-{served.port}", "running", served.main.pid)
    assert shop.run("serve", "--stop", "--port", str(served.port))["ok"]
    served.expect_nothing_left()


def test_a_configured_service_is_served_as_itself(shop: Scratch) -> None:
    port = free_port()
    shop.install("asgi.py", to="api")
    (shop.root / "asgi.py").unlink()
    command = "uvicorn asgi:app --host {host} --port {port}"
    shop.declare({"backend": {"command": command, "port": port, "cwd": "api", "env": {"WORD": "x"}}})
    command_line = shop.background("serve", "asgi:app")
    eventually(lambda: answers(port), "it answers")
    [row] = shop.run("status")["services"]
    assert (row["name"], row["state"]) == ("backend", "running")
    both = [shop.pid_file("backend"), shop.root / f".server_{port}.pid"]
    assert [path.read_text() for path in both] == [f"{row['pid']}\n"] * 2
    assert b"WORD=x" in Path(f"/proc/{row['pid']}/environ").read_bytes().split(b"\0")
    assert told(shop.raw("serve"), 3)
    report = shop.run("start")
    assert report["services"][0]["outcome"] == "already-running"
    being(command_line.pid).kill()
    report = shop.run("stop-backend")
    assert report["services"][0]["stopped"] == [row["pid"]]
    assert sorted(report["services"][0]["removed"]) == sorted(map(str, both))
    assert is_free(port)


def test_invoke_and_json(shop: Scratch) -> None:
    port = free_port()
    command = [Path(PYTHON).with_name("inv"), "serve", "--app", "asgi:app", "--port", str(port), "--json"]
    served = shop.stage.popen(
        command, shop.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: answers(port), "it answers")
    served.send_signal(signal.SIGINT)
    out, err = served.communicate(timeout=30)
    assert served.returncode == 130, err
    report = json.loads(out)
    assert (report["name"], report["app"], report["exit_code"]) == (f"server-{port}", "asgi:app", 130)
    assert report["url"] == f"http://127.0.0.1:{port}"
    assert report["stop"]["services"][0]["stopped"] == [report["pid"]]
    assert "Application startup complete" in err


# --- what cannot be served ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["asgi:app", "--port", "0"], 2, "--port"),
        (["asgi:app", "--port", "70000"], 2, "--port"),
        (["asgi:app", "--port", "http"], 2, "--port"),
        (["asgi:app", "--host", "no-such-host.invalid"], 2, "does not resolve"),
        (["asgi:app", "--host", "192.0.2.1"], 2, "is not an address of this machine"),
        (["asgi.py"], 2, "MODULE:ATTRIBUTE"),
        (["asgi:"], 2, "MODULE:ATTRIBUTE"),
        (["asgi:app", "--workers", "0"], 2, "--workers"),
        (["asgi:app", "--workers", "2", "--reload"], 2, "exclude each other"),
        (["--stop", "--status"], 2, "exclude each other"),
        ([], 2, "needs to know what"),
        (["nothing:app"], 1, "Could not import module"),
        (["asgi:nothing"], 1, 'Attribute "nothing" not found'),
        (["nothing:app", "--reload"], 1, "nothing:app cannot be imported"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_cannot_be_served(shop: Scratch, arguments: list[str], code: int, words: str) -> None:
    port = [] if "--port" in arguments else ["--port", str(free_port())]
    said = told(shop.raw("serve", *arguments, *port), code)
    assert words in said
    assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
    assert not list(shop.root.glob(".server_*"))
    assert not shop.stage.everything()


@pytest.mark.parametrize("more", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_an_app_that_fails_while_it_starts(shop: Scratch, more: list[str]) -> None:
    port = free_port()
    said = told(shop.raw("serve", "asgi:app", "--port", str(port), *more, env={"FAIL": "1"}), 1)
    assert "no database" in said
    assert "before it served anything" in said
    assert not list(shop.root.glob(".server_*"))
    assert is_free(port)


def test_without_uvicorn_it_says_what_to_install(shop: Scratch, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("invoke", "psutil", "colorama"):
        folder = Path(str(__import__(name).__file__)).parent
        for found in (folder, *folder.parent.glob(f"{name}-*.dist-info")):
            (packages / found.name).symlink_to(found)
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-m", "devtasks", "serve", "asgi:app", "--port", str(free_port())],
        cwd=shop.root,
        env={**shop.stage.environ, "PYTHONPATH": f"{packages}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = told(done, 1)
    assert said == "error: serve needs uvicorn, which is not installed: pip install 'devtasks[serve]'\n"


def test_the_projects_own_environment_serves(shop: Scratch) -> None:
    own, theirs = shop.root / ".venv", Path(PYTHON).parent.parent
    (own / "bin").mkdir(parents=True)
    (own / "bin" / "python").symlink_to(os.path.realpath(PYTHON))
    for name in ("lib", "pyvenv.cfg"):
        (own / name).symlink_to(theirs / name)
    served = Served(shop)
    assert Path(f"/proc/{served.main.pid}/cmdline").read_bytes().split(b"\0")[0] == bytes(own / "bin" / "python")
    served.signal(signal.SIGTERM)
    assert served.wait()[0] == 143


# --- where -------------------------------------------------------------------------------------------


def where(root: Path, environ: dict[str, str] | None = None, **flags: object) -> tuple[str, int, str, Path]:
    flags = {"app": "main:app", **flags}
    target = resolve(load(root, {}), checked(flags), environ or {}, root)
    return target.service.host, target.port, target.service.name, target.service.cwd


def test_where_flag_over_variable_over_dotenv_over_configuration_over_default(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    host, port, _, _ = where(tmp_path)
    assert (host, port) == ("0.0.0.0", 8000), "what is inferred is not configuration"
    (tmp_path / "backend").mkdir()
    (tmp_path / "devtasks.toml").write_text(
        '[services.backend]\ncommand = "cd app && uvicorn main:app --port {port}"\nshell = true\n'
        'host = "127.0.0.2"\nport = 8101\ncwd = "backend"\n'
    )
    assert where(tmp_path) == ("127.0.0.2", 8101, "backend", tmp_path / "backend" / "app")
    assert where(tmp_path, app=None)[2] == "backend"
    assert where(tmp_path, app="other:app") == ("0.0.0.0", 8000, "server-8000", tmp_path)
    (tmp_path / ".env").write_text("HOST=127.0.0.3\nPORT=8102\nnot a line\n")
    assert where(tmp_path)[:3] == ("127.0.0.3", 8102, "server-8102")
    (tmp_path / ".env").write_text("DEVTASKS_PORT=8103\nPORT=8102\n")
    assert where(tmp_path)[:2] == ("127.0.0.2", 8103)
    environ = {"DEVTASKS_HOST": "127.0.0.4", "DEVTASKS_PORT": "8104"}
    assert where(tmp_path, environ)[:2] == ("127.0.0.4", 8104)
    assert where(tmp_path, environ, port="8101", host="::1")[:3] == ("::1", 8101, "backend")


@pytest.mark.parametrize("port", ["0", "70000", "http", "8000 8001"])
def test_a_variable_that_is_no_port_is_named(tmp_path: Path, port: str) -> None:
    with pytest.raises(UsageError, match=f"DEVTASKS_PORT: '{port}' is not a port"):
        where(tmp_path, {"DEVTASKS_PORT": port})
    (tmp_path / ".env").write_text(f"PORT={port}\n")
    with pytest.raises(UsageError, match=f".env: PORT: '{port}' is not a port"):
        where(tmp_path)


@pytest.mark.parametrize(
    ("command", "app"),
    [
        ("uvicorn main:app --reload", "main:app"),
        ("python -m uvicorn src.api.main:create --factory", "src.api.main:create"),
        ("uv run uvicorn main:app", "main:app"),
        ("gunicorn -k uvicorn.workers.UvicornWorker main:app", "main:app"),
        ("gunicorn wsgi:application", None),
        ("flask --app main:app run", None),
        ("npm run dev", None),
    ],
)
def test_the_app_of_a_command(tmp_path: Path, command: str, app: str | None) -> None:
    (tmp_path / "devtasks.toml").write_text(f'[services.web]\ncommand = "{command}"\n')
    assert served_by(load(tmp_path, {}).services[0]) == app
