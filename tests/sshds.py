"""Real ssh servers on this machine: each in a network namespace of its own where that can be made, else on a
loopback address. Keys are made for the run; nothing listens on an address that another machine could reach.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from toolbox import PYTHON, REPOSITORY, Stage, eventually, free_port

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
KEYGEN = shutil.which("ssh-keygen")
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

needs_sshd = pytest.mark.skipif(
    SSHD is None or KEYGEN is None or os.geteuid() != 0, reason="takes root, and OpenSSH's server and ssh-keygen"
)
_held: list[socket.socket] = []


def key(path: Path) -> str:
    """A new key pair; the public half."""
    subprocess.run([str(KEYGEN), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


class Network:
    """A network namespace with one address, reached by a pair of virtual interfaces; or a loopback address."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"devtasks{number}"
        self.address = f"127.8.{number // 250}.{number % 250 + 2}"
        self.made = False
        if IP is not None:
            with suppress(subprocess.CalledProcessError):
                self._make()

    @classmethod
    def reserved(cls) -> Network:
        """One whose number no other test, in whichever suite, gets."""
        for number in range(1, 15_000):
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0devtasks-tests-network-{number}")
            except OSError:
                name.close()
                continue
            _held.append(name)
            return cls(number)
        raise AssertionError("no network is free")

    def command(self, *words: str) -> list[str]:
        """`words` as run in it."""
        return [str(IP), "netns", "exec", self.name, *words] if self.made else list(words)

    def remove(self) -> None:
        if self.made:
            _ip("netns", "delete", self.name)

    def _make(self) -> None:
        # 198.18.0.0/15 is for tests of networks (RFC 2544): never routed.
        ours = f"198.{18 + self.number // 8192}.{self.number % 8192 // 64}.{self.number % 64 * 4 + 1}"
        theirs = ours[: ours.rindex(".") + 1] + str(self.number % 64 * 4 + 2)
        with suppress(subprocess.CalledProcessError):  # left behind by a run that was killed
            _ip("netns", "delete", self.name)
        _ip("netns", "add", self.name)
        self.made = True
        try:
            _ip("link", "add", f"dt{self.number}", "type", "veth", "peer", "eth0", "netns", self.name)
            _ip("address", "add", ours, "peer", theirs, "dev", f"dt{self.number}")
            _ip("link", "set", f"dt{self.number}", "up")
            _ip("-n", self.name, "address", "add", theirs, "peer", ours, "dev", "eth0")
            _ip("-n", self.name, "link", "set", "eth0", "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError:
            self.remove()
            self.made = False
            raise
        self.address = theirs


def _ip(*words: str) -> None:
    subprocess.run([str(IP), *words], check=True, capture_output=True)


class Sshd:
    """One server, and what a login finds: a PATH with `bin` of its own folder in front."""

    def __init__(self, stage: Stage, folder: Path, network: Network, authorized: str) -> None:
        self.stage = stage
        self.folder = folder
        self.network = network
        self.address = network.address
        self.port = 22 if network.made else free_port()
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.public = key(folder / "host_key")
        (folder / "authorized").write_text(authorized + "\n")
        self.process: subprocess.Popen[Any] | None = None

    @property
    def host(self) -> str:
        """As --hosts takes it."""
        return f"root@{self.address}:{self.port}"

    def known(self, public: str | None = None) -> str:
        """Its line in a file of known hosts."""
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        kind, blob, *_ = (public or self.public).split()
        return f"{name} {kind} {blob}\n"

    def program(self, script: str, name: str = "devtasks") -> None:
        """What is called `devtasks` there."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def with_devtasks(self) -> Sshd:
        self.program(f'exec {PYTHON} -m devtasks "$@"')
        return self

    def start(self, **environ: str) -> Sshd:
        inherited = {name: os.environ[name] for name in os.environ if name.startswith("SUITE_RUN")}
        variables: Mapping[str, str] = {
            **inherited,
            "STAGE": str(self.stage.folder),
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **environ,
        }
        (self.folder / "sshd_config").write_text(
            f"ListenAddress {self.address}:{self.port}\n"
            f"{f'ListenAddress 127.0.0.1:{self.port}' if self.network.made else ''}\n"
            f"HostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized\n"
            "PidFile none\nUsePAM no\nStrictModes no\nUseDNS no\nPrintMotd no\nPermitRootLogin yes\n"
            "PasswordAuthentication no\nMaxStartups 100\n"
            f"SetEnv {' '.join(f'{name}={value}' for name, value in variables.items())}\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        command = self.network.command(str(SSHD), "-D", "-e", "-f", f"{self.folder}/sshd_config")
        with open(self.folder / "sshd.log", "ab") as log:
            self.process = self.stage.popen(command, self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._answers, f"sshd: {(self.folder / 'sshd.log').read_text()}")
        return self

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


@contextmanager
def servers(stage: Stage, folder: Path, count: int, *, namespaces: bool = True) -> Iterator[list[Sshd]]:
    """`count` servers, not yet started, and a home for the client on the stage that knows and may enter them."""
    ssh = Path(stage.environ["HOME"]) / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    authorized = key(ssh / "id_ed25519")
    networks = [Network.reserved() if namespaces else _loopback(number) for number in range(count)]
    try:
        listed = [
            Sshd(stage, folder / f"host{number}", network, authorized) for number, network in enumerate(networks)
        ]
        (ssh / "known_hosts").write_text("".join(one.known() for one in listed))
        yield listed
    finally:
        stage.dismiss()
        for network in networks:
            network.remove()


def _loopback(number: int) -> Network:
    network = Network.__new__(Network)
    network.number, network.name, network.made = number, "", False
    network.address = f"127.9.0.{number + 2}"
    return network
