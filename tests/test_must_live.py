"""Whatever else runs, `start`, `stop` and `force-clean` leave it alone: it lives and has got no signal."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import pytest
from toolbox import (
    PATIENCE_SECONDS,
    PROGRAMS,
    PYTHON,
    Being,
    Scratch,
    Stage,
    answers,
    argv,
    being,
    eventually,
    free_port,
    parent,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# --- one scene, seen by many tests: three services, and everything that may be mistaken for them -------

PATTERNS = [
    r"[Pp]ython[\d.]* (\S*/)?main\.py",
    "uvicorn app:",
    "fastapi (dev|run) main",
    "npm run dev|vite|esbuild",
]

# Programs that only name a service, in the project's folder.
NAMING = {
    "vim": ["vim", "main.py"],
    "nvim": ["nvim", "-p", "main.py", "app.py"],
    "code": ["code", "--wait", "main.py"],
    "emacs": ["emacs", "-nw", "main.py"],
    "less": ["less", "main.py"],
    "man-like pager": ["less", "+F", ".devtasks/web.log"],
    "ssh": ["ssh", "-t", "production", "python main.py --port 8000"],
    "ssh words": ["ssh", "production", "python", "main.py"],
    "ssh uvicorn": ["ssh", "production", "uvicorn app:app --reload"],
    "tmux client": ["tmux", "new-session", "-s", "web", "python main.py"],
    "tmux words": ["tmux", "new-session", "python", "main.py"],
    "screen": ["SCREEN", "-S", "web", "python", "main.py"],
    "git log": ["git", "log", "-p", "--", "main.py"],
    "git grep": ["git", "grep", "uvicorn app:app"],
    "grep": ["grep", "-rn", "python main.py", "."],
    "watch": ["watch", "-n1", "ls", "main.py"],
    "docker": ["docker", "run", "--rm", "image", "python", "main.py"],
    "kubectl": ["kubectl", "exec", "pod", "--", "uvicorn", "app:app"],
    "gdb": ["gdb", "--args", "python", "main.py"],
    "strace": ["strace", "-f", "python", "main.py"],
    "pdb": ["python", "-m", "pdb", "main.py"],
    "debugpy": ["python", "-m", "debugpy", "--listen", "5678", "main.py"],
    "mypy": ["python", "-m", "mypy", "main.py"],
    "ruff": ["ruff", "check", "--watch", "main.py"],
    "black": ["python", "-m", "black", "main.py"],
    "pytest": ["python", "-m", "pytest", "tests/test_main.py"],
    "pytest script": ["python", "/usr/bin/pytest", "tests/test_main.py", "main.py"],
    "coverage": ["coverage", "run", "-m", "pytest", "main.py"],
    "pylsp": ["python", "-m", "pylsp"],
    "pyright": ["node", "/usr/lib/node_modules/pyright/langserver.index.js", "--stdio"],
    "tsserver": ["node", "/usr/lib/node_modules/typescript/lib/tsserver.js"],
    "jedi": ["jedi-language-server", "main.py"],
    "migrate": ["python", "manage.py", "migrate"],
    "shell_plus": ["python", "manage.py", "shell"],
    "similar": ["python", "train_domain.py"],
    "argument": ["python", "deploy.py", "main.py"],
    "module argument": ["python", "-m", "http.server", "--directory", "main.py"],
    "code string": ["python", "-c", "import os  # python main.py"],
    "shell": ["bash", "--login"],
    "make": ["make", "-C", ".", "main.py"],
    "tail like": ["multitail", ".devtasks/web.log", "main.py"],
}

# The same programs, elsewhere: the folder, relative to the projects' parent.
ELSEWHERE = {
    "other checkout": "checkouts/shop",
    "name that begins the same": "shop2",
    "nested project": "shop/nested",
    "nested worktree": "shop/worktrees/feature",
    "nested repository": "shop/vendor/lib",
    "folder above": ".",
}
SAME = {
    "main": ["python", "main.py"],
    "manage": ["python", "manage.py", "runserver"],
    "uvicorn": ["uvicorn", "app:app"],
}


@dataclass
class Scene:
    stage: Stage
    cast: dict[str, Being] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # real programs: they note no signals
    reports: dict[str, dict] = field(default_factory=dict)

    def named(self, name: str) -> str:
        """A name that fits a file."""
        return name.replace(" ", "-").replace("/", "-")


@pytest.fixture(scope="module")
def scene(module_stage: Stage) -> Scene:
    stage = module_stage
    base = stage.folder.parent
    scratch = Scratch(stage, base / "shop")
    ports = [free_port() for _ in range(3)]
    scratch.install("main.py", "app.py")
    shutil.copy(PROGRAMS / "main.py", scratch.root / "manage.py")
    scratch.declare(
        {
            "web": {"command": ["python", "main.py", "--port", "{port}"], "port": ports[0], "patterns": PATTERNS},
            "site": {
                "command": ["python", "manage.py", "runserver", "--name", "site", "--port", "{port}"],
                "port": ports[1],
            },
            "api": {"command": ["uvicorn", "app:app", "--port", "{port}"], "port": ports[2]},
        }
    )
    (scratch.root / ".git").mkdir()
    scene = Scene(stage)

    for name, command in NAMING.items():
        scene.cast[name] = stage.masked(scene.named(name), command, scratch.root)
    for place, folder in ELSEWHERE.items():
        other = Scratch(stage, base / folder)
        if place in ("other checkout", "nested project"):
            other.declare({"web": {"command": ["python", "main.py"]}})
        elif place == "nested worktree":
            (other.root / ".git").write_text("gitdir: /somewhere/.git/worktrees/feature\n")
        elif place == "nested repository":
            (other.root / ".git").mkdir()
        for what, command in SAME.items():
            name = f"{place} {what}"
            scene.cast[name] = stage.masked(scene.named(name), command, other.root)
        if place != "folder above":
            # a real server, on a port of its own, its script named by its full path
            other.install("main.py")
            name = f"{place} server"
            command = [
                "python",
                str(other.root / "main.py"),
                "--name",
                scene.named(name),
                "--port",
                str(free_port()),
            ]
            stage.detached(f"{scene.named(name)}-launch", command, other.root)
            scene.cast[name] = stage.one(scene.named(name))  # the launched process itself
            scene.silent.add(name)

    real_pytest(scene, scratch)
    real_shell(scene, scratch)
    if os.geteuid() == 0:
        other_namespace(scene, scratch)

    scene.reports["start"] = scratch.run("start")
    scene.cast["tail"] = stage.detached("tail", ["tail", "-f", ".devtasks/web.log"], scratch.root)
    client = (
        "import signal, socket, stage, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "stage.announce(sys.argv[2]); signal.pause()"
    )
    for index, port in enumerate(ports):
        name = f"client {index}"
        words = ["python", "-c", client, str(port), scene.named(name)]
        scene.cast[name] = stage.detached(scene.named(name), words, scratch.root, announce=False)
        scene.silent.add(name)
    scene.silent.add("tail")
    for step in ("stop", "force-clean", "start again", "force-clean again"):
        arguments = [step.removesuffix(" again")]
        if step == "force-clean":
            arguments.append("--keep-logs")
        scene.reports[step] = scratch.run(*arguments)
    return scene


def real_pytest(scene: Scene, scratch: Scratch) -> None:
    """`python -m pytest tests/test_main.py`, and the server that the test started."""
    folder = scratch.root / "tests"
    folder.mkdir()
    (folder / "test_main.py").write_text(
        "import subprocess, sys\n"
        "def test_main():\n"
        f"    command = ['python', 'main.py', '--name', 'tested', '--port', '{free_port()}']\n"
        "    subprocess.run(command)\n"
    )
    scene.cast["real pytest"] = scene.stage.detached(
        "real-pytest", ["python", "-m", "pytest", "-p", "no:cacheprovider", "tests/test_main.py"], scratch.root
    )
    scene.cast["server of a test"] = scene.stage.adopt(scene.stage.one("tested"))
    scene.silent |= {"real pytest", "server of a test"}


def real_shell(scene: Scene, scratch: Scratch) -> None:
    """An interactive shell at a terminal in the folder, and what a person runs from it."""
    master, slave = pty.openpty()
    shell = scene.stage.popen(
        ["bash", "--norc", "--noprofile", "-i"],
        scratch.root,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: (os.setsid(), ioctl(0, termios.TIOCSCTTY, 0)),
    )
    os.close(slave)
    os.write(master, f'echo "ready $$" > "{scene.stage.folder}/shell-ready"; true main.py\n'.encode())
    eventually((scene.stage.folder / "shell-ready").exists, "the shell is ready")
    scene.cast["interactive shell"] = being(shell.pid, "shell")
    scene.silent.add("interactive shell")


def other_namespace(scene: Scene, scratch: Scratch) -> None:
    """The same arguments, in the same folder, in another PID namespace."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        return
    words = ["python", "main.py", "--name", "elsewhere", "--mute"]
    unshare = scene.stage.detached("unshare", ["unshare", "--pid", "--fork", "--mount-proc", *words], scratch.root)
    eventually(lambda: scene.stage.announced("elsewhere"), "the process inside is there")
    inner = [one for one in scene.stage.everything() if parent(one.pid) == unshare.pid]
    assert len(inner) == 1
    scene.cast["unshare"], scene.cast["another PID namespace"] = unshare, scene.stage.adopt(inner[0])
    scene.silent |= {"unshare", "another PID namespace"}


