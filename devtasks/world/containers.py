"""The container behind a proxy that publishes its port, asked of the container engines' own commands.

A proxy (docker-proxy, rootlessport …) holds the port for a container. Ending the proxy would break the container
and free nothing for long: the engine has to be asked to stop the container.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Literal, NamedTuple

_ENGINES = ("docker", "podman", "nerdctl")
_TIMEOUT_SECONDS = 2.0  # an engine that is not there answers at once; one that hangs must not hang us
_FORMAT = "{{.Names}}\t{{.Ports}}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_PUBLISHED = r"(?:^|[\s,:])(\d{1,5})(?:-(\d{1,5}))?->\d{1,5}(?:-\d{1,5})?/(tcp|udp)\b"  # 0.0.0.0:8000->80/tcp


class Container(NamedTuple):
    """A running container that publishes a port of this machine."""

    engine: str
    name: str

    @property
    def stop(self) -> str:
        """The command that stops it."""
        return f"{self.engine} stop {self.name}"


def publishing(port: int, protocol: Literal["tcp", "udp"] = "tcp") -> Container | None:
    """The container that publishes `port`; None where no engine tells. Never raises; takes seconds at worst."""
    for engine in _ENGINES:
        for line in _listing(engine):
            names, _, published = line.partition("\t")
            name = names.partition(",")[0]
            if re.fullmatch(_NAME, name, re.ASCII) and _publishes(published, port, protocol):
                return Container(engine, name)
    return None


def _listing(engine: str) -> Iterator[str]:
    program = shutil.which(engine)
    if program is None:
        return
    try:
        done = subprocess.run(
            [program, "ps", "--format", _FORMAT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    yield from done.stdout.decode("utf-8", "replace").splitlines()


def _publishes(published: str, port: int, protocol: str) -> bool:
    for first, last, kind in re.findall(_PUBLISHED, published, re.ASCII):
        if kind == protocol and int(first) <= port <= int(last or first):
            return True
    return False


__all__ = ["Container", "publishing"]
