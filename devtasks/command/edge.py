"""The edge of the program: what goes wrong below becomes one message and an exit code here, and nowhere else."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from devtasks.errors import DevtasksError, Interrupted
from devtasks.report.output import Output

_ENDING = ("SIGTERM", "SIGHUP", "SIGBREAK")


def guarded(work: Callable[[], int], output: Output) -> int:
    """The exit code of `work`, or of what it raised, which is told through `output`. Raises nothing."""
    try:
        with _signals_raised():
            code = work()
    except KeyboardInterrupt:
        output.remark("interrupted")
        return 128 + signal.SIGINT
    except Interrupted as interrupted:
        output.remark(f"ended by {signal.Signals(interrupted.number).name}")
        return interrupted.exit_code
    except DevtasksError as error:
        return _told(error, output)
    except OSError as error:
        return _told(DevtasksError(_of_the_system(error)), output)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _told(_internal(error), output)
    if output.failure is not None:
        failure = DevtasksError(f"cannot write the output: {output.failure.strerror}")
        return max(_told(failure, Output(json=False)), code)
    return code


def _told(error: DevtasksError, output: Output) -> int:
    output.complain(error)
    return error.exit_code


def _of_the_system(error: OSError) -> str:
    """A full disk, a read-only folder, too few descriptors: what and where, as the system says it."""
    _trace()
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{where}{error.strerror or error}"


def _internal(error: Exception) -> DevtasksError:
    _trace()
    return DevtasksError(
        f"internal error: {type(error).__name__}: {error}",
        hint="this is a bug in devtasks; please report it with what DEVTASKS_DEBUG=1 prints",
    )


def _trace() -> None:
    if os.environ.get("DEVTASKS_DEBUG") == "1":
        import traceback

        traceback.print_exc()


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Within it, TERM, HUP and BREAK (Windows) raise Interrupted, once: what is being undone is not disturbed.

    A signal that is ignored (nohup) stays ignored; where somebody else handles it, or outside the main thread,
    nothing changes.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    before: list[int] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
        before = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
