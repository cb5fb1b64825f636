"""Signals while `up` watches: noted, and seen by the loop at its next turn, not raised in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from devtasks.world.waking import Waker

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
ENDING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Noted:
    """The signals that came, and what wakes whoever waits for them."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.waker = Waker()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Within it signals are noted. What is ignored (nohup) stays ignored."""
        handled = {number: signal.getsignal(number) for number in ENDING}
        mine = [number for number, handler in handled.items() if handler is not signal.SIG_IGN]
        before = signal.set_wakeup_fd(self.waker.signals, warn_on_full_buffer=False)
        try:
            for number in mine:
                signal.signal(number, self._note)
            yield
        finally:
            for number in mine:
                signal.signal(number, handled[number])
            signal.set_wakeup_fd(before)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.numbers.append(number)


@contextmanager
def only_ctrl_c() -> Iterator[None]:
    """Within it everything is being stopped: TERM and HUP have nothing to add; Ctrl-C does, it forces."""
    numbers = [number for number in ENDING if number != signal.SIGINT]
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
