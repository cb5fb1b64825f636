"""Whatever a service became, `stop` ends all of it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from toolbox import (
    PATIENCE_SECONDS,
    PYTHON,
    Being,
    Scratch,
    answers,
    argv,
    being,
    ended,
    eventually,
    expect_gone,
    free_port,
    is_free,
    parent,
    stat,
    unchanged_for,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def declare(scratch: Scratch, *command: str, **service: object) -> int:
    """One service called web; its port."""
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in command]
    scratch.declare({"web": {"command": words, "port": port, **service}})
    return port


def stop(scratch: Scratch, tree: list[Being], port: int) -> dict:
    report = scratch.run("stop")
    expect_gone(tree, report)
    eventually(lambda: is_free(port), f"port {port} is free", seconds=1)
    return report


# --- servers as they are -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [["--reload"], ["--workers", "2"]], ids=["reload", "workers"])
def test_uvicorn_whose_top_process_was_killed(scratch: Scratch, mode: list[str]) -> None:
    scratch.install("app.py")
    port = declare(scratch, PYTHON, "-m", "uvicorn", "app:app", *mode, "--port", "{port}")
    top = being(scratch.start())
    workers = scratch.stage.wait_for("worker", 2 if "--workers" in mode else 1)
    top.kill()
    assert answers(port), "the orphans serve on"
    stop(scratch, workers, port)


def test_a_worker_killed_in_the_middle_of_a_stop(scratch: Scratch) -> None:
    scratch.install("app.py")
    port = declare(scratch, PYTHON, "-m", "uvicorn", "app:app", "--workers", "2", "--port", "{port}")
    top = being(scratch.start())
    workers = scratch.stage.wait_for("worker", 2)
    hold = scratch.stage.folder / "hold"
    hold.touch()
    stopping = scratch.background("stop", "--json")
    leaving = eventually(lambda: scratch.stage.living("leaving"), "a worker is asked to leave")[0]
    leaving.kill()
    hold.unlink()
    out, err = stopping.communicate(timeout=PATIENCE_SECONDS)
    assert stopping.returncode == 0, out + err
    expect_gone([top, *workers])
    assert is_free(port)


@pytest.mark.parametrize("orphaned", [False, True], ids=["whole", "orphaned"])
def test_gunicorn_that_changes_its_titles(scratch: Scratch, orphaned: bool) -> None:
    pytest.importorskip("setproctitle")
    scratch.install("wsgi.py")
    port = declare(scratch, PYTHON, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "wsgi:app")
    top = being(scratch.start())
    workers = scratch.stage.wait_for("worker", 2)
    eventually(lambda: argv(workers[0].pid)[0].startswith("gunicorn: worker"), "the workers are retitled")
    if orphaned:
        for worker in workers:
            worker.send(signal.SIGSTOP)  # else they notice that their parent has gone
        top.kill()
    report = scratch.run("stop")
    expect_gone([top, *workers], None if orphaned else report)
    assert is_free(port)


@pytest.mark.parametrize("npm_dies", [False, True], ids=["whole", "orphaned"])
@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")
def test_npm_with_a_shell_and_node(scratch: Scratch, npm_dies: bool) -> None:
    scratch.install("server.js")
    port = free_port()
    package = {"name": "front", "private": True, "scripts": {"dev": f"node server.js {port}; true"}}
    (scratch.root / "package.json").write_text(json.dumps(package))
    scratch.declare({"web": {"command": "npm run dev", "port": port}})
    npm = being(scratch.start())
    node = scratch.stage.one("node")
    shell = being(parent(node.pid))
    assert shell.pid != npm.pid
    tree = [shell, node]
    if npm_dies:
        npm.kill()
        assert answers(port), "node serves on"
    else:
        tree.append(npm)
    stop(scratch, tree, port)


@pytest.fixture(scope="module")
def vite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with vite in its node_modules, installed once and kept in the user's cache."""
    if not shutil.which("npm"):
        pytest.skip("needs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "devtasks-tests" / "vite"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "complete").exists():
            (cache / "package.json").write_text('{"name": "front", "private": true}')
            try:
                subprocess.run(
                    ["npm", "install", "--no-audit", "--no-fund", "vite@7 || 8"],
                    cwd=cache,
                    check=True,
                    capture_output=True,
                    timeout=60,
                )
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"vite cannot be installed: {error}")
            (cache / "complete").touch()
    return cache


@pytest.mark.parametrize("npm_dies", [False, True], ids=["whole", "orphaned"])
def test_npm_with_vite(scratch: Scratch, vite: Path, npm_dies: bool) -> None:
    (scratch.root / "node_modules").symlink_to(vite / "node_modules")
    (scratch.root / "index.html").write_text("<p>shop</p>")
    port = free_port()
    script = f"vite --host 127.0.0.1 --strictPort --port {port}"
    package = {"name": "front", "private": True, "scripts": {"dev": script}}
    (scratch.root / "package.json").write_text(json.dumps(package))
    scratch.declare({"web": {"command": "npm run dev", "port": port}})
    npm = being(scratch.start())
    tree = [one for one in scratch.stage.everything() if any(word.endswith("/vite") for word in argv(one.pid))]
    assert tree, scratch.stage.everything()
    if npm_dies:
        npm.kill()
        assert answers(port), "vite serves on"
    else:
        tree.append(npm)
    stop(scratch, tree, port)


