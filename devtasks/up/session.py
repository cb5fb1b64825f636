"""One `up`, from the first start to the last process: start, watch, stop what was begun here and nothing else."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterable, Mapping

from devtasks.errors import Interrupted
from devtasks.model import Service
from devtasks.monitoring import claim
from devtasks.monitoring.happening import Happening
from devtasks.monitoring.hooks import Hook
from devtasks.monitoring.monitor import Monitor
from devtasks.monitoring.watched import Watched
from devtasks.outcomes import Started
from devtasks.planning import levels
from devtasks.starting import Starter
from devtasks.up import news, reasons
from devtasks.up.farewell import Farewell
from devtasks.up.guarded import Guardian
from devtasks.up.news import Event, News
from devtasks.up.onlooker import Onlooker
from devtasks.up.reasons import Reason, Terms
from devtasks.up.signals import Noted, only_ctrl_c
from devtasks.verbs import Scope

Say = Callable[[News], None]
Ask = Callable[[Callable[[], Iterable[News]]], None]


class Session:
    """Runs `services`, and says what happens. `say` never blocks; `ask` has it asked for progress every second."""

    def __init__(
        self, scope: Scope, services: tuple[Service, ...], terms: Terms, *, say: Say, ask: Ask, as_json: bool
    ) -> None:
        self._scope = scope
        self._state = scope.state
        self._services = services
        self._terms = terms
        self._say = say
        self._ask = ask
        self._json = as_json
        self._guardian = Guardian(scope.project)
        self._begun: dict[str, str] = {}  # service to the nonce of its run
        self._joined: set[str] = set()
        self._failed: set[str] = set()  # services whose last end was a failure
        self._settled = True  # whether no launch is under way
        self._noted = Noted()
        self._reason: Reason | None = None
        self._monitor: Monitor | None = None

    def run(self) -> int:
        """Until everything that was begun has ended; the exit code."""
        try:
            with claim.claimed(self._scope.project, os.getpid()) as claimed:
                reason = self._start() or self._watch(claimed)
        except KeyboardInterrupt:
            reason = reasons.of_signal(signal.SIGINT)
        except Interrupted as interruption:
            reason = reasons.of_signal(interruption.number)
        except BaseException:
            self._end("after an error")
            raise
        ok = self._end(reason.detail)
        code = reason.exit_code if ok else reason.exit_code or 1
        self._tell("end", reason.detail, exit_code=code)
        return code

    def end(self, reason: Reason) -> None:
        """Have `run` stop everything and return. For any thread; the first reason counts."""
        self._reason = self._reason or reason
        self._noted.waker.wake()

    def note(self, line: str) -> None:
        """A line of progress, of whoever works for us."""
        self._tell("note", line)

    # --- start ----------------------------------------------------------------------------------------------

    def _start(self) -> Reason | None:
        """Start what does not run, dependencies first. Why that is the end already; None: all are ready."""
        starter = Starter(self._scope.observer, self.note)
        for level in levels(self._services):
            nonces = {service.name: secrets.token_hex(8) for service in level}
            for service in level:
                self._begins(service.name, nonces[service.name])
            results = starter.start(level, timeout_seconds=None, nonces=nonces)
            for started in results:
                if started.outcome == "already-running":
                    del self._begun[started.name]
                    self._joined.add(started.name)
            reason = self._judge(results) or self._reason
            if reason is not None:
                return reason
        return None

    def _judge(self, results: tuple[Started, ...]) -> Reason | None:
        """What the outcomes mean: the end, when one could not be started, or has done its work already."""
        reason = None
        for started in results:
            code = self._code_of(started)
            if code is not None:
                self._say(news.of_exit(started.name, self._scope.world.now(), code, started.pid))
                reason = reason or reasons.of_exit(started.name, code)
            else:
                self._say(news.of_start(started, self._scope.world.now()))
        failed = [one for one in results if one.outcome not in ("started", "already-running")]
        if reason is None and failed:
            names = ", ".join(one.name for one in failed)
            reason = Reason(detail=f"{names} could not be started", exit_code=max(one.exit_code for one in failed))
        return reason

    def _code_of(self, started: Started) -> int | None:
        """How a service ended whose end is the end of all, and which did so before it counted as started."""
        if started.outcome != "exited" or not self._terms.ends_all(started.name):
            return None
        nonce = self._begun.get(started.name)
        return next((run.exit_code for run in self._state.runs(started.name, 5) if run.nonce == nonce), None)

    def _begins(self, service: str, nonce: str) -> None:
        """A run is about to begin: told to the guardian first, so that no moment is without one."""
        self._guardian.begins(service, nonce)
        self._begun[service] = nonce

    # --- watch ----------------------------------------------------------------------------------------------

    def _watch(self, claimed: claim.Claim | claim.Occupant) -> Reason:
        services = self._terms.watched(self._services)
        with self._noted.noting():
            if isinstance(claimed, claim.Claim):
                return self._attend(services, claimed)
            return self._look_on(services, claimed)

    def _attend(self, services: tuple[Service, ...], claimed: claim.Claim) -> Reason:
        """Watch, and restart what fails."""
        hook = Hook(self._scope.project)

        def told(what: Happening) -> None:
            hook.tell(what)
            self._happened(what)

        self._monitor = monitor = Monitor(self._scope, services, tell=self._told, told=told)
        try:
            monitor.loop.attend(self._noted.waker.descriptor, self._noted.waker.drain)
            monitor.every(claim.RENEW_SECONDS, lambda: self._renew(claimed))
            monitor.adopt()
            while True:
                reason = self._why_end()
                if reason is not None:
                    return reason
                ended = next((one for one in monitor.watched.values() if self._is_the_end(one)), None)
                if ended is not None:  # it was stopped before anybody watched: nobody told of its end
                    return reasons.of_exit(ended.name, ended.run.exit_code if ended.run is not None else None)
                if not any(_may_run_again(one) for one in monitor.watched.values()):
                    return self._all_over()
                monitor.turn()
        finally:
            self._settled = all(one.phase != "acting" for one in monitor.watched.values())
            monitor.close()
            hook.close(0.0)

    def _is_the_end(self, one: Watched) -> bool:
        return self._terms.ends_all(one.name) and one.phase == "idle" and not one.elsewhere

    def _renew(self, claimed: claim.Claim) -> None:
        """The state folder may have been deleted, and with it what says that we watch."""
        if not claimed.renew():
            self.end(Reason(detail="another monitor watches by now", exit_code=1))

    def _look_on(self, services: tuple[Service, ...], monitor: claim.Occupant) -> Reason:
        """See what another monitor does."""
        onlooker = Onlooker(self._scope, services, self._happened)
        try:
            onlooker.look()
            who = f"PID {monitor.pid}" if monitor.pid is not None else "another process"
            self.note(f"a monitor watches already ({who}): it restarts what fails, not this up")
            while True:
                reason = self._why_end()
                if reason is not None:
                    return reason
                if not onlooker.look():
                    return self._all_over()
                onlooker.wait(self._noted.waker.descriptor)
                self._noted.waker.drain()
        finally:
            onlooker.close()

    def _why_end(self) -> Reason | None:
        if self._noted.numbers:
            return reasons.of_signal(self._noted.numbers[0])
        return self._reason

    def _all_over(self) -> Reason:
        failed = ", ".join(sorted(self._failed))
        if failed:
            return Reason(detail=f"nothing runs any more; {failed} failed", exit_code=1)
        return Reason(detail="nothing runs any more", exit_code=0)

    def _told(self, line: str) -> None:
        """What the monitor says for people; programs get what happened instead."""
        if not self._json:
            self.note(line)

    def _happened(self, what: Happening) -> None:
        """Something happened to a service, as the monitor, or an onlooker, noticed."""
        if what.kind == "restart" and self._monitor is not None and what.service not in self._joined:
            nonce = self._monitor.watched[what.service].own
            if nonce is not None:
                self._begins(what.service, nonce)
        if what.kind == "failure" or (what.kind == "exit" and what.wanted and what.exit_code != 0):
            self._failed.add(what.service)
        elif what.kind in ("exit", "ready"):
            self._failed.discard(what.service)
        if what.kind == "exit" and self._terms.ends_all(what.service):
            self._reason = self._reason or reasons.of_exit(what.service, what.exit_code)
        told_already = self._monitor is not None and not self._json and (what.wanted or what.kind != "exit")
        if not told_already and what.kind in _EVENTS:
            detail = what.detail if what.wanted else f"{what.detail}: somebody stopped it"
            self._say(
                News(
                    event=_EVENTS[what.kind],
                    at=what.at,
                    service=what.service,
                    detail=detail,
                    pid=what.pid,
                    exit_code=what.exit_code,
                    lines=what.report,
                )
            )

    # --- the end --------------------------------------------------------------------------------------------

    def _end(self, why: str) -> bool:
        """Stop what was begun here; whether nothing of it is left."""
        with only_ctrl_c():
            farewell = Farewell(self._scope, self._begun, say=self._say, ask=self._ask)
            ok = farewell.stop(why, settled=self._settled)
            self._guardian.dismiss()
        self._noted.waker.close()
        return ok

    def _tell(self, event: Event, detail: str, *, exit_code: int | None = None) -> None:
        self._say(News(event=event, at=self._scope.world.now(), detail=detail, exit_code=exit_code))


_EVENTS: Mapping[str, Event] = {
    "exit": "exit",
    "ready": "ready",
    "restart": "restarting",
    "failure": "failed",
    "unhealthy": "unhealthy",
    "healthy": "healthy",
    "foreign": "foreign",
}


def _may_run_again(one: Watched) -> bool:
    """Whether it runs, or will without anybody's help."""
    if one.phase == "failed":
        return one.budget.failed_until is not None
    return one.phase != "idle" or one.elsewhere
