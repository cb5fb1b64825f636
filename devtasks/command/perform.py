"""One call of a task, from the flags to the exit code: load, do, report.

Imported when a task runs, never to list one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from devtasks import outcomes, verbs
from devtasks.command import options
from devtasks.command.edge import guarded
from devtasks.command.options import Flags
from devtasks.config import loading
from devtasks.errors import UsageError
from devtasks.model import Project
from devtasks.observing import select
from devtasks.report.output import Output
from devtasks.values import Value, replace
from devtasks.verbs import Scope


class Call(Value):
    """What was asked for. `names` are of services or groups, unchecked; none of them means all."""

    folder: Path
    names: tuple[str, ...]
    flags: Flags
    environ: Mapping[str, str]
    asker: str  # what was typed, as events tell it: "inv stop-web"


def perform(
    verb: str,
    folder: Path,
    service: str | None,
    values: Mapping[str, Any],
    *,
    dry: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Do what `verb` says, for one `service` or as `values` (Invoke's, of the verb's flags) say.

    Returns the exit code, and reports everything else on the standard streams. Raises nothing.
    """
    color = values.get("color")
    output = Output(
        json=bool(values.get("json")), color=color if color in ("always", "never") else "auto", environ=environ
    )

    def work() -> int:
        flags = options.checked(values)
        if dry:
            flags = replace(flags, dry_run=True)
        names = flags.only if service is None else (service,)
        asker = f"{_program()} {verb if service is None else f'{verb}-{service}'}"
        call = Call(folder=folder, names=names, flags=flags, environ=environ, asker=asker)
        if verb in _RUNS_ON:
            return _RUNS_ON[verb](call, output)
        outcome = _outcome(verb, call, output.tell)
        output.report(outcome, why=flags.why)
        return exit_code(outcome, flags)

    return guarded(work, output)


def _program() -> str:
    """What this program was called by: inv, devtasks, or whatever has our tasks as functions."""
    path = Path(sys.argv[0] if sys.argv else "")
    name = path.parent.name if path.name == "__main__.py" else path.stem
    return {"invoke": "inv", "": "devtasks"}.get(name, name)[:40]


def exit_code(outcome: outcomes.Anything, flags: Flags) -> int:
    """What the outcome means for the exit status (docs/cli.md)."""
    if isinstance(outcome, outcomes.Status):
        return outcome.check if flags.check else 0
    acted = outcomes.StartReport | outcomes.StopReport | outcomes.RestartReport | outcomes.ServeReport
    if isinstance(outcome, acted | outcomes.HealthReport | outcomes.ExportReport | outcomes.MonitorReport):
        return outcome.exit_code
    return 0


# --- the verbs ---------------------------------------------------------------------------------------


