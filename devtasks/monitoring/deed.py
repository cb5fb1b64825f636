"""What a monitor does beside its loop: stop and start one service, in a thread with a state of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from devtasks import verbs
from devtasks.errors import DevtasksError, Refused
from devtasks.model import Project, Service, Snapshot
from devtasks.outcomes import Started
from devtasks.sparing import Spare
from devtasks.starting import Starter
from devtasks.stopping import Stopper
from devtasks.store.state import State
from devtasks.values import Value
from devtasks.world import this_world

ASKER = "devtasks monitor"


class Done(Value):
    """How it came out. `forbidden`: nothing was started, because it is not wanted any more."""

    started: Started
    nonce: str
    forbidden: bool


class Order(Value):
    """What is to be done: start `service` as the run `nonce`; with `replacing`, that run is stopped first.

    `may` is asked in the thread whether the monitor still wants this; whether the service is wanted is read from
    the state. `known` is an earlier look, `spare` has a runner ready, `tell` is called in the thread, too.
    """

    project: Project
    service: Service
    nonce: str
    replacing: str | None
    known: Snapshot | None
    spare: Callable[[], Spare | None]
    may: Callable[[], bool]
    tell: Callable[[str], None]


def begin(order: Order, done: Callable[[Done], None]) -> None:
    """Carry it out in a thread; `done` is called there exactly once, whatever happens."""

    def work() -> None:
        try:
            result = _Deed(order).carry_out()
        except BaseException as error:  # noqa: BLE001 - a thread's end is told like any other
            result = Done(started=_failed(order.service, error), nonce=order.nonce, forbidden=False)
        done(result)

    threading.Thread(target=work, name=f"restart {order.service.name}", daemon=True).start()


class _Deed:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._service = order.service
        self._forbidden = False
        self._state = State.open(order.project, create=True, asker=ASKER)

    def carry_out(self) -> Done:
        order = self._order
        scope = verbs.Scope(order.project, this_world(), self._state, order.tell)
        scope.observer.known = order.known
        try:
            reason = self._permit(self._service)
            if reason is None and order.replacing is not None:
                self._end(scope, order.replacing)
            started = self._start(scope) if reason is None else _failed(self._service, Refused(reason))
        finally:
            scope.close()
        return Done(started=started, nonce=order.nonce, forbidden=self._forbidden)

    def _end(self, scope: verbs.Scope, nonce: str) -> None:
        ended = Stopper(scope.observer, scope.observer.observe()).stop([self._service])
        survivors = ended.endings[self._service.name].survivors
        if survivors:
            one = survivors[0]
            raise DevtasksError(f"{self._service.name}: cannot be stopped: PID {one.pid} {one.reason}")
        scope.state.finish(nonce, ended_at=scope.world.now(), cause="restarted")

    def _start(self, scope: verbs.Scope) -> Started:
        order = self._order
        starter = Starter(scope.observer, order.tell, permit=self._permit, spare=order.spare)
        nonces = {order.service.name: order.nonce}
        (started,) = starter.start([order.service], timeout_seconds=None, nonces=nonces)
        return started

    def _permit(self, service: Service) -> str | None:
        """Why it may not be started (any more)."""
        row = self._state.watching.wanted().get(service.name)
        if row is not None and not row.wanted:
            self._forbidden = True
            return "it was stopped meanwhile"
        if not self._order.may():
            self._forbidden = True
            return "the monitor ends"
        return None


def _failed(service: Service, error: BaseException) -> Started:
    told = error.message if isinstance(error, DevtasksError) else f"{type(error).__name__}: {error}"
    return Started(
        name=service.name,
        outcome="refused" if isinstance(error, Refused) else "exited",
        pid=None,
        seconds=0.0,
        detail=told.removeprefix(f"{service.name}: "),
        exit_code=1,
    )
