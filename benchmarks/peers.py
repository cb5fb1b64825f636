"""supervisor, circus, honcho and pm2, each installed apart from everything else and run for the length of a block.

Programs in Python go into virtual environments in the user's cache folder, pm2 into a folder beside them; what is
there is used again. Where one cannot be had, PeerMissing says why, and the benchmark goes on without it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.herd import SLEEP_SECONDS
from benchmarks.scene import BenchmarkFailed, Scene, undisturbed
from devtasks.world.pidfd import pidfd_open

INSTALL_SECONDS = 300
READY_SECONDS = 30
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

SUPERVISOR = """
[unix_http_server]
file = {folder}/s.sock
[supervisord]
logfile = {folder}/log
pidfile = {folder}/pid
nodaemon = true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{folder}/s.sock
[program:backend]
command = sleep {seconds}
[program:frontend]
command = sleep {seconds}
"""


class PeerMissing(Exception):
    """Why a peer cannot be measured: one line."""


@contextmanager
def supervisor(scene: Scene, group: str) -> Iterator[Callable[[], float]]:
    """Runs `supervisorctl status` each time it is called, with two programs running.

    `group`: the dependency group of pyproject.toml that says which release.
    """
    tools = installed(group)
    folder = scene.folder / group
    folder.mkdir()
    config = folder / "supervisord.conf"
    config.write_text(SUPERVISOR.format(folder=folder, seconds=SLEEP_SECONDS))
    status = [str(tools / "supervisorctl"), "-c", str(config), "status"]
    daemon = subprocess.Popen(
        [str(tools / "supervisord"), "-c", str(config)],
        cwd=folder,
        env=scene.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until(lambda: scene.run(status, folder, codes=range(-64, 256)).count("RUNNING") == 2)
        yield scene.timing(status, folder)
    finally:
        with undisturbed():
            daemon.terminate()  # it stops its programs
            daemon.wait()


@contextmanager
def pm2(scene: Scene) -> Iterator[Callable[[], float]]:
    """Runs `pm2 ls` each time it is called, with two programs running."""
    tool = str(pm2_installed())
    folder = scene.folder / "pm2"
    folder.mkdir()
    scene.environ["PM2_HOME"] = str(folder)
    try:
        for name in ("backend", "frontend"):
            scene.run([tool, "start", "--name", name, "--interpreter", "none", _sleep(), "--", "600"], folder)
        yield scene.timing([tool, "ls"], folder)
    finally:
        with undisturbed():
            end_pm2(scene, tool, folder)


def end_pm2(scene: Scene, tool: str, folder: Path) -> None:
    """`pm2 kill` ends the daemon and what it runs; waited for, because it may return before they are gone."""
    descriptor = None
    with contextlib.suppress(OSError, ValueError):
        descriptor = pidfd_open(int((folder / "pm2.pid").read_text()))
    with contextlib.suppress(BenchmarkFailed):
        scene.run([tool, "kill"], folder)
    if descriptor is not None:
        select.select([descriptor], [], [], READY_SECONDS)
        os.close(descriptor)


def installed(group: str) -> Path:
    """The folder with the programs of a dependency group, in an environment of their own. Raises PeerMissing."""
    folder = _cache() / group
    tools = folder / "bin"
    if not (folder / "complete").exists():
        wanted = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["dependency-groups"][group]
        _install([sys.executable, "-m", "venv", "--clear", str(folder)])
        _install([str(tools / "python"), "-m", "pip", "install", "--quiet", *wanted])
        (folder / "complete").touch()
    return tools


def pm2_installed() -> Path:
    folder = _cache() / "pm2"
    tool = folder / "node_modules" / ".bin" / "pm2"
    if not tool.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise PeerMissing("npm is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        _install([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "pm2"])
    return tool


def _install(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"cannot be installed: {error}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PeerMissing(f"cannot be installed: {' '.join(last)[:120]}")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "devtasks-benchmarks"


def _sleep() -> str:
    return shutil.which("sleep") or "/bin/sleep"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise PeerMissing(f"did not get ready in {READY_SECONDS} s")
        time.sleep(0.05)
