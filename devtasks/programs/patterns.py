"""Does a command line look like a service of the project that was started by hand?

A service's own `patterns` are regexes for the texts that `programs.readings` gives. Without them, what the
service's command does is compared with what the command line does: its program, script, module or app and
every positional word, in order and none more; a port given on both must agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devtasks.model import Service
from devtasks.programs import readings, task_runner, worker
from devtasks.programs.derivation import targets
from devtasks.programs.likeness import Target, agree, beside, needles
from devtasks.programs.names import components
from devtasks.programs.unwrapping import MOST_WORDS, layers
from devtasks.programs.workload import workload


class Matcher:
    """What one service is recognised by from a command line alone. Pure, and never raises.

    `needles`: a command line without any of these, in lower case, cannot match; None: any may.
    """

    __slots__ = ("_regexes", "_targets", "needles")

    def __init__(self, regexes: tuple[re.Pattern[str], ...] = (), targets: tuple[Target, ...] = ()) -> None:
        self._regexes = regexes
        self._targets = targets
        self.needles = _needles(regexes, targets)

    def may_match(self, cmdline: bytes) -> bool:
        """Whether `match` can succeed on this NUL-separated command line: needed, not enough; about 1 µs."""
        if self.needles is None:
            return True
        text = cmdline.lower()
        return any(needle in text for needle in self.needles)

    def match(self, argv: Sequence[str], cwd: str | None = None) -> str | None:
        """What matched, in words for people, or None.

        With `cwd`, the real path of the process's working folder, what is derived from a command matches only
        at, below or above the folder the command runs in: `npm run dev` in a folder beside it is another service.

        Never matches the helpers of Python's multiprocessing and task runners. Whether the program only
        mentions the service is another question: see `programs.bystander`.
        """
        if worker(argv):
            return None
        return self._by_regex(argv) if self._regexes else self._by_work(argv, cwd)

    def _by_regex(self, argv: Sequence[str]) -> str | None:
        texts = readings(argv)
        for regex in self._regexes:
            if any(regex.match(text) for text in texts):
                return None if task_runner(argv) else f"{regex.pattern[:80]} (pattern)"
        return None

    def _by_work(self, argv: Sequence[str], cwd: str | None) -> str | None:
        if not self._targets or len(argv) > MOST_WORDS:
            return None
        found = layers(argv)
        work = workload(found[-1]) if found else None
        if work is None:
            return None
        place = None if cwd is None else components(cwd)
        for target in self._targets:
            if agree(target, work) and not (place and beside(target, place)):
                return target.label
        return None


def matcher(service: Service) -> Matcher:
    """The matcher of a service: its own patterns, or what is derived from its command.

    Reads package.json in the service's folder where the command runs a script of it; never raises.
    """
    if service.patterns and not service.patterns_derived:
        return Matcher(regexes=tuple(re.compile(pattern) for pattern in service.patterns))
    return Matcher(targets=targets(service))


def _needles(regexes: tuple[re.Pattern[str], ...], targets: tuple[Target, ...]) -> tuple[bytes, ...] | None:
    """In lower case; None where nothing can be told beforehand."""
    words: set[str] = set()
    if regexes:
        from devtasks.programs.literals import literals
    for regex in regexes:
        found = literals(regex.pattern)
        if found is None:
            return None
        words |= found
    for target in targets:
        words |= needles(target)
    if any(not word.isascii() or not word for word in words):
        return None
    return tuple(sorted(word.lower().encode() for word in words))
