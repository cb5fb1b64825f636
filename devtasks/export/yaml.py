"""Values as YAML that means the same to every parser: block mappings, flow lists, text in double quotes.

Only text that no version of YAML reads as anything else goes without quotes: `no`, `1e3` and `12:30` are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

Node = Mapping[str, "Node"] | Sequence["Node"] | str | int | bool | None

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/-]*(?:\.[A-Za-z0-9_/-]+)*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def document(value: Mapping[str, Node]) -> str:
    """A mapping as a document, keys in their order."""
    return "".join(f"{line}\n" for line in _mapping(value, ""))


def _mapping(value: Mapping[str, Node], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{text(key)}:", item, indent)


def _entry(lead: str, item: Node, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield lead
        yield from _mapping(item, f"{indent}  ")
    elif (
        isinstance(item, Sequence) and not isinstance(item, str) and any(isinstance(one, Mapping) for one in item)
    ):
        yield lead
        for one in item:
            inner = f"{indent}    "
            lines = list(_mapping(one, inner)) if isinstance(one, Mapping) and one else [inner + _flow(one)]
            yield f"{indent}  - {lines[0][len(inner) :]}"
            yield from lines[1:]
    else:
        yield f"{lead} {_flow(item)}"


def _flow(value: Node) -> str:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return "null" if value is None else str(value).lower()


def text(value: str) -> str:
    """A text as a scalar, quoted where it could be taken for anything else."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(_ESCAPES.get(one) or (one if one.isprintable() else _escaped(one)) for one in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
