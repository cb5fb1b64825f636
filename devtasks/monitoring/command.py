"""`monitor`: watch in the foreground or in the background, say who watches, end the one in the background."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from devtasks.command.options import Flags
from devtasks.errors import Interrupted, UsageError
from devtasks.model import Service
from devtasks.monitoring import background, claim
from devtasks.monitoring.hooks import Hook
from devtasks.monitoring.monitor import Monitor
from devtasks.observing import select
from devtasks.outcomes import MonitorReport
from devtasks.verbs import Scope

_ASKED = ("detach", "stop", "status")


def monitor(scope: Scope, names: tuple[str, ...], flags: Flags, environ: Mapping[str, str]) -> MonitorReport:
    """Do what `flags` ask for. Watching returns when it is interrupted; the services go on."""
    asked = [name for name in _ASKED if getattr(flags, name)]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} exclude each other")
    services = tuple(one for one in select(scope.project, names) if one.command)
    if flags.status:
        return _status(scope)
    if flags.stop:
        return background.stop(scope, dry_run=flags.dry_run)
    there = claim.occupant(scope.project)
    if there is not None:
        return _occupied(scope, there)
    if flags.dry_run:
        chosen = tuple(one.name for one in services)
        return MonitorReport(state="started", pid=None, since=None, services=chosen, dry_run=True)
    if flags.detach:
        return background.start(scope, names, services, environ)
    return watch(scope, services, scope.tell)


def watch(scope: Scope, services: tuple[Service, ...], tell: Callable[[str], None]) -> MonitorReport:
    """Watch in this process until interrupted, if nobody else does."""
    scope.remember()
    with claim.claimed(scope.project, os.getpid()) as claimed:
        if isinstance(claimed, claim.Occupant):
            return _occupied(scope, claimed)
        hook = Hook(scope.project)
        number = int(signal.SIGINT)
        watching = Monitor(scope, services, tell=tell, told=hook.tell)
        watching.every(claim.RENEW_SECONDS, lambda: _renew(claimed, watching, tell))
        scope.state.event(claim.name(scope.project), "monitor", pid=os.getpid(), detail="watching")
        try:
            watching.adopt()
            tell(f"watching {', '.join(one.name for one in services) or 'nothing'} (PID {os.getpid()})")
            watching.run()
            number = 0
        except KeyboardInterrupt:
            pass
        except Interrupted as interruption:
            number = interruption.number
        finally:
            hook.close()
        scope.state.event(claim.name(scope.project), "monitor", pid=os.getpid(), detail="left")
    tell("left: the services go on, and nobody starts them again")
    return MonitorReport(
        state="ended",
        pid=os.getpid(),
        since=None,
        services=tuple(one.name for one in services),
        exit_code=128 + number if number else 0,
    )


def _renew(claimed: claim.Claim, watching: Monitor, tell: Callable[[str], None]) -> None:
    """The state folder may have been deleted, and with it what says that we are the one."""
    if not claimed.renew():
        tell("another monitor watches by now: this one leaves")
        watching.stop()


def _status(scope: Scope) -> MonitorReport:
    there = claim.occupant(scope.project)
    if there is None:
        return MonitorReport(state="not-watching", pid=None, since=None)
    return _occupied(scope, there)


def _occupied(scope: Scope, there: claim.Occupant) -> MonitorReport:
    """Who watches. Since when tells the process table, and else the last heartbeat."""
    since = None
    beat, services = scope.state.watching.beats()
    if there.pid is not None:
        row = scope.world.reread([there.pid]).get(there.pid)
        since = scope.world.started_at(row) if row is not None and not row.gone else None
    elif beat is not None:
        since = beat.since
    return MonitorReport(state="watching", pid=there.pid, since=since, services=tuple(services))
