"""A host as it is configured, as it can be asked, and as it is written."""

from __future__ import annotations


def reachable(host: str) -> str:
    """The address at which a server bound to `host` answers on this machine."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def refusal(host: str, port: int, error: OSError) -> str:
    return f"{bracketed(host)}:{port} refuses connections: {error.strerror or error}"
