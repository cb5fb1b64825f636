"""How ends, times and processes are put into words, for events and messages alike: pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable

_LONGEST_LIST = 300  # characters of PIDs


def how_it_ended(code: int | None) -> str:
    """An exit code in words; negative is a signal, None is unknown."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def the_end(code: int | None, cause: str, lived_seconds: float | None) -> str:
    """How a run ended, after which lifetime, and whether that was asked for. `cause` is the run's."""
    if cause == "reboot":
        return "the machine was started anew"
    words = how_it_ended(code) if code is not None else "ended, nobody saw how"
    if lived_seconds is not None:
        words += f" after {'at most ' if cause == 'gone' else ''}{duration(lived_seconds)}"
    return f"{words}, in a stop" if cause == "stopped" else words


def duration(seconds: float) -> str:
    """Two units at most, and fractions of what is short: 0.42s, 12.3s, 3m 05s, 4h 10m, 2d 3h."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def pid_list(pids: Iterable[int]) -> str:
    """PIDs in a bounded line, neighbours as ranges: "PID 12", "PIDs 12-14, 17", "PIDs 12-14, … and 80 more"."""
    ordered = sorted(set(pids))
    runs: list[tuple[int, int]] = []
    for pid in ordered:
        if runs and pid == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], pid)
        else:
            runs.append((pid, pid))
    words, named, length = [], 0, 0
    for first, last in runs:
        word = str(first) if first == last else f"{first}-{last}"
        length += len(word) + 2
        if length > _LONGEST_LIST:
            words.append(f"… and {len(ordered) - named} more")
            break
        words.append(word)
        named += last - first + 1
    return f"{'PID' if len(ordered) == 1 else 'PIDs'} {', '.join(words)}"
