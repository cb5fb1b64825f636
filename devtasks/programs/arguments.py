"""The positional words, ports and names in the arguments of known programs, and of unknown ones as far as it goes.

Whether the word behind an option that nobody here knows is its value cannot be told: such a word is
*ambiguous*, and two command lines agree if some reading of their ambiguous words makes them agree.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devtasks.programs.option_tables import COMMON, LONG_NAMES, TABLES
from devtasks.values import Row


class Word(NamedTuple):
    """A word that is positional, or may be."""

    text: str
    certain: bool = True


class Arguments(Row):
    """What was read. `names` are options that tell one service from another of the same program."""

    words: tuple[Word, ...]
    ports: frozenset[int] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()


def read_arguments(program: str, args: Sequence[str]) -> Arguments:
    """Read the arguments of `program`, a name as `names.program_name` gives it."""
    known = TABLES.get(program, {})
    words: list[Word] = []
    ports: set[int] = set()
    names: set[tuple[str, str]] = set()
    index, end = 0, len(args)
    while index < end:
        word = args[index]
        index += 1
        if word == "--":
            words.extend(Word(rest) for rest in args[index:])
            break
        if not word.startswith("-") or word == "-":
            words.append(Word(word))
            continue
        option, equals, value = word.partition("=")
        kind = known.get(option) or COMMON.get(option)
        following = args[index] if index < end else None
        if kind is None and not equals and word[1:2].isalpha() and word[2:].isdigit():
            option, value, equals = word[:2], word[2:], "="
            kind = known.get(option)
        if kind is None and option == "-p":
            kind = "port" if address_port(value if equals else following or "") else None
        if kind == "flag" or option.startswith("--no-"):
            continue
        if equals:
            _take(kind, option, value, ports, names)
        elif following is not None and (kind is not None or not following.startswith("-")):
            index += 1
            if kind is None:
                words.append(Word(following, certain=False))
            else:
                _take(kind, option, following, ports, names)
    return Arguments(tuple(words), frozenset(ports), frozenset(names))


def _take(kind: str | None, option: str, value: str, ports: set[int], names: set[tuple[str, str]]) -> None:
    port = address_port(value) if kind in ("port", "bind") else None
    if port is not None:
        ports.add(port)
    elif kind == "name":
        names.add((LONG_NAMES.get(option, option), value))


def address_port(text: str) -> int | None:
    """The port in `8000`, `0.0.0.0:8000` or `[::]:8000`, None where there is none."""
    digits = text.rpartition(":")[2]
    if len(digits) > 5 or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) if 0 < int(digits) < 65536 else None


def words_agree(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether some reading of the ambiguous words makes both the same words in the same order."""
    if all(word.certain for word in one) and all(word.certain for word in other):
        return [word.text for word in one] == [word.text for word in other]
    reached = _skipped({0}, one)
    for there in other:
        used = {here + 1 for here in reached if here < len(one) and one[here].text == there.text}
        reached = _skipped(used if there.certain else used | reached, one)
    return len(one) in reached


def _skipped(reached: Iterable[int], words: Sequence[Word]) -> set[int]:
    """With every place that can be had from `reached` by leaving ambiguous words out."""
    found = set(reached)
    for here in sorted(found):
        place = here
        while place < len(words) and not words[place].certain:
            place += 1
            found.add(place)
    return found
