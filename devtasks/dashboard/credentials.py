"""Who may: one secret token of the project in a 0600 file, and what is derived from it.

A one-time token and a session are messages signed with the secret (HMAC-SHA256), so that a second `dashboard`
command can print a fresh URL without asking the first, and a session outlives a restart. Everything is compared in
constant time.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
import time
from pathlib import Path

from devtasks.errors import DevtasksError
from devtasks.model import Project
from devtasks.store import statedir

ONE_TIME_SECONDS = 300.0
SESSION_SECONDS = 12 * 3600.0

_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_SIGNED = re.compile(r"([0-9]{1,14})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")
_CLOCK_SECONDS = 2.0  # how far ahead a one-time token may be: the wall clock is set now and then


class Credentials:
    """Judges what a request brings. Its memory is of one-time tokens that were used."""

    def __init__(self, token: str, *, since: float | None = None) -> None:
        self._token = token
        self._since = time.time() if since is None else since  # what is older may have been used before we began
        self._used: dict[str, float] = {}  # nonce to the moment from which it is too old anyway

    def knows(self, token: str) -> bool:
        """Whether this is the token itself."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token.encode())

    def redeem(self, one_time: str, now: float) -> bool:
        """Whether a one-time token holds; from then on it does not."""
        found = _signed(self._token, "one-time", one_time)
        if found is None:
            return False
        milliseconds, nonce = found
        issued = milliseconds / 1000
        too_old = max(int(self._since * 1000) / 1000, now - ONE_TIME_SECONDS)
        self._used = {one: until for one, until in self._used.items() if until > now}
        if not too_old <= issued <= now + _CLOCK_SECONDS or nonce in self._used:
            return False
        self._used[nonce] = issued + ONE_TIME_SECONDS + _CLOCK_SECONDS
        return True

    def session(self, now: float) -> tuple[str, int]:
        """A new session for a cookie, and when it expires."""
        expires_at = int(now + SESSION_SECONDS)
        return _sign(self._token, "session", expires_at), expires_at

    def session_until(self, session: str, now: float) -> float | None:
        """When a session that holds now expires; None for one that does not hold."""
        found = _signed(self._token, "session", session)
        return float(found[0]) if found is not None and now < found[0] <= now + SESSION_SECONDS + 1 else None


def one_time(token: str, now: float) -> str:
    """What a browser exchanges for a session: once, within five minutes."""
    return _sign(token, "one-time", int(now * 1000))


def _sign(token: str, purpose: str, number: int) -> str:
    nonce = secrets.token_urlsafe(16)
    return f"{number}.{nonce}.{_mac(token, purpose, number, nonce)}"


def _signed(token: str, purpose: str, text: str) -> tuple[int, str] | None:
    found = _SIGNED.fullmatch(text)
    if found is None:
        return None
    number, nonce, mac = int(found[1]), found[2], found[3]
    good = hmac.compare_digest(mac.encode(), _mac(token, purpose, number, nonce).encode())
    return (number, nonce) if good and str(number) == found[1] else None


def _mac(token: str, purpose: str, number: int, nonce: str) -> str:
    digest = hmac.digest(token.encode(), f"{purpose}.{number}.{nonce}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


# --- the file ---------------------------------------------------------------------------------------------


def path(project: Project) -> Path:
    return project.state_dir / "dashboard.token"


def read(project: Project) -> str | None:
    """The project's token; None where there is none to be trusted: others could read it, or it is no token."""
    try:
        descriptor = statedir.open_nofollow(path(project), os.O_RDONLY)
    except OSError:
        return None
    try:
        private = os.name == "nt" or stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077 == 0
        text = os.read(descriptor, 200).decode("ascii", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return text if private and _TOKEN.fullmatch(text) else None


def ensure(project: Project) -> str:
    """The project's token, made where there is none. Raises DevtasksError where that cannot be."""
    statedir.ensure(project)
    if (known := read(project)) is not None:
        return known
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    place = path(project)
    try:
        if os.path.lexists(place):
            os.unlink(place)
        descriptor = statedir.open_nofollow(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, f"{token}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise statedir.failure("the token cannot be written", place, error) from None
    if (written := read(project)) is None:
        raise DevtasksError(
            f"{place}: the file system lets others read it, so no token can be kept there",
            hint="set state_dir to a folder on a file system with permissions",
        )
    return written
