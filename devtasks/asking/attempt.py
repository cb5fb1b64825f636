"""One question under way: it never blocks, and when its time is over it is over.

A question is written straight down, as a generator that yields what it waits for and returns what it found.
Whoever asks drives it: `settle` until the answer is there, or a loop of its own with `wait` and `advance`.
"""

from __future__ import annotations

import errno
import selectors
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

from devtasks.health import Answer
from devtasks.model import Verdict

_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.EADDRNOTAVAIL))
_TURN_SECONDS = 0.01  # between looks at what has no descriptor to wait for


class Wait(NamedTuple):
    """What a question waits for. Without a descriptor: a moment."""

    descriptor: int | None
    writing: bool = False


class Finding(NamedTuple):
    """What a question found out (health.Answer)."""

    state: Verdict
    detail: str


Steps = Generator[Wait, None, Finding]


class Attempt:
    """One probe from its first step to its answer, at most `seconds` later. `overdue` says what failed to come."""

    def __init__(
        self, probe: str, steps: Steps, *, seconds: float, overdue: str, clock: Callable[[], float]
    ) -> None:
        self.probe = probe
        self.wait: Wait | None = None
        self.answer: Answer | None = None
        self._steps = steps
        self._too_late = overdue
        self.overdue = False
        self._clock = clock
        self._seconds = seconds
        self._began: float | None = None

    @property
    def age(self) -> float:
        """Seconds since its first step."""
        return 0.0 if self._began is None else self._clock() - self._began

    @property
    def left(self) -> float:
        """Seconds that it may still take."""
        return self._seconds - self.age

    def advance(self) -> Answer | None:
        """Go on as far as it goes without waiting. Raises nothing that the machine or the other side causes."""
        if self.answer is None:
            if self._began is None:
                self._began = self._clock()
            # What arrived in time counts, although we may look too late (a busy machine): one step more.
            if self.wait is None or _ready(self.wait):
                self._step()
            if self.answer is None and self.left <= 0:
                self._steps.close()
                self.overdue = True
                self._found(Finding("unhealthy", self._too_late))
        return self.answer

    def cancel(self) -> None:
        """Nobody wants the answer any more: let go of everything. Idempotent."""
        self._steps.close()

    def _step(self) -> None:
        try:
            self.wait = next(self._steps)
        except StopIteration as done:
            self._found(done.value)
        except OSError as error:
            state: Verdict = "unknown" if error.errno in _OURS else "unhealthy"
            self._found(Finding(state, f"cannot be asked: {error.strerror or error}"))

    def _found(self, finding: Finding) -> None:
        self.answer = Answer(state=finding.state, probe=self.probe, seconds=self.age, detail=finding.detail)


def settle(attempts: Iterable[Attempt]) -> list[Answer]:
    """Drive all of them at the same time until each has its answer. Interrupted, it cancels them."""
    everything = list(attempts)
    try:
        while pending := [one for one in everything if one.advance() is None]:
            rest(pending, min(one.left for one in pending))
    except BaseException:
        for one in everything:
            one.cancel()
        raise
    return [one.answer for one in everything if one.answer is not None]


def rest(pending: Iterable[Attempt], seconds: float) -> None:
    """Sleep until one of them can go on, at most `seconds`."""
    with _selector() as selector:
        for one in pending:
            wait = one.wait or Wait(None)
            if wait.descriptor is None:
                seconds = min(seconds, _TURN_SECONDS)
            else:
                selector.register(wait.descriptor, _events(wait))
        selector.select(max(0.0, seconds))


def _ready(wait: Wait) -> bool:
    if wait.descriptor is None:
        return True
    with _selector() as selector:
        selector.register(wait.descriptor, _events(wait))
        return bool(selector.select(0))


def _events(wait: Wait) -> int:
    return selectors.EVENT_WRITE if wait.writing else selectors.EVENT_READ


def _selector() -> selectors.BaseSelector:
    """poll() where there is one: it needs no descriptor of its own, and takes any number."""
    return getattr(selectors, "PollSelector", selectors.SelectSelector)()