CAST = [
    *NAMING,
    *(f"{place} {what}" for place in ELSEWHERE for what in SAME),
    *(f"{place} server" for place in ELSEWHERE if place != "folder above"),
    "real pytest",
    "server of a test",
    "interactive shell",
    "unshare",
    "another PID namespace",
    "tail",
    "client 0",
    "client 1",
    "client 2",
]


@pytest.mark.parametrize("name", CAST)
def test_a_bystander_is_left_alone(scene: Scene, name: str) -> None:
    if name not in scene.cast:
        pytest.skip("not possible here")
    one = scene.cast[name]
    named = {
        verb: [
            row
            for service in report["services"]
            for row in (*service.get("stopped", ()), *service.get("killed", ()), service.get("pid"))
            if row == one.pid
        ]
        for verb, report in scene.reports.items()
    }
    assert one.alive, f"{name} is dead: {named}"
    assert not any(named.values()), named
    if name not in scene.silent:
        assert scene.stage.signals(scene.named(name)) == []


def test_the_scene_itself_worked(scene: Scene) -> None:
    """Else the bystanders lived because nothing was done."""
    assert all(report["ok"] for report in scene.reports.values())
    for verb in ("stop", "force-clean again"):
        for service in scene.reports[verb]["services"]:
            assert service["stopped"] or service["killed"], (verb, service)


