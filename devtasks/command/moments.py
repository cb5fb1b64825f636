"""Times as they are typed: how long ago, or when."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
ACCEPTED = "a time: 90s, 10m, 2h, 3d, 14:30, 2026-11-22 or 2026-11-22T14:30"


def moment(text: str, *, now: float) -> float:
    """The time that `text` means, in seconds since the epoch; `now` is the present.

    A number with a unit (without one: seconds) is that long ago; a time of day is the last one that was; without
    an offset a time is local. Raises ValueError for anything else.
    """
    ago = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw]?)", text, re.ASCII)
    if ago:
        return max(0.0, now - float(ago[1]) * _UNITS[ago[2] or "s"])
    try:
        if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", text, re.ASCII):
            today = datetime.fromtimestamp(now)  # noqa: DTZ006 - the user's own clock
            hour, minute, second = (int(part) for part in (*text.split(":"), "0")[:3])
            found = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (found if found <= today else found - timedelta(days=1)).timestamp()
        if re.fullmatch(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{5,15}(Z|[+-][0-9]{2}:?[0-9]{2})?)?", text, re.ASCII
        ):
            return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(ACCEPTED)
