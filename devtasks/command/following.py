"""Show what comes as it comes, until the reader leaves or interrupts."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Sequence

from devtasks.chronicle import Chronicle
from devtasks.logview import LogView
from devtasks.model import LogLine
from devtasks.report.output import Output
from devtasks.store.events import Event
from devtasks.store.logs.follow import Follower

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


# --- logs ------------------------------------------------------------------------------------------------


def logs(view: LogView, output: Output) -> None:
    """What the logs hold, and then each line as it comes; with JSON an object a line."""
    follower = view.follower()
    try:
        for line in view.not_followed():
            output.remark(line)
        rendered = _log_objects if output.json else _log_text(output, view.services)
        output.lines(rendered(view.so_far(now=time.time(), follower=follower).lines))
        while not output.closed:
            lines = follower.poll()
            for service, problem in follower.problems():
                output.remark(f"{service}: {problem}")
            if lines and (shown := rendered(view.coming(lines, now=time.time(), times=output.json))):
                output.lines(shown)
            elif _reader_left(follower):
                break
    finally:
        follower.close()


def _reader_left(follower: Follower) -> bool:
    """Wait until there may be more; or until nobody reads our output any more, which is true then."""
    limit = follower.timeout_seconds
    if limit == 0:
        return False
    if not hasattr(select, "poll"):
        time.sleep(limit)
        return False
    waiting = select.poll()
    if follower.fileno() >= 0:
        waiting.register(follower.fileno(), select.POLLIN)
    output = sys.stdout.fileno() if sys.stdout is not None else -1
    if output >= 0:
        waiting.register(output, 0)  # a pipe tells of its reader's end, whatever is asked for
    return any(one == output for one, _ in waiting.poll(limit * 1000))


def _log_text(output: Output, services: Sequence[str]) -> Callable[[Sequence[LogLine]], list[str]]:
    from devtasks.report.logs import Lines

    return Lines(output.look(), services).of


def _log_objects(found: Sequence[LogLine]) -> list[str]:
    from devtasks.report.shapes import render_log_line

    return [render_log_line(line) for line in found]
