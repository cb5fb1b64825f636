"""The sockets of a machine and of its processes, as psutil tells them: without inodes or users.

psutil tells of each process what goes on in the network namespace that it is in, so a process in another one has
no port of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import psutil

from devtasks.model import Endpoint
from devtasks.world import Kind
from devtasks.world.columns import ask

_PSUTIL_KINDS: dict[Kind, str] = {"listening": "tcp", "other": "tcp", "udp": "udp"}


def of_the_machine(kind: Kind) -> frozenset[Endpoint]:
    """Of all processes. Raises PermissionError or psutil.AccessDenied where one has to be root for that."""
    return frozenset(_endpoints(psutil.net_connections(_PSUTIL_KINDS[kind]), kind))


def of_process(pid: int, kind: Kind) -> frozenset[Endpoint]:
    """Of one process; none where we may not see, or in another network namespace."""
    if not _in_our_network(pid):
        return frozenset()
    try:
        return frozenset(_endpoints(ask(psutil.Process(pid).net_connections, [], _PSUTIL_KINDS[kind]), kind))
    except psutil.NoSuchProcess:
        return frozenset()


def _endpoints(connections: Iterable[Any], kind: Kind) -> Iterator[Endpoint]:
    protocol: Literal["tcp", "udp"] = "udp" if kind == "udp" else "tcp"
    for item in connections:
        listens = item.status == psutil.CONN_LISTEN
        wanted = not item.raddr if kind == "udp" else listens == (kind == "listening")
        if item.laddr and wanted:
            yield Endpoint(protocol, item.laddr.port, item.laddr.ip, dual=item.laddr.ip == "::")


def _in_our_network(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return True  # no such thing on this system, or not for us: then neither are its sockets
