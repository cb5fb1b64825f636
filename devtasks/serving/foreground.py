"""Run a server in the foreground: make room, launch, wait, and end it with all that belongs to it.

The server is a run like any other (recorded, marked, under a runner), only that its output is ours and that we
wait for it: whatever happens to this command, the next one knows the server.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Mapping

from devtasks import launching, recording, verbs
from devtasks.command.options import Flags
from devtasks.errors import DevtasksError, Interrupted, Refused
from devtasks.model import Service
from devtasks.observing import Observation
from devtasks.outcomes import PortRow, ServeReport, Started, StopReport
from devtasks.phrases import how_it_ended
from devtasks.ports import freeing
from devtasks.ports.verdict import describe
from devtasks.readying import Begun
from devtasks.serving import known, program
from devtasks.serving.target import Target
from devtasks.showing import command_line
from devtasks.standing import stand
from devtasks.starting import Starter
from devtasks.store import locks, pidfile
from devtasks.tidying import Tidier
from devtasks.values import replace
from devtasks.verbs import Scope
from devtasks.world.binding import bindable

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25
_WAIT_SECONDS = 3600.0
_ORDERLY = (0, -signal.SIGTERM, -signal.SIGINT)  # uvicorn ends by the signal that it obeyed


class Foreground:
    """Serves one target for one command."""

    def __init__(self, scope: Scope, target: Target, flags: Flags) -> None:
        self._scope = scope
        self._target = target
        self._flags = flags
        self._project = scope.project
        self._world = scope.world
        self._began = scope.world.monotonic()
        self._service = target.service
        self._name = target.service.name
        self._nonce = secrets.token_hex(8)
        self._ready = False
        self._grace_seconds = program.GRACE_SECONDS if flags.timeout is None else flags.timeout

    def run(self) -> ServeReport:
        """Serve until asked to stop. Raises Refused, with nothing touched; DevtasksError if it ended by itself."""
        env = launching.environment(self._service, self._project, marker="")
        if bindable(self._service.host, self._target.port) == "forbidden":
            raise DevtasksError(f"this user may not bind port {self._target.port}", hint="choose one above 1023")
        python = program.interpreter(self._target, self._project, env)
        with self._scope.refusals(self._name, dry_run=self._flags.dry_run):
            room = self._room(python, env)
        if self._flags.dry_run:
            return self._report(room, None, exit_code=0)
        command = program.command(
            self._target,
            python,
            reload=self._flags.reload,
            workers=self._flags.workers,
            grace_seconds=self._grace_seconds,
        )
        self._service = replace(self._service, command=command)
        return self._serve()

    # --- room ---------------------------------------------------------------------------------------------

    def _room(self, python: str, env: Mapping[str, str]) -> StopReport:
        """What was ended for the port to be free. Raises Refused, nothing signalled, where that may not be."""
        seen = self._scope.observer.observe()
        port = freeing.look(self._scope.observer, seen, self._target.port)
        # A leftover is proven ours. What is claimed by its port or its words alone is somebody's work
        runs = stand(seen, self._service).standing in ("running", "beginning") or any(
            not match.proven for match in seen.of(self._name)
        )
        held = any(holder.service != self._name for holder in port.holders)
        if (runs or held) and not self._flags.force:
            unseen = any(holder.pid is None for holder in port.holders)
            raise Refused(self._refusal(seen, port, runs=runs), hint=self._choices(runs=runs, unseen=unseen))
        if (runs or held) and self._project.production:
            raise Refused(freeing.production_steps(port, self._project.environment))
        if runs or held or self._flags.reload or self._flags.workers:
            # Before anything is signalled; and a reloader would wait for a better app for ever
            program.check_import(self._target, python, env)
        if not runs and not held:
            return StopReport(ok=True, dry_run=self._flags.dry_run, seconds=0.0, services=())
        return self._take_over(runs=runs)

    def _take_over(self, *, runs: bool) -> StopReport:
        """End the service itself, whole, and then whoever else holds the port. Raises when somebody survives."""
        dry_run = self._flags.dry_run
        reports = []
        if runs:
            grace = self._grace_seconds
            reports.append(verbs.stop(self._scope, (self._name,), timeout_seconds=grace, dry_run=dry_run))
        if not (runs and dry_run):
            port, timeout = self._target.port, self._flags.timeout
            reports.append(
                verbs.free_port(self._scope, port=port, force=True, timeout_seconds=timeout, dry_run=dry_run)
            )
        for report in reports:
            if not report.ok:
                left = [f"PID {row.pid} {row.reason}" for one in report.services for row in one.survivors]
                raise DevtasksError(f"port {self._target.port}: {'; '.join((*left, *report.notes))}")
        ended = tuple(one for report in reports for one in report.services)
        for one in ended:
            pids = ", ".join(map(str, (*one.stopped, *one.killed)))
            if pids and not dry_run:
                self._scope.tell(f"{one.name}: stopped to make room (PID {pids})")
        return StopReport(ok=True, dry_run=dry_run, seconds=0.0, services=ended)

    def _refusal(self, seen: Observation, port: PortRow, *, runs: bool) -> str:
        """Who has the port, in lines."""
        what = f"{self._name} runs already" if runs else f"port {port.port} is in use"
        pids = {holder.pid for holder in port.holders}
        beside = [match.process for match in seen.of(self._name) if match.process.pid not in pids]
        return "\n".join(
            [
                what,
                *(f"  held by {describe(holder)}" for holder in port.holders),
                *(f"  with it PID {row.pid} ({command_line(row)})" for row in beside),
            ]
        )

    def _choices(self, *, runs: bool, unseen: bool = False) -> str:
        port = self._target.port
        choices = [f"devtasks serve --stop --port {port}"] if runs else []
        if unseen:
            choices.append(f"sudo devtasks free-port --port {port}")
        elif not self._project.production:
            choices.append("--force to take it over")
        return ", ".join([*choices, "or another --port" if choices else "choose another --port"])

    # --- the server ---------------------------------------------------------------------------------------

    def _serve(self) -> ServeReport:
        self._scope.remember()
        self._clear_pid_files()
        starter = Starter(self._scope.observer, self._scope.tell, _streams(json=self._flags.json))
        begun: Begun | None = None
        try:
            begun = self._launch(starter)
            self._attend(begun)
        except (KeyboardInterrupt, Interrupted) as interruption:
            number = interruption.number if isinstance(interruption, Interrupted) else int(signal.SIGINT)
            self._scope.tell(f"{self._name}: {signal.Signals(number).name}, stopping")
            return self._report(self._end(), begun, exit_code=128 + number)
        except BaseException:
            self._end()
            raise
        code = starter.exit_code(begun)
        stop = self._end()
        if code not in _ORDERLY or not self._ready:
            when = "" if self._ready else " before it served anything"
            detail = f"{self._target.app} {how_it_ended(code)}{when}"
            self._scope.state.event(self._name, "failure", detail=detail, at=self._world.now())
            raise DevtasksError(f"{self._name}: {detail}")
        return self._report(stop, begun, exit_code=0)

    def _launch(self, starter: Starter) -> Begun:
        begun = starter.begin(self._service, self._nonce)
        if isinstance(begun, Started):
            kind = Refused if begun.outcome == "refused" else DevtasksError
            raise kind(f"{begun.name}: {begun.detail}", hint=begun.hint)
        if begun.nonce is None:
            hint = self._choices(runs=True)
            raise Refused(f"{self._name} runs already: another command was quicker", hint=hint)
        pid = begun.main.pid if begun.main is not None else None
        if pid is not None:
            for service in self._with_pid_files()[1:]:
                pidfile.write(service.pid_file, pid)
        self._scope.tell(f"{self._name}: serving {self._target.app} on {self._target.url} (PID {pid})")
        return begun

    def _attend(self, begun: Begun) -> None:
        """Until the main process is gone; note whether it ever served."""
        seen, pause = self._scope.observer.observe(), _FIRST_PAUSE_SECONDS
        while begun.handle is not None and not self._world.wait([begun.handle], pause):
            if self._ready:
                pause = _WAIT_SECONDS
                continue
            seen, _ = self._scope.observer.newer(seen)
            self._ready = begun.readiness.holds({match.process.pid for match in seen.of(self._name)})
            if self._ready:
                self._tell_ready(begun)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def _tell_ready(self, begun: Begun) -> None:
        seconds = self._world.monotonic() - begun.began
        pid = begun.main.pid if begun.main is not None else None
        result = Started(name=self._name, outcome="started", pid=pid, seconds=seconds, url=self._target.url)
        state = self._scope.state
        state.tell(recording.of_start(result, state.asker, at=self._world.now()))

    def _end(self) -> StopReport:
        """Stop what is left of the run, and remove its PID files. A later run of the same name is not touched."""
        with locks.service_lock(locks.path(self._project, self._service)):
            last = self._scope.state.last_run(self._name)
            if last is None or last.nonce != self._nonce:
                return StopReport(ok=True, dry_run=False, seconds=0.0, services=())
            return verbs.stop(self._scope, (self._name,), timeout_seconds=self._grace_seconds, dry_run=False)

    def _report(self, stop: StopReport, begun: Begun | None, *, exit_code: int) -> ServeReport:
        return ServeReport(
            ok=stop.ok,
            dry_run=self._flags.dry_run,
            name=self._name,
            app=self._target.app or "",
            url=self._target.url,
            pid=begun.main.pid if begun is not None and begun.main is not None else None,
            seconds=self._world.monotonic() - self._began,
            exit_code=exit_code if stop.ok else 1,
            stop=stop,
        )

    # --- PID files ----------------------------------------------------------------------------------------

    def _with_pid_files(self) -> tuple[Service, ...]:
        """The service with each PID file that it gets: its own, and the one that every server has."""
        path = known.pid_file(self._project, self._target.port)
        return tuple(replace(self._service, pid_file=one) for one in dict.fromkeys((self._service.pid_file, path)))

    def _clear_pid_files(self) -> None:
        """Remove those of the dead, and say so. Raises Refused for one that is somebody else's."""
        tidier = Tidier(self._project, self._world, self._scope.state)
        starter = Starter(self._scope.observer, self._scope.tell)
        for service in self._with_pid_files():
            starter.check_pid_file(service)
            tidier.pid_file(service)
        for note in (*tidier.notes, *(f"removed {path}" for path in tidier.removed)):
            self._scope.tell(note)


def _streams(*, json: bool) -> launching.Streams:
    """Our own streams. Only a terminal is handed on as input, for a debugger; with `json` stdout is for us."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number, which is the closed one
    keyboard = 0 if sys.platform == "win32" or os.isatty(0) else None
    return launching.Streams(2 if json else 1, 2, keyboard)
