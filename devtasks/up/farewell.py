"""The end of an `up`: what it began is stopped, dependants first, and whoever looks on sees what is waited for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from devtasks.ending import KILL_SECONDS
from devtasks.model import Service
from devtasks.phrases import pid_list
from devtasks.planning import levels
from devtasks.stopping import Stopper
from devtasks.up.news import Event, News
from devtasks.up.runs import Ends, Runs
from devtasks.verbs import Scope


class Farewell:
    """Stops the runs of `begun` (service to nonce)."""

    def __init__(
        self,
        scope: Scope,
        begun: Mapping[str, str],
        *,
        say: Callable[[News], None],
        ask: Callable[[Callable[[], Iterable[News]]], None],
    ) -> None:
        self._scope = scope
        self._world = scope.world
        self._runs = Runs(scope.world, scope.project, scope.state, begun)
        self._say = say
        self._ask = ask
        self._stopper: Stopper | None = None

    def stop(self, why: str, *, settled: bool) -> bool:
        """Whether nothing is left. `settled` False: some launch may be under way still. Ctrl-C hastens it."""
        alive = self._runs.alive()
        if alive:
            seconds = sum(max(one.stop.timeout_seconds for one in group) for group in levels(alive))
            names = ", ".join(one.name for one in alive)
            self._tell(
                "stopping", f"{why}: stopping {names}, at most {seconds:g} s; Ctrl-C kills", seconds=seconds
            )
        else:
            self._tell("note", why)
        began = self._world.monotonic()
        self._ask(self._progress)
        try:
            ends = self._runs.end(self._begins)
            if not settled:
                self._runs.end_all()
        finally:
            self._ask(tuple)
        self._report(ends, self._world.monotonic() - began)
        return ends.ok

    def _begins(self, stopper: Stopper, services: tuple[Service, ...]) -> None:
        self._stopper = stopper
        for service in services:
            signals = " then ".join(service.stop.signals)
            self._tell("stopping", f"asked to end with {signals}", service.name, service.stop.timeout_seconds)

    def _progress(self) -> Iterable[News]:
        """What is waited for, and how long at most; called in another thread."""
        found = []
        now = self._world.monotonic()
        with suppress(RuntimeError):  # something came for a service while we counted
            for ending in self._stopper.endings if self._stopper is not None else ():
                pids = [target.pid for target in ending.live]
                if not pids or ending.given_up:
                    continue
                if ending.killing_since is not None:
                    until, what = ending.killing_since + KILL_SECONDS, "killed; waiting for"
                else:
                    until, what = ending.began + ending.policy.timeout_seconds, "waiting for"
                left = max(0, math.ceil(until - now))
                found.append(
                    News(
                        event="waiting",
                        at=self._world.now(),
                        service=ending.name,
                        seconds=float(left),
                        detail=f"{what} {pid_list(pids)}, at most {left} s",
                    )
                )
        return found

    def _report(self, ends: Ends, seconds: float) -> None:
        for ending in ends.endings:
            for survivor in ending.survivors:
                self._tell("failed", f"PID {survivor.pid} {survivor.reason}", ending.name)
        stopped = sum(len(ending.stopped) for ending in ends.endings)
        killed = sum(len(ending.killed) for ending in ends.endings)
        if stopped or killed:
            words = [f"stopped {stopped}"] * bool(stopped) + [f"killed {killed}"] * bool(killed)
            many = "process" if stopped + killed == 1 else "processes"
            self._tell("stopped", f"{' and '.join(words)} {many} in {seconds:.2f} s", seconds=seconds)
        for service, pid in self._runs.others():
            self._tell("left", f"left running (PID {pid}): this up did not start it", service.name, pid=pid)

    def _tell(
        self,
        event: Event,
        detail: str,
        service: str | None = None,
        seconds: float | None = None,
        pid: int | None = None,
    ) -> None:
        at = self._world.now()
        self._say(News(event=event, at=at, detail=detail, service=service, seconds=seconds, pid=pid))
