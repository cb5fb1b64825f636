"""Search for a regular expression without being held up by it.

Python's engine backtracks, and while it does nothing can stop it but the end of its process. Which expressions may
backtrack for how long cannot be told by a rule of thumb (nested quantifiers are one way of several: `.*.*.*x` on a
long line takes hours, too). So the work is bounded from above, from the parsed expression and the length of the
text: where the bound is small it is searched at once, and elsewhere in a child that is killed at the deadline.
"""

from __future__ import annotations

import itertools
import marshal
import re
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from devtasks.asking.children import Helper
from devtasks.asking.link import Doing

AT_ONCE = 2_000_000  # steps of the engine: some ten milliseconds
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_MANY = 1 << 62


class Expression:
    """A checked regular expression."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as when it was checked
            self._pattern = re.compile(expression)
            self._parsed = parser.parse(expression)
        self._begins = _literal_beginning(self._parsed)

    def search(self, texts: Sequence[str], *, seconds: float, label: str) -> Doing[bool | None]:
        """Whether it matches in one of `texts`; None when that was not to be found out in `seconds`."""
        if self.steps(texts) <= AT_ONCE:
            return any(self._pattern.search(text) for text in texts)
        with tempfile.TemporaryFile() as source:
            source.write(marshal.dumps((self.text, list(texts), seconds)))
            source.seek(0)
            child = Helper("searcher.py", label, env={}, source=source)
        try:
            said = yield from child.output()
        finally:
            child.let_go(kill=True)
        return {b"1": True, b"0": False}.get(said)

    def steps(self, texts: Iterable[str]) -> int:
        """No less than what the engine takes to search all of `texts`."""
        total = 0
        for text in texts:
            length = len(text)
            places = length + 1
            if self._begins:  # elsewhere it does not even begin to match; occurrences may overlap
                places = min(places, text.count(self._begins) * len(self._begins))
            total += length + 1 + (places * _effort(self._parsed, length)[1] if places else 0)
            if total > AT_ONCE:
                break
        return total


def _literal_beginning(parsed: Any) -> str:
    """The letters with which whatever matches begins."""
    if parsed.state.flags & re.IGNORECASE:
        return ""
    letters = itertools.takewhile(lambda item: item[0] is codes.LITERAL, parsed)
    return "".join(chr(code) for _, code in letters)


def _effort(sequence: Iterable[tuple[Any, Any]], length: int) -> tuple[int, int]:
    """In how many ways a sequence may match from one place, at most, and the steps of trying all of them."""
    ways, steps = 1, 1
    for code, argument in sequence:
        more, each = _effort_of(code, argument, length)
        steps = min(steps + ways * each, _MANY)
        ways = min(ways * more, _MANY)
    return ways, steps


def _effort_of(code: Any, argument: Any, length: int) -> tuple[int, int]:
    if code in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN, codes.AT):
        return 1, 1
    if code is codes.SUBPATTERN:
        return _effort(argument[-1], length)
    if code is codes.BRANCH:
        return _either(argument[1], length)
    if code in _REPEATS:
        least, most, body = argument
        return _repeated(least, most, body, length)
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return _effort(argument[1], length)
    if code is codes.ATOMIC_GROUP:
        return _effort(argument, length)
    if code is codes.GROUPREF:
        return 1, length + 1
    if code is codes.GROUPREF_EXISTS:
        return _either([one for one in argument[1:] if one is not None], length)
    return _MANY, _MANY


def _either(branches: Iterable[Any], length: int) -> tuple[int, int]:
    efforts = [_effort(branch, length) for branch in branches]
    return sum(ways for ways, _ in efforts) + 1, sum(steps for _, steps in efforts) + 1


def _repeated(least: int, most: int, body: Any, length: int) -> tuple[int, int]:
    ways, steps = _effort(body, length)
    times = min(most, max(least, length) + 1)  # more often only by matching nothing, which the engine does not
    if ways == 1:
        return times - min(least, times) + 1, steps * (times + 1)
    if times * ways.bit_length() > 62:
        return _MANY, _MANY
    tried = sum(ways**count for count in range(times + 1))
    return tried, steps * tried
