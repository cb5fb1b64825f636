"""The command that runs on a host: words in, one line for the login shell there out. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from devtasks.command import options
from devtasks.remote.targets import Target

VERBS = ("status", "show-processes", "ports", "start", "stop", "restart", "force-clean", "logs", "history")
ACTING = ("start", "stop", "restart", "force-clean")
TETHER = "--tethered"  # the devtasks there ends when its standard input does

_OURS = frozenset({"json", "color", "only", "dry_run"})  # said by `line` itself, or for this terminal only


def line(
    target: Target, verb: str, names: Iterable[str], values: Mapping[str, Any], *, dry_run: bool, sudo: bool
) -> str:
    """What the host's shell is given, every word quoted. `values` are flags as they were typed, and checked."""
    words = [*(("sudo", "-n", "--") if sudo else ()), *target.command, "--root", target.path, TETHER, verb]
    for name, value in values.items():
        if name in _OURS or value is None or value is False:
            continue
        words.append(f"--{options.dashed(name)}" if value is True else f"--{options.dashed(name)}={value}")
    words += [word for name in names for word in ("--only", name)]
    if dry_run:
        words.append("--dry-run")
    return shlex.join([*words, "--json"])


def version_line(target: Target) -> str:
    """What asks for the release of the devtasks there."""
    return shlex.join([*target.command, "--version"])
