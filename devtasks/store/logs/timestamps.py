"""When a log line was written, as far as the line itself tells: pure.

Only what stands at its beginning counts, behind what loggers put before it (a level, a bracket, a PID): a date in
the middle of a message is no time of the line. A time without an offset is taken for local time, one without a
date or a year for the last one before `reference`. Whatever is written there, the work is bounded and nothing is
raised.
"""

from __future__ import annotations

import re
import time
from calendar import timegm

_LOOKED_AT = 120  # characters
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DAY_SECONDS = 86_400
_AHEAD_SECONDS = 60.0  # by how much a clock may be ahead of ours before a time without a date is of the day before

_HINT = re.compile(r"[0-9]:[0-9]{2}:[0-9]{2}|[0-9]{10}")  # one of these is in all of the following

# Colours as `printable` writes them out, brackets, and up to two words like `INFO`, `INFO:`, `web |`, `1:M`, `I,`.
_OPEN = r"(?:\\x1b\[[0-9;]{0,12}m|[\s\[({<\"'|]){0,6}"
_WORD = r"(?:[\w.:/-]{1,24}\s{0,8}[\])>,:|]{1,2}|[A-Z]{1,8}|[0-9]{1,7}:[A-Z])"
_LEAD = rf"{_OPEN}(?:{_WORD}\s{_OPEN}){{0,2}}?"
_CLOCK = r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
_OFFSET = r"(?:\s?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})(?![\w:]))?"
_NAMES = r"(?i:(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))"

# 2026-11-22 12:50:48,123   2026-11-22T12:50:48.123Z   2026/11/22 12:50:48 (Go, nginx)
_ISO = re.compile(
    rf"{_LEAD}([12][0-9]{{3}})([-/])([01][0-9])\2([0-3][0-9])(?:[T_]|\s{{1,2}}){_CLOCK}{_OFFSET}", re.ASCII
)
# 22/Nov/2026:12:50:48 +0000 (access logs: behind the client)   22 Nov 2026 12:50:48.123 (redis)
_NAMED = re.compile(
    rf"(?:[0-9a-f.:]{{2,45}} \S{{1,32}} \S{{1,32}} \[|{_LEAD})"
    rf"([0-3]?[0-9])[/ -]{_NAMES}[/ -]([12][0-9]{{3}})[: ]{_CLOCK}{_OFFSET}",
    re.ASCII,
)
# Nov 22 12:50:48 (syslog)
_SYSLOG = re.compile(rf"(?:<[0-9]{{1,3}}>)?{_NAMES}\s{{1,2}}([0-3]?[0-9]) {_CLOCK}", re.ASCII)
# I1122 12:50:48.123456 (glog, klog)
_GLOG = re.compile(rf"[IWEF]([01][0-9])([0-3][0-9]) {_CLOCK}", re.ASCII)
# {"level":30,"time":1700000000000,…}   {"ts":1700000000.123   {"timestamp":"2026-…
_JSON = re.compile(r"\{.{0,80}?\"(?:time|ts|timestamp|@timestamp|date|at)\"\s?:\s?\"?", re.ASCII)
_EPOCH = re.compile(r"[\[(\"]?([0-9]{10})(?:([0-9]{3})|\.([0-9]{1,9}))?(?![0-9.])", re.ASCII)
# 12:50:48 PM [vite]   [12:50:48]
_TIME = re.compile(rf"[\s\[(]{{0,3}}{_CLOCK}(?:\s([AP])M)?(?![\w:])", re.ASCII)


Date = tuple[int, int, int]
Clock = tuple[int, float]  # whole seconds since midnight, and what is beyond them


def written_at(line: str, *, reference: float) -> float | None:
    """Seconds since the epoch; None where the line does not tell. `reference`: it is not later than this."""
    head = line[:_LOOKED_AT]
    if _HINT.search(head) is None:
        return None
    if head.startswith("{"):
        key = _JSON.match(head)
        head = "" if key is None else head[key.end() :]
    try:
        found = _at_beginning(head, reference)
    except (ValueError, OverflowError, OSError):
        return None
    return found if found is not None and 0 < found <= reference + _DAY_SECONDS else None


def _at_beginning(head: str, reference: float) -> float | None:
    if found := _ISO.match(head):
        return _epoch((int(found[1]), int(found[3]), int(found[4])), _clock(*found.groups()[4:8]), found[9])
    if found := _EPOCH.match(head):
        return float(found[1]) + float(f"0.{found[2] or found[3] or 0}")
    if found := _NAMED.match(head):
        return _epoch(
            (int(found[3]), _MONTHS[found[2].lower()], int(found[1])), _clock(*found.groups()[3:7]), found[8]
        )
    if found := _SYSLOG.match(head):
        return _without_year(_MONTHS[found[1].lower()], int(found[2]), _clock(*found.groups()[2:6]), reference)
    if found := _GLOG.match(head):
        return _without_year(int(found[1]), int(found[2]), _clock(*found.groups()[2:6]), reference)
    if found := _TIME.match(head):
        return _without_date(_clock(*found.groups()[:4], half=found[5]), reference)
    return None


def _clock(hour: str, minute: str, second: str, fraction: str | None, *, half: str | None = None) -> Clock:
    hours = int(hour)
    if half is not None:
        hours = hours % 12 + (12 if half in "Pp" else 0)
    if hours > 23 or int(minute) > 59 or int(second) > 60:
        raise ValueError("no time of day")
    return hours * 3600 + int(minute) * 60 + int(second), float(f"0.{fraction or 0}")


def _epoch(date: Date, clock: Clock, offset: str | None = None) -> float:
    year, month, day = date
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        raise ValueError("no date")
    seconds, fraction = clock
    if offset is None:
        return time.mktime((year, month, day, 0, 0, seconds, 0, 0, -1)) + fraction
    away = 0
    if offset[0] in "+-":
        away = int(offset[1:3]) * 3600 + int(offset[-2:]) * 60
    return timegm((year, month, day, 0, 0, seconds)) - (-away if offset[0] == "-" else away) + fraction


def _without_year(month: int, day: int, clock: Clock, reference: float) -> float:
    year = time.localtime(reference).tm_year
    found = _epoch((year, month, day), clock)
    return found if found <= reference + _DAY_SECONDS else _epoch((year - 1, month, day), clock)


def _without_date(clock: Clock, reference: float) -> float:
    for latest in (reference + _AHEAD_SECONDS, reference - _DAY_SECONDS):
        day = time.localtime(latest)
        found = _epoch((day.tm_year, day.tm_mon, day.tm_mday), clock)
        if found <= reference + _AHEAD_SECONDS:
            break
    return found
