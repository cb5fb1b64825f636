"""One thread that waits for descriptors, for a moment, and for what other threads hand over."""

from __future__ import annotations

import contextlib
import selectors
from collections import deque
from collections.abc import Callable

from devtasks.world.waking import Waker


class Loop:
    """Calls back what is ready. `post` may be called from any thread, everything else from the loop's own."""

    def __init__(self) -> None:
        self.turns = 0  # how often it woke up
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[], None]] = deque()
        self._waker = Waker()
        self.attend(self._waker.descriptor, self._waker.drain)

    def attend(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call `callback` whenever `descriptor` is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def neglect(self, descriptor: int) -> None:
        """Undo `attend`. Idempotent; to be called before the descriptor is closed."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called in the loop's thread, soon."""
        self._posted.append(call)
        self._waker.wake()

    def turn(self, timeout_seconds: float | None) -> None:
        """Wait until something is ready, at most so long (None: for ever), and call it back."""
        if self._posted:
            timeout_seconds = 0
        ready = self._selector.select(timeout_seconds)
        self.turns += 1
        for key, _ in ready:
            if key.fd in self._selector.get_map():  # an earlier callback may have undone it
                key.data()
        while self._posted:
            self._posted.popleft()()

    def close(self) -> None:
        self._selector.close()
        self._waker.close()
