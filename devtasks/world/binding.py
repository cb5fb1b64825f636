"""Whether a port is taken, found out by binding it: for where the system does not tell who listens."""

from __future__ import annotations

import errno
import socket

import psutil


def taken(port: int) -> bool:
    """Whether somebody listens on the TCP port, found out by binding it: for where nobody tells.

    Each local address is tried: with SO_REUSEADDR connections of the past are no obstacle, but then a listener on
    one address does not hinder binding another. Where we may not bind, a connection is tried.
    """
    addresses = {"0.0.0.0", "::"}  # noqa: S104 - bound for a moment, never listened on
    for entries in psutil.net_if_addrs().values():
        addresses.update(entry.address for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6))
    return any(_taken_at(address, port) for address in addresses)


def _taken_at(address: str, port: int) -> bool:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except PermissionError:
        with socket.socket(family, kind, protocol) as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(place) == 0
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
