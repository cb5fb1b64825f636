"""One call of `top`."""

from __future__ import annotations

from devtasks.report.output import Output
from devtasks.top.frames import Frames
from devtasks.top.screen import screen_for
from devtasks.verbs import Scope

_FIRST_SECONDS = 0.25  # before the first frame, so that it tells some CPU


def top(
    scope: Scope, names: tuple[str, ...], output: Output, *, interval_seconds: float, count: int | None
) -> None:
    """Show `count` frames (None: until nobody looks any more), one every `interval_seconds`."""
    frames = Frames(scope, names)
    clock = scope.world.monotonic
    with screen_for(output) as screen:
        due = clock() + min(_FIRST_SECONDS, interval_seconds)
        shown = 0
        while not screen.pause(max(0.0, due - clock())):
            screen.show(frames.take())
            shown += 1
            if shown == count:
                return
            due = max(due + interval_seconds, clock())  # after a suspend: one frame, not all that were missed