def test_a_shell_that_outlives_its_server(scratch: Scratch) -> None:
    scratch.install("main.py", to="x")
    port = free_port()
    command = f"cd x && {PYTHON} main.py --port {port}; true"
    scratch.declare({"web": {"command": command, "shell": True, "port": port}})
    shell = being(scratch.start())
    server = scratch.stage.one("main")
    assert server.pid != shell.pid
    stop(scratch, [shell, server], port)


# --- processes that went their own way ---------------------------------------------------------------


@pytest.mark.parametrize("shape", ["daemon", "cleared", "group"])
@pytest.mark.parametrize("orphaned", [False, True], ids=["whole", "orphaned"])
def test_a_child_that_left(scratch: Scratch, shape: str, orphaned: bool) -> None:
    scratch.install("parent.py")
    port = declare(scratch, PYTHON, "parent.py", shape, "--port", "{port}")
    main = being(scratch.start())
    child = scratch.stage.one("child")
    if shape != "group":
        eventually(lambda: parent(child.pid) != main.pid, "its parents are gone")
        assert os.getsid(child.pid) != os.getsid(main.pid)
    if orphaned:
        main.kill()
    stop(scratch, [child] if orphaned else [main, child], port)


@as_root
def test_a_worker_that_dropped_to_another_user(scratch: Scratch) -> None:
    scratch.install("parent.py")
    port = declare(scratch, PYTHON, "parent.py", "nobody", "--port", "{port}")
    main = being(scratch.start())
    child = scratch.stage.one("child")
    eventually(lambda: os.stat(f"/proc/{child.pid}").st_uid != 0 or None, "it has dropped", seconds=5)
    stop(scratch, [main, child], port)


