"""Readers of single values: strict in type, and a message that says what to write instead."""

from __future__ import annotations

import re
import shlex
import signal
import warnings
from typing import Any

from devtasks.config.section import Mistake, Reader, T, key_text, mapping, quoted, shown

# The same expressions stand in schema.json; a test compares them.
SERVICE_NAME = r"^[a-z][a-z0-9-]*$"
PRINTABLE = r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]+$"
VARIABLE = r"^(?!DEVTASKS_)[^=\x00-\x20\x7f]+$"
FILE_PATH = r"^(?!~(/|$))[^\x00-\x1f\x7f]+$"
HOST = r"^[A-Za-z0-9_:][A-Za-z0-9_.:%-]*$"
# [USER@]HOST[:PORT]; an IPv6 address stands in brackets. 65535 is the last port.
REMOTE_HOST = (
    r"^([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?(\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$"
)
CONTAINER = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
SIZE = r"^(?=.*[1-9])([0-9]{1,15}(?:\.[0-9]{1,3})?) ?((?:[KMGT]i?)?)B$"
HTTP_TARGET = r"^(/[!-~]*|https?://[!-.0-~][!-~]*)$"
# poll() counts milliseconds in 31 bits; nothing here is meant to wait for more than eleven days.
LONGEST_SECONDS = 1_000_000
LONGEST_NAME = 100
LARGEST_BYTES = 2**60
MOST_CPUS = 8192

_UNIT_BYTES = {
    "": 1,
    **{letter: 10 ** (3 * power) for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)},
}
_SHELL_WORDS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})
_ASSIGNMENT = r"[A-Za-z_][A-Za-z0-9_]*="


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Mistake(f"must be true or false, not {shown(value)}{_unquote(value, 'true', 'false')}")
    return value


def text(value: Any) -> str:
    """Any string that a program may be given: no NUL."""
    if not isinstance(value, str):
        written = _is_number(value) or isinstance(value, bool)
        hint = f'; write "{str(value).lower()}"' if written else ""
        raise Mistake(f"must be a string, not {shown(value)}{hint}")
    if "\0" in value:
        raise Mistake("holds a NUL character, which no program can be given")
    return value


def matching(pattern: str, requirement: str) -> Reader[str]:
    """Strings that match `pattern`; `requirement` completes "must be …"."""

    def read(value: Any) -> str:
        checked = text(value)
        if not re.search(pattern, checked) or checked.endswith("\n"):  # `$` lets one newline pass
            raise Mistake(f"must be {requirement}, not {quoted(checked)}")
        return checked

    return read


service_name = matching(SERVICE_NAME, "the name of a service: a-z first, then a-z, 0-9 and -")
printable = matching(PRINTABLE, "printable text, and not blank")


def project_title(value: Any) -> str:
    name = printable(value)
    if len(name) > LONGEST_NAME:
        raise Mistake(f"must have at most {LONGEST_NAME} characters, not {len(name)}")
    return name


def one_of(*choices: str) -> Reader[str]:
    def read(value: Any) -> str:
        if value not in choices or not isinstance(value, str):
            wanted = " or ".join(f'"{choice}"' for choice in choices)
            raise Mistake(f"must be {wanted}, not {shown(value)}")
        return value

    return read


