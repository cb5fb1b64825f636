"""What a monitor does beside its loop: stop and start one service, in a thread with a state of its own.

The thread is there before it is needed (`Hands`), with all that can be got ready: a restart is to be quick.
"""

from __future__ import annotations

import queue
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
    the state. `known` is an earlier look, `spare` has a runner ready. `done` is called in the thread exactly once,
    whatever happens.
    """

    service: Service
    nonce: str
    replacing: str | None
    known: Snapshot | None
    spare: Callable[[], Spare | None]
    may: Callable[[], bool]
    done: Callable[[Done], None]


class Hands:
    """Keeps a thread ready that carries out one order. For the loop's thread alone.

    `tell` is called in the threads.
    """

    def __init__(self, project: Project, tell: Callable[[str], None]) -> None:
        self._project = project
        self._tell = tell
        self._ready: queue.SimpleQueue[Order | None] | None = None

    def refill(self) -> None:
        """Have one ready."""
        if self._ready is not None:
            return
        orders = self._ready = queue.SimpleQueue()

        def work() -> None:
            bench = order = None
            try:
                bench = _Bench(self._project, self._tell)
                order = orders.get()
                result = bench.carry_out(order) if order is not None else None
            except BaseException as error:  # noqa: BLE001 - a thread's end is told like any other
                order = order or orders.get()
                result = _undone(order, error) if order is not None else None
            finally:
                if bench is not None:
                    bench.close()
            if order is not None and result is not None:
                order.done(result)

        threading.Thread(target=work, name="restart", daemon=True).start()

    def give(self, order: Order) -> None:
        """Have it carried out beside the loop, however many others are."""
        self.refill()
        orders, self._ready = self._ready, None
        if orders is not None:
            orders.put(order)

    def close(self) -> None:
        """Let go of the one that waits."""
        if self._ready is not None:
            self._ready.put(None)
            self._ready = None


class _Bench:
    """A state, and an observer, of one thread's own."""

    def __init__(self, project: Project, tell: Callable[[str], None]) -> None:
        self._tell = tell
        state = State.open(project, create=True, asker=ASKER)
        state.watching.wanted()  # opens the database
        self._scope = verbs.Scope(project, this_world(), state, tell)

    def close(self) -> None:
        self._scope.close()

    def carry_out(self, order: Order) -> Done:
        """Raises what stands in the way."""
        self._scope.observer.known = order.known
        permission = _Permission(order, self._scope.state)
        reason = permission.refusal(order.service)
        if reason is not None:
            started = _failed(order.service, Refused(reason))
        else:
            if order.replacing is not None:
                self._end(order.service, order.replacing)
            started = self._start(order, permission)
        return Done(started=started, nonce=order.nonce, forbidden=permission.forbidden)

    def _end(self, service: Service, nonce: str) -> None:
        scope = self._scope
        ended = Stopper(scope.observer, scope.observer.observe()).stop([service])
        survivors = ended.endings[service.name].survivors
        if survivors:
            one = survivors[0]
            raise DevtasksError(f"{service.name}: cannot be stopped: PID {one.pid} {one.reason}")
        scope.state.finish(nonce, ended_at=scope.world.now(), cause="restarted")

    def _start(self, order: Order, permission: _Permission) -> Started:
        starter = Starter(self._scope.observer, self._tell, permit=permission.refusal, spare=order.spare)
        nonces = {order.service.name: order.nonce}
        (started,) = starter.start([order.service], timeout_seconds=None, nonces=nonces)
        return started


class _Permission:
    """Whether what was ordered still may be started. `forbidden`: it might not, once."""

    def __init__(self, order: Order, state: State) -> None:
        self._order = order
        self._state = state
        self.forbidden = False

    def refusal(self, service: Service) -> str | None:
        """Why it may not be started (any more)."""
        row = self._state.watching.wanted().get(service.name)
        reason = None
        if row is not None and not row.wanted:
            reason = "it was stopped meanwhile"
        elif not self._order.may():
            reason = "the monitor ends"
        self.forbidden = self.forbidden or reason is not None
        return reason


def _undone(order: Order, error: BaseException) -> Done:
    return Done(started=_failed(order.service, error), nonce=order.nonce, forbidden=False)


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
