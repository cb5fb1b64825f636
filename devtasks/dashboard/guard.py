"""Stands before every route: whom a request is addressed to, from where it comes, who sends it, and how.

Everything is an allow-list. The order: Host, then (but for static files and signing in) the token, then the
method, then what a change needs. Nothing of a request is acted on before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from devtasks.dashboard.address import Address
from devtasks.dashboard.credentials import Credentials
from devtasks.dashboard.problems import Problem
from devtasks.values import Value

BODY_BYTES = 16 * 1024
HEAD_BYTES = 16 * 1024

CUSTOM_HEADER = "x-devtasks"

_LONGEST_TOKEN = 200


class Head(Value):
    """A request before its body. Header names are in lower case; one that came twice has two values."""

    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]]

    def one(self, name: str) -> str | None:
        """The value of a header; None where it is missing or was sent twice."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None


class Allowed(Value):
    """`until`: the request's session ends then; None for the token itself, and where none is needed."""

    until: float | None = None


class Guard:
    """Judges the head of each request. `methods` tells of a path which methods it takes; None: no such path."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials,
        methods: Callable[[str], tuple[str, ...] | None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._address = address
        self._hosts = address.hosts
        self._credentials = credentials
        self._methods = methods
        self._now = now

    def judge(self, head: Head) -> Allowed:
        """Raises Problem for what may not be answered."""
        host = self._host(head)
        static = head.path == "/" or head.path.startswith("/static/")
        signing_in = head.path == "/api/session"
        allowed = Allowed() if static or signing_in else self._authenticated(head)
        methods = ("GET", "HEAD") if static else self._methods(head.path)
        if methods is None:
            raise Problem(
                "unknown", f"there is no {head.path[:200]}", hint="see docs/api.md, or /api/openapi.json"
            )
        if head.method not in methods:
            raise Problem(
                "method",
                f"{head.path[:200]} takes {' and '.join(methods)}, not {head.method[:20]}",
                headers={"Allow": ", ".join(methods)},
            )
        if not static:  # a link to the page may stand anywhere
            self._origin(head, host, needed=head.method == "POST" and allowed.until is not None)
        if head.method == "POST":
            _change(head)
        elif "transfer-encoding" in head.headers or head.one("content-length") not in (None, "0"):
            raise Problem("malformed", f"{head.method} takes no body")
        return allowed

    # ----------------------------------------------------------------------------------------------------

    def _host(self, head: Head) -> str:
        host = (head.one("host") or "").lower()
        if host not in self._hosts:
            raise Problem(
                "host",
                f"{host[:200]!r} is no name of this dashboard" if host else "the request names no host",
                hint=f"open {self._address.base}",
            )
        return host

    def _authenticated(self, head: Head) -> Allowed:
        if "authorization" in head.headers:
            scheme, _, token = (head.one("authorization") or "").partition(" ")
            if scheme.lower() == "bearer" and len(token) <= _LONGEST_TOKEN and self._credentials.knows(token):
                return Allowed()
            raise _unauthorized("the token in the Authorization header is not this project's")
        for session in _cookies(head.headers.get("cookie", ()), self._address.cookie):
            until = self._credentials.session_until(session, self._now())
            if until is not None:
                return Allowed(until=until)
        raise _unauthorized("no token was sent, or the session is over")

    def _origin(self, head: Head, host: str, *, needed: bool) -> None:
        """What a browser says of the page that sends. One that is sent must be ours, whoever sends it."""
        if "origin" in head.headers:
            origin = head.one("origin") or ""
            if origin != self._address.origin(host):
                raise Problem("origin", f"sent by {origin[:200]!r}, which is not this dashboard's page")
        elif needed:
            raise Problem("origin", "a change with a cookie needs an Origin header")
        if head.one("sec-fetch-site") in ("cross-site", "same-site"):
            raise Problem("origin", "sent by another site")


def _change(head: Head) -> None:
    """What every change needs, so that no form and no simple cross-origin request can be one."""
    kind = (head.one("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("media-type", "a POST needs Content-Type: application/json")
    if CUSTOM_HEADER not in head.headers:
        raise Problem("header", "a change needs the header X-Devtasks: 1")
    length = head.one("content-length")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise Problem("malformed", "Content-Length is no number")
    if length is not None and (len(length) > 9 or int(length) > BODY_BYTES):
        raise Problem("too-large", f"a body has at most {BODY_BYTES} bytes")


def _cookies(headers: Iterable[str], name: str) -> list[str]:
    """The values of the cookie called `name`: a browser may send one that another port has set."""
    pairs = (pair.strip().partition("=") for header in headers for pair in header.split(";"))
    return [value for key, _, value in pairs if key == name and len(value) <= _LONGEST_TOKEN][:4]


def _unauthorized(detail: str) -> Problem:
    return Problem(
        "unauthorized",
        detail,
        hint="run devtasks dashboard for a URL; for curl, docs/api.md says where the token is",
        headers={"WWW-Authenticate": "Bearer"},
    )


def head_of(method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """A request's head from what the server gives."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        found[key] = (*found.get(key, ()), value.decode("latin-1").strip())
    return Head(method=method, path=path, headers=found)
