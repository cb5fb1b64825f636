"""What a monitor last said of a service's health, as long as that counts: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from devtasks.model import Condition, HealthProbe, Process, Service
from devtasks.outcomes import RestartStatus
from devtasks.store.watching import MonitorBeat, ServiceBeat

_SILENT_SECONDS = 15.0  # a monitor writes every five; one that is stopped or starved knows nothing
_GRACE_SECONDS = 10.0  # for an answer to come and to be written down


class LastWord:
    """The heartbeats of one monitor against one process table."""

    def __init__(
        self,
        monitor: MonitorBeat | None,
        services: Mapping[str, ServiceBeat],
        processes: Mapping[int, Process],
        *,
        boot: str,
        namespace: int,
        now: float,
    ) -> None:
        self._services = services
        self._now = now
        self._watches = False
        if monitor is not None:
            row = processes.get(monitor.identity.pid)
            lives = row is not None and not row.gone and row.start == monitor.identity.start
            here = (monitor.identity.boot, monitor.identity.namespace) == (boot, namespace)
            self._watches = here and lives and abs(now - monitor.at) <= _SILENT_SECONDS

    def knows(self, service: str) -> bool:
        """Whether a monitor ever said something of it."""
        return service in self._services

    def restarts(self, service: Service, nonce: str | None) -> tuple[int, RestartStatus | None]:
        """How often the run `nonce`, its last, was started again, and what is known of the budget.

        What was given up stays so when the monitor leaves; what it was about to do does not.
        """
        beat = self._services.get(service.name)
        if beat is None or nonce is None or beat.nonce != nonce:
            return 0, None
        policy = service.restart
        return beat.restarts, RestartStatus(
            policy=policy.policy,
            max=policy.max,
            window_seconds=policy.window_seconds,
            left=beat.left,
            next_at=beat.next_restart_at if self._watches else None,
            waits_for=beat.blocked if self._watches else None,
            failed=beat.failed,
            failed_until=beat.failed_until,
            cause=beat.cause,
        )

    def on(self, service: str, probe: HealthProbe, nonce: str | None) -> tuple[Condition, str | None]:
        """The condition of the run `nonce`, and a line about it where it is not well. unknown: nobody knows."""
        beat = self._services.get(service)
        if not self._watches or beat is None or beat.health is None or beat.nonce != nonce:
            return "unknown", None
        longest = probe.interval_seconds + probe.timeout_seconds + _GRACE_SECONDS
        if beat.health != "starting" and (beat.answered_at is None or self._now - beat.answered_at > longest):
            return "unknown", None
        condition = cast("Condition", beat.health)  # checked where it was read
        return condition, None if condition == "healthy" else beat.detail