def _start(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.start(scope, call.names, timeout_seconds=call.flags.timeout, dry_run=call.flags.dry_run)


def _stop(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.stop(scope, call.names, timeout_seconds=call.flags.timeout, dry_run=call.flags.dry_run)


def _restart(scope: Scope, call: Call) -> outcomes.Anything:
    flags = call.flags
    return verbs.restart(
        scope, call.names, timeout_seconds=flags.timeout, dry_run=flags.dry_run, force=flags.force
    )


def _force_clean(scope: Scope, call: Call) -> outcomes.Anything:
    flags = call.flags
    return verbs.force_clean(
        scope, call.names, timeout_seconds=flags.timeout, dry_run=flags.dry_run, keep_logs=flags.keep_logs
    )


def _clean(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.clean(scope, call.names, older_than_days=call.flags.older_than, dry_run=call.flags.dry_run)


def _status(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.status(scope, call.names, check=call.flags.check)


def _health(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.health(scope, call.names, timeout_seconds=call.flags.timeout)


def _show_processes(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.show_processes(scope, call.names)


def _explain(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.explain(scope, pid=call.flags.pid, port=call.flags.port)


def _ports(scope: Scope, call: Call) -> outcomes.Anything:
    return verbs.ports(scope, call.names, udp=call.flags.udp)


def _free_port(scope: Scope, call: Call) -> outcomes.Anything:
    flags = call.flags
    if flags.port is None:
        raise UsageError("free-port needs --port PORT")
    return verbs.free_port(
        scope, port=flags.port, force=flags.force, timeout_seconds=flags.timeout, dry_run=flags.dry_run
    )


def _monitor(scope: Scope, call: Call) -> outcomes.Anything:
    from devtasks.monitoring.command import monitor

    return monitor(scope, call.names, call.flags, call.environ)


_IN_A_PROJECT: Mapping[str, Callable[[Scope, Call], outcomes.Anything]] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "force-clean": _force_clean,
    "clean": _clean,
    "status": _status,
    "health": _health,
    "show-processes": _show_processes,
    "explain": _explain,
    "ports": _ports,
    "free-port": _free_port,
    "monitor": _monitor,
}


def _outcome(verb: str, call: Call, tell: Callable[[str], None]) -> outcomes.Anything:
    if verb == "init":
        return _init(call)
    if verb == "export":
        return _export(call)
    if verb == "explain" and (call.flags.pid is None) == (call.flags.port is None):
        raise UsageError("explain needs one of --pid PID and --port PORT")
    if verb == "serve":
        from devtasks.serving.command import serve

        return serve(loading.load(call.folder, call.environ), call.flags, call.environ, tell, call.asker)
    if verb == "dashboard":
        from devtasks.dashboard.command import dashboard

        project = loading.load(call.folder, call.environ)
        _check_names((), project)
        return dashboard(project, call.flags, tell, call.asker)
    with closing(verbs.scope(_project(verb, call), tell=tell, asker=call.asker)) as scope:
        _check_names(call.names, scope.project)
        return _IN_A_PROJECT[verb](scope, call)


def _up(call: Call, output: Output) -> int:
    from devtasks.up.command import up

    flags = call.flags
    with closing(verbs.scope(_project("up", call), tell=output.tell, asker=call.asker)) as scope:
        _check_names(call.names, scope.project)
        if flags.dry_run:
            outcome = verbs.start(scope, call.names, timeout_seconds=None, dry_run=True)
            output.report(outcome)
            return outcome.exit_code
        return up(
            scope, call.names, output, exit_code_from=flags.exit_code_from, abort_on_exit=flags.abort_on_exit
        )


def _top(call: Call, output: Output) -> int:
    from devtasks.top.command import top

    flags = call.flags
    with closing(verbs.scope(_project("top", call), tell=output.tell)) as scope:
        _check_names(call.names, scope.project)
        top(scope, call.names, output, interval_seconds=flags.interval, count=flags.count)
    return 0


def _history(call: Call, output: Output) -> int:
    from devtasks.chronicle import Chronicle
    from devtasks.command import following

    flags = call.flags
    with closing(verbs.scope(_project("history", call), tell=output.tell, asker=call.asker)) as scope:
        _check_names(call.names, scope.project)
        chronicle = Chronicle(scope, call.names, since=flags.since or 0.0)
        if flags.follow:
            following.events(chronicle, output, flags.lines)
        else:
            lines = flags.lines if flags.lines or flags.json else following.LINES
            output.report(chronicle.so_far(lines))
    return 0


def _logs(call: Call, output: Output) -> int:
    from devtasks.store.logs.grep import Grep

    flags = call.flags
    grep = Grep(flags.grep) if flags.grep is not None else None
    matches = None if grep is None else grep.matches
    with nullcontext() if grep is None else grep.watched():
        with closing(verbs.scope(_project("logs", call), tell=output.tell, asker=call.asker)) as scope:
            _check_names(call.names, scope.project)
            if not flags.follow:
                found = verbs.logs(scope, call.names, lines=flags.lines, since=flags.since, matches=matches)
            chosen = select(scope.project, call.names)
        if flags.follow:
            from devtasks.command import following
            from devtasks.logview import LogView

            following.logs(LogView(chosen, lines=flags.lines, since=flags.since, matches=matches), output)
            return 0
    output.report(found)
    for problem in found.problems:
        output.remark(f"{problem.service}: {problem.detail}")
    return found.exit_code


def _export(call: Call) -> outcomes.ExportReport:
    from devtasks.export.command import export

    project = loading.load(call.folder, call.environ)
    _check_names(call.names, project)
    return export(project, call.names, call.flags, call.environ)


# They report while they go on, and tell their own exit code.
_RUNS_ON: Mapping[str, Callable[[Call, Output], int]] = {
    "up": _up,
    "top": _top,
    "history": _history,
    "logs": _logs,
}


def _init(call: Call) -> outcomes.Proposal:
    from devtasks.inferring import init

    content = init.propose(call.folder)
    if call.flags.dry_run:
        return outcomes.Proposal(content=content)
    return outcomes.Proposal(content=content, path=str(init.write(call.folder, environ=call.environ)))


# --- the project -------------------------------------------------------------------------------------


def _project(verb: str, call: Call) -> Project:
    """The project; to start it, with the address that the flags give."""
    project = loading.load(call.folder, call.environ)
    if verb in ("explain", "free-port") or (call.flags.port is None and call.flags.host is None):
        return project
    _check_names(call.names, project)
    groups = {service.name: service.group for service in project.services}
    chosen = [groups.get(name, name) for name in call.names] or list(groups.values())
    return loading.with_address(project, chosen, host=call.flags.host, port=call.flags.port, environ=call.environ)


def _check_names(names: tuple[str, ...], project: Project) -> None:
    if not project.services:
        raise UsageError(
            f"no services are configured in {project.root}, and none can be inferred",
            hint='name one in pyproject.toml: [tool.devtasks.services.backend] with command = "..."',
        )
    known = {service.name for service in project.services} | {service.group for service in project.services}
    for name in names:
        if name not in known:
            from devtasks.config.suggest import did_you_mean

            raise UsageError(f'no service is called "{name}"{did_you_mean(name, known)}')