def whole(minimum: int, maximum: int) -> Reader[int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            hint = "; remove the quotes" if isinstance(value, str) and _ascii_digits(value) else ""
            raise Mistake(f"must be a whole number from {minimum} to {maximum}, not {shown(value)}{hint}")
        return value

    return read


def seconds(*, zero: bool = True) -> Reader[float]:
    """A duration; without `zero` it has to be longer than nothing."""
    wanted = f"a number of seconds {'from 0' if zero else 'above 0, up'} to {LONGEST_SECONDS}"

    def read(value: Any) -> float:
        # Neither NaN nor infinity lies between the bounds.
        if not _is_number(value) or not 0 <= value <= LONGEST_SECONDS or (value == 0 and not zero):
            hint = "; write 5 for five seconds" if isinstance(value, str) else ""
            raise Mistake(f"must be {wanted}, not {shown(value)}{hint}")
        return float(value)

    return read


def size(value: Any) -> int:
    """A number of bytes: whole, or a string with its unit."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_BYTES:
        return value
    match = re.search(SIZE, value) if isinstance(value, str) and not value.endswith("\n") else None
    if match is None:
        wanted = 'a size above 0, like "10MiB", "500MB" or a whole number of bytes'
        raise Mistake(f"must be {wanted}, not {shown(value)}")
    return max(1, int(float(match[1]) * _UNIT_BYTES[match[2]]))


def cpus(value: Any) -> float:
    """A number of CPUs, which may be a fraction. The kernel takes no share below a hundredth."""
    if not _is_number(value) or not 0.01 <= value <= MOST_CPUS:
        raise Mistake(f"must be a number of CPUs from 0.01 to {MOST_CPUS}, as in 1.5, not {shown(value)}")
    return float(value)


def regex(value: Any) -> str:
    """A regular expression that compiles; not the empty one."""
    expression = text(value)
    if not expression:
        raise Mistake("must not be empty: the empty expression matches everything")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a future meaning of "[[" is the author's affair
            re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise Mistake(f"{quoted(expression)} is not a regular expression: {error}") from None
    return expression


def process_pattern(value: Any) -> str:
    """A regex for sweeps. One that matches nothing at all would match every process of the project."""
    expression = regex(value)
    if re.match(expression, ""):
        raise Mistake(f"{quoted(expression)} matches every program; begin it with the program's name")
    return expression


def array(read: Reader[T], *, minimum: int = 0, unique: bool = False) -> Reader[tuple[T, ...]]:
    def read_all(value: Any) -> tuple[T, ...]:
        if not isinstance(value, (list, tuple)):
            hint = "; put it in [ ]" if isinstance(value, (str, int, float)) else ""
            raise Mistake(f"must be an array, not {shown(value)}{hint}")
        if len(value) < minimum:
            raise Mistake("must not be empty")
        items: list[T] = []
        found: list[tuple[str, str]] = []
        for index, raw in enumerate(value):
            try:
                item = read(raw)
            except Mistake as mistake:
                found += [(f"[{index}]{path}", message) for path, message in mistake.found]
                continue
            if unique and item in items:
                found.append((f"[{index}]", f"{shown(item)} is there twice; remove one"))
            items.append(item)
        if found:
            raise Mistake(*found)
        return tuple(items)

    return read_all


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A single value, or an array of at least one."""

    def read_any(value: Any) -> tuple[T, ...]:
        return array(read, minimum=1)(value) if isinstance(value, (list, tuple)) else (read(value),)

    return read_any


def variables(value: Any) -> dict[str, str]:
    """Environment variables by name."""
    found: list[tuple[str, str]] = []
    read: dict[str, str] = {}
    for key, raw in mapping(value).items():
        try:
            read[key] = text(raw)
        except Mistake as mistake:
            found += [(f".{key_text(key)}", message) for _, message in mistake.found]
        if key.startswith("DEVTASKS_"):
            found.append((f".{key_text(key)}", "DEVTASKS_* marks what devtasks starts; remove it"))
        elif not re.search(VARIABLE, key):
            found.append((f".{key_text(key)}", "is not a variable's name: no spaces, no =, not empty"))
    if found:
        raise Mistake(*found)
    return read


def words(value: Any) -> tuple[str, ...]:
    """A command as its argument vector: a string is split like a shell would, an array is taken as it is."""
    match value:
        case str():
            argv = _split(text(value))
        case list() | tuple():
            argv = array(text)(value)
        case _:
            raise Mistake(f"must be a string or an array of strings, not {shown(value)}")
    if not argv or not argv[0].strip():
        raise Mistake("must not be empty; write the program and its arguments")
    return argv


def shell_line(value: Any) -> tuple[str, ...]:
    """A command that sh is given as it is."""
    if isinstance(value, (list, tuple)):
        raise Mistake("must be a string: shell = true hands it to sh; write one string, or remove shell")
    line = text(value)
    if not line.strip():
        raise Mistake("must not be empty; write the program and its arguments")
    return (line,)


def _split(line: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(line))
    except ValueError as error:
        raise Mistake(f"{quoted(line)} cannot be split: {str(error).lower()}; balance the quotes") from None
    if argv and re.match(_ASSIGNMENT, argv[0]):
        raise Mistake(f"{quoted(argv[0])} sets a variable, which takes a shell; use env, or shell = true")
    try:
        operators = _SHELL_WORDS.intersection(shlex.split(line, posix=False))  # this one keeps the quotes
    except ValueError:
        operators = frozenset()
    if operators:
        raise Mistake(f"{min(operators)} takes a shell; use cwd and before, or shell = true (or quote it)")
    return argv


def stop_signal(value: Any) -> str:
    """A signal that can make a process end, as its name without SIG. Numbers are taken too."""
    names = {item.value: item.name.removeprefix("SIG") for item in signal.Signals}
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in names:
            raise Mistake(f"must be a signal of this system, not {shown(value)}")
        name = names[value]
    else:
        name = text(value).removeprefix("SIG")
        if name not in names.values():
            from devtasks.config.suggest import closest

            near = closest(name, names.values())
            hint = f'; did you mean "{near}"?' if near else '; write a name like "TERM"'
            raise Mistake(f"no signal is called {quoted(value)}{hint}")
    if name in {"STOP", "CONT"}:
        raise Mistake(f"{name} cannot make a process end; use TERM, INT, QUIT or HUP")
    return name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ascii_digits(value: str) -> bool:
    return value.isascii() and value.strip().isdigit()


def _unquote(value: Any, *words: str) -> str:
    return "; remove the quotes" if isinstance(value, str) and value in words else ""
