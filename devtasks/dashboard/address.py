"""Where the dashboard listens, and by which names it may be called there. Pure but for `names_of_this_machine`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

from devtasks.errors import UsageError
from devtasks.values import Value

LOOPBACK = "127.0.0.1"
FIRST_PORT = 7788
PORTS_TRIED = 20  # from the first one on, where none was asked for

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Settings(Value):
    """What was asked for. `port` None: the first that is free; `uds`: a Unix socket instead of host and port."""

    root: Path
    host: str = LOOPBACK
    port: int | None = None
    uds: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    insecure: bool = False
    open_browser: bool = False
    json: bool = False
    managed: bool = False  # runs in the background: whoever started it prints the address


class Address(Value):
    """Where it listens. Whoever calls it must call it by one of `hosts`: that keeps rebinding of names out."""

    scheme: str  # http or https
    host: str
    port: int  # 0 on a Unix socket
    uds: Path | None = None
    names: tuple[str, ...] = ()  # further names and addresses of this machine, where it is bound to all of them

    @property
    def base(self) -> str:
        """The URL that people open."""
        if self.uds is not None:
            return f"{self.scheme}://localhost"
        shown = _here(self.host) if _is_anywhere(self.host) else self.host
        return f"{self.scheme}://{_bracketed(shown)}:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """Every Host header that is accepted, in lower case."""
        if self.uds is not None:
            return frozenset({"localhost"})
        names = {"localhost", self.host, *self.names}
        if _is_anywhere(self.host):
            names = (names - {self.host}) | {_here(self.host)}
        called = {_bracketed(name).lower() for name in names}
        bare = called if _DEFAULT_PORTS.get(self.scheme) == self.port else set()
        return frozenset({f"{name}:{self.port}" for name in called} | bare)

    def origin(self, host: str) -> str:
        """The origin of a page that was got under the Host header `host`."""
        return f"{self.scheme}://{host.lower()}"

    @property
    def cookie(self) -> str:
        """Two dashboards on one host must not share a cookie, and a cookie knows no port."""
        return f"devtasks_{self.port or 'uds'}"


def check(settings: Settings) -> None:
    """Raises UsageError for an address that may not be served, or settings that exclude each other."""
    if settings.keyfile is not None and settings.certfile is None:
        raise UsageError("--keyfile goes with --certfile")
    if settings.uds is not None:
        if settings.port is not None or settings.host != LOOPBACK:
            raise UsageError("--uds excludes --host and --port")
        return
    if not is_loopback(settings.host) and settings.certfile is None and not settings.insecure:
        raise UsageError(
            f"--host {settings.host}: other machines could read the token on its way there",
            hint="give a certificate with --certfile and --keyfile, or accept that with --insecure",
        )


def warning(settings: Settings) -> str | None:
    """What cannot be missed when it is served to others without a certificate."""
    if settings.uds is not None or settings.certfile is not None or is_loopback(settings.host):
        return None
    return (
        f"WARNING: served on {settings.host} WITHOUT ENCRYPTION. Whoever can read this network's traffic can read "
        "the token, and then start and stop these services."
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def of(settings: Settings, port: int, names: Iterable[str] = ()) -> Address:
    """The address that `settings` mean once a port is bound."""
    return Address(
        scheme="https" if settings.certfile is not None else "http",
        host=settings.host,
        port=0 if settings.uds is not None else port,
        uds=settings.uds,
        names=tuple(names),
    )


def names_of_this_machine() -> tuple[str, ...]:
    """Its host name and its addresses: what a client may call it where it is bound to all of them."""
    import socket

    import psutil

    found = [socket.gethostname()]
    for addresses in psutil.net_if_addrs().values():
        found += [
            one.address.partition("%")[0] for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6)
        ]
    return tuple(dict.fromkeys(found))


def _is_anywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _here(anywhere: str) -> str:
    """The loopback address that is reached by listening on all of a family's."""
    return "::1" if ":" in anywhere else LOOPBACK


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
