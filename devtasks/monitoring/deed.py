"""What a monitor does beside its loop: stop and start one service, in a thread with a state of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from devtasks import verbs
from devtasks.errors import DevtasksError, Refused
from devtasks.model import Project, Service
from devtasks.outcomes import Started
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


def begin(
    project: Project,
    service: Service,
    nonce: str,
    *,
    replacing: str | None,
    may: Callable[[], bool],
    tell: Callable[[str], None],
    done: Callable[[Done], None],
) -> None:
    """Start `service` as the run `nonce`, in a thread; with `replacing`, that run is stopped first.

    `may` is asked, in that thread, whether the monitor still wants this; whether the service is wanted is read
    from the state. `tell` and `done` are called in that thread, too; `done` exactly once, whatever happens.
    """

    def work() -> None:
        try:
            result = _Deed(project, service, nonce, may, tell).carry_out(replacing)
        except BaseException as error:  # noqa: BLE001 - a thread's end is told like any other
            result = Done(started=_failed(service, error), nonce=nonce, forbidden=False)
        done(result)

    threading.Thread(target=work, name=f"restart {service.name}", daemon=True).start()


class _Deed:
    def __init__(
        self, project: Project, service: Service, nonce: str, may: Callable[[], bool], tell: Callable[[str], None]
    ) -> None:
        self._project = project
        self._service = service
        self._nonce = nonce
        self._may = may
        self._tell = tell
        self._forbidden = False
        self._state = State.open(project, create=True, asker=ASKER)

    def carry_out(self, replacing: str | None) -> Done:
        scope = verbs.Scope(self._project, this_world(), self._state, self._tell)
        try:
            reason = self._permit(self._service)
            if reason is None and replacing is not None:
                self._end(scope, replacing)
            started = self._start(scope) if reason is None else _failed(self._service, Refused(reason))
        finally:
            scope.close()
        return Done(started=started, nonce=self._nonce, forbidden=self._forbidden)

    def _end(self, scope: verbs.Scope, nonce: str) -> None:
        ended = Stopper(scope.observer, scope.observer.observe()).stop([self._service])
        survivors = ended.endings[self._service.name].survivors
        if survivors:
            one = survivors[0]
            raise DevtasksError(f"{self._service.name}: cannot be stopped: PID {one.pid} {one.reason}")
        scope.state.finish(nonce, ended_at=scope.world.now(), cause="restarted")

    def _start(self, scope: verbs.Scope) -> Started:
        starter = Starter(scope.observer, self._tell, permit=self._permit)
        (started,) = starter.start([self._service], timeout_seconds=None, nonces={self._service.name: self._nonce})
        return started

    def _permit(self, service: Service) -> str | None:
        """Why it may not be started (any more)."""
        row = self._state.watching.wanted().get(service.name)
        if row is not None and not row.wanted:
            self._forbidden = True
            return "it was stopped meanwhile"
        if not self._may():
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
