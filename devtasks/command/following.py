"""Show what comes as it comes, until the reader leaves or interrupts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devtasks.chronicle import Chronicle
from devtasks.report.output import Output
from devtasks.store.events import Event

LINES = 100  # of what was before


def events(chronicle: Chronicle, output: Output, lines: int | None) -> None:
    """The last `lines` events and all that follow; with JSON an object a line."""
    rendered = _objects if output.json else _text(output)

    def show(found: Sequence[Event]) -> bool:
        if found:
            output.lines(rendered(found))
        return not output.closed

    if show(chronicle.so_far(lines or LINES).events):
        chronicle.follow(show)


def _text(output: Output) -> Callable[[Sequence[Event]], list[str]]:
    from devtasks.report.history import Lines

    return Lines(output.look()).of


def _objects(found: Sequence[Event]) -> list[str]:
    from devtasks.report.shapes import render_event

    return [render_event(event) for event in found]
