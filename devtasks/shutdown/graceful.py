"""The face of graceful shutdown. docs/shutdown.md shows it at work."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from devtasks.errors import Interrupted
from devtasks.shutdown.signals import ENDING, Signals
from devtasks.shutdown.steps import Action, Step
from devtasks.shutdown.tracker import Tracker, one_line, seconds

if TYPE_CHECKING:
    import asyncio

    Actions = Action | Iterable[Action]

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_POLL_SECONDS: Final = 0.5  # where a wait cannot be interrupted by a signal (Windows)
_HEARTBEAT_SECONDS: Final = 5.0


class GracefulShutdown(Tracker):
    """Named steps, in order, each with a timeout, all within a total; then an exit code: 0 all closed, 1 not.

    Use it as `async with` or `with` around the program, or call `wait()` (async) or `run()` (sync): both block
    until SIGINT, SIGTERM, SIGHUP or `request()`, carry the steps out and return the exit code. A second signal
    ends the process at once with exit 1. A step that fails or hangs does not stop the later ones. It closes once,
    however often it is told to.

    `total` and `step_timeout`: seconds. `service`: what this process is called in its devtasks project, unless
    devtasks started it. `root`: where to look for that project, upward; default: the caller's file. `signals`:
    names without SIG. `logger`: takes one line an event. `clock`: seconds, never jumping. Not thread-safe, but for
    `request` and `child`.
    """

    def __init__(
        self,
        *,
        total: float = 30.0,
        step_timeout: float = 10.0,
        service: str | None = None,
        root: str | os.PathLike[str] | None = None,
        signals: Iterable[str] = ENDING,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        log = logger or logging.getLogger("devtasks.shutdown")
        super().__init__(_caller_folder() if root is None else Path(root), service, log)
        self._total_seconds = seconds("total", total)
        self._step_seconds = seconds("step_timeout", step_timeout)
        self._clock = clock
        self._signals = Signals(signals, self._on_signal, log.warning)
        self._steps: list[Step] = []
        self._reason: str | None = None
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put is safe in a signal handler
        self._wakers: list[Callable[[], object]] = []
        self._closing: asyncio.Task[int] | None = None
        self._exit_code: int | None = None
        self._interrupts = False  # a signal interrupts the `with` block
        self._block: asyncio.Task[Any] | None = None  # what runs the `async with` block, unless it waits
        self._cancelled_block = False

    # --- what is to be done ---------------------------------------------------------------------------------

    def step(self, name: str, action: Action, *, timeout: float | None = None) -> None:
        """Add a step after those that are there.

        `action`: a coroutine function (cancelled at the timeout), any other function without arguments (called in
        a thread of its own, abandoned at the timeout), or a task, which is cancelled. `timeout`: seconds.
        """
        name = one_line(name)
        if not callable(action) and not hasattr(action, "cancel"):
            raise TypeError(f"step {name}: an action is a function or a task, not {action!r}")
        if self._closing is not None or self._exit_code is not None:
            raise RuntimeError(f"step {name}: the shutdown has begun")
        limit = self._step_seconds if timeout is None else seconds(f"step {name}: timeout", timeout)
        self._steps.append(Step(name=name, action=action, timeout_seconds=limit))

    def recipe(
        self,
        *,
        accepting: Actions = (),
        periodic: Actions = (),
        heartbeats: Actions = (),
        children: Actions = (),
        record: Actions = (),
        database: Actions = (),
    ) -> None:
        """Add steps in the order that people need; each takes one action or several.

        Stop accepting (what is served or tracked here, then `accepting`), stop periodic work, stop heartbeats
        (5 s), stop child services (those started here, then `children`), record their state, close the database.
        """
        phases = (
            ("stop accepting", (self.stop_accepting, *_each(accepting)), None),
            ("stop periodic work", _each(periodic), None),
            ("stop heartbeats", _each(heartbeats), min(_HEARTBEAT_SECONDS, self._step_seconds)),
            ("stop child services", (self.stop_children, *_each(children)), None),
            ("record their state", (self.record, *_each(record)), None),
            ("close the database", _each(database), None),
        )
        for name, actions, timeout in phases:
            for number, action in enumerate(actions, 1):
                self.step(name if number == 1 else f"{name} ({number})", action, timeout=timeout)

    # --- waiting, and closing -------------------------------------------------------------------------------

    @property
    def requested(self) -> bool:
        """Whether the shutdown has been asked for."""
        return self._reason is not None

    @property
    def exit_code(self) -> int:
        """0: all closed. 1: something failed or was forced, or the shutdown is not over."""
        return 1 if self._exit_code is None else self._exit_code

    def request(self, reason: str = "requested") -> None:
        """Ask for the shutdown. From any thread, any number of times; the first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._wake.put(None)
            for waker in list(self._wakers):
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    waker()

    async def wait(self) -> int:
        """Wait for a signal or `request`, carry the steps out, and return the exit code."""
        import asyncio

        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(asked.set)

        block, self._block = self._block, None
        self._wakers.append(wake)
        self._signals.take()
        try:
            if not self.requested:
                await asked.wait()
            return await self.close()
        finally:
            self._wakers.remove(wake)
            self._block = block
            if block is None:
                self._signals.restore()

    def run(self) -> int:
        """`wait` for a program without an event loop."""
        self._signals.take()
        try:
            while not self.requested:
                with contextlib.suppress(queue.Empty):
                    self._wake.get(timeout=_POLL_SECONDS if sys.platform == "win32" else None)
            return self.close_sync()
        finally:
            self._signals.restore()

    async def close(self) -> int:
        """Carry the steps out now, once; further calls wait for the end. Returns the exit code.

        Cancelled meanwhile, it finishes first: it is bounded by the total.
        """
        import asyncio

        if self._exit_code is not None:
            return self._exit_code
        if asyncio.current_task() is self._block:
            self._block = None  # it asks itself: nothing of it is to be cancelled
        self.request("closed")
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="shutdown")
        cancelled: asyncio.CancelledError | None = None
        while not self._closing.done():
            try:
                await asyncio.wait({self._closing})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return self._closing.result()

    def close_sync(self) -> int:
        """`close` for a program without an event loop."""
        import asyncio

        return asyncio.run(self.close()) if self._exit_code is None else self._exit_code

    async def _close(self) -> int:
        from devtasks.shutdown import closing

        self._exit_code = await closing.close(
            self.completed(self._steps, self._step_seconds),
            total_seconds=self._total_seconds,
            reason=self._reason or "closed",
            clock=self._clock,
            log=self._log,
        )
        return self._exit_code

    # --- around a program -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """From here on a signal cancels the block, unless that is in `wait`."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._block = asyncio.current_task()
        self._wakers.append(lambda: loop.call_soon_threadsafe(self._cancel_block))
        self._signals.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        import asyncio

        block, self._block = self._block, None
        try:
            await self.close()
        finally:
            self._signals.restore()
        if not self._cancelled_block or block is None:
            return False
        return block.uncancel() == 0 and isinstance(error, asyncio.CancelledError)

    def _cancel_block(self) -> None:
        if self._block is not None and not self._cancelled_block:
            self._cancelled_block = True
            self._block.cancel()

    def __enter__(self) -> Self:
        """From here on a signal interrupts the block, wherever it is."""
        if "asyncio" in sys.modules:
            import asyncio

            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                raise TypeError("in a coroutine it is: async with GracefulShutdown()")
        self._signals.take()
        self._interrupts = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._interrupts = False
        try:
            self.close_sync()
        finally:
            self._signals.restore()
        return isinstance(error, Interrupted)

    def _on_signal(self, name: str) -> None:
        self.request(name)
        if self._interrupts:
            import signal

            self._interrupts = False
            raise Interrupted(signal.Signals[name])


def _each(actions: Actions) -> tuple[Action, ...]:
    """One action, or several."""
    if callable(actions) or hasattr(actions, "cancel"):  # a task is iterable, too: that is how it is awaited
        return (actions,)  # type: ignore[return-value]
    return tuple(actions)


def _caller_folder() -> Path:
    """The folder of the file outside this package that is calling; the current one where there is no file."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE + os.sep):
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    return file.resolve().parent if file.is_file() else Path.cwd()
