"""The words and lines that reports are made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from devtasks import outcomes
from devtasks.report import foreign
from devtasks.report.look import Look, columns
from devtasks.store.logs import printable

DRY = "dry run: nothing was touched"


def duration(seconds: float | None) -> str:
    """Two units at most: 12s, 3m 05s, 4h 10m, 2d 3h."""
    if seconds is None:
        return "-"
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def size(count: int | None) -> str:
    """Binary units, whole numbers: 512 KiB, 61 MiB, 1.5 GiB."""
    if count is None:
        return "-"
    if count < 1024**2:
        return f"{count // 1024} KiB"
    if count < 1024**3:
        return f"{count // 1024**2} MiB"
    return f"{count / 1024**3:.1f} GiB"


def counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def dry_note(dry_run: bool) -> list[str]:
    return [DRY] if dry_run else []


def short_path(path: str) -> str:
    """From the current folder, where that is shorter and inside it."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return printable(path)
    return printable(path if relative.startswith("..") else relative)


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    listed = list(rows)
    widths = [max(columns(cell) for cell in column) for column in zip(*listed, strict=True)]
    return [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]


def wrapped(lead: str, text: str, look: Look) -> list[str]:
    """`text` after `lead`, broken at blanks, further lines below its beginning; long words are left whole."""
    from textwrap import wrap

    indent = " " * columns(lead)
    lines = wrap(text, max(look.width - len(indent), 30), break_long_words=False, break_on_hyphens=False)
    first, *more = lines or [""]
    return [(lead + first).rstrip(), *(indent + line for line in more)]


def rejected(row: outcomes.RejectedRow, look: Look, *, indent: str, why: bool) -> list[str]:
    """PID, program and folder; with `why` also the reason."""
    lead = f"{indent}{row.pid} "
    where = f" in {foreign(row.cwd)}" if row.cwd else ""
    room = max(look.width - len(lead) - columns(where), look.width // 3)
    out = [look.shorten(f"{lead}{look.shorten(foreign(row.command), room)}{where}", look.width)]
    return [*out, *wrapped(f"{indent}  ", foreign(row.reason), look)] if why else out
