"""Whether a port can be had, found out by binding it: exact, and 0.02 ms.

What is bound here is never listened on, and given back at once.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from devtasks.errors import UsageError

Answer = Literal["free", "taken", "forbidden"]

_ANYWHERE: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - bound for a moment only


class Place(NamedTuple):
    """An address that a server of `host` would bind."""

    family: int
    address: tuple[Any, ...]


def places(host: str, port: int) -> tuple[Place, ...]:
    """Every place that `host` stands for, as servers see it. Raises UsageError when it does not resolve."""
    if "." in host and ":" not in host:
        try:
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            pass
        else:
            return (Place(socket.AF_INET, (host, port)),)  # without a resolver, which may need the network
    name = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(
            f"host {host[:100]!r} does not resolve", hint="give an address of this machine, such as 127.0.0.1"
        ) from None
    here = [Place(family, place) for family, _, _, _, place in found if family in _ANYWHERE]
    return tuple(dict.fromkeys(here))


def bindable(host: str, port: int) -> Answer:
    """Whether a server could bind `host` and `port` now, on every address that the host stands for.

    Asked as asyncio's servers ask: with SO_REUSEADDR, so that connections of the past are no obstacle, and IPv6
    apart from IPv4. "forbidden": this user may not bind such a port. Raises UsageError for a host that does not
    resolve or is none of this machine's addresses.
    """
    answers = {_bind(place) for place in places(host, port)}
    if "taken" in answers or (answers & {"free"} and sys.platform != "linux" and _taken_beside(host, port)):
        return "taken"
    if "forbidden" in answers:
        return "forbidden"
    if "free" not in answers:
        raise UsageError(
            f"host {host[:100]!r} is not an address of this machine",
            hint="127.0.0.1 is for this machine alone, 0.0.0.0 for every network",
        )
    return "free"


def taken(port: int) -> bool:
    """Whether somebody listens on the TCP port at any address: for where nobody tells.

    Each local address is tried, because elsewhere than on Linux a listener on one address does not hinder binding
    another with SO_REUSEADDR. Where we may not bind, a connection is tried.
    """
    found = (place for address in _local_addresses() for place in places(address, port))
    return any(_listened_on(place) for place in found)


def _bind(place: Place) -> Answer | Literal["absent"]:
    try:
        with socket.socket(place.family, socket.SOCK_STREAM) as probe:
            if place.family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # on Windows SO_REUSEADDR would take the port from whoever has it
            option = "SO_EXCLUSIVEADDRUSE" if sys.platform == "win32" else "SO_REUSEADDR"
            probe.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
            probe.bind(place.address)
    except PermissionError:
        return "forbidden"
    except OSError as error:
        return "taken" if error.errno == errno.EADDRINUSE else "absent"
    return "free"


def _listened_on(place: Place) -> bool:
    answer = _bind(place)
    if answer == "forbidden":
        with socket.socket(place.family, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(place.address) == 0
    return answer == "taken"


def _taken_beside(host: str, port: int) -> bool:
    """Whether the port is taken at an address that overlaps with the host's."""
    for place in places(host, port):
        wildcard = _ANYWHERE[place.family]
        beside = _local_addresses() if place.address[0] == wildcard else (wildcard,)
        if any(_bind(other) == "taken" for address in beside for other in places(address, port)):
            return True
    return False


def _local_addresses() -> Iterable[str]:
    import psutil

    found = set(_ANYWHERE.values())
    for entries in psutil.net_if_addrs().values():
        found.update(entry.address for entry in entries if entry.family in _ANYWHERE)
    return found


__all__ = ["Answer", "bindable", "places", "taken"]
