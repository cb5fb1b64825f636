"""Connect to a TCP port without blocking, name resolution included."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Generator
from typing import Any

from devtasks.asking.attempt import Wait

_PENDING = (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK)
_Address = tuple[socket.AddressFamily, Any]


def connect(host: str, port: int) -> Generator[Wait, None, socket.socket]:
    """A connected socket that does not block; the first of the host's addresses that accepts. Raises OSError."""
    problem: OSError = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    for family, address in (yield from _addresses(host, port)):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            while (code := connection.connect_ex(address)) in _PENDING:
                yield Wait(connection.fileno(), writing=True)
        except BaseException:
            connection.close()
            raise
        if code in (0, errno.EISCONN):
            return connection
        connection.close()
        problem = OSError(code, os.strerror(code))
    raise problem


def _addresses(host: str, port: int) -> Generator[Wait, None, list[_Address]]:
    """What `host` stands for. A name is looked up in a thread: nothing else bounds how long that takes."""
    with contextlib.suppress(socket.gaierror):
        return _look_up(host, port, socket.AI_NUMERICHOST)
    found: list[_Address] = []
    failed: list[OSError] = []
    reading, writing = os.pipe()

    def work() -> None:
        try:
            found.extend(_look_up(host, port, 0))
        except OSError as error:
            failed.append(error)
        except UnicodeError:
            failed.append(socket.gaierror(socket.EAI_NONAME, "it is no host name"))
        finally:
            os.close(writing)

    try:
        thread = threading.Thread(target=work, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            os.close(writing)
            raise OSError(errno.EAGAIN, "no thread can be started") from None
        yield Wait(reading)
    finally:
        os.close(reading)
    if failed:
        raise failed[0]
    return found


def _look_up(host: str, port: int, flags: int) -> list[_Address]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in rows))
