"""What came back from a host, judged. Pure, and nothing is believed: sizes, shapes and text are checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from devtasks.outcomes import HostOutcome
from devtasks.report import foreign

MOST_BYTES = 8 * 1024 * 1024  # of one answer
DEEPEST = 12
LONGEST_TEXT = 10_000
KNOWN_CODES = frozenset({0, 1, 2, 3, 4, 129, 130, 143})


class Verdict(NamedTuple):
    """How a call went. `report` is the object that devtasks printed there, checked and safe to show."""

    outcome: HostOutcome
    exit_code: int
    detail: str | None = None
    hint: str | None = None
    report: Mapping[str, Any] | None = None


# The keys that are used here, and what they hold; more may be there. A tuple lists what is possible.
_STOP: Any = {
    "ok": bool,
    "services": [
        {
            "name": str,
            "stopped": [int],
            "killed": [int],
            "survivors": [{"pid": int, "reason": str}],
            "notes": [str],
        }
    ],
}
_START: Any = {
    "ok": bool,
    "services": [
        {
            "name": str,
            "outcome": str,
            "pid": (int, None),
            "seconds": (float, None),
            "url": (str, None),
            "detail": (str, None),
            "hint": (str, None),
            "log_tail": [str],
        }
    ],
}
LOG_LINE: Any = {"service": str, "line": str, "at": (float, None)}
EVENT: Any = {"at": float, "service": (str, None), "kind": str, "pid": (int, None), "detail": (str, None)}
SHAPES: Mapping[str, Any] = {
    "status": {
        "services": [
            {
                "name": str,
                "state": str,
                "health": (str, None),
                "pid": (int, None),
                "ports": [int],
                "uptime_seconds": (float, None),
                "restarts": int,
                "cpu_percent": (float, None),
                "rss_bytes": (int, None),
                "processes": int,
                "detail": (str, None),
            }
        ]
    },
    "show-processes": {
        "services": [
            {
                "name": str,
                "processes": [
                    {
                        "pid": int,
                        "ppid": int,
                        "command": str,
                        "rss_bytes": (int, None),
                        "evidence": [{"kind": str, "detail": str}],
                    }
                ],
            }
        ]
    },
    "ports": {
        "ports": [
            {
                "port": int,
                "protocol": str,
                "service": (str, None),
                "state": str,
                "holders": [{"pid": (int, None), "command": str, "program": str}],
                "warnings": [str],
            }
        ]
    },
    "start": _START,
    "stop": _STOP,
    "restart": {"ok": bool, "stop": _STOP, "start": _START},
    "force-clean": _STOP,
    "logs": {"lines": [LOG_LINE]},
    "history": {"events": [EVENT]},
}
_ERROR: Any = {"error": {"message": str, "hint": (str, None), "exit_code": int}}


def judge(verb: str, exit_code: int, stdout: str, stderr: str, *, sudo: bool = False) -> Verdict:
    """What a command that has ended means. `exit_code` is negative where none was told."""
    said = last_words(stderr) or last_words(stdout)
    table = read(stdout)
    if table is None:
        return _no_answer(exit_code, said, sudo=sudo)
    if table.get("version") != 1:
        version = table.get("version")
        told = str(version) if isinstance(version, int) else "none"
        return Verdict("other-version", 1, f"its answer has JSON version {told}, and this one reads 1", _SAME)
    code = exit_code if exit_code in KNOWN_CODES else 1
    if fits(_ERROR, table):
        error = table["error"]
        if "--tethered" in error["message"]:
            return Verdict("other-version", 1, "its devtasks is too old to be called from elsewhere", _SAME)
        return Verdict("failed", code or 1, error["message"], error["hint"], table)
    if not fits(SHAPES[verb], table):
        return Verdict("garbled", 1, f"its answer has not the shape of {verb}", _SAME)
    return Verdict("answered", code, None, None, table)


_SAME = "install the same devtasks on both"


def _no_answer(exit_code: int, said: str, *, sudo: bool) -> Verdict:
    if sudo and re.search(r"^sudo: ", said):
        return Verdict("denied", 1, said, "sudo must not ask for a password there: NOPASSWD in its sudoers")
    missing = r"not found|no such file|unknown command|no module named .?devtasks"
    if exit_code in (126, 127) or re.search(missing, said, re.IGNORECASE):
        return Verdict(
            "no-devtasks",
            1,
            f"there is no devtasks to call{': ' + said if said else ''}",
            'install it there, or say where it is: command = "/srv/shop/.venv/bin/devtasks" in its group',
        )
    if "--tethered" in said:
        return Verdict("other-version", 1, "its devtasks is too old to be called from elsewhere", _SAME)
    return Verdict("garbled", 1, f"what came back is no answer of devtasks{': ' + said if said else ''}", _SAME)


def read(stdout: str) -> dict[str, Any] | None:
    """The object on the last line that is not blank, cleaned; None where there is none.

    What a login shell prints before it does not count.
    """
    last = next((line for line in reversed(stdout.splitlines()) if line.strip()), "")
    return parsed(last)


def parsed(text: str) -> dict[str, Any] | None:
    """One JSON object, cleaned: text escaped and bounded, no numbers that are none. None for anything else."""
    try:
        value = _clean(json.loads(text, parse_constant=_refused), DEEPEST)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refused(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _clean(value: Any, deeper: int) -> Any:
    """Raises ValueError where it is too deep or a number too large."""
    if deeper < 0:
        raise ValueError("too deep")
    match value:
        case str():
            return foreign(value[:LONGEST_TEXT])
        case list():
            return [_clean(item, deeper - 1) for item in value]
        case dict():
            return {foreign(key[:200]): _clean(item, deeper - 1) for key, item in value.items()}
        case bool() | None:
            return value
        case int() if abs(value) >= 2**63:
            raise ValueError("too large")
        case float() if not math.isfinite(value):
            raise ValueError("no number")
    return value


def fits(shape: Any, value: Any) -> bool:
    """Whether `value` has what `shape` asks for, and more perhaps."""
    match shape:
        case dict():
            return isinstance(value, dict) and all(
                key in value and fits(one, value[key]) for key, one in shape.items()
            )
        case list():
            return isinstance(value, list) and all(fits(shape[0], item) for item in value)
        case tuple():
            return any(fits(one, value) for one in shape)
        case None:
            return value is None
    if shape is bool or isinstance(value, bool):
        return shape is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if shape is float else shape)


def last_words(text: str) -> str:
    """The last line that is not blank, short and safe to show."""
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return foreign(last[:300])
