"""`serve` and its counterparts `--stop` and `--status`: what is asked for. `foreground.py` carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from devtasks import verbs
from devtasks.command.options import Flags
from devtasks.errors import Refused, UsageError
from devtasks.model import Project, Service
from devtasks.outcomes import ServeReport, Status, StopReport
from devtasks.ports import freeing
from devtasks.ports.verdict import describe
from devtasks.serving.foreground import Foreground
from devtasks.serving.target import Target, resolve
from devtasks.values import replace
from devtasks.verbs import Scope

_ONLY_SERVING = ("reload", "workers", "force")


def serve(
    project: Project,
    flags: Flags,
    environ: Mapping[str, str],
    tell: Callable[[str], None],
    asker: str = "devtasks serve",
) -> ServeReport | StopReport | Status:
    """Do what `flags` ask for. Raises UsageError, Refused, or DevtasksError when the server ended by itself."""
    _check(flags)
    target = resolve(project, flags, environ, Path.cwd().resolve())
    placed = _placed(project, target.service)
    with closing(verbs.scope(placed, tell=tell, asker=asker)) as scope:
        if flags.stop:
            return _stop(scope, target, flags)
        if flags.status:
            return _status(scope, target, flags)
        if target.app is None:
            raise UsageError("serve needs to know what: devtasks serve MODULE:ATTRIBUTE, as in main:app")
        return Foreground(scope, target, flags).run()


def _check(flags: Flags) -> None:
    if flags.stop and flags.status:
        raise UsageError("--stop and --status exclude each other")
    wrong = next((name for name in _ONLY_SERVING if getattr(flags, name)), None)
    if wrong and (flags.stop or flags.status):
        raise UsageError(f"--{wrong} goes with neither --stop nor --status")
    if flags.check and not flags.status:
        raise UsageError("--check goes with --status")
    if flags.reload and (flags.workers or 1) > 1:
        raise UsageError("--reload and --workers exclude each other: uvicorn reloads one process")


def _placed(project: Project, service: Service) -> Project:
    """The project, with the service as it is served."""
    others = tuple(one for one in project.services if one.name != service.name)
    if len(others) == len(project.services):
        return replace(project, services=(*others, service))
    return replace(
        project, services=tuple(service if one.name == service.name else one for one in project.services)
    )


def _stop(scope: Scope, target: Target, flags: Flags) -> StopReport:
    """Stop what is served on the port. Raises Refused when that is somebody else's."""
    seen = scope.observer.observe()
    if not seen.of(target.service.name):
        row = freeing.look(scope.observer, seen, target.port)
        if row.state != "free":
            held = "; ".join(map(describe, row.holders))
            raise Refused(
                f"no server of this project has port {target.port}: it is held by {held}",
                hint=f"devtasks free-port --port {target.port} tells whether it may be freed",
            )
    return verbs.stop(scope, (target.service.name,), timeout_seconds=flags.timeout, dry_run=flags.dry_run)


def _status(scope: Scope, target: Target, flags: Flags) -> Status:
    """How the server on the port stands; without --port, every server."""
    names = [target.service.name]
    if flags.port is None:
        names += [one.name for one in scope.project.services if not one.command and one.name not in names]
    return verbs.status(scope, tuple(names))