# --- processes that a service started, and that are the user's now ------------------------------------


@pytest.fixture
def tmux() -> Iterator[list[str]]:
    """A tmux of its own; its socket lies where the path is short enough."""
    if not shutil.which("tmux"):
        pytest.skip("needs tmux")
    with tempfile.TemporaryDirectory() as folder:
        yield ["tmux", "-S", f"{folder}/socket", "-f", "/dev/null"]


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_a_job_in_a_tmux_server_that_a_service_once_started(
    scratch: Scratch, tmux: list[str], command: str
) -> None:
    """The server carries the service's marker, and hands it to every job."""
    scratch.install("parent.py", "main.py")
    port = free_port()
    job = f"exec {PYTHON} {scratch.root}/main.py --name job"
    words = [PYTHON, "parent.py", "run", "--port", str(port), *tmux, "new-session", "-d", job]
    scratch.declare({"web": {"command": words, "port": port}})
    main = being(scratch.start())
    found = scratch.stage.one("job")
    server = being(parent(found.pid))
    assert b"DEVTASKS_ID=" in Path(f"/proc/{found.pid}/environ").read_bytes(), "it inherited the marker"
    try:
        report = scratch.run(command)
        assert report["ok"], report
        assert not main.alive
        assert server.alive
        assert found.alive
        scratch.start()
        scratch.run(command)
        assert server.alive
        assert found.alive
    finally:
        found.kill()
        server.kill()


