"""proxies.toml, read and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class BadSettings(ValueError):
    """One line: the place in the file, what is wrong with it, what it must be."""


@dataclass(frozen=True, slots=True)
class Place:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxy:
    name: str
    listen: Place
    target: Place


@dataclass(frozen=True, slots=True)
class Helper:
    """A child process of the hub. `ports`: where it will listen."""

    name: str
    command: tuple[str, ...]
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    proxies: tuple[Proxy, ...]
    helpers: tuple[Helper, ...]
    total_seconds: float
    drain_seconds: float
    heartbeat_seconds: float


def read(path: Path) -> Settings:
    """What the file says. Raises BadSettings."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None
    try:
        return _settings(table)
    except BadSettings as error:
        raise BadSettings(f"{path}: {error}") from None


def _settings(table: dict[str, Any]) -> Settings:
    known = {"total", "drain", "heartbeat", "children", "proxies"}
    if unknown := sorted(table.keys() - known):
        raise BadSettings(f"{unknown[0]}: not known; there are {', '.join(sorted(known))}")
    proxies = tuple(
        Proxy(
            name,
            _place(f"proxies.{name}.listen", one.get("listen")),
            _place(f"proxies.{name}.target", one.get("target")),
        )
        for name, one in _tables("proxies", table)
    )
    if not proxies:
        raise BadSettings('proxies: there is none; write [proxies.NAME] with listen = "HOST:PORT" and target')
    places: dict[Place, str] = {}
    for proxy in proxies:
        if proxy.listen in places:
            raise BadSettings(
                f"proxies.{proxy.name}.listen: {proxy.listen} is that of {places[proxy.listen]}, too"
            )
        places[proxy.listen] = proxy.name
    return Settings(
        proxies=proxies,
        helpers=tuple(_helper(name, one) for name, one in _tables("children", table)),
        total_seconds=_seconds("total", table.get("total", 30)),
        drain_seconds=_seconds("drain", table.get("drain", 1)),
        heartbeat_seconds=_seconds("heartbeat", table.get("heartbeat", 1)),
    )


def _tables(key: str, table: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = table.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise BadSettings(f"{key}: must hold tables; write [{key}.NAME]")
    return list(found.items())


def _helper(name: str, one: dict[str, Any]) -> Helper:
    command, port = one.get("command"), one.get("port")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise BadSettings(f'children.{name}.command: must be a list of words: ["python", "server.py"]')
    if port is not None and not _is_port(port):
        raise BadSettings(f"children.{name}.port: must be a number from 1 to 65535, not {port!r}")
    return Helper(name, tuple(command), () if port is None else (port,))


def _place(key: str, value: object) -> Place:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not (port.isascii() and port.isdigit() and _is_port(int(port))):
        raise BadSettings(f'{key}: must be "HOST:PORT" with a port from 1 to 65535, not {value!r}')
    return Place(host.strip("[]"), int(port))


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _seconds(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 3600:
        raise BadSettings(f"{key}: must be a number of seconds from above 0 to 3600, not {value!r}")
    return float(value)
