"""One task on other hosts, from the flags to the exit code: the counterpart of `command/perform.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtasks.command import options
from devtasks.command.edge import guarded
from devtasks.command.options import Flags
from devtasks.config import loading
from devtasks.errors import Interrupted, UsageError
from devtasks.model import Project
from devtasks.outcomes import FleetReport
from devtasks.remote import commandline, targets
from devtasks.remote.plan import Plan
from devtasks.remote.streaming import Stream
from devtasks.report.output import Output
from devtasks.values import replace

CONNECT_SECONDS = 10.0
MOST_CONNECT_SECONDS = 60.0
LOOK_SECONDS = 30.0
ACT_SECONDS = 600.0


def perform(
    verb: str,
    folder: Path,
    service: str | None,
    values: Mapping[str, Any],
    *,
    abroad: Mapping[str, Any],
    dry: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Do what `verb` says on the hosts, for one `service` or as `values` say; both mappings are flags as typed,
    `abroad` those that stand before the task (`options.ABROAD`).

    Returns the exit code, and reports everything else on the standard streams. Raises nothing.
    """
    color = values.get("color")
    output = Output(
        json=bool(values.get("json")), color=color if color in ("always", "never") else "auto", environ=environ
    )

    def work() -> int:
        flags = options.checked({**values, **abroad})
        if dry:
            flags = replace(flags, dry_run=True)
        names = flags.only if service is None else (service,)
        plan = _plan(verb, loading.load(folder, environ), names, values, flags=flags, output=output)
        return _carried_out(plan, flags, output)

    return guarded(work, output)


def _plan(
    verb: str,
    project: Project,
    names: tuple[str, ...],
    values: Mapping[str, Any],
    *,
    flags: Flags,
    output: Output,
) -> Plan:
    """Whom to ask what. Raises UsageError before anybody is."""
    if verb not in commandline.VERBS:
        raise UsageError(
            f"{verb} works on this machine only", hint=f"--hosts takes {', '.join(commandline.VERBS)}"
        )
    chosen = targets.chosen(flags.hosts or "", project, home=Path(os.path.realpath(Path.home())))
    limit, waits = flags.host_timeout, ACT_SECONDS if verb in commandline.ACTING else LOOK_SECONDS
    return Plan(
        verb=verb,
        lines=[
            (one, commandline.line(one, verb, names, values, dry_run=flags.dry_run, sudo=flags.sudo))
            for one in chosen
        ],
        parallel=max(flags.parallel, len(chosen)) if flags.follow else flags.parallel,
        connect_seconds=min(limit or CONNECT_SECONDS, MOST_CONNECT_SECONDS),
        answer_seconds=None if flags.follow else limit or waits,
        sudo=flags.sudo,
        tell=output.tell,
        stream=Stream(verb, [one.name for one in chosen], output) if flags.follow else None,
    )


def _carried_out(plan: Plan, flags: Flags, output: Output) -> int:
    try:
        from devtasks.remote.fleet import Fleet
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--hosts needs {error.name}", hint='install it: pip install "devtasks[remote]"'
        ) from None
    fleet = Fleet(plan)

    def told() -> FleetReport:
        report = FleetReport(verb=plan.verb, dry_run=flags.dry_run, checking=flags.check, hosts=fleet.answers())
        if plan.stream is None:  # else each trouble was told when it came
            output.report(report, why=flags.why)
        return report

    try:
        fleet.run()
    except (KeyboardInterrupt, Interrupted):
        told()
        raise
    code = told().exit_code
    return 0 if plan.stream is not None and plan.stream.reader_left() else code
