"""One step of a shutdown, carried out: done, failed, or not done in time. No step can stop the ones after it."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from devtasks.values import Value

if TYPE_CHECKING:
    import asyncio

    # A function, sync or async, or a task (or future) to be cancelled.
    Action = Callable[[], object] | asyncio.Future[Any]
else:
    Action = Callable[[], object]

_CANCEL_SECONDS: Final = 0.1  # how long what was cancelled may take to tidy up

# What could neither be ended nor waited for. Kept, because a pending task that is thrown away complains.
_abandoned: list[object] = []


class Step(Value):
    """`force` is called when `action` was not done in time; it returns a line for each thing that it forced.

    `force_seconds`: how long that may take, on top of `timeout_seconds`.
    """

    name: str
    action: Action
    timeout_seconds: float
    force: Callable[[], object] | None = None
    force_seconds: float = 0.0


class Result(Value):
    """How a step went. `detail` is for people; `forced` is empty unless the step was late."""

    outcome: Literal["done", "failed", "late"]
    detail: str = ""
    forced: tuple[str, ...] = ()


async def carry_out(step: Step, seconds: float) -> Result:
    """Do what the step says, for `seconds` at most, force included. Raises nothing but the caller's cancellation.

    A coroutine is cancelled at the timeout, a thread abandoned; so is a coroutine that swallows its cancellation.
    """
    import asyncio

    own_seconds = min(step.timeout_seconds, max(seconds - step.force_seconds, seconds / 2))
    threads: list[threading.Thread] = []
    task = asyncio.get_running_loop().create_task(_perform(step.action, threads), name=f"shutdown: {step.name}")
    await asyncio.wait({task}, timeout=own_seconds)
    if task.done():
        failure = _failure(task)
        return Result(outcome="done") if failure is None else Result(outcome="failed", detail=failure)
    task.cancel()
    await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
    ended = "abandoned" if not task.done() or any(thread.is_alive() for thread in threads) else "cancelled"
    if not task.done():
        abandon(task)
    if step.force is None:
        return Result(outcome="late", detail=ended, forced=(f"{step.name} ({ended})",))
    return await _by_force(step, min(step.force_seconds, seconds - own_seconds))


async def _by_force(step: Step, seconds: float) -> Result:
    import asyncio

    forced: list[str] = []

    async def force() -> None:
        lines = await _called(cast("Callable[[], object]", step.force), [])
        forced.extend(cast("Iterable[str]", lines or ()))

    task = asyncio.get_running_loop().create_task(force(), name=f"shutdown by force: {step.name}")
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        abandon(task)
        forced.append(f"{step.name} (abandoned)")
    elif failure := _failure(task):
        forced.append(f"{step.name} ({failure})")
    return Result(outcome="late", detail="by force", forced=tuple(forced))


async def _perform(action: Action, threads: list[threading.Thread]) -> None:
    import asyncio

    if isinstance(action, asyncio.Future):
        action.cancel()
        await asyncio.wait({action})
        if not action.cancelled() and (error := action.exception()):
            raise error
    else:
        await _called(action, threads)


async def _called(function: Callable[[], object], threads: list[threading.Thread]) -> object:
    """Call it: a coroutine function in this loop, any other in a thread of its own, which `threads` then has."""
    try:
        result = function() if inspect.iscoroutinefunction(function) else await in_thread(function, threads)
        return await cast("Awaitable[object]", result) if inspect.isawaitable(result) else result
    except (SystemExit, KeyboardInterrupt) as error:  # would end the loop, and with it all later steps
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _failure(task: asyncio.Task[None]) -> str | None:
    """What a finished task failed with, in a line."""
    from devtasks.store.logs import printable

    if task.cancelled():
        return "was cancelled"
    error = task.exception()
    if error is None:
        return None
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def abandon(task: asyncio.Task[Any]) -> None:
    """Let the loop end without this task: `asyncio.run` waits for all that it knows, for ever."""
    import asyncio

    asyncio._unregister_task(task)  # noqa: SLF001 - documented for who implements tasks
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
    _abandoned.append(task)


async def in_thread(function: Callable[[], object], threads: list[threading.Thread] | None = None) -> object:
    """The result of `function`, called in a daemon thread: one that hangs keeps neither loop nor process."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        result: object = None
        failure: BaseException | None = None
        try:
            result = context.run(function)
        except StopIteration as error:  # no future takes it
            failure = RuntimeError(repr(error))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop was closed without us
            loop.call_soon_threadsafe(settle, result, failure)

    def settle(result: object, failure: BaseException | None) -> None:
        if future.done():
            return
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)

    thread = threading.Thread(target=work, name="shutdown step", daemon=True)
    thread.start()
    if threads is not None:
        threads.append(thread)
    return await future
