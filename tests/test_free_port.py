"""`free-port`: the whole service behind a port, a stranger only by force, and the proof by binding."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from anybody import anybody
from test_ports import docker_proxy, listener, port_of
from toolbox import PYTHON, Scratch, Stage, answers, being, ended, eventually, expect_gone, free_port, is_free

# Holds the port itself and asks for it to be freed.
ASKING = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
sys.exit(subprocess.call([sys.executable, "-m", "devtasks", "free-port", "--port", sys.argv[1], *sys.argv[2:]]))
"""
CLIENT = """
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""
# Starts a listener again whenever it ends.
RESPAWNING = """
import os, subprocess, sys
import stage
stage.announce("respawning")
while not os.path.exists(f"{stage.FOLDER}/end"):
    subprocess.call([sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.declare({"web": scratch.server()}, project="shop")
    return scratch


def free(scratch: Scratch, port: int, *flags: str, **options: Any) -> dict[str, Any]:
    return scratch.run("free-port", "--port", str(port), *flags, **options)


# --- ours ----------------------------------------------------------------------------------------------


def test_free_already(shop: Scratch) -> None:
    port = port_of(shop)
    report = free(shop, port)
    assert report["ok"]
    assert report["services"] == []
    assert report["notes"] == [f"port {port} is free already"]
    assert shop.raw("free-port", "--port", str(port)).stdout == f"port {port} is free already\n"
    assert not shop.state.exists()


def test_the_service_is_stopped_and_the_port_is_free(shop: Scratch) -> None:
    port = port_of(shop)
    main = being(shop.start())
    report = free(shop, port)
    expect_gone([main], report)
    (service,) = report["services"]
    assert (service["name"], service["stopped"], service["killed"]) == ("web", [main.pid], [])
    assert report["notes"] == [f"port {port} is free"]
    assert is_free(port)
    assert not shop.pid_file().exists()
    assert shop.run("status")["services"][0]["state"] == "stopped"


def test_other_services_go_on(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server(), "api": scratch.server("--name", "api")})
    report = scratch.run("start")
    web, api = (being(service["pid"]) for service in report["services"])
    port = int((scratch.root / "devtasks.toml").read_text().split("port = ")[1].split()[0])
    expect_gone([web], free(scratch, port))
    assert api.alive
    scratch.run("stop")


def test_a_reloader_is_stopped_with_its_worker(scratch: Scratch) -> None:
    port = free_port()
    scratch.install("app.py")
    command = [PYTHON, "-m", "uvicorn", "app:app", "--reload", "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}})
    reloader = being(scratch.start())
    worker = scratch.stage.one("worker")
    expect_gone([reloader, worker], free(scratch, port))
    assert is_free(port)


@pytest.mark.parametrize("mode", [["--reload"], ["--workers", "2"]])
def test_a_leftover_uvicorn_worker_that_holds_the_port(scratch: Scratch, mode: list[str]) -> None:
    port = free_port()
    scratch.install("app.py")
    command = [PYTHON, "-m", "uvicorn", "app:app", *mode, "--port", str(port)]
    scratch.declare({"web": {"command": command, "port": port}})
    top = being(scratch.start())
    workers = scratch.stage.wait_for("worker", 2 if "--workers" in mode else 1)
    top.kill()
    assert answers(port), "the worker serves on"
    expect_gone(workers, free(scratch, port))
    assert is_free(port)


def test_started_by_hand_in_the_project(shop: Scratch) -> None:
    port = port_of(shop)
    hand = shop.stage.detached("hand", [PYTHON, "main.py", "--port", str(port)], shop.root)
    shop.stage.one("main")
    expect_gone([hand], free(shop, port))


def test_what_ignores_term_is_killed(scratch: Scratch) -> None:
    scratch.declare({"web": {**scratch.server("--on", "TERM=ignore"), "stop": {"timeout": 30}}})
    main = being(scratch.start())
    report = free(scratch, port_of(scratch), "--timeout", "0.3")
    assert report["services"][0]["killed"] == [main.pid]
    assert scratch.stage.announced("got-TERM")


def test_what_may_not_be_killed_survives(scratch: Scratch) -> None:
    stop = {"timeout": 0.3, "kill": False}
    scratch.declare({"web": {**scratch.server("--on", "TERM=ignore"), "stop": stop}})
    main = being(scratch.start())
    report = free(scratch, port_of(scratch), expect=1)
    assert not report["ok"]
    assert report["services"][0]["survivors"][0]["pid"] == main.pid
    assert f"PID {main.pid}" in report["notes"][0]
    scratch.run("force-clean")


def test_a_dry_run_says_what_would_be_stopped(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    main = being(shop.start())
    report = free(shop, port, "--dry-run")
    assert (report["dry_run"], ended(report)) == (True, {main.pid})
    assert main.alive
    shop.run("stop")
    stranger = listener(stage, "stranger", port, cwd=elsewhere)
    report = free(shop, port, "--dry-run", "--force")
    assert ended(report) == {stranger.pid}
    assert stranger.alive
    free(shop, port, "--dry-run", expect=3)


# --- strangers -----------------------------------------------------------------------------------------


def test_a_stranger_is_named_and_left_alone(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    stranger = listener(stage, "stranger", port, cwd=elsewhere)
    error = free(shop, port, expect=3)["error"]
    assert f"port {port} is held by PID {stranger.pid}" in error["message"]
    assert "listen.py" in error["message"]
    assert str(elsewhere) in error["message"]
    assert "--force" in error["hint"]
    assert stranger.alive


def test_by_force_a_stranger_ends_and_its_clients_do_not(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    stranger = listener(stage, "stranger", port, cwd=elsewhere)
    client = stage.popen([PYTHON, "-c", CLIENT, str(port)], elsewhere, stdin=subprocess.PIPE)
    report = free(shop, port, "--force")
    expect_gone([stranger], report)
    assert report["services"][0]["name"] == f"port {port}"
    assert report["services"][0]["stopped"] == [stranger.pid]
    assert client.poll() is None
    assert is_free(port)


def test_by_force_a_master_and_its_workers_end(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    listener(stage, "server", port, "fork", cwd=elsewhere)
    both = stage.living("server")
    expect_gone(both, free(shop, port, "--force"))


def test_by_force_a_stubborn_stranger_is_killed(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    stubborn = listener(stage, "stubborn", port, "stubborn", cwd=elsewhere)
    report = free(shop, port, "--force", "--timeout", "0.3")
    assert report["services"][0]["killed"] == [stubborn.pid]


def test_a_stranger_that_comes_back_is_told(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    listener(stage, "first", port, cwd=elsewhere).kill()
    (stage.folder / "respawning.py").write_text(RESPAWNING)
    listen = [str(stage.folder / "listen.py"), "back", "127.0.0.1", str(port)]
    stage.detached("top", [PYTHON, str(stage.folder / "respawning.py"), *listen], elsewhere)
    first = stage.one("back")
    report = free(shop, port, "--force", expect=(0, 1))
    assert first.pid in ended(report)
    again = eventually(lambda: [one for one in stage.living("back") if one.pid != first.pid], "it comes back")
    if not report["ok"]:
        assert f"port {port} is held again" in report["notes"][0]
    (stage.folder / "end").touch()
    stage.adopt(again[0])


def test_a_container_is_never_ended_by_its_proxy(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    proxy = docker_proxy(stage, port, elsewhere)
    for flags in ((), ("--force",)):
        error = free(shop, port, *flags, expect=3)["error"]
        assert f"PID {proxy.pid}" in error["message"]
        assert "docker" in error["hint"]
    assert proxy.alive


def test_who_asks_is_never_ended(shop: Scratch, stage: Stage) -> None:
    port = port_of(shop)
    done = subprocess.run(
        [PYTHON, "-c", ASKING, str(port), "--force"],
        cwd=shop.root, env=stage.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done
    assert "which started this command" in done.stderr


def test_ours_and_a_stranger_on_one_port(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    """Nothing is touched unless all of it may be: half a port is not free."""
    port = port_of(shop)
    main = being(shop.start())
    stranger = listener(stage, "stranger", port, host="::1", cwd=elsewhere)
    assert str(stranger.pid) in free(shop, port, expect=3)["error"]["message"]
    assert main.alive
    expect_gone([main, stranger], free(shop, port, "--force"))


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_production_signals_nothing_and_prints_steps(
    shop: Scratch, stage: Stage, elsewhere: Path, force: tuple[str, ...]
) -> None:
    port = port_of(shop)
    main = being(shop.start())
    production = {"ENVIRONMENT": " Production"}
    done = shop.raw("free-port", "--port", str(port), *force, env=production)
    assert done.returncode == 3
    assert f"PID {main.pid}" in done.stderr
    assert "environment is production: nothing was signalled" in done.stderr
    for number in (1, 2, 3, 4):
        assert f"  {number}. " in done.stderr
    assert main.alive
    shop.run("stop")
    stranger = listener(stage, "stranger", port, cwd=elsewhere)
    done = shop.raw("free-port", "--port", str(port), *force, env=production)
    assert done.returncode == 3
    assert f"kill {stranger.pid}" in done.stderr
    assert stranger.alive
    stranger.kill()
    assert shop.raw("free-port", "--port", str(port), env=production).returncode == 0


def test_an_ordinary_user_against_roots_listener() -> None:
    port = free_port()
    with anybody() as user, socket.create_server(("127.0.0.1", port)) as mine:
        (user.home / "devtasks.toml").write_text(f'[services.web]\ncommand = "x"\nport = {port}\n')
        for flags in ((), ("--force",)):
            code, report, _ = user.devtasks("free-port", "--port", str(port), *flags)
            assert code == 3
            assert "user root" in report["error"]["message"]
            assert report["error"]["hint"] == f"sudo devtasks free-port --port {port}"
        assert mine.fileno() >= 0


def test_a_client_that_uses_the_number_is_told_and_left_alone(shop: Scratch) -> None:
    port = port_of(shop)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(server.getsockname())
        report = free(shop, port, "--force", expect=1)
        assert report["services"] == []
        assert f"PID {os.getpid()}" in report["notes"][0]


@pytest.mark.parametrize("value", ["0", "70000", "http", "-1", "80.5", "\uff18\uff10"])
def test_what_is_no_port(shop: Scratch, value: str) -> None:
    main = being(shop.start())
    assert "is not a port from 1 to 65535" in shop.raw("free-port", f"--port={value}").stderr
    assert shop.raw("free-port", f"--port={value}").returncode == 2
    assert main.alive
    shop.run("stop")


def test_without_a_port(shop: Scratch) -> None:
    done = shop.raw("free-port")
    assert (done.returncode, "needs --port PORT" in done.stderr) == (2, True)


def test_interrupted_it_still_ends_what_it_asked_to(scratch: Scratch) -> None:
    scratch.declare({"web": {**scratch.server("--on", "TERM=ignore"), "stop": {"timeout": 60}}})
    main = being(scratch.start())
    child = scratch.background("free-port", "--port", str(port_of(scratch)))
    eventually(lambda: scratch.stage.announced("got-TERM"), "it is asked to end")
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert not main.alive
