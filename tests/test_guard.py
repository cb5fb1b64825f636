"""`devtasks.guard` inside real servers: what it frees, what it leaves alone, and where it does nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from anybody import anybody
from test_ports import docker_proxy, fake_docker, listener
from toolbox import (
    PATIENCE_SECONDS,
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
    parent,
    unchanged_for,
)

from devtasks.config.loading import load
from devtasks.errors import UsageError
from devtasks.guard import PortManager, ensure_port_available
from devtasks.guarding import kinship
from devtasks.model import Process
from devtasks.store import statedir
from devtasks.store.locks import service_lock


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shop(scratch: Scratch, port: int) -> Scratch:
    scratch.install("guarded.py", "main.py")
    scratch.declare({"web": {"command": [PYTHON, "guarded.py"], "port": port, "env": {"PORT": str(port)}}})
    return scratch


def leftover(scratch: Scratch, port: int, *words: str) -> Being:
    """A server of the project, started by hand earlier, that nobody looks after."""
    before = len(scratch.stage.announced("main"))
    command = [PYTHON, "main.py", "--port", str(port), *words]
    one = scratch.stage.detached("leftover", command, scratch.root)
    eventually(lambda: len(scratch.stage.announced("main")) > before, "the leftover listens")
    return one


def declare_main(scratch: Scratch, port: int, **service: object) -> None:
    """The service that leftovers are of, known by main.py and guarded.py alike."""
    patterns = [r"python[\d.]* (\S*/)?(main|guarded)\.py"]
    scratch.declare({"web": {"command": [PYTHON, "main.py"], "port": port, "patterns": patterns, **service}})


def guard(
    scratch: Scratch, port: int, *, cwd: Path | None = None, env: dict[str, str] | None = None, **arguments: Any
) -> tuple[bool, str]:
    """Run a server that guards the port and then leaves: what the guard said, and its log."""
    done = subprocess.run(
        [PYTHON, "guarded.py", "exit"],
        cwd=cwd or scratch.root,
        env={**scratch.stage.environ, "PORT": str(port), "GUARD": json.dumps(arguments), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done
    return done.returncode == 0, done.stderr


def server(scratch: Scratch, port: int, *command: str) -> Being:
    """A guarded server that runs on, in the background; its log is `log(scratch)`."""
    return scratch.stage.detached(
        "server", list(command or (PYTHON, "guarded.py")), scratch.root, env={"PORT": str(port)}
    )


def leave(scratch: Scratch, top: Being) -> None:
    """End a server with workers in its own way."""
    top.send(signal.SIGTERM)
    eventually(
        lambda: not top.alive and not scratch.stage.living("worker"), "it has ended, and so have its workers"
    )


def log(scratch: Scratch) -> str:
    return (scratch.stage.folder / "server.out").read_text()


def events(scratch: Scratch) -> list[tuple[str, str, int]]:
    connection = sqlite3.connect(scratch.state / "state.db")
    try:
        return list(connection.execute("SELECT service, kind, pid FROM events ORDER BY id"))
    finally:
        connection.close()


# --- free ------------------------------------------------------------------------------------------------


def test_a_free_port_costs_no_imports(shop: Scratch, port: int) -> None:
    code = (
        "import sys; from devtasks.guard import ensure_port_available as e;"
        f"print(e({port}), e([{port}, {port}], 'localhost'));"
        "print(sorted({'psutil', 'sqlite3', 'tomllib', 'subprocess', 'devtasks.store.state'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [PYTHON, "-c", code], env=shop.stage.environ, cwd=shop.root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n[]\n"
    assert done.stderr == ""
    assert not shop.state.exists()


def test_in_another_network_namespace_the_port_is_free(shop: Scratch, port: int) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("no network namespace can be made")
    apart = ["unshare", "-n", PYTHON, "main.py", "--port", str(port), "--host", "0.0.0.0", "--name", "apart"]
    shop.stage.popen(apart, shop.root)
    one = shop.stage.one("apart")
    assert guard(shop, port) == (True, "")
    assert one.alive


# --- what an earlier run left ------------------------------------------------------------------------------


def test_a_leftover_is_stopped_and_every_step_is_a_line(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    passed, said = guard(shop, port)
    assert passed
    assert not one.alive
    lines = said.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        f"WARNING port {port} is in use (environment: development): held by PID {one.pid} ("
    )
    assert "main.py" in lines[0]
    assert "service web of this project" in lines[0]
    assert lines[1] == f"WARNING port {port}: sent TERM to PID {one.pid}"
    assert lines[2].startswith(f"WARNING port {port} is free now (")
    assert events(shop) == [("web", "stop", one.pid)]


def test_one_that_dies_at_once_costs_no_fixed_wait(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    leftover(shop, port)
    _, said = guard(shop, port)
    assert float(said.split("free now (")[1].split(" s")[0]) < 1


def test_a_stubborn_leftover_is_killed_within_the_limit(shop: Scratch, port: int) -> None:
    declare_main(shop, port, stop={"timeout": 60})
    one = leftover(shop, port, "--on", "TERM=ignore")
    began = time.monotonic()
    passed, said = guard(shop, port, timeout=1)
    assert passed
    assert time.monotonic() - began < 10
    assert not one.alive
    assert f"port {port}: sent TERM to PID {one.pid}\n" in said
    assert f"port {port}: sent KILL to PID {one.pid}: it is still there after 0." in said


def test_one_that_may_not_be_killed_stays(shop: Scratch, port: int) -> None:
    declare_main(shop, port, stop={"timeout": 0.2, "kill": False})
    one = leftover(shop, port, "--on", "TERM=ignore")
    passed, said = guard(shop, port)
    assert not passed
    assert f"ERROR port {port}: PID {one.pid} did not end: " in said
    assert one.alive


@pytest.mark.parametrize("killed", [False, True], ids=["whole", "worker-alone"])
def test_a_uvicorn_left_behind_by_devtasks(shop: Scratch, port: int, killed: bool) -> None:
    """The whole service goes, or what is left of it: a worker that holds the port, its reloader dead."""
    shop.install("app.py")
    command = [PYTHON, "-m", "uvicorn", "app:app", "--reload", "--port", str(port)]
    shop.declare({"web": {"command": command, "port": port}})
    reloader = being(shop.start())
    worker = shop.stage.one("worker")
    if killed:
        reloader.kill()
        assert answers(port)
    passed, said = guard(shop, port)
    assert passed, said
    assert not reloader.alive
    assert not worker.alive
    assert is_free(port)
    assert shop.run("status")["services"][0]["state"] in ("stopped", "stale")


def test_a_port_that_is_not_configured_is_the_projects_by_the_guards_word(shop: Scratch, port: int) -> None:
    shop.declare({"db": {"command": [PYTHON, "-c", "pass"]}})
    first = server(shop, port)
    shop.stage.one("serving")
    waited(shop, first)
    passed, said = guard(shop, port)
    assert passed, said
    assert not first.alive


def waited(scratch: Scratch, one: Being) -> None:
    """Until a guarded server is so old that nobody takes it for one that has just begun."""
    passed = scratch.stage.at("passed")
    eventually(lambda: time.monotonic() > passed + 1.1, f"{one} has served for a second")


def test_started_by_hand_by_the_same_command(shop: Scratch, port: int) -> None:
    first = server(shop, port)
    shop.stage.one("serving")
    waited(shop, first)
    second = server(shop, port)
    eventually(lambda: not first.alive, "the second takes the port over")
    eventually(lambda: answers(port), "and serves")
    assert second.alive


def test_what_a_service_of_another_name_left(shop: Scratch, port: int) -> None:
    """It was renamed while it ran."""
    shop.declare({"old": {**shop.server(port=port)}})
    main = being(shop.start())
    declare_main(shop, port)
    passed, said = guard(shop, port)
    assert passed, said
    assert not main.alive


def test_imported_by_the_program_that_the_service_is(shop: Scratch, port: int) -> None:
    """`python run.py` is the service's command: importing the guarded module, it is going to serve."""
    (shop.root / "run.py").write_text("import guarded\n")
    patterns = [r"python[\d.]* (\S*/)?(main|run)\.py"]
    shop.declare({"web": {"command": [PYTHON, "run.py"], "port": port, "patterns": patterns}})
    one = leftover(shop, port)
    done = subprocess.run(
        [PYTHON, "run.py"], cwd=shop.root, env={**shop.stage.environ, "PORT": str(port)}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert not one.alive


def test_a_running_service_does_not_end_itself(shop: Scratch, port: int) -> None:
    pid = shop.start()
    report = shop.run("status")["services"][0]
    assert (report["state"], report["pid"]) == ("running", pid)
    assert "port" not in shop.log()
    shop.run("stop")


# --- strangers, production, no permission -------------------------------------------------------------------


def test_a_stranger_is_named_and_left_alone(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    stranger = listener(stage, "stranger", port, cwd=tmp_path)
    passed, said = guard(shop, port)
    assert not passed
    assert f"held by PID {stranger.pid} (" in said
    assert "not this project's, so it is left alone" in said
    assert "sent" not in said
    assert stranger.alive
    assert events(shop) == [("web", "refused", stranger.pid)]


def test_what_strangers_are_called_breaks_no_line(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    folder = tmp_path / "evil\x1b[31m\nport 1 is free now"
    folder.mkdir()
    stranger = listener(stage, "stranger", port, "--token=hunter2", cwd=folder)
    passed, said = guard(shop, port)
    assert not passed
    assert all(line.startswith((f"WARNING port {port}", f"ERROR port {port}")) for line in said.splitlines())
    assert "\x1b" not in said
    assert "hunter2" not in said
    assert stranger.alive


def test_by_force_a_stranger_ends(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    stranger = listener(stage, "stranger", port, "stubborn", cwd=tmp_path)
    passed, said = guard(shop, port, force=True, timeout=1)
    assert passed
    assert not stranger.alive
    assert f"sent TERM to PID {stranger.pid}" in said
    assert f"sent KILL to PID {stranger.pid}" in said


def test_a_container_is_left_alone_even_by_force(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    proxy = docker_proxy(stage, port, tmp_path)
    path = f"{fake_docker(stage, port)}:{os.defpath}"
    passed, said = guard(shop, port, force=True, env={"PATH": path})
    assert not passed
    assert "docker stop shop-db-1" in said
    assert proxy.alive


def test_without_a_project_every_holder_is_a_stranger(stage: Stage, tmp_path: Path, port: int) -> None:
    bare = Scratch(stage, tmp_path / "bare")
    bare.install("guarded.py", "main.py")
    one = leftover(bare, port)
    passed, said = guard(bare, port)
    assert not passed
    assert "not this project's" in said
    assert one.alive
    assert not bare.state.exists()


def test_the_project_is_that_of_the_callers_file(shop: Scratch, tmp_path: Path, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    script = shop.root / "guarded.py"
    done = subprocess.run(
        [PYTHON, script, "exit"],
        cwd=tmp_path,
        env={**shop.stage.environ, "PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert not one.alive


def test_a_root_can_be_given(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    other = Scratch(stage, tmp_path / "other")
    other.install("guarded.py")
    assert not guard(other, port)[0]
    assert one.alive
    assert guard(other, port, root=str(shop.root))[0]
    assert not one.alive


def test_a_broken_configuration_makes_strangers_of_all(shop: Scratch, port: int) -> None:
    one = leftover(shop, port)
    (shop.root / "devtasks.toml").write_text("[services.web]\ncommand = 5\n")
    passed, said = guard(shop, port)
    assert not passed
    assert "so every holder of a port is a stranger" in said
    assert one.alive


@pytest.mark.parametrize("how", ["variable", "argument", "configuration"])
@pytest.mark.parametrize("force", [False, True])
def test_in_production_nothing_is_signalled(shop: Scratch, port: int, how: str, force: bool) -> None:
    declare_main(shop, port)
    if how == "configuration":
        text = (shop.root / "devtasks.toml").read_text()
        (shop.root / "devtasks.toml").write_text(f'environment = "production"\n{text}')
    one = leftover(shop, port)
    passed, said = guard(
        shop,
        port,
        force=force,
        environment=" PROD " if how == "argument" else None,
        env={"ENVIRONMENT": "Production"} if how == "variable" else None,
    )
    assert not passed
    assert f"PID {one.pid}" in said
    assert "sent" not in said
    for number in (1, 2, 3, 4):
        assert f"ERROR port {port}: {number}. " in said
    assert one.alive
    assert events(shop)[0][1] == "refused"


def test_the_argument_overrides_the_variable(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    assert guard(shop, port, environment="development", env={"ENVIRONMENT": "production"})[0]
    assert not one.alive


def test_an_ordinary_user_against_roots_listener(port: int) -> None:
    with anybody() as user, socket.create_server(("127.0.0.1", port)):
        (user.home / "devtasks.toml").write_text(f'[services.web]\ncommand = "x"\nport = {port}\n')
        (user.home / "main.py").write_text(
            f"from devtasks.guard import ensure_port_available as e\nprint(e({port}), e({port}, force=True))"
        )
        done = user.python("main.py")
        assert done.stdout == "False False\n", done
        assert "held by a process of user root, which we may not see" in done.stderr
        assert f"run: sudo devtasks free-port --port {port}" in done.stderr


def test_an_ordinary_user_and_a_port_of_roots() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2 or not is_free(1):
        pytest.skip("anybody may bind any port here")
    with anybody() as user:
        (user.home / "main.py").write_text("from devtasks.guard import ensure_port_available as e\nprint(e(1))")
        done = user.python("main.py")
        assert done.stdout == "False\n", done
        assert "this user may not bind it; choose a port from 1024 on" in done.stderr


def test_another_service_of_the_project_is_no_leftover(shop: Scratch, port: int) -> None:
    command = [PYTHON, "main.py", "--port", str(port), "--say", "up"]
    web = {"command": [PYTHON, "guarded.py"], "port": port, "listener": "any"}
    shop.declare({"web": web, "api": {"command": command, "ready": {"log": "up"}}})
    shop.run("start", "api")
    api = shop.stage.one("main")
    passed, said = guard(shop, port)
    assert not passed
    assert "it is service api of this project" in said
    assert api.alive
    shop.run("stop")


def test_a_client_that_uses_the_number_is_named(shop: Scratch, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(there.getsockname())
        passed, said = guard(shop, port, force=True)
        assert not passed
        assert f"PID {os.getpid()}" in said


def test_of_several_ports_none_is_freed_unless_all_can_be(
    shop: Scratch, stage: Stage, tmp_path: Path, port: int
) -> None:
    other = free_port()
    declare_main(shop, port)
    one = leftover(shop, port)
    stranger = listener(stage, "stranger", other, cwd=tmp_path)
    (shop.root / "both.py").write_text(
        f"from devtasks.guard import ensure_port_available as e\nprint(e([{port}, {other}]))"
    )
    both = [PYTHON, "both.py"]
    assert subprocess.check_output(both, cwd=shop.root, env=shop.stage.environ, text=True) == "False\n"
    assert one.alive
    stranger.kill()
    assert subprocess.check_output(both, cwd=shop.root, env=shop.stage.environ, text=True) == "True\n"
    assert not one.alive


# --- the process that will serve, and no other ---------------------------------------------------------------

IMPORTERS = {
    "python -c": [PYTHON, "-c", "import guarded"],
    "another script": [PYTHON, "migrate.py"],
    "from the input": [PYTHON, "-"],
    "interactive": [PYTHON, "-i", "-q", "-"],
    "pytest": [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
    "unittest": [PYTHON, "-m", "unittest", "-q", "test_it.py"],
    "gunicorn's check": [PYTHON, "-m", "gunicorn", "--check-config", "-b", "127.0.0.1:1", "guarded:application"],
    "a spawned child": [PYTHON, "spawning.py"],
    "a server's flask shell": [PYTHON, "-m", "flask", "--app", "guarded:application", "shell"],
}


@pytest.mark.parametrize("how", IMPORTERS)
def test_whoever_else_imports_it_signals_nobody(shop: Scratch, port: int, how: str) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    (shop.root / "migrate.py").write_text("import guarded\n")
    (shop.root / "test_it.py").write_text(
        "import unittest\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self):\n        import guarded\n        guarded.app\n"
        "    def test_by_call(self):\n        from devtasks.guard import ensure_port_available\n"
        f"        assert ensure_port_available({port})\n"
    )
    (shop.root / "spawning.py").write_text(
        "import multiprocessing\ndef work():\n    import guarded\n"
        "if __name__ == '__main__':\n    one = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    one.start()\n    one.join()\n"
    )
    done = subprocess.run(
        IMPORTERS[how],
        cwd=shop.root,
        env={**shop.stage.environ, "PORT": str(port)},
        input="import guarded\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shop.stage.announced("passed"), done
    assert not shop.stage.announced("refused")
    assert one.alive
    assert answers(port)
    assert "sent" not in done.stderr
    assert "is in use (environment" not in done.stderr


def test_uvicorn_on_the_guarded_port_takes_it_over(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    server(shop, port, PYTHON, "-m", "uvicorn", "guarded:app", "--port", str(port))
    shop.stage.one("worker")
    assert not one.alive
    eventually(lambda: answers(port), "it serves")
    assert "is free now" in log(shop)


def test_uvicorn_on_another_port_leaves_it_alone(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    server(shop, port, PYTHON, "-m", "uvicorn", "guarded:app", "--port", str(free_port()))
    shop.stage.one("worker")
    assert one.alive
    assert answers(port)
    assert "uvicorn binds port" in log(shop)


def test_uvicorn_with_a_reloader_spares_its_own(shop: Scratch, port: int) -> None:
    """The reloader has bound the port before the worker guards it, at the first start and at every other."""
    command = [PYTHON, "-m", "uvicorn", "guarded:app", "--port", str(port), "--reload"]
    reloader = server(shop, port, *command)
    first = shop.stage.one("worker")
    eventually(lambda: answers(port), "it serves")
    touched: list[int] = []

    def reloaded() -> bool:
        """The reloader overlooks what changes before its first look: it is changed once a second."""
        if time.monotonic() > began + len(touched):
            touched.append(1)
            os.utime(shop.root / "guarded.py")
        return any(one != first for one in shop.stage.living("worker"))

    began = time.monotonic()
    eventually(reloaded, "the next worker is there")
    eventually(lambda: answers(port), "it serves again")
    assert reloader.alive
    assert "sent" not in log(shop)
    assert not shop.stage.announced("refused")
    leave(shop, reloader)


def test_a_script_with_a_reloader_takes_over_and_spares_its_own(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    reloader = server(shop, port, PYTHON, "guarded.py", "reload")
    worker = shop.stage.one("worker")
    assert not one.alive
    assert parent(worker.pid) == reloader.pid
    eventually(lambda: answers(port), "it serves")
    assert log(shop).count("sent TERM") == 1
    assert not shop.stage.announced("refused")
    leave(shop, reloader)


def test_workers_of_uvicorn_and_gunicorn_spare_each_other(shop: Scratch, port: int) -> None:
    for command in (
        [PYTHON, "-m", "uvicorn", "guarded:app", "--port", str(port), "--workers", "2"],
        [PYTHON, "-m", "gunicorn", "guarded:application", "-b", f"127.0.0.1:{port}", "-w", "2"],
    ):
        before = len(shop.stage.announced("passed"))
        top = server(shop, port, *command)
        eventually(lambda n=before: len(shop.stage.announced("passed")) >= n + 2, "both workers are there")
        eventually(lambda: answers(port), "they serve")
        assert top.alive
        assert "sent" not in log(shop)
        shop.declare({"web": {"command": command, "port": port}})
        shop.run("free-port", "--port", str(port))


def test_what_this_process_and_its_children_hold_is_no_matter(shop: Scratch, port: int) -> None:
    (shop.root / "own.py").write_text(
        "import os, socket, subprocess, sys\nfrom devtasks.guard import ensure_port_available as e\n"
        f"one = socket.create_server(('127.0.0.1', {port}))\nprint(e({port}))\n"
        f"os.set_inheritable(one.fileno(), True)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, close_fds=False)\n"
        f"one.close()\nprint(e({port}), child.poll())\nchild.stdin.close()\nchild.wait()\n"
    )
    said = subprocess.check_output([PYTHON, "own.py"], cwd=shop.root, env=shop.stage.environ, text=True)
    assert said == "True\nTrue None\n"


# --- racing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [True, False], ids=["over-a-leftover", "over-a-free-port"])
def test_of_guards_that_race_one_serves_and_none_is_killed(shop: Scratch, port: int, left: bool) -> None:
    declare_main(shop, port)
    one = leftover(shop, port) if left else None
    racers = [
        shop.stage.popen(
            [PYTHON, "guarded.py"],
            shop.root,
            env={"PORT": str(port)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]

    def one_is_left() -> bool:
        return sum(racer.poll() is None for racer in racers) == 1 and answers(port)

    eventually(one_is_left, "one of them serves, the others have left", PATIENCE_SECONDS * 2)
    assert one is None or not one.alive
    assert unchanged_for(lambda: [racer.poll() for racer in racers], 0.3)
    assert all(racer.poll() in (None, 1) for racer in racers), "nobody was ended by a signal"


def test_a_server_that_was_given_the_port_a_moment_ago_is_no_leftover(shop: Scratch, port: int) -> None:
    """It began before the other process did, which is so slow to come to its guard that it finds it serving."""
    declare_main(shop, port)
    (shop.root / "slow.py").write_text(
        "import os, stage, time\nstage.announce('slow')\n"
        "while not os.path.exists(f'{stage.FOLDER}/go'):\n    time.sleep(0.01)\n"
        "import runpy\nrunpy.run_path('guarded.py', run_name='__main__')\n"
    )
    slow = shop.stage.popen([PYTHON, "slow.py"], shop.root, env={"PORT": str(port)}, stderr=subprocess.PIPE)
    shop.stage.one("slow")
    first = server(shop, port)
    shop.stage.one("serving")
    (shop.stage.folder / "go").touch()
    assert slow.wait(PATIENCE_SECONDS) == 1
    assert slow.stderr is not None
    assert b"it is no leftover" in slow.stderr.read()
    assert first.alive
    assert answers(port)


def test_one_guard_acts_on_a_port_at_a_time(shop: Scratch, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    statedir.ensure(load(shop.root, {}))
    with service_lock(shop.state / f"port-{port}.lock"):
        passed, said = guard(shop, port, timeout=0.2)
        assert not passed
        assert f"PID {os.getpid()}" in said
        assert one.alive
    assert guard(shop, port)[0]
    assert not one.alive


@pytest.mark.parametrize(
    ("parent", "ours"),
    [
        ({"argv": "server"}, True),  # a master and its forks
        ({"argv": "sh", "marker": "d/web/1"}, True),  # all of one run of the project
        ({"argv": "sh"}, False),  # a shell that started both
        ({"argv": "sh", "marker": "d/web/2"}, False),
        ({"argv": "python", "marker": "d/web/1", "runner": True}, False),  # adopted what the run left behind
        ({"argv": "server", "pid": 1}, False),
    ],
)
def test_siblings_under_one_master_are_ours(parent: dict[str, Any], ours: bool) -> None:
    marker = "d/web/1"
    above = process(parent.pop("pid", 10), 1, **parent)
    mine, other = (process(pid, above.pid, marker=marker) for pid in (20, 21))
    rows = {row.pid: row for row in (above, mine, other)}
    seen: Any = SimpleNamespace(table=SimpleNamespace(processes=rows))
    assert kinship.is_current(seen, [other], pid=20, ancestry=frozenset({20, above.pid})) is ours
    assert kinship.is_current(seen, [mine], pid=20, ancestry=frozenset({20, above.pid}))


def process(
    pid: int, ppid: int, *, argv: str = "server", marker: str | None = None, runner: bool = False
) -> Process:
    return Process(pid, ppid, pid, 0, "S", pid, argv.encode() + b"\0", marker, keep=False, runner=runner)


# --- what is wrong with the question ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [0, 70000, -1, "http", "80.5", "", None, True, 8000.0, [8000, 0], "\uff18\uff10"]
)
def test_what_is_no_port(value: Any) -> None:
    with pytest.raises(UsageError, match="is not a port from 1 to 65535"):
        ensure_port_available(value)


@pytest.mark.parametrize("host", ["nope.invalid", "", "203.0.113.7"])
def test_what_is_no_host(host: str, port: int) -> None:
    with pytest.raises(UsageError, match=r"does not resolve|not an address of this machine"):
        ensure_port_available(port, host)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", None])
def test_what_is_no_timeout(timeout: Any, port: int) -> None:
    with pytest.raises(UsageError, match="not a number of seconds"):
        ensure_port_available(port, timeout=timeout)


def test_a_port_from_a_variable_is_one(port: int) -> None:
    assert ensure_port_available(str(port))  # type: ignore[arg-type]
    assert ensure_port_available([])


# --- the class form ----------------------------------------------------------------------------------------------


def test_the_class_form_asks_the_same(port: int) -> None:
    manager = PortManager(port)
    assert not manager.is_port_in_use()
    assert manager.get_process_using_port() is None
    assert manager.check_and_clean_port()
    with socket.create_server(("127.0.0.1", port)):
        assert manager.is_port_in_use()
        assert PortManager(1, root="/").is_port_in_use(port)
        found = manager.get_process_using_port()
        assert found is not None
        assert found.pid == os.getpid()
    with pytest.raises(UsageError):
        PortManager(0)


def test_the_class_form_is_as_careful(shop: Scratch, stage: Stage, tmp_path: Path, port: int) -> None:
    declare_main(shop, port)
    one = leftover(shop, port)
    other = free_port()
    stranger = listener(stage, "stranger", other, cwd=tmp_path)
    (shop.root / "serve.py").write_text(
        "import sys\nfrom devtasks.guard import PortManager\n"
        f"ours, theirs = PortManager({port}), PortManager({other})\n"
        f"print(theirs.kill_process({stranger.pid}), ours.kill_process({stranger.pid}), ours.kill_process(1))\n"
        f"print(theirs.check_and_clean_port(), ours.kill_process({one.pid}), ours.check_and_clean_port())\n"
    )
    done = subprocess.run(
        [PYTHON, "serve.py"], cwd=shop.root, env=shop.stage.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False False\nFalse True True\n", done
    assert stranger.alive
    assert not one.alive


def test_graceful_shutdown_is_there_for_who_asks() -> None:
    import devtasks.guard
    from devtasks.shutdown import GracefulShutdown

    assert devtasks.guard.GracefulShutdown is GracefulShutdown
    with pytest.raises(AttributeError):
        _ = devtasks.guard.Nothing  # type: ignore[attr-defined]


# --- what this process is going to do ------------------------------------------------------------------

COMMANDS = {
    "uvicorn main:app": "yes",
    "uvicorn main:app --port 9000": "no",
    "uvicorn main:app --port=8000": "yes",
    "python3 -m uvicorn main:app --host 0.0.0.0": "yes",
    "python3 /v/bin/uvicorn main:app --uds /tmp/s": "no",
    "gunicorn main:app": "yes",
    "gunicorn -b 127.0.0.1:9000 main:app": "no",
    "gunicorn -b unix:/tmp/s main:app": "no",
    "hypercorn main:app -b 0.0.0.0:8000": "yes",
    "daphne -p 8000 main:app": "yes",
    "flask --app main run": "no",
    "flask --app main run --port 8000": "yes",
    "flask --app main shell": "no",
    "fastapi dev main.py": "yes",
    "fastapi run --port 9000": "no",
    "python3 manage.py runserver": "yes",
    "python3 manage.py runserver 0.0.0.0:9000": "no",
    "python3 manage.py migrate": "no",
    "python3 -m pytest": "no",
    "pytest -n 4": "no",
    "celery -A main worker": "no",
    "alembic upgrade head": "no",
    "ipython": "no",
    "mypy main.py": "no",
    "python3 hub.py": "yes",  # asked while it runs: nobody imports
}


def test_the_command_line_tells_what_a_process_will_bind() -> None:
    code = (
        "import json, sys\nfrom devtasks.guarding.intent import intent\n"
        "found = {}\nfor line in json.load(sys.stdin):\n"
        "    sys.orig_argv = line.split()\n    found[line] = intent(8000, None).answer\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [PYTHON, "-c", code], input=json.dumps(list(COMMANDS)), text=True, capture_output=True, check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.defpath},
    )  # fmt: skip
    assert json.loads(done.stdout) == COMMANDS
