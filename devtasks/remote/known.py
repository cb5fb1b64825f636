"""What the known_hosts files say of a host's keys (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Pure.

Paramiko's own reader knows neither patterns nor revoked keys, and one key of a kind for a host.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """One line. `names` are patterns, or one hashed name; `marker` is empty or begins with @."""

    marker: str
    names: tuple[str, ...]
    kind: str
    key: bytes


class Known(NamedTuple):
    """The keys of one host."""

    kinds: frozenset[str]
    trusted: frozenset[bytes]
    revoked: frozenset[bytes]


def entries(text: str) -> Iterator[Entry]:
    """The lines that can be understood; ssh skips the others, too."""
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 3:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        yield Entry(marker, tuple(fields[0].split(",")), fields[1], key)


def keys_of(host: str, port: int, listed: Iterable[Entry]) -> Known:
    """What is known of `host` (or of its HostKeyAlias). A key of an authority signs others, and is none itself."""
    name = host.lower() if port == 22 else f"[{host.lower()}]:{port}"
    matching = [entry for entry in listed if _matches(name, entry.names)]
    trusted = [entry for entry in matching if not entry.marker]
    return Known(
        kinds=frozenset(entry.kind for entry in trusted),
        trusted=frozenset(entry.key for entry in trusted),
        revoked=frozenset(entry.key for entry in matching if entry.marker == "@revoked"),
    )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """A pattern with ! in front forbids what the others allow."""
    found = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            found = found or _hashed(name, pattern)
        elif pattern.startswith("!"):
            if _like(name, pattern[1:]):
                return False
        else:
            found = found or _like(name, pattern)
    return found


def _like(name: str, pattern: str) -> bool:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern.lower())
    return re.fullmatch("".join(parts), name) is not None


def _hashed(name: str, pattern: str) -> bool:
    _, _, salt, digest = [*pattern.split("|", 3), "", "", ""][:4]
    try:
        made = hmac.digest(base64.b64decode(salt), name.encode(), hashlib.sha1)
        return hmac.compare_digest(made, base64.b64decode(digest))
    except (binascii.Error, ValueError):
        return False
