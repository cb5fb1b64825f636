"""Rows as text for a terminal, as Markdown for the README, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence

from benchmarks.readings import Reading, Row

HEADINGS = ("measured", "devtasks", "against", "baseline", "figure", "limit", "")
_UNITS = {"ratio": "×", "difference": "{unit} more", "value": "{unit}"}  # noqa: RUF001


def text(rows: Sequence[Row]) -> str:
    cells = [HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([machine(), "", *(line.rstrip() for line in lines)])


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADINGS, *map(_cells, rows))]
    return "\n".join([lines[0], "|---" * len(HEADINGS) + "|", *lines[1:], "", machine()])


def as_json(rows: Sequence[Row]) -> str:
    shapes = [
        {
            "measured": row.what,
            "against": row.against,
            "unit": row.unit,
            "ours": _shape(row.ours),
            "theirs": None if row.theirs is None else _shape(row.theirs),
            "kind": row.kind,
            "figure": None if row.figure is None else round(row.figure, 3),
            "limit": row.limit,
            "verdict": row.verdict,
            "missing": row.missing,
        }
        for row in rows
    ]
    return json.dumps({"machine": machine(), "rows": shapes}, indent=2)


def machine() -> str:
    """What it was measured on, and how busy that was."""
    load = os.getloadavg()[0]
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{platform.system()} {kernel}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
        f"load at the end {load:.1f}. Times are the least of all runs, medians in parentheses."
    )


def _cells(row: Row) -> tuple[str, ...]:
    unit = _UNITS[row.kind].format(unit=row.unit)
    figure = "-" if row.figure is None else f"{row.figure:.2f} {unit}"
    word = {"ok": "ok", "over": "OVER", "skipped": f"skipped: {row.missing}"}[row.verdict]
    theirs = "-" if row.theirs is None else _reading(row.theirs, row.unit)
    return (row.what, _reading(row.ours, row.unit), row.against, theirs, figure, f"≤ {row.limit:g} {unit}", word)


def _reading(reading: Reading, unit: str) -> str:
    return f"{reading.best:.1f} ({reading.median:.1f}) {unit}"


def _shape(reading: Reading) -> dict[str, float]:
    return {"best": round(reading.best, 3), "median": round(reading.median, 3)}