@as_root
@pytest.mark.parametrize("flags", [["--pid", "--fork", "--mount-proc"], ["--mount"]], ids=["pid", "mount"])
@pytest.mark.parametrize("orphaned", [False, True], ids=["whole", "orphaned"])
def test_a_child_in_a_namespace_of_its_own(scratch: Scratch, flags: list[str], orphaned: bool) -> None:
    if subprocess.run(["unshare", *flags, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    scratch.install("main.py", "parent.py")
    port = free_port()
    inner = [PYTHON, "main.py", "--name", "inner", "--mute"]
    words = [PYTHON, "parent.py", "run", "--port", str(port), "unshare", *flags, *inner]
    # The first process of a PID namespace takes no TERM without a handler.
    scratch.declare({"web": {"command": words, "port": port, "stop": {"timeout": 1}}})
    main = being(scratch.start())
    eventually(lambda: scratch.stage.announced("inner"), "the process inside is there")
    # Inside another PID namespace it announced a number that means nothing here.
    child = next(one for one in scratch.stage.everything() if argv(one.pid)[1:4] == inner[1:4])
    if orphaned:
        main.kill()
    stop(scratch, [child] if orphaned else [main, child], port)


# --- processes that resist ---------------------------------------------------------------------------


def test_one_that_ignores_term_is_killed_after_the_timeout(scratch: Scratch) -> None:
    service = scratch.server("--on", "TERM=ignore", stop={"timeout": 1})
    scratch.declare({"web": service})
    main = being(scratch.start())
    report = scratch.run("stop")
    expect_gone([main], report)
    assert report["services"][0]["killed"] == [main.pid]
    assert scratch.stage.announced("got-TERM"), "it was asked first"
    assert report["seconds"] >= 0.95, "not before the timeout"


def test_one_that_leaves_on_term_is_not_killed(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave")})
    main = being(scratch.start())
    report = scratch.run("stop")
    expect_gone([main], report)
    assert report["services"][0]["stopped"] == [main.pid]
    assert report["seconds"] < 4, "it waits for the exit, not for the clock"


def test_a_stopped_server_still_handles_term(scratch: Scratch) -> None:
    scratch.declare({"web": scratch.server("--on", "TERM=leave")})
    main = being(scratch.start())
    main.send(signal.SIGSTOP)
    eventually(lambda: (stat(main.pid) or "?")[0] == "T", "it is stopped")
    report = scratch.run("stop")
    expect_gone([main], report)
    assert scratch.stage.announced("got-TERM"), "its handler ran"
    assert report["services"][0]["stopped"] == [main.pid]


@pytest.mark.parametrize("words", [[], ["--stubborn"]], ids=["plain", "stubborn"])
def test_a_supervisor_that_respawns_its_child(scratch: Scratch, words: list[str]) -> None:
    scratch.install("respawner.py")
    scratch.declare({"web": {"command": [PYTHON, "respawner.py", *words], "stop": {"timeout": 1}}})
    main = being(scratch.start())
    first = scratch.stage.one("child")
    first.kill()
    eventually(lambda: scratch.stage.living("child"), "there is another child")
    report = scratch.run("stop")
    assert report["ok"], report
    expect_gone([main, *scratch.stage.announced("child")])


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_twenty_that_respawn_each_other(scratch: Scratch, command: str) -> None:
    scratch.install("ring.py")
    scratch.declare({"web": {"command": [PYTHON, "ring.py"], "stop": {"timeout": 1}}})
    scratch.start()
    scratch.stage.one("main")
    victim = scratch.stage.one("member-11")
    victim.kill()
    eventually(lambda: scratch.stage.living("member-11"), "it is replaced")
    report = scratch.run(command)
    assert report["ok"], report
    expect_gone(scratch.stage.announced())
    eventually(lambda: not scratch.stage.everything(), "nothing is left", seconds=3)


def test_one_that_forks_and_exits_all_the_time(scratch: Scratch, tmp_path: Path) -> None:
    bystander = scratch.stage.masked("bystander", ["vim", "runaway.py"], scratch.root)
    scratch.install("runaway.py")
    port = declare(scratch, PYTHON, "runaway.py", "--port", "{port}")
    main = being(scratch.start())
    heartbeat = scratch.stage.folder / "heartbeat"
    beat = heartbeat.read_bytes()
    eventually(lambda: heartbeat.read_bytes() != beat, "it runs away")
    report = scratch.run("stop")
    expect_gone([main], report)
    assert unchanged_for(heartbeat.read_bytes, 0.2), "it still runs"
    assert is_free(port)
    assert bystander.alive
    assert not scratch.stage.signals("bystander")


# --- what was not started by us, or is not remembered ------------------------------------------------


def by_hand(scratch: Scratch, name: str, command: list[str], **environ: str) -> Being:
    """Started from another terminal, in the project's folder."""
    scratch.stage.detached(f"{name}-launch", command, scratch.root, env=environ)
    return scratch.stage.one(name)


HAND: dict[str, Callable[[str], tuple[str, dict[str, object], list[str]]]] = {
    # what is declared, and what a person types
    "python main.py": lambda port: (
        "main",
        {"command": ["python", "main.py", "--port", port], "port": int(port)},
        ["python", "main.py", "--port", port],
    ),
    "by pattern, the port on another number": lambda port: (
        "main",
        {"command": ["python", "main.py"], "patterns": [r"[Pp]ython[\d.]* (\S*/)?main\.py"]},
        ["python3", "main.py", "--port", port],
    ),
    "uvicorn main:app": lambda port: (
        "worker",
        {"command": ["uvicorn", "app:app", "--reload", "--port", port], "port": int(port)},
        ["uvicorn", "app:app", "--port", port],
    ),
    "by port only": lambda port: (
        "main",
        {"command": ["uvicorn", "app:app"], "port": int(port)},
        ["python", "main.py", "--port", port],
    ),
    "node server.js": lambda port: (
        "node",
        {"command": ["node", "server.js", port], "port": int(port)},
        ["node", "server.js", port],
    ),
}


@pytest.mark.parametrize("command", ["stop", "force-clean"])
@pytest.mark.parametrize("case", HAND)
def test_one_started_by_hand(scratch: Scratch, case: str, command: str) -> None:
    port = free_port()
    name, service, typed = HAND[case](str(port))
    if not shutil.which(typed[0], path=scratch.stage.environ["PATH"]):
        pytest.skip(f"needs {typed[0]}")
    scratch.install("main.py", "app.py", "server.js")
    scratch.declare({"web": service})
    found = by_hand(scratch, name, typed)
    assert eventually(lambda: answers(port), "it serves")
    expect_gone([found], scratch.run(command))
    eventually(lambda: is_free(port), "the port is free")


@pytest.mark.parametrize("content", ["deleted", "stale", "innocent"])
def test_one_whose_pid_file_lies(scratch: Scratch, content: str) -> None:
    scratch.declare({"web": scratch.server()})
    main = being(scratch.start())
    innocent = scratch.stage.masked("innocent", ["innocent", "program"], scratch.root.parent)
    gone = subprocess.Popen(["true"])
    gone.wait()
    file = scratch.pid_file()
    assert file.read_text() == f"{main.pid}\n"
    if content == "deleted":
        file.unlink()
    else:
        file.write_text(f"{gone.pid if content == 'stale' else innocent.pid}\n")
    expect_gone([main], scratch.run("stop"))
    assert innocent.alive
    assert not scratch.stage.signals("innocent")


@pytest.mark.parametrize("orphaned", [False, True], ids=["whole", "orphaned"])
def test_a_leftover_that_no_file_remembers(scratch: Scratch, orphaned: bool) -> None:
    """Only the marker in its environment tells: no state, no runner, no main process, neither port nor pattern."""
    scratch.install("parent.py")
    port = declare(scratch, PYTHON, "parent.py", "daemon", "--port", "{port}")
    main = being(scratch.start())
    child = scratch.stage.one("child")
    runner = being(parent(main.pid))
    shutil.rmtree(scratch.state)
    if orphaned:
        runner.kill()
        main.kill()
    report = scratch.run("stop")
    expect_gone([child] if orphaned else [main, child], report)
    assert child.pid in ended(report)
    assert is_free(port)
