"""How long a step may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

RESERVE_SECONDS: Final = 1.0  # kept for each step still to come


def allowed(timeout_seconds: float, remaining_seconds: float, later_steps: int) -> float:
    """The seconds for one step: its own timeout, unless that would leave too little for those still to come.

    Too little is less than a second each; where not even that is left, all share what there is. Never negative.
    However many steps use up what they are allowed, together they stay within what remained at the first.
    """
    fair_share = remaining_seconds / (later_steps + 1)
    return max(0.0, min(timeout_seconds, max(remaining_seconds - RESERVE_SECONDS * later_steps, fair_share)))


class Budget:
    """The total time of a shutdown, from now on. `clock` gives seconds and never jumps."""

    def __init__(self, total_seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._total_seconds = total_seconds
        self._began = clock()

    @property
    def spent_seconds(self) -> float:
        return self._clock() - self._began

    def for_step(self, timeout_seconds: float, later_steps: int) -> float:
        """What a step that begins now is allowed."""
        return allowed(timeout_seconds, self._total_seconds - self.spent_seconds, later_steps)
