"""A connection to a host as ssh would make it: its configuration and agent honoured, its key checked.

Fabric's Connection adds unknown host keys by itself; here each one, and each of its gateways, checks them.
Nothing ever asks for a password, and Fabric's own configuration files, which may hold one, are not read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from fabric import Config, Connection
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    ConfigParseError,
    PKey,
    SSHClient,
    SSHException,
    Transport,
)
from paramiko.client import MissingHostKeyPolicy
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

from devtasks.errors import DevtasksError
from devtasks.outcomes import HostOutcome
from devtasks.remote.known import Entry, Known, entries, keys_of

_USERS_KEYS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_SYSTEMS_KEYS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_MOST_KNOWN = 16 * 1024 * 1024  # characters of one file of known hosts
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # of a kind of key, where they are called otherwise
_ALL_KINDS = Transport._preferred_keys  # noqa: SLF001 - what `disabled_algorithms` takes away from


class UnknownHost(SSHException):  # type: ignore[misc]  # Fabric and paramiko have no types
    """No file of known hosts has a key of this host."""


class ChangedHost(SSHException):  # type: ignore[misc]
    """The host shows another key than the known one, or a revoked one."""


class _Checking(MissingHostKeyPolicy):  # type: ignore[misc]
    """Asked for every key, because paramiko is told of no known host: known hosts are looked up here."""

    def __init__(self, keys: Known) -> None:
        self.keys = keys

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG002
        shown = key.asbytes()
        if shown in self.keys.revoked or (self.keys.trusted and shown not in self.keys.trusted):
            raise ChangedHost(hostname)
        if not self.keys.trusted:
            raise UnknownHost(hostname)


def settings(connect_seconds: float) -> Config:
    """What all connections share: ssh's configuration files, and how long to try. Raises DevtasksError."""
    logger = logging.getLogger("paramiko")  # it would print to stderr what is told in the table
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    config = Config(lazy=True, overrides={"timeouts": {"connect": max(int(connect_seconds), 1)}})
    try:
        config.load_ssh_config()
    except (ConfigParseError, OSError, UnicodeDecodeError) as error:
        raise DevtasksError(f"ssh's configuration cannot be read: {error}", hint="see ~/.ssh/config") from None
    return config


def connection(host: str, config: Config, connect_seconds: float) -> Connection:
    """A connection to `host`, not yet open. Raises DevtasksError for what ssh's configuration cannot mean."""
    limits = {
        "banner_timeout": connect_seconds,
        "auth_timeout": connect_seconds,
        "channel_timeout": connect_seconds,
    }
    name, port = _address(host)
    try:
        made = Connection(
            name,
            port=port,
            config=config.clone(),
            connect_timeout=int(connect_seconds) or 1,
            connect_kwargs=limits,
        )
    except (ValueError, KeyError, SSHException) as error:
        raise DevtasksError(f"ssh's configuration of {host} cannot be used: {error}") from None
    for hop in hops(made):
        _check_keys(hop)
        _keys_that_exist(hop)
    return made


def hops(connection: Connection) -> Iterator[Connection]:
    """The connection, and the gateways that it goes through."""
    hop: Any = connection
    while isinstance(hop, Connection):
        yield hop
        hop = hop.gateway


def close(connection: Connection) -> None:
    """End it and its gateways at once, at whatever point it is."""
    for hop in hops(connection):
        with contextlib.suppress(Exception):  # a transport that fails to say goodbye is gone, too
            hop.client.close()


def reason(error: BaseException) -> tuple[HostOutcome, str, str | None]:
    """What an error of connecting means: an outcome, a line, and a remedy."""
    match error:
        case UnknownHost():
            return (
                "unverified",
                f"no known host key for {error}",
                "connect once with ssh and compare the key it shows, or add it to ~/.ssh/known_hosts",
            )
        case BadHostKeyException() | ChangedHost():
            return (
                "unverified",
                "its host key is not the known one: it was set up anew, or somebody is in between",
                "ask who runs it; if the new key is right, remove the old one: ssh-keygen -R HOST",
            )
        case IncompatiblePeer() if "host key" in str(error):
            return (
                "unverified",
                "it shows a host key of another kind than the known ones",
                "compare its keys with those in ~/.ssh/known_hosts: ssh-keyscan HOST",
            )
        case AuthenticationException():
            return (
                "denied",
                f"the login was refused: {error}",
                "no password is asked for: load the key into the agent (ssh-add), and try ssh",
            )
        case socket.gaierror():
            return "unreachable", f"its name does not resolve: {error.strerror or error}", None
        case TimeoutError():
            return "timeout", "no answer while connecting", "see --host-timeout"
        case NoValidConnectionsError():
            first = next(iter(error.errors.values()), error)
            return "unreachable", (getattr(first, "strerror", None) or str(first)).lower(), None
        case SSHException() if "No authentication methods" in str(error):
            return "denied", "there is no key to log in with", "load one into the agent: ssh-add"
        case OSError():
            return "unreachable", (error.strerror or str(error)).lower(), None
        case _:
            return "unreachable", f"the connection failed: {error}", None


def _address(host: str) -> tuple[str, int | None]:
    """USER@HOST and the port: what Fabric would not take apart where brackets are."""
    user, at, rest = host.rpartition("@")
    name, bracket, port = rest.removeprefix("[").partition("]") if rest.startswith("[") else (rest, "", "")
    if not bracket:
        name, _, port = rest.partition(":")
    port = port.removeprefix(":")
    return f"{user}{at}{name}", int(port) if port else None


def _check_keys(hop: Connection) -> None:
    """Refuse a host whose key is not known, and ask it for a key of a kind that is."""
    files = (
        f"{_option(hop, 'userknownhostsfile', _USERS_KEYS)} {_option(hop, 'globalknownhostsfile', _SYSTEMS_KEYS)}"
    )
    listed = [entry for file in files.split() for entry in _known_in(os.path.expanduser(file))]
    alias = hop.ssh_config.get("hostkeyalias")
    keys = keys_of(alias, 22, listed) if alias else keys_of(hop.host, hop.port, listed)
    hop.client.set_missing_host_key_policy(_Checking(keys))
    kinds = {kind for known in keys.kinds for kind in _SIGNATURES.get(known, (known,))}
    if kinds.intersection(_ALL_KINDS):
        hop.connect_kwargs["disabled_algorithms"] = {"keys": [one for one in _ALL_KINDS if one not in kinds]}


@functools.lru_cache(maxsize=64)
def _known_in(path: str) -> tuple[Entry, ...]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return tuple(entries(file.read(_MOST_KNOWN)))
    except OSError:
        return ()


def _keys_that_exist(hop: Connection) -> None:
    """Leave out identity files that are not there: ssh does, and paramiko would fail."""
    files = [
        file for file in hop.connect_kwargs.pop("key_filename", []) if os.path.isfile(os.path.expanduser(file))
    ]
    if files:
        hop.connect_kwargs["key_filename"] = [os.path.expanduser(file) for file in files]
    if hop.ssh_config.get("identitiesonly") == "yes":
        hop.connect_kwargs["look_for_keys"] = False


def _option(hop: Connection, name: str, default: str) -> str:
    value = hop.ssh_config.get(name, default)
    return " ".join(value) if isinstance(value, list) else str(value)
