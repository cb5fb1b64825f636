"""Who listens on the ports of this network namespace, asked of the kernel by sock_diag.

One dump of the listening sockets costs 0.05 ms where reading /proc/net/tcp costs 10 (docs/architecture.md).
Sockets of another network namespace do not show, and neither do their owners: an inode names one socket.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Literal

from devtasks.model import Endpoint
from devtasks.world import Kind

_SOCK_DIAG_BY_FAMILY = 20
_NETLINK_SOCK_DIAG = 4
_DUMP_REQUEST = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_REQUEST = struct.Struct("=BBBxI48x")  # family, protocol, extensions, states, socket id
_ANSWER_SIZE = 72  # struct inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
_SKV6ONLY = 11  # INET_DIAG_SKV6ONLY: told of listening and of unconnected sockets
_CLOSE, _LISTEN, _BOUND = 7, 10, 13  # of TCP; 7 is a UDP socket that is not connected, 13 bound and no more
_STATES: dict[Kind, int] = {
    "listening": 1 << _LISTEN,
    "udp": 1 << _CLOSE,
    "other": 0x3FFF & ~(1 << _LISTEN | 1 << _CLOSE),
}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_ANYWHERE = bytes(16)


def listeners(ports: Iterable[int]) -> dict[int, set[int]]:
    """Port to the inodes of the sockets that listen on it, IPv4 and IPv6. Free ports are missing."""
    wanted = set(ports)
    found: dict[int, set[int]] = {}
    if wanted:
        for port, inode in _all_listeners():
            if port in wanted:
                found.setdefault(port, set()).add(inode)
    return found


def ports_by_inode() -> dict[int, int]:
    """The inode of every listening socket to its port."""
    return {inode: port for port, inode in _all_listeners()}


def endpoints(ports: Iterable[int], kind: Kind) -> tuple[Endpoint, ...]:
    """The sockets of one kind on `ports`; see `World.endpoints`."""
    wanted = set(ports)
    if not wanted:
        return ()
    protocol = socket.IPPROTO_UDP if kind == "udp" else socket.IPPROTO_TCP
    try:
        answers = [answer for family in _FAMILIES for answer in _dump(family, protocol, _STATES[kind])]
    except OSError:
        return tuple(_from_tables(wanted, kind))
    return tuple(_endpoint(one, kind) for one in answers if int.from_bytes(one[4:6], "big") in wanted)


def owners(inodes: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """Socket to the PIDs of all that have it open, as far as we may see. Costs a look at every descriptor."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, list[int]] = {}
    names, target = os.listdir, os.readlink
    for pid in names("/proc") if wanted else ():
        if not pid.isdigit():
            continue
        folder = f"/proc/{pid}/fd/"
        try:
            descriptors = names(folder)
        except OSError:  # gone, or not for us
            continue
        held = set()
        for descriptor in descriptors:
            try:
                inode = wanted.get(target(folder + descriptor))
            except OSError:
                continue
            if inode is not None:
                held.add(inode)
        for inode in held:
            found.setdefault(inode, []).append(int(pid))
    return {inode: tuple(pids) for inode, pids in found.items()}


# --- sock_diag -----------------------------------------------------------------------------------------


def _all_listeners() -> list[tuple[int, int]]:
    states = _STATES["listening"]
    try:
        return [
            (int.from_bytes(one[4:6], "big"), struct.unpack_from("=I", one, 68)[0])
            for family in _FAMILIES
            for one in _dump(family, socket.IPPROTO_TCP, states)
        ]
    except OSError:  # no sock_diag in this kernel, or a sandbox forbids it
        return [(row.port, row.inode) for row in _from_tables(None, "listening")]


def _dump(family: int, protocol: int, states: int) -> Iterator[bytes]:
    """Each `inet_diag_msg` with its attributes."""
    body = _REQUEST.pack(family, protocol, 0, states)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(2)
        netlink.sendall(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0) + body)
        while True:
            data = netlink.recv(1 << 16)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, at)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR or length < _HEADER.size:
                    raise OSError("sock_diag answers with an error")
                message = data[at + _HEADER.size : at + length]
                if len(message) >= _ANSWER_SIZE:
                    yield message
                at += (length + 3) & ~3


def _endpoint(message: bytes, kind: Kind) -> Endpoint:
    family = message[0]
    uid, inode = struct.unpack_from("=II", message, 64)
    raw = message[8:24]
    ipv6 = family == socket.AF_INET6
    return Endpoint(
        protocol="udp" if kind == "udp" else "tcp",
        port=int.from_bytes(message[4:6], "big"),
        address=socket.inet_ntop(family, raw if ipv6 else raw[:4]),
        dual=ipv6 and raw == _ANYWHERE and _attribute(message, _SKV6ONLY) == b"\0",
        inode=inode,
        uid=uid,
    )


def _attribute(message: bytes, wanted: int) -> bytes | None:
    at = _ANSWER_SIZE
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == wanted:
            return message[at + _ATTRIBUTE.size : at + length]
        if length < _ATTRIBUTE.size:
            return None
        at += (length + 3) & ~3
    return None


# --- the tables in /proc: where there is no sock_diag ------------------------------------------------------


def _from_tables(wanted: set[int] | None, kind: Kind) -> Iterator[Endpoint]:
    protocol: Literal["tcp", "udp"] = "udp" if kind == "udp" else "tcp"
    for family, table in zip(_FAMILIES, (protocol, f"{protocol}6"), strict=True):
        for fields in _lines(f"/proc/net/{table}"):
            address, _, port = fields[1].rpartition(":")
            if not 1 << int(fields[3], 16) & _STATES[kind] or (wanted and int(port, 16) not in wanted):
                continue
            raw = b"".join(
                int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)
            )
            yield Endpoint(
                protocol=protocol,
                port=int(port, 16),
                address=socket.inet_ntop(family, raw),
                dual=raw == _ANYWHERE,  # not told here; it is what nearly every program leaves it at
                inode=int(fields[9]),
                uid=int(fields[7]),
            )


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="ascii") as table:
            next(table, None)
            yield from (fields for line in table if len(fields := line.split()) > 9)
    except OSError:  # IPv6 may be off
        return


__all__ = ["endpoints", "listeners", "owners", "ports_by_inode"]
