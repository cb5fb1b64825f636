"""Reading one table of the configuration key by key, with every mistake collected rather than raised.

A *reader* takes a value of any type and returns it checked, or raises Mistake. A Section applies readers to
the keys of one table; what is left over at the end is an unknown key. Whatever a message quotes is short and
free of control characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
D = TypeVar("D")
Reader = Callable[[Any], T]

_BARE_KEY = r"[A-Za-z0-9_-]+"


class Mistake(Exception):
    """What is wrong with a value: messages, each with the path from the value's own place ("" for itself)."""

    def __init__(self, *found: str | tuple[str, str]) -> None:
        super().__init__(*found)
        self.found = tuple(item if isinstance(item, tuple) else ("", item) for item in found)


class Section:
    """One table, read key by key. `problems` is shared with every other section of the file."""

    def __init__(self, table: Mapping[str, Any], place: str, problems: list[str]) -> None:
        self.table = table
        self.place = place
        self.problems = problems
        self.wrong: set[str] = set()  # keys with a mistake: what rests on them is not judged
        self._asked: set[str] = set()

    def take(self, key: str, read: Reader[T], default: D) -> T | D:
        """The value of `key` as `read` gives it; `default` where it is missing or wrong."""
        self._asked.add(key)
        if key not in self.table:
            return default
        try:
            return read(self.table[key])
        except Mistake as mistake:
            self.wrong.add(key)
            for path, message in mistake.found:
                self.problem(key_text(key) + path, message)
            return default

    def require(self, key: str, read: Reader[T], default: D, remedy: str) -> T | D:
        """Like `take`, but a missing key is a mistake; `default` only keeps the reading going."""
        if key not in self.table:
            self.wrong.add(key)
            self.problem(key, f"is missing; {remedy}")
        return self.take(key, read, default)

    def section(self, key: str) -> Section | None:
        """The table at `key`; None where it is missing or no table."""
        value = self.take(key, mapping, None)
        return None if value is None else Section(value, self.where(key_text(key)), self.problems)

    def problem(self, path: str, message: str) -> None:
        """Report a mistake at `path` below this table."""
        self.problems.append(f"{self.where(path)}: {message}")

    def where(self, path: str) -> str:
        """The dotted path, from the top, of what is at `path` below this table."""
        return f"{self.place}.{path}" if self.place else path

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.table:
            if key not in self._asked:
                from devtasks.config.suggest import did_you_mean

                self.problem(key_text(key), "unknown key" + did_you_mean(str(key), self._asked))


def fits(read: Reader[T], value: object) -> bool:
    """Whether `read` would take `value`."""
    try:
        read(value)
    except Mistake:
        return False
    return True


def key_text(key: object) -> str:
    """A key as TOML would write it, short and without control characters."""
    text = str(key)
    return text if re.fullmatch(_BARE_KEY, text) else quoted(text)


def quoted(text: str) -> str:
    """`text` in double quotes, short and without control characters."""
    short = text if len(text) <= 60 else text[:57] + "..."
    escaped = short.encode("unicode_escape").decode("ascii") if not short.isprintable() else short
    return f'"{escaped}"'


def shown(value: object) -> str:
    """A wrong value as a message names it: with its TOML type where that is what is wrong."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {quoted(value)}"
        case int() if abs(value) >= 10**15:
            return "a number that large"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "an array"
        case Mapping():
            return "a table"
        case _:
            return "a date or time"


def mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Mistake(f"must be a table, not {shown(value)}")
    return value