@pytest.mark.parametrize(
    "words",
    [
        ["google-chrome", "http://localhost:5173"],
        ["java", "-cp", "gradle-launcher.jar", "org.gradle.launcher.daemon.bootstrap.GradleDaemon"],
        ["adb", "-L", "tcp:5037", "fork-server", "server"],
        ["watchman", "--foreground"],
        ["code", "--reuse-window", "main.py"],
    ],
    ids=lambda words: words[0],
)
def test_a_users_program_that_a_service_started(scratch: Scratch, words: list[str]) -> None:
    """It left the service's session; the marker in its environment proves nothing any more."""
    scratch.install("parent.py")
    port = free_port()
    stage = scratch.stage
    padding = "y" * (sum(len(word) + 1 for word in words) - 8)
    launch = f'exec -a x "{stage.disguise(words[0])}" -S - {padding} < "{PROGRAMS}/mask.py"'
    scratch.declare(
        {
            "web": {
                "command": [PYTHON, "parent.py", "run", "--port", str(port), "bash", "-c", launch],
                "port": port,
                "env": {"MASK_NAME": "user", "MASK_ARGV": "\x1f".join(words), "PYTHONHOME": sys.base_prefix},
            }
        }
    )
    main = being(scratch.start())
    found = stage.one("user")
    assert argv(found.pid) == words
    try:
        report = scratch.run("stop")
        assert report["ok"], report
        assert not main.alive
        scratch.run("force-clean")
        assert found.alive
        assert stage.signals("user") == []
    finally:
        found.kill()


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_a_child_that_is_to_be_kept(scratch: Scratch, command: str) -> None:
    scratch.install("parent.py")
    port = free_port()
    scratch.declare({"web": {"command": [PYTHON, "parent.py", "keep", "--port", str(port)], "port": port}})
    main = being(scratch.start())
    kept = scratch.stage.one("child")
    try:
        report = scratch.run(command)
        assert report["ok"], report
        assert not main.alive
        assert kept.alive
        scratch.run(command)
        assert kept.alive
    finally:
        kept.kill()


@pytest.mark.parametrize(
    "arguments", [["stop-web"], ["stop", "--only", "web"], ["stop", "web"], ["force-clean-web"]], ids=" ".join
)
def test_a_sibling_of_the_one_that_is_stopped(scratch: Scratch, arguments: list[str]) -> None:
    """Both run the same program: even their derived patterns are the same, but for the port."""
    scratch.declare(
        {"web": scratch.server("--name", "web"), "api": scratch.server("--name", "api", "--on", "TERM=ignore")}
    )
    scratch.start()
    web, api = scratch.stage.one("web"), scratch.stage.one("api")
    report = scratch.run(*arguments)
    assert [service["name"] for service in report["services"]] == ["web"]
    assert not web.alive
    assert api.alive
    assert not scratch.stage.announced("got-TERM")
    assert scratch.run("force-clean")["ok"]
    assert not api.alive


