"""What holds a port: the verdict on its sockets and their holders, and the words for it. Pure.

Only sockets that wait for clients count: the local end of a connection has a port number too, and holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from devtasks import programs
from devtasks.model import Endpoint, Process, Service
from devtasks.outcomes import PortHolder, PortRow, PortState
from devtasks.values import replace

_CONTAINER_PROXY = "container proxy"


class Claim(NamedTuple):
    """A port that the project means to have."""

    port: int
    service: str | None = None  # None: no service of the project means to have it
    host: str | None = None  # None: opened at run time, who knows where
    name: str | None = None

    def __str__(self) -> str:
        return f"port {self.port} of {self.service}" if self.service else f"port {self.port}"


class Socket(NamedTuple):
    """A socket on a port, and all whom we see holding it."""

    endpoint: Endpoint
    pids: tuple[int, ...]


def claims(services: Iterable[Service], registered: Iterable[tuple[str, str, int]] = ()) -> tuple[Claim, ...]:
    """The ports of `services`, and those registered as (service, name, port) where they are not the same."""
    configured = [Claim(port, one.name, one.host) for one in services for port in one.ports]
    known = {claim.port for claim in configured}
    opened = {(port, name): Claim(port, name, None, label) for name, label, port in registered}
    return (*configured, *(claim for (port, _), claim in opened.items() if port not in known))


def row(
    claim: Claim,
    protocol: Literal["tcp", "udp"],
    sockets: Sequence[Socket],
    known: Mapping[int, PortHolder],
    processes: Mapping[int, Process],
) -> PortRow:
    """What the sockets on one port say about it. `known` and `processes` tell of every PID that holds one."""
    addresses: dict[int, list[str]] = {}
    for socket in sockets:
        for pid in socket.pids:
            addresses.setdefault(pid, []).append(place(socket.endpoint))
    holders = [replace(known[pid], addresses=tuple(dict.fromkeys(places))) for pid, places in addresses.items()]
    unseen: dict[str | None, list[str]] = {}
    for socket in sockets:
        if not socket.pids:
            unseen.setdefault(user_name(socket.endpoint.uid), []).append(place(socket.endpoint))
    holders += [
        PortHolder(pid=None, command="", cwd=None, service=None, user=user, addresses=tuple(dict.fromkeys(places)))
        for user, places in unseen.items()
    ]
    return PortRow(
        port=claim.port,
        protocol=protocol,
        service=claim.service,
        state=_state(holders, processes),
        holders=tuple(holders),
        warnings=tuple(_of_another_service(claim, holders)),
        name=claim.name,
    )


def place(endpoint: Endpoint) -> str:
    """Address and port as people write them."""
    host = endpoint.address or "*"
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def _state(holders: Sequence[PortHolder], processes: Mapping[int, Process]) -> PortState:
    if not holders:
        return "free"
    if any(holder.service is not None for holder in holders):
        return "ours"
    visible = [holder for holder in holders if holder.pid is not None]
    if any(is_proxy(processes.get(holder.pid or 0)) for holder in visible):
        return "container"
    return "foreign" if visible else "unknown"


def is_proxy(process: Process | None) -> bool:
    return process is not None and programs.bystander(process.argv, terminal=False) == _CONTAINER_PROXY


def _of_another_service(claim: Claim, holders: Sequence[PortHolder]) -> list[str]:
    others = sorted({one.service for one in holders if one.service is not None} - {claim.service})
    if not others or claim.service is None:
        return []
    return [f"{claim} is held by {', '.join(others)}, a service of this project"]


def describe(holder: PortHolder) -> str:
    """One holder in a line: PID, program, folder, age and whose it is."""
    if holder.pid is None:
        return f"a process of user {holder.user}, which we may not see" if holder.user else "somebody unseen"
    facts = [holder.command]
    if holder.cwd is not None:
        facts.append(f"in {holder.cwd}")
    if holder.age_seconds is not None:
        facts.append(f"started {age(holder.age_seconds)} ago")
    if holder.container is not None:
        facts.append(f"for container {holder.container}")
    if holder.service is not None:
        facts.append(f"service {holder.service} of this project")
    elif holder.project is not None:
        service = f"service {holder.project_service} of " if holder.project_service else ""
        facts.append(f"{service}project {holder.project}")
    elif holder.user is not None:
        facts.append(f"user {holder.user}")
    return f"PID {holder.pid} ({', '.join(facts)})"


def user_name(uid: int | None) -> str | None:
    """The account's name, or its number where it has none."""
    if uid is None:
        return None
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def age(seconds: float) -> str:
    """How long, in the unit that suits it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


__all__ = ["Claim", "Socket", "age", "claims", "describe", "is_proxy", "place", "row", "user_name"]
