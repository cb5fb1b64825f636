"""One GET, as much of its answer as a probe needs, and nothing that the other side sends can make it more.

Written by hand because http.client bounds each read and not the whole, and blocks. No redirect is followed, and no
certificate is checked (as in Kubernetes; whose the listener is, its socket proves).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import NamedTuple

from devtasks.asking.connecting import connect
from devtasks.asking.hosts import bracketed
from devtasks.asking.link import Doing, Ended, Link
from devtasks.values import Value

HEAD_BYTES = 64 * 1024  # of status lines and headers
BODY_BYTES = 1024 * 1024  # what comes after is not read
_CHUNK_LINE_BYTES = 1024
_CHUNK_COST = 64
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |$)")


class Target(Value):
    """Where a GET goes. `path` begins with / and holds the query."""

    secure: bool
    host: str
    port: int
    path: str


class Reply(NamedTuple):
    """The final answer, complete. `body` is what was sent, decompressed, up to BODY_BYTES."""

    status: int
    body: bytes


class BadReply(Exception):
    """What came is no complete HTTP answer; the message says what it is."""


def target(url: str, host: str, port: int | None) -> Target:
    """`url` is a path on `host` and `port`, or a URL of its own. Raises ValueError for one that leads nowhere."""
    from urllib.parse import urlsplit

    where = urlsplit(url)
    secure = where.scheme == "https"
    if where.scheme:
        name, asked = where.hostname, where.port or (443 if secure else 80)
    else:
        name, asked = host, port or 0
    if not asked or not name:
        raise ValueError("it has no host or no port")
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    return Target(secure=secure, host=name, port=asked, path=path)


def fetch(one: Target, check: Callable[[socket.socket], None]) -> Doing[Reply]:
    """GET it, unless `check`, which is shown the connection first, raises.

    Raises BadReply, or OSError where there is no connection.
    """
    link = Link((yield from connect(one.host, one.port)))
    try:
        check(link.connection)
        if one.secure:
            yield from link.encrypt(one.host)
        yield from link.send(_request(one))
        return (yield from _reply(link, one))
    except Ended as ended:
        raise BadReply(str(ended)) from None
    finally:
        link.close()


def _request(one: Target) -> bytes:
    standard = one.port == (443 if one.secure else 80)
    lines = (
        f"GET {one.path} HTTP/1.1",
        f"Host: {bracketed(one.host)}{'' if standard else f':{one.port}'}",
        "User-Agent: devtasks",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode("ascii", "replace")


def _reply(link: Link, one: Target) -> Doing[Reply]:
    room = HEAD_BYTES
    while True:
        status, headers, used = yield from _head(link, room, secure=one.secure)
        room -= used
        if 100 <= status < 200 and status != 101:
            continue  # 100 Continue, 103 Early Hints: the answer follows
        if status in (101, 204, 304):
            return Reply(status, b"")
        raw = yield from _body(link, headers)
        return Reply(status, _decompressed(raw, headers.get(b"content-encoding", b"").lower()))


def _head(link: Link, room: int, *, secure: bool) -> Doing[tuple[int, dict[bytes, bytes], int]]:
    """Status, headers, and the bytes they took."""
    first = yield from link.line(room)
    if first is None:
        raise BadReply(f"sends more than {HEAD_BYTES // 1024} KiB of headers")
    found = _STATUS.match(first)
    if found is None:
        tls = not secure and first[:1] in (b"\x15", b"\x16")
        raise BadReply(
            "answers with TLS: ask for https://" if tls else f"does not answer with HTTP: {first[:60]!r}"
        )
    used = len(first)
    headers: dict[bytes, bytes] = {}
    while True:
        line = yield from link.line(room - used)
        if line is None:
            raise BadReply(f"sends more than {HEAD_BYTES // 1024} KiB of headers")
        if not line:
            return int(found[1]), headers, used
        used += len(line) + 1
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()


def _body(link: Link, headers: dict[bytes, bytes]) -> Doing[bytes]:
    """The body as it was sent, up to BODY_BYTES. One that breaks off before its announced end is an error."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return (yield from _chunked(link))
    length = headers.get(b"content-length")
    if length is None:
        return (yield from link.rest(BODY_BYTES))
    if not re.fullmatch(rb"[0-9]{1,18}", length):
        raise BadReply(f"announces a body of {length[:60]!r} bytes")
    return (yield from link.exactly(min(int(length), BODY_BYTES)))


def _chunked(link: Link) -> Doing[bytes]:
    body = bytearray()
    received = 0  # a chunk counts even if it holds a single byte, for what it costs
    while True:
        line = yield from link.line(_CHUNK_LINE_BYTES)
        size = re.match(rb"[0-9A-Fa-f]{1,15}(?=[ \t;]|$)", line or b"")
        if line is None or size is None:
            raise BadReply(f"sends a broken chunk: {(line or b'')[:60]!r}")
        count = int(size[0], 16)
        if count == 0:
            return bytes(body)
        received += max(len(line), _CHUNK_COST)
        part = min(count, BODY_BYTES - received)
        if part > 0:
            body += yield from link.exactly(part)
            received += part
        if part < count or received >= BODY_BYTES:
            return bytes(body)
        if (yield from link.line(2)) != b"":
            raise BadReply("sends a chunk that is longer than announced")


def _decompressed(raw: bytes, encoding: bytes) -> bytes:
    """Nobody asked for it, and some compress all the same. At most BODY_BYTES come of it."""
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        return raw
    import zlib

    window = zlib.MAX_WBITS if encoding == b"deflate" else zlib.MAX_WBITS | 16
    try:
        return zlib.decompressobj(window).decompress(raw, BODY_BYTES)
    except zlib.error:
        raise BadReply(f"sends a broken {encoding.decode()} body") from None
