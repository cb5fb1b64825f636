"""Whose the listener on a port is: before anything is asked there, and once there is a connection."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from devtasks.asking.attempt import Finding
from devtasks.model import Endpoint
from devtasks.store.logs import printable
from devtasks.world import World

_GENERATIONS = 20  # from a worker up to whoever started it
_COMMAND_LETTERS = 80
_HIDDEN = "is held by somebody whom we may not see"


class NotOurs(Exception):
    """The connection leads to somebody else."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class Look(NamedTuple):
    """What speaks against asking on a port, and whether others than the service hold it, too."""

    objection: Finding | None
    shared: bool = False


def nobody(port: int) -> Finding:
    return Finding("unhealthy", f"nobody listens on port {port}")


def look(world: World, port: int, members: Collection[int]) -> Look:
    """Nothing speaks against it where one of `members`, the service's processes, is there."""
    if port not in world.listening([port]):
        return Look(nobody(port))
    holders = world.holders([port], sorted(members)).get(port, ())
    if not holders:
        return Look(Finding("unknown", f"port {port} {_HIDDEN}"))
    ours = [_ours(world, pid, members) for pid in holders]
    if any(ours):
        return Look(None, shared=not all(ours))
    return Look(Finding("foreign", f"port {port} is held by somebody else, {_who(world, holders)}"))


def check(world: World, connection: socket.socket, members: Collection[int], *, shared: bool) -> None:
    """Raise NotOurs unless it is one of `members` that accepts at the other end of `connection`.

    Where the port is `shared`, several listen on it: an address of its own goes before every address, and where
    two have the very same one the kernel chooses.
    """
    address, port = connection.getpeername()[:2]
    if not _on_this_machine(connection):
        raise NotOurs(Finding("foreign", f'{address} is another machine; allow it with listener = "any"'))
    if not shared:
        return
    for endpoint, pids in world.owners(serving(address, world.endpoints([port]))).items():
        if not any(_ours(world, pid, members) for pid in pids):
            who = _who(world, pids) if pids else "somebody whom we may not see"
            detail = f"{address}, port {port}, is answered by {who}, who listens on {endpoint.address}"
            raise NotOurs(Finding("foreign", detail))


def _ours(world: World, pid: int, members: Collection[int]) -> bool:
    """Whether it is one of `members`, or descends from one: a worker that was forked since they were looked at.

    Who carries a marker of its own, or is to be kept, is left to those who judge whole process tables.
    """
    markers: set[str] = set()
    for _ in range(_GENERATIONS):
        if pid in members:
            row = world.reread([pid]).get(pid) if markers else None
            return not markers or (row is not None and markers == {row.marker})
        row = world.reread([pid]).get(pid)
        if row is None or row.keep or row.pid <= 1:
            return False
        if row.marker is not None:
            markers.add(row.marker)
        pid = row.ppid
    return False


def _who(world: World, pids: Sequence[int]) -> str:
    row = world.reread(pids[:1]).get(pids[0])
    command = printable(" ".join(row.argv))[:_COMMAND_LETTERS] if row is not None else ""
    return f"PID {pids[0]}{f' ({command})' if command else ''}"


def serving(address: str, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Those of the listening `endpoints` of one port to which a connection to `address` may go: pure."""
    wanted = _plain(address)
    everyone = [one for one in endpoints if one.protocol == "tcp"]
    exact = tuple(one for one in everyone if _plain(one.address) == wanted)
    return exact or tuple(one for one in everyone if _takes_all(one, wanted.version))


def _takes_all(endpoint: Endpoint, version: int) -> bool:
    """Whether it accepts whatever address of this machine is asked in IPv4 or IPv6."""
    if endpoint.address == "::":
        return version == 6 or endpoint.dual
    return version == 4 and endpoint.address == "0.0.0.0"  # noqa: S104


def _on_this_machine(connection: socket.socket) -> bool:
    """Who connects to an address of its own machine comes from that address, or from a loopback one."""
    there, here = _plain(connection.getpeername()[0]), _plain(connection.getsockname()[0])
    return there == here or there.is_loopback


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address in numbers, without a zone; one of IPv4 that is written in IPv6 is that of IPv4."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    mapped = plain.ipv4_mapped if plain.version == 6 else None
    return plain if mapped is None else mapped
