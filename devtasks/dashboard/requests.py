"""What a request may say, checked: names, numbers, and the keys of a body. Raises Problem for anything else."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from devtasks.config.suggest import did_you_mean
from devtasks.dashboard.guard import BODY_BYTES
from devtasks.dashboard.problems import Problem
from devtasks.model import Project, Service
from devtasks.observing import select

BODY_SECONDS = 5.0
LONGEST_SECONDS = 86_400.0  # as for --timeout

Check = Callable[[Any], bool]


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def seconds(value: Any) -> bool:
    """A JSON number that `--timeout` would take, or null."""
    if value is None:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= LONGEST_SECONDS


def text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200


WANTED: Mapping[Check, str] = {
    flag: "true or false",
    seconds: f"a number of seconds from 0 to {LONGEST_SECONDS:.0f}",
    text: "a text of at most 200 characters",
}


async def body(request: Request, keys: Mapping[str, Check]) -> dict[str, Any]:
    """The object that a request brings, with known keys only."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > BODY_BYTES:
                    raise Problem("too-large", f"a body has at most {BODY_BYTES} bytes")
    except TimeoutError:
        raise Problem("malformed", "the body did not come in time") from None
    try:
        given = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(given, dict):
        raise Problem("malformed", "the body is no JSON object: send {}")
    for key, value in given.items():
        check = keys.get(key)
        if check is None:
            known = f"; known here: {', '.join(keys)}" if keys else ""
            raise Problem("malformed", f'the body has an unknown key "{key[:100]}"{known}')
        if not check(value):
            raise Problem("malformed", f"{key} is not {WANTED[check]}")
    return given


def query(request: Request, keys: Iterable[str]) -> dict[str, str]:
    """The query's values: each of `keys` at most once, and no other."""
    known = tuple(keys)
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=20
        )
    except ValueError:
        raise Problem("malformed", "the query has too many values") from None
    for key, value in pairs:
        if key not in known:
            takes = f"; known here: {', '.join(known)}" if known else ""
            raise Problem("malformed", f'the query has an unknown key "{key[:100]}"{takes}')
        if key in found:
            raise Problem("malformed", f"{key} is given twice")
        found[key] = value
    return found


def number(values: Mapping[str, str], key: str, *, default: int, most: int) -> int:
    value = values.get(key)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 6 and 1 <= int(value) <= most):
        raise Problem("malformed", f"{key} is not a number from 1 to {most}")
    return int(value)


def services(project: Project, name: str) -> tuple[Service, ...]:
    """The services that a name means. Nothing that is not configured, or seen as ours, can be named."""
    found = select(project, (name,)) if name else ()
    if not found:
        known = {one.name for one in project.services} | {one.group for one in project.services}
        raise Problem("unknown", f'no service is called "{name[:100]}"{did_you_mean(name[:100], known)}')
    return found


def port(value: str) -> int:
    """A port as it stands in a path."""
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65_535):
        raise Problem("unknown", f'"{value[:20]}" is no port')
    return int(value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
