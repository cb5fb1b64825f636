"""Where frames are shown: a terminal, redrawn in place and given back as it was; or lines, one after another."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Protocol, Self

from devtasks.outcomes import Frame
from devtasks.report import top
from devtasks.report.output import Output
from devtasks.world.waking import Waker

# the alternate screen, so that what was there before comes back; no cursor; long lines are not wrapped
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_NAP_SECONDS = 0.5  # between looks at a reader that may have left


class Screen(Protocol):
    """Shows one frame after another, within a `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_exception: object) -> None: ...

    def show(self, frame: Frame) -> None: ...

    def pause(self, seconds: float) -> bool:
        """Let time pass. True: enough, nobody looks any more."""


def screen_for(output: Output) -> Screen:
    """A terminal that can be redrawn is; anything else gets lines."""
    if output.json or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(output)
    return Terminal(output)


class Lines:
    """Frames as lines or as JSON, appended."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        return None

    def show(self, frame: Frame) -> None:
        self._output.report(frame)

    def pause(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._output.closed and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _NAP_SECONDS))
        return self._output.closed


class Terminal:
    """Frames drawn one over the other. Whatever ends the `with`, the terminal is as it was before.

    `q` ends it, where there is a keyboard. A changed size is seen at once; Ctrl-Z gives the terminal back.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._frame: Frame | None = None
        self._keyboard: _Keyboard | None = None
        self._waker: Waker | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._listen()
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._waker is not None:
            signal.set_wakeup_fd(-1)
            self._waker.close()

    def show(self, frame: Frame) -> None:
        self._frame = frame
        size = os.get_terminal_size(sys.stdout.fileno())
        # below the last line the cursor stays: a line written there would scroll
        lines = top.table(frame, self._output.look(), max(size.lines - 1, 1))
        self._write(_HOME + "".join(f"{line}{_END_OF_LINE}\r\n" for line in lines) + _BELOW)

    def pause(self, seconds: float) -> bool:
        if self._waker is None:
            time.sleep(seconds)
            return self._output.closed
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._output.closed:
            keyboard = [self._keyboard.descriptor] if self._keyboard is not None else []
            ready, _, _ = select.select([self._waker.descriptor, *keyboard], [], [], left)
            if self._waker.descriptor in ready:
                if signal.SIGTSTP in self._waker.drain():
                    self._suspend()
                if self._frame is not None:
                    self.show(self._frame)
            elif ready and self._keyboard is not None and self._keyboard.wants_to_leave():
                return True
        return self._output.closed

    # --- the terminal's state -----------------------------------------------------------------------------

    def _take(self) -> None:
        self._keyboard = _Keyboard.there()
        self._write(_ENTER)

    def _give_back(self) -> None:
        self._write(_LEAVE)
        if self._keyboard is not None:
            self._keyboard.give_back()
            self._keyboard = None

    def _write(self, text: str) -> None:
        self._output.raw(text)

    # --- signals ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if sys.platform == "win32":
            return  # no such signals; the size is read anew for each frame
        self._waker = Waker()
        signal.set_wakeup_fd(self._waker.signals, warn_on_full_buffer=False)
        for number in (signal.SIGWINCH, signal.SIGTSTP):  # handled in `pause`, never in the middle of a line
            self._handlers[number] = signal.signal(number, lambda _number, _frame: None)

    def _suspend(self) -> None:
        """Stop, as Ctrl-Z means, with the terminal as it was; go on when told to."""
        if sys.platform == "win32":
            return
        mine = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        self._give_back()
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, mine)
        self._take()


class _Keyboard:
    """Standard input without echo, key by key; Ctrl-C still is a signal."""

    def __init__(self, descriptor: int, before: list[Any]) -> None:
        self.descriptor = descriptor
        self._before = before

    @classmethod
    def there(cls) -> _Keyboard | None:
        """The keyboard, if we are in its foreground: a program in the background is stopped for touching it."""
        if sys.platform == "win32":
            return None
        import termios
        import tty

        try:
            descriptor = sys.stdin.fileno()
            if os.tcgetpgrp(descriptor) != os.getpgrp():
                return None
            before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSANOW)
        except (OSError, ValueError, AttributeError, termios.error):
            return None
        return cls(descriptor, before)

    def wants_to_leave(self) -> bool:
        """Whether a key says so; also when the keyboard is gone."""
        try:
            keys = os.read(self.descriptor, 64)
        except OSError:
            return True
        return not keys or b"q" in keys.lower()

    def give_back(self) -> None:
        if sys.platform == "win32":
            return
        import termios

        with suppress(OSError, termios.error):
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)
