"""Reading the YAML that `export` writes: block mappings, flow lists and mappings, plain and double-quoted scalars.

Not a YAML parser: what is written in any other way is refused, and nothing is guessed.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = re.compile(rf"({_QUOTED}|[A-Za-z][A-Za-z0-9_./-]*):(?: (.*))?")
_SCALAR = re.compile(rf"({_QUOTED})|([A-Za-z][A-Za-z0-9_./-]*)|(-?[0-9]{{1,18}})")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_WORDS = {"true": True, "false": False, "null": None}
_DEEPEST = 20


class NotRead(ValueError):
    """A line that `export` would not write."""


class _Row(NamedTuple):
    number: int
    indent: int
    text: str


def parse(text: str) -> dict[str, Any]:
    """The mapping in `text`. Raises NotRead, naming the line."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.lstrip(" ")
        if bare and not bare.startswith("#"):
            rows.append(_Row(number, len(line) - len(bare), bare))
    mapping, after = _block(rows, 0, 0)
    if after < len(rows):
        raise NotRead(f"line {rows[after].number}: is not where it belongs")
    return mapping


def _block(rows: list[_Row], start: int, indent: int) -> tuple[dict[str, Any], int]:
    """The mapping whose keys are indented by `indent`, and the row after it."""
    found: dict[str, Any] = {}
    index = start
    while index < len(rows) and rows[index].indent == indent:
        row = rows[index]
        entry = _KEY.fullmatch(row.text)
        if entry is None:
            raise NotRead(f"line {row.number}: is not `key: value` as export writes it")
        key = _unquoted(entry[1], row.number)
        if key in found:
            raise NotRead(f"line {row.number}: {key} is there twice")
        index += 1
        if entry[2]:
            found[key] = _flow(entry[2], row.number)
        elif index < len(rows) and rows[index].indent > indent and indent < 2 * _DEEPEST:
            found[key], index = _block(rows, index, rows[index].indent)
        else:
            raise NotRead(f"line {row.number}: {key} has no value")
    return found, index


def _flow(text: str, line: int) -> Any:
    value, end = _value(text, 0, line, 0)
    if end != len(text):
        raise NotRead(f"line {line}: has more than a value")
    return value


def _value(text: str, at: int, line: int, depth: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    if depth < _DEEPEST and text[at : at + 1] in ("[", "{"):
        return _collection(text, at, line, depth)
    scalar = _SCALAR.match(text, at)
    if scalar is None:
        raise NotRead(f"line {line}: has a value that is none of export's")
    if scalar[3]:
        return int(scalar[3]), scalar.end()
    word = _unquoted(scalar[0], line)
    return (_WORDS.get(word, word) if scalar[2] else word), scalar.end()


def _collection(text: str, at: int, line: int, depth: int) -> tuple[Any, int]:
    closing = "]" if text[at] == "[" else "}"
    items: list[Any] = []
    at += 1
    while text[at : at + 1] != closing:
        if items:
            if text[at : at + 2] != ", ":
                raise NotRead(f"line {line}: a list or mapping is not closed")
            at += 2
        item, at = _value(text, at, line, depth + 1)
        if closing == "}":
            if text[at : at + 2] != ": ":
                raise NotRead(f"line {line}: a key without a value")
            value, at = _value(text, at + 2, line, depth + 1)
            item = (str(item), value)
        items.append(item)
    return (items if closing == "]" else dict(items)), at + 1


def _unquoted(text: str, line: int) -> str:
    if not text.startswith('"'):
        return text

    def character(escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) == 1:
            if code not in _ESCAPES:
                raise NotRead(f"line {line}: \\{code} is no escape of export's")
            return _ESCAPES[code]
        number = int(code[1:], 16)
        if number > 0x10FFFF:
            raise NotRead(f"line {line}: \\{code} is no character")
        return chr(number)

    return _ESCAPE.sub(character, text[1:-1])
