"""Carries actions out, one a service at a time, each in a thread of its own with a look of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any, TypeVar

from devtasks import outcomes, verbs
from devtasks.dashboard import problems
from devtasks.dashboard.problems import Problem
from devtasks.errors import DevtasksError
from devtasks.model import Project
from devtasks.report import foreign

ASKER = "the dashboard"  # as events name it

T = TypeVar("T")
Work = Callable[[verbs.Scope], T]


class Actor:
    """Knows what is under way. `publish` hears of it, `done` that something may have changed."""

    def __init__(
        self,
        project: Callable[[], Project],
        *,
        publish: Callable[[str, Mapping[str, Any]], None],
        done: Callable[[], None],
    ) -> None:
        self._project = project
        self._publish = publish
        self._done = done
        self._underway: dict[str, str] = {}  # replaced, never changed: the lookout reads it
        self._threads: set[threading.Thread] = set()

    def underway(self) -> Mapping[str, str]:
        """What is being done, by service."""
        return self._underway

    async def look(self, work: Work[T]) -> T:
        """The answer of `work`, which changes nothing."""
        return await self._in_a_thread(work, tell=_nobody)

    async def act(self, action: str, names: Collection[str], work: Work[outcomes.Acted]) -> outcomes.Acted:
        """Carry out an action on services. Raises Problem, nothing begun, while another one is at one of them."""
        busy = next((name for name in names if name in self._underway), None)
        if busy is not None:
            raise Problem(
                "busy",
                f"{busy}: a {self._underway[busy]} is under way",
                hint="wait until it is done, then try again",
            )
        self._underway = {**self._underway, **dict.fromkeys(names, action)}
        label = next(iter(names))
        self._told(action, label, "begun")
        ok: bool | None = None
        try:
            outcome = await self._in_a_thread(
                work, tell=lambda line: self._told(action, label, "told", line=foreign(line))
            )
            ok = bool(getattr(outcome, "ok", True))
            return outcome
        finally:
            self._underway = {name: one for name, one in self._underway.items() if name not in names}
            self._told(action, label, "done", ok=ok)
            self._done()

    async def settle(self, seconds: float) -> None:
        """Wait until nothing is under way, but no longer."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._threads and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _told(
        self, action: str, service: str, phase: str, *, ok: bool | None = None, line: str | None = None
    ) -> None:
        told = {"service": service, "action": action, "phase": phase, "ok": ok, "line": line}
        self._publish("action", told)
        if phase == "begun":
            self._done()  # the row of the service says it, too

    async def _in_a_thread(self, work: Work[T], tell: Callable[[str], None]) -> T:
        """Not in a pool: the end of the program would wait for whatever a pool still does.

        A request that is cancelled leaves its work to go on: what was begun is brought to its end.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            self._threads.discard(thread)
            if answer.done():
                return
            if error is None:
                answer.set_result(result)  # type: ignore[arg-type]
            else:
                answer.set_exception(error)

        def run() -> None:
            result: T | None = None
            failure: BaseException | None = None
            try:
                with closing(verbs.scope(self._project(), tell=tell, asker=ASKER)) as scope:
                    result = work(scope)
            except DevtasksError as error:
                failure = problems.of(error)
            except OSError as error:
                failure = problems.of(DevtasksError(str(error)))
            except BaseException as error:  # noqa: BLE001 - told as what it is
                failure = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, failure)

        thread = threading.Thread(target=run, name="action", daemon=True)
        self._threads.add(thread)
        thread.start()
        return await answer


def _nobody(_line: str) -> None:
    """Progress that nobody waits for."""
