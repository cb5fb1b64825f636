"""Small bars of what was, one column a value."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▅▇"
_ASCII = ".:-=#"


def bars(values: Sequence[float], width: int, *, full: float, unicode: bool) -> str:
    """The last `width` of `values` as one column each, the newest at the right; blanks where there are none.

    `full` is the highest bar; what is more looks the same. 0 or less is a blank.
    """
    levels = _BLOCKS if unicode else _ASCII
    shown = values[-width:] if width > 0 else ()
    columns = [_level(value / full if full > 0 else 0.0, levels) for value in shown]
    return "".join(columns).rjust(width)


def _level(share: float, levels: str) -> str:
    if not share > 0:  # also what is no number
        return " "
    return levels[min(int(share * len(levels)), len(levels) - 1)]
