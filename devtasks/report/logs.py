"""Lines of logs, each behind the name of its service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devtasks.model import LogLine
from devtasks.report import forge
from devtasks.report.look import Look
from devtasks.store.logs import printable


class Lines:
    """Lines of `services`, whose names stand in a column as wide as the widest, in colours that stay theirs."""

    def __init__(self, look: Look, services: Sequence[str], *, shown: Iterable[str] | None = None) -> None:
        width = max(map(len, services if shown is None else shown), default=0)
        self._look = look
        self._labels = {name: look.label(f"{name:<{width}}", number) for number, name in enumerate(services)}

    def of(self, lines: Iterable[LogLine]) -> list[str]:
        labels, look = self._labels, self._look
        if look.forge is None:
            return [f"{labels[name]} | {printable(line)}".rstrip() for name, line, _ in lines]
        quoted = forge.quoted
        return [f"{labels[name]} {quoted(printable(line), look).strip()}".rstrip() for name, line, _ in lines]
