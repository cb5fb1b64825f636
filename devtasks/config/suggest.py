"""The word that was probably meant. Imported only once something is wrong: difflib is not free."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` is most likely a slip of; None when nothing is near.

    Case and the difference of `-` and `_` count for nothing.
    """
    spellings = {_plain(name): name for name in sorted(known, reverse=True)}
    found = get_close_matches(_plain(word[:100]), spellings, n=1, cutoff=0.6)
    return spellings[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The remedy after an unknown `word`, to be appended to a message; names what exists when nothing is near.

    Empty when nothing exists at all.
    """
    names = sorted(set(known))
    near = closest(word, names)
    if near is not None:
        return f'; did you mean "{near}"?'
    return f"; known: {', '.join(names)}" if names else ""


def _plain(word: str) -> str:
    return word.casefold().replace("_", "-")
