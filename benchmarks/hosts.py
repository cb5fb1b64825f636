"""What `--hosts` costs over twenty hosts, beside the slowest of them alone: twenty sshd on loopback addresses.

Two ways: with an answer that takes its time and no processor's, as hosts do that have processors of their own; and
with the hosts' own `status`, for which all twenty share the processors of this machine: there the limit is what
twenty of them one after the other would take on each.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.readings import Reading, Row
from benchmarks.scene import BenchmarkFailed, Scene, free_port, undisturbed
from benchmarks.timing import timed

HOSTS = 20
ROUNDS = 3
ALONE = 4  # hosts that are called alone in each round: all are alike
LIMIT = 2.0
SHARED_LIMIT = max(LIMIT, HOSTS / (os.cpu_count() or 1))
WAIT_SECONDS = 2  # what a host takes that is neither near nor idle
UP_SECONDS = 20
ANSWER = '{"version": 1, "services": []}'
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
FLEET, SLOWEST = f"devtasks --hosts, {HOSTS} hosts: status", "the slowest of them alone"


def measure(scene: Scene) -> Iterator[Row]:
    missing = _missing()
    waiting = f"sleep {WAIT_SECONDS}; echo '{ANSWER}'"
    for title, answer, limit in (
        (f"{FLEET}, {WAIT_SECONDS} s each", waiting, LIMIT),
        (f"{FLEET}, all on this machine", None, SHARED_LIMIT),
    ):
        ours, theirs = Reading.of([0.0]), None
        if missing is None:
            with _fleet(scene, answer) as (folder, hosts):
                ours, theirs = _rounds(scene, folder, hosts)
        yield Row(
            what=title, ours=ours, against=SLOWEST, theirs=theirs, kind="ratio", limit=limit, missing=missing
        )


def _missing() -> str | None:
    if importlib.util.find_spec("fabric") is None:
        return "takes Fabric (the extra remote)"
    if SSHD is None or os.geteuid() != 0:
        return "takes root and OpenSSH's server"
    return None


def _rounds(scene: Scene, folder: Path, hosts: list[str]) -> tuple[Reading, Reading]:
    """All hosts at once, and each alone, of which the slowest counts: by turns."""
    together, alone = [], []
    _call(scene, folder, hosts)
    for _ in range(ROUNDS):
        together.append(timed(lambda: _call(scene, folder, hosts)))
        alone.append(max(timed(lambda host=host: _call(scene, folder, [host])) for host in hosts[:ALONE]))  # type: ignore[misc]
    return Reading.of(together), Reading.of(alone)


def _call(scene: Scene, folder: Path, hosts: list[str]) -> None:
    words = [sys.executable, "-m", "devtasks", "--hosts", ",".join(hosts), "status", "--json"]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**scene.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        told = json.loads(done.stdout).get("hosts", ())
        first = next((one["detail"] for one in told if one["outcome"] != "answered"), done.stderr[-200:])
        raise BenchmarkFailed(f"--hosts: exit code {done.returncode}: {first}")


@contextmanager
def _fleet(scene: Scene, answer: str | None) -> Iterator[tuple[Path, list[str]]]:
    """A project that is its own home, and its hosts. With `answer` a line of sh stands for devtasks there."""
    server = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")
    folder = scene.project("fleet", {"backend": server})
    ssh = folder / ".ssh"
    ssh.mkdir(mode=0o700)
    for path in (ssh / "id_ed25519", ssh / "host_key"):
        scene.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], folder)
    (ssh / "authorized").write_text((ssh / "id_ed25519.pub").read_text())
    (folder / "bin").mkdir()
    command = answer or f'exec {shlex.quote(sys.executable)} -m devtasks "$@"'
    (folder / "bin" / "devtasks").write_text(f"#!/bin/sh\n{command}\n")
    (folder / "bin" / "devtasks").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    public = " ".join((ssh / "host_key.pub").read_text().split()[:2])
    port = free_port()
    addresses = [f"127.11.0.{number + 2}" for number in range(HOSTS)]
    (ssh / "known_hosts").write_text("".join(f"[{one}]:{port} {public}\n" for one in addresses))
    # The project's folder is the home, so that a path counted from there would be another one on the host.
    with (folder / "pyproject.toml").open("a") as table:
        table.write(f"\n[tool.devtasks.hosts.all]\npath = {str(folder)!r}\n")
        table.write(f"hosts = {[f'root@{one}:{port}' for one in addresses]!r}\n")
    with ExitStack() as stack:
        for address in addresses:
            stack.enter_context(_sshd(scene, folder, address, port))
        yield folder, [f"root@{one}:{port}" for one in addresses]


@contextmanager
def _sshd(scene: Scene, folder: Path, address: str, port: int) -> Iterator[None]:
    ssh = folder / ".ssh"
    options = {
        "ListenAddress": f"{address}:{port}",
        "HostKey": str(ssh / "host_key"),
        "AuthorizedKeysFile": str(ssh / "authorized"),
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "UseDNS": "no",
        "SetEnv": f"PATH={folder / 'bin'}:/usr/bin:/bin",
    }
    words = [str(SSHD), "-D", "-f", "/dev/null"]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    child = subprocess.Popen(
        words, env=scene.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + UP_SECONDS
        while not _listens(address, port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkFailed(f"sshd does not listen on {address}:{port}")
            time.sleep(0.02)
        yield
    finally:
        with undisturbed():
            child.terminate()
            child.wait()


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