# --- who calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "force-clean"])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_callers_shell(scratch: Scratch, command: str, shell: str) -> None:
    """It names every pattern in its arguments, and is in the project's folder."""
    scratch.install("main.py")
    scratch.declare(
        {"web": {"command": ["python", "main.py", "--port", "{port}"], "port": free_port(), "patterns": PATTERNS}}
    )
    main = being(scratch.start())
    script = f'"{PYTHON}" -m devtasks {command} --json; echo $? > exit; : python main.py; uvicorn app:app || true'
    done = scratch.stage.popen(
        [shell, "-c", script, "python", "main.py"],
        scratch.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert done.wait(timeout=PATIENCE_SECONDS) == 0
    assert (scratch.root / "exit").read_text() == "0\n"
    assert not main.alive


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_callers_make(scratch: Scratch) -> None:
    scratch.install("main.py")
    scratch.declare(
        {"web": {"command": ["python", "main.py", "--port", "{port}"], "port": free_port(), "patterns": PATTERNS}}
    )
    main = being(scratch.start())
    recipe = f'stop:\n\t"{PYTHON}" -m devtasks stop --json; : python main.py\n\ttouch finished\n'
    (scratch.root / "Makefile").write_text(recipe)
    make = scratch.stage.popen(
        ["make", "stop", "RUN=python main.py"], scratch.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert make.wait(timeout=PATIENCE_SECONDS) == 0
    assert (scratch.root / "finished").exists()
    assert not main.alive


def test_a_caller_inside_the_services_own_tree(scratch: Scratch) -> None:
    """It cannot end what it needs itself; it says so, and ends the rest."""
    scratch.install("parent.py", "main.py")
    port = free_port()
    go = scratch.stage.folder / "go"
    script = (
        f'while [ ! -e "{go}" ]; do sleep 0.05; done; "{PYTHON}" -m devtasks stop --json > out; echo $? > exit; '
        f'"{PYTHON}" main.py --name after --mute'
    )
    words = [PYTHON, "parent.py", "run", "--port", str(port), "sh", "-c", script]
    scratch.declare({"web": {"command": words, "port": port}})
    scratch.start()
    go.touch()
    after = scratch.stage.one("after")
    assert being(parent(after.pid)).alive
    assert (scratch.root / "exit").read_text() in ("0\n", "1\n")
    json.loads((scratch.root / "out").read_text())
    report = scratch.run("force-clean")
    assert report["ok"], report
    assert not after.alive


# --- numbers that somebody else has now --------------------------------------------------------------


@as_root
@pytest.mark.parametrize("what", ["pid", "session"])
def test_a_process_with_a_recycled_number(scratch: Scratch, what: str) -> None:
    """The PID file and the state name it; only its start tells."""
    scratch.declare({"web": scratch.server()})
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", PYTHON, str(PROGRAMS / "recycle.py")]
    done = subprocess.run(
        [*command, what, str(scratch.root), PYTHON, "-m", "devtasks"],
        env=scratch.stage.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr and not done.stdout:
        pytest.skip(done.stderr)
    result = json.loads(done.stdout or "null")
    assert result, done.stderr
    assert result["recycled"], result
    assert result["lives"], result
    assert result["exits"] == [0, 0, 0, 0, 0], result


# --- the port of another -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "force-clean"])
def test_a_stranger_on_the_port(scratch: Scratch, tmp_path: Path, command: str) -> None:
    port = free_port()
    scratch.declare({"web": scratch.server(port=port)})
    other = Scratch(scratch.stage, tmp_path / "other")
    other.install("main.py")
    scratch.stage.detached("launch", ["python", "main.py", "--name", "stranger", "--port", str(port)], other.root)
    stranger = scratch.stage.one("stranger")
    report = scratch.run(command, expect=(0, 1))
    assert stranger.alive
    assert answers(port)
    assert stranger.pid in [row["pid"] for row in report["services"][0]["rejected"]], report


def test_a_client_that_holds_its_connection(scratch: Scratch) -> None:
    """The test itself is one."""
    port = free_port()
    scratch.declare({"web": scratch.server(port=port)})
    main = being(scratch.start())
    with socket.create_connection(("127.0.0.1", port)):
        assert scratch.run("stop")["ok"]
    assert not main.alive
