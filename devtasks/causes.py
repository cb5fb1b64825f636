"""Why a service ended, where it can be told: pure. How it ended, its last lines and what is known of the machine
go in; words for people come out.

The wording of other programs is matched loosely and only in their last lines; what is merely likely is called so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from devtasks.phrases import duration, how_it_ended
from devtasks.values import Row, Value

Kind = Literal[
    "address-in-use",
    "missing-module",
    "import-error",
    "syntax-error",
    "missing-program",
    "permission",
    "killed-for-memory",
    "killed",
    "no-memory",
    "no-disk",
    "no-descriptors",
    "no-watchers",
    "worker-dead",
]

_KILLED = (-9, 137)  # 128 + 9: a shell between us and what was killed


class Facts(Value):
    """What is known beside the exit code and the log. None: could not be told."""

    ports: tuple[int, ...] = ()
    holders: tuple[str, ...] = ()  # who listens on these now, in words
    oom_kills: int | None = None  # by the kernel, in the cgroup of the run
    oom_kills_anywhere: int | None = None  # by the kernel, on this machine, since the last end
    asked: bool = False  # a command of ours sent it a signal
    disk_free_bytes: int | None = None  # where it logs
    memory_free_bytes: int | None = None


class Cause(Value):
    """Why, as a kind for programs and a sentence without a full stop for people."""

    kind: Kind
    text: str


class _Wording(Row):
    """How programs say one thing; {0} in `text` stands for the first group that matched."""

    kind: Kind
    pattern: re.Pattern[str]
    text: str


def _said(kind: Kind, text: str, *patterns: str) -> _Wording:
    return _Wording(kind, re.compile("|".join(patterns), re.IGNORECASE), text)


# The first that any of the last lines says, so from the special to the general: what fails for a missing module
# also raises an ImportError, and what cannot watch files says ENOSPC.
_WORDINGS: Final = (
    _said(
        "no-watchers",
        "no file watchers are left (fs.inotify.max_user_watches)",
        "number of file watchers reached",
        "inotify watch limit",
        "inotify_add_watch.*no space left",
    ),
    _said(
        "address-in-use",
        "its address is in use",
        "EADDRINUSE",
        r"address (is )?already in use",
        r"only one usage of each socket address",
        r"port [\"']?\d+[\"']? is (already )?(in use|allocated|taken|used)",
        "that port is already in use",
    ),
    _said(
        "missing-module",
        "the module {0} is missing",
        r"ModuleNotFoundError: No module named ['\"]?([\w.\-]+)",
        r"No module named ['\"]?([\w.\-]+)",
        r"Cannot find (?:module|package) ['\"]([^'\"]{1,200})['\"]",
        r"Could not import module ['\"]([\w.\-]+)['\"]",
        r"(ERR_MODULE_NOT_FOUND)",
    ),
    _said(
        "import-error",
        "an import failed: {0}",
        r"ImportError: (.{1,200})",
        r"(Attribute \"\w+\" not found in module .{1,100})",
        r"SyntaxError: (The requested module .{1,200})",
        r"(ERR_REQUIRE_ESM|ERR_PACKAGE_PATH_NOT_EXPORTED)",
    ),
    _said("syntax-error", "its code cannot be read: {0}", r"((?:Syntax|Indentation|Tab)Error: .{1,200})"),
    _said(
        "no-memory",
        "no memory was left: {0}",
        r"^(MemoryError)\b",
        r"(JavaScript heap out of memory)",
        r"(std::bad_alloc)",
        r"(Cannot allocate memory|ENOMEM)",
        r"(java\.lang\.OutOfMemoryError)",
    ),
    _said(
        "no-disk",
        "no disk space was left",
        "no space left on device",
        "ENOSPC",
        "disk quota exceeded|EDQUOT",
        "database or disk is full",
    ),
    _said("no-descriptors", "too many files were open", "too many open files|EMFILE|ENFILE"),
    _said(
        "permission",
        "permission was denied: {0}",
        r"((?:PermissionError|EACCES|EPERM).{0,200})",
        r"(.{0,150}(?:permission denied|operation not permitted))",
    ),
    _said("missing-program", "a program is missing: {0}", r"(.{1,150}): (?:command )?not found$"),
)
_ENOUGH_DISK: Final = 16 << 20
_ENOUGH_MEMORY: Final = 64 << 20


def explain(exit_code: int | None, last_lines: Sequence[str], facts: Facts) -> Cause | None:
    """The likeliest cause; None: nothing tells."""
    if facts.oom_kills and exit_code in _KILLED:
        return Cause(kind="killed-for-memory", text="the kernel killed it for its memory limit")
    for wording in _WORDINGS:
        found = next((one for line in reversed(last_lines) if (one := wording.pattern.search(line))), None)
        if found is not None:
            return _cause(wording, found, facts)
    if exit_code in _KILLED and not facts.asked and facts.oom_kills_anywhere == 0:
        return Cause(
            kind="killed", text="KILL came from elsewhere: no command of ours sent it, nor the kernel for memory"
        )
    if exit_code in _KILLED and not facts.asked:
        text = "probably killed for memory: no command of ours sent KILL"
        if facts.oom_kills_anywhere:
            text = "probably killed for memory: the kernel killed something for that meanwhile"
        if facts.memory_free_bytes is not None and facts.memory_free_bytes < _ENOUGH_MEMORY:
            text += ", and the machine has next to none left"
        return Cause(kind="killed-for-memory", text=f"{text} (the kernel's log tells: dmesg)")
    if facts.disk_free_bytes is not None and facts.disk_free_bytes < _ENOUGH_DISK:
        return Cause(kind="no-disk", text="probably no disk space: next to none is left where it logs")
    if exit_code == 127:
        return Cause(
            kind="missing-program", text="probably a program that it runs is missing: that is what 127 means"
        )
    if exit_code == 126:
        return Cause(kind="permission", text="probably it may not execute a program: that is what 126 means")
    return None


def worker_dead(port: int, *, listening: bool) -> Cause:
    """A reloader that lives while the worker that it should keep does not."""
    what = f"its worker on port {port} is dead" if not listening else f"the worker behind port {port} is dead"
    return Cause(kind="worker-dead", text=f"it lives, but {what}: a reloader waits for a change of its files")


def report(
    exit_code: int | None,
    lived_seconds: float | None,
    last_lines: Sequence[str],
    cause: Cause | None,
) -> tuple[str, ...]:
    """How it ended, why, and its last words: lines for people."""
    lived = f" after {duration(lived_seconds)}" if lived_seconds is not None else ""
    end = how_it_ended(exit_code) if exit_code is not None else "ended, and nobody saw how"
    lines = [f"{end}{lived}"]
    if cause is not None:
        lines.append(f"cause: {cause.text}")
    return (*lines, *(f"  | {line}" for line in last_lines))


def _cause(wording: _Wording, found: re.Match[str], facts: Facts) -> Cause:
    if wording.kind == "address-in-use":
        return _in_use(found, facts)
    first = next((group for group in found.groups() if group), "") if found.groups() else ""
    text = wording.text.format(first.strip()) if "{0}" in wording.text else wording.text
    return Cause(kind=wording.kind, text=text)


def _in_use(found: re.Match[str], facts: Facts) -> Cause:
    # whatever number stands nearest after the words, as in "address already in use :::3000"
    numbers = re.findall(r"(?<![\d.])(\d{2,5})(?![\d.])", found.string)
    named = [int(number) for number in numbers if int(number) in facts.ports]
    port = named[0] if named else (facts.ports[0] if len(facts.ports) == 1 else None)
    what = f"port {port} is in use" if port is not None else "its address is in use"
    who = f", by {' and '.join(facts.holders)}" if facts.holders else ""
    return Cause(kind="address-in-use", text=f"{what}{who}")
