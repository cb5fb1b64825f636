"""Does a command line look like a service of the project, started by hand?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devtasks.model import Service
from devtasks.programs import readings


class Matcher:
    """What one service's processes are recognised by from their command line alone."""

    def __init__(self, regexes: tuple[re.Pattern[str], ...]) -> None:
        self._regexes = regexes

    def may_match(self, cmdline: bytes) -> bool:
        return bool(self._regexes)

    def match(self, argv: Sequence[str]) -> str | None:
        texts = readings(argv)
        for regex in self._regexes:
            if any(regex.match(text) for text in texts):
                return regex.pattern
        return None


def matcher(service: Service) -> Matcher:
    return Matcher(tuple(re.compile(pattern) for pattern in service.patterns))
