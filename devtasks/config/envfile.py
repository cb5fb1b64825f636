"""The `.env` format: `KEY=value` lines, nothing expanded.

A value is bare (to the end of the line or to a `#` after a space, stripped), in single quotes (literal) or in
double quotes (backslash escapes for n, r, t, the quote, the backslash and the dollar). Quoted values may
span lines. `export ` before a key is ignored; of two lines with the same key the last counts.
"""

from __future__ import annotations

import re
from pathlib import Path

from devtasks.config.textfile import decode, read_bytes, unreadable
from devtasks.errors import ConfigError

_BLANK = re.compile(r"[ \t]*(#[^\n]*)?(\n|\Z)")
_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\([nrt"\\$])')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_COMMENT = re.compile(r"(?:^|[ \t])#")
_RESERVED = "DEVTASKS_"


def read(path: Path) -> dict[str, str]:
    """The variables of the file, in its order.

    Raises ConfigError, naming file and line of every mistake, when it is missing, no regular file, larger
    than 1 MiB, not UTF-8, not in the format, or sets a DEVTASKS_* variable. Values are never quoted in a
    message: they are secrets.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise ConfigError(
            str(path), (f"{path}: no such file; create it, or remove env_file from the service",)
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    variables, mistakes = parse(decode(content, path))
    if mistakes:
        raise ConfigError(str(path), tuple(f"{path}:{line}: {what}" for line, what in mistakes))
    return variables


def parse(text: str, *, reserved: bool = False) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The variables in `text`, and its mistakes as (line number, what is wrong).

    DEVTASKS_* is a mistake, unless it is `reserved` for us to read.
    """
    variables: dict[str, str] = {}
    mistakes: list[tuple[int, str]] = []
    position = 0
    line = 1
    while position < len(text):
        end, what = _entry(text, position, variables, reserved=reserved)
        if what is not None:
            mistakes.append((line, what))
        line += text.count("\n", position, end)
        position = end
    return variables, mistakes


def _entry(text: str, position: int, variables: dict[str, str], *, reserved: bool) -> tuple[int, str | None]:
    """Read the entry at `position` into `variables`: where the next one begins, and what is wrong."""
    next_line = text.find("\n", position) + 1 or len(text)
    blank = _BLANK.match(text, position)
    if blank:
        return blank.end(), None
    head = _KEY.match(text, position)
    if head is None:
        return next_line, "not KEY=value; keys are letters, digits, _, - and ., and begin with a letter or _"
    key, start = head[1], head.end()
    if text[start : start + 1] in {"'", '"'}:
        quoted = (_SINGLE if text[start] == "'" else _DOUBLE).match(text, start)
        if quoted is None:
            return next_line, f"the quote opened by {key} is never closed"
        rest = _BLANK.match(text, quoted.end())
        if rest is None:
            after = text.find("\n", quoted.end()) + 1 or len(text)
            return after, f"{key} has something after its closing quote; quote the whole value"
        value, end = quoted[1], rest.end()
        if text[start] == '"':
            value = _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)
    else:
        value = text[start:next_line].rstrip("\n")
        comment = _COMMENT.search(value) if text[start - 1] in " \t" else _COMMENT.search(value, 1)
        value, end = (value[: comment.start()] if comment else value).strip(), next_line
    if key.startswith(_RESERVED) and not reserved:
        return end, f"{key} may not be set: DEVTASKS_* marks what devtasks starts; remove the line"
    if "\0" in value:
        return end, f"{key} holds a NUL character, which no environment can"
    variables[key] = value
    return end, None
