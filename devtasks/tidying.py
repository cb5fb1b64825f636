"""Remove the files that services leave: PID files that are ours and say nothing true any more, and logs."""

from __future__ import annotations

import os
from collections.abc import Collection

from devtasks.model import Project, Service
from devtasks.serving import known
from devtasks.store import logs, pidfile, statedir
from devtasks.store.state import State
from devtasks.values import replace
from devtasks.world import World


class Tidier:
    """Removes files, or in a dry run only says which. `removed` and `notes` collect what it did and left alone."""

    def __init__(self, project: Project, world: World, state: State, *, dry_run: bool = False) -> None:
        self.project = project
        self.world = world
        self.state = state
        self.dry_run = dry_run
        self.removed: list[str] = []
        self.notes: list[str] = []

    def pid_file(
        self, service: Service, *, ended: Collection[int] = (), read: pidfile.Reading | None = None
    ) -> None:
        """Remove a service's PID file when nothing of the service lives.

        It stays, with a note, when it is not ours: it holds no PID, or a live process that no run of ours was.
        `ended` are the PIDs that were just stopped; with `read`, a file that says something else by now stays.
        """
        reading = pidfile.read(service.pid_file, statedir.owners(self.project.root))
        if reading.state == "absent":
            return
        if reading.pid is None:
            self.notes.append(f"PID file {reading.path} {reading.reason}: not ours, left alone")
            return
        if read is not None and read.path == reading.path and read.signature != reading.signature:
            return  # another start wrote it meanwhile
        row = self.world.reread([reading.pid]).get(reading.pid)
        alive = row is not None and not row.gone and reading.pid not in ended
        if alive and not self.state.knows_pid(service.name, reading.pid):
            self.notes.append(f"PID file {reading.path} names PID {reading.pid}, which is not ours: left alone")
            return
        if reading.pid not in ended:
            whose = "is another process by now" if alive else "is dead"
            self.notes.append(f"PID file {reading.path} was stale: PID {reading.pid} {whose}")
        if self.dry_run or pidfile.remove_if_unchanged(reading.path, reading):
            self.removed.append(str(reading.path))

    def server_pid_files(self, service: Service, *, ended: Collection[int] = ()) -> None:
        """The same for what `serve` wrote beside the service's own PID file; what is not ours is passed over."""
        for port in service.ports:
            path = known.pid_file(self.project, port)
            pid = None if path == service.pid_file else pidfile.read(path, statedir.owners(self.project.root)).pid
            if pid is not None and self.state.knows_pid(service.name, pid):
                self.pid_file(replace(service, pid_file=path), ended=ended)

    def logs(self, service: Service) -> None:
        """Remove all log files of a service."""
        for path in logs.files(service):
            self._unlink(path)

    def old_logs(self, services: Collection[Service], older_than_days: float, busy: Collection[Service]) -> None:
        """Remove the log files that are older, but not the present log of a service that runs."""
        chosen = {path for service in services for path in logs.files(service)}
        spared = {service.log_file for service in busy}
        for path in logs.stale_logs(self.project, older_than_days):
            if path in chosen and path not in spared:
                self._unlink(path)

    def _unlink(self, path: os.PathLike[str]) -> None:
        try:
            if not self.dry_run:
                os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.notes.append(f"{path} cannot be removed: {statedir.explain(error)}")
        else:
            self.removed.append(str(path))
