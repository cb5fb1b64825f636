"""Bytes to and from one connection that never blocks, plain or in TLS."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from devtasks.asking.attempt import Wait

_PIECE_BYTES = 64 * 1024

T = TypeVar("T")
Doing = Generator[Wait, None, T]


class Ended(Exception):
    """The other side ended the connection, or the protocol; the message says when."""


class Link:
    """A connection, and what was received and not taken yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection: Any = connection  # later perhaps an ssl.SSLSocket
        self._secure = False
        self._received = bytearray()
        self._total = 0

    def close(self) -> None:
        self.connection.close()

    def encrypt(self, host: str) -> Doing[None]:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.connection = context.wrap_socket(self.connection, server_hostname=host, do_handshake_on_connect=False)
        self._secure = True
        try:
            yield from self._patiently(self.connection.do_handshake, writing=False)
        except ssl.SSLError as error:
            raise Ended(f"does not speak TLS: {error.reason or error}") from None

    def send(self, data: bytes) -> Doing[None]:
        while data:
            sent = yield from self._patiently(self.connection.send, data, writing=True)
            data = data[sent:]

    def line(self, most: int) -> Doing[bytes | None]:
        """The next line without its end; None when it is longer than `most` bytes. Raises Ended within one."""
        start = 0
        while True:
            end = self._received.find(b"\n", start, most + 1)
            if end >= 0:
                found = bytes(self._received[:end])
                del self._received[: end + 1]
                return found.removesuffix(b"\r")
            if len(self._received) > most:
                return None
            start = len(self._received)
            if not (yield from self._more()):
                raise Ended(self._breaking_off())

    def exactly(self, count: int) -> Doing[bytes]:
        """The next `count` bytes. Raises Ended before that."""
        while len(self._received) < count:
            if not (yield from self._more()):
                raise Ended(self._breaking_off())
        return self._take(count)

    def rest(self, most: int) -> Doing[bytes]:
        """All until the other side ends, at most `most` bytes."""
        while len(self._received) < most and (yield from self._more()):
            pass
        return self._take(most)

    # ------------------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _breaking_off(self) -> str:
        if self._total == 0:
            return "ends the connection without an answer"
        return f"breaks off after {self._total} bytes"

    def _more(self) -> Doing[bool]:
        """Receive something. False: the other side has ended."""
        try:
            piece = yield from self._patiently(self.connection.recv, _PIECE_BYTES, writing=False)
        except ConnectionError:
            piece = b""
        self._received += piece
        self._total += len(piece)
        return bool(piece)

    def _patiently(self, call: Callable[..., Any], *arguments: Any, writing: bool) -> Doing[Any]:
        while True:
            try:
                return call(*arguments)
            except BlockingIOError:
                yield Wait(self.connection.fileno(), writing)
            except OSError as error:
                if not self._secure:
                    raise
                yield self._wanted(error)

    def _wanted(self, error: OSError) -> Wait:
        """What TLS waits for, whichever way the bytes go that it was asked to move."""
        import ssl

        if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return Wait(self.connection.fileno(), isinstance(error, ssl.SSLWantWriteError))
        raise error
