"""What the project's state knows of this process: the ports it opened, the children it started.

Blocking, and safe to call from any thread. The state is opened for each call and closed again: a connection of
SQLite's belongs to one thread. Outside a project nothing is recorded, which is said once.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devtasks.errors import DevtasksError

if TYPE_CHECKING:
    from devtasks.model import Identity, Project
    from devtasks.store.state import State
    from devtasks.world import World

_NO_NAME: Final = "process"


class Registry:
    """`start`: where the search for the project begins, upward. `service`: what this process is called in it."""

    def __init__(self, start: Path, service: str | None, say: Callable[[str], None]) -> None:
        self.used = False  # something of this process is recorded
        self._start = start
        self._service = service
        self._say = say
        self._lock = threading.RLock()
        self._looked = False
        self._project: Project | None = None
        self._world: World | None = None
        self._nonce = secrets.token_hex(8)
        self._said: set[str] = set()

    @property
    def project(self) -> Project | None:
        """The project around `start`; None when there is none that can be read."""
        with self._lock:
            if not self._looked:
                self._looked = True
                self._project = self._find()
            return self._project

    @property
    def world(self) -> World:
        from devtasks.world import this_world

        if self._world is None:
            self._world = this_world()
        return self._world

    @property
    def service(self) -> str:
        """What this process belongs to: as devtasks started it, as it was said, or its script's name."""
        from devtasks.ownership.marker import split_marker

        marker = split_marker(os.environ.get("DEVTASKS_ID"))
        if marker.service and self.project is not None and marker.digest == self.project.digest:
            return marker.service
        return self._service or _script_name()

    def marker(self) -> str | None:
        """DEVTASKS_ID for a child: the inherited one, for a run owns whatever it started; else one of our own."""
        from devtasks.ownership.marker import make_marker

        inherited = os.environ.get("DEVTASKS_ID")
        if inherited or self.project is None:
            return inherited
        return make_marker(self.project, self.service, self._nonce)

    def identity(self, pid: int) -> Identity | None:
        """None: it is gone."""
        row = self.world.reread([pid]).get(pid)
        return None if row is None or row.gone else self.world.identity(row)

    # --- what is told to the state ------------------------------------------------------------------------

    def ports(self, name: str, ports: Iterable[int], pid: int | None = None) -> None:
        """`pid`, by default this process, listens on `ports`."""
        with self.opened() as state:
            owner = self.identity(os.getpid() if pid is None else pid) if state else None
            if state and owner:
                for port in ports:
                    self.used |= state.register_port(self.service, port, name=name, owner=owner)

    def child(self, name: str, pid: int, ports: tuple[int, ...]) -> None:
        """This process started `pid`, which is to listen on `ports`."""
        with self.opened() as state:
            child, parent = (self.identity(one) if state else None for one in (pid, os.getpid()))
            if state and child and parent:
                self.used |= state.register_child(self.service, name=name, child=child, parent=parent)
                for port in ports:
                    state.register_port(self.service, port, name=name, owner=child)

    def beat(self) -> None:
        """This process is well."""
        with self.opened() as state:
            owner = self.identity(os.getpid()) if state else None
            if state and owner:
                state.beat(owner)

    def ended(self, child: Identity, *, exit_code: int | None, cause: str) -> None:
        """A child is over."""
        with self.opened() as state:
            if state:
                state.finish_child(child, ended_at=self.world.now(), exit_code=exit_code, cause=cause)

    def closed(self) -> None:
        """This process listens no more."""
        with self.opened() as state:
            owner = self.identity(os.getpid()) if state else None
            if state and owner:
                state.forget_ports(owner)

    # ------------------------------------------------------------------------------------------------------

    @contextmanager
    def opened(self) -> Iterator[State | None]:
        """The state, if there is a project; what about it went wrong is said, once each."""
        project = self.project
        if project is None:
            yield None
            return
        from devtasks.store.state import State

        with self._lock:
            state = State.open(project, create=True)
            try:
                yield state
            finally:
                state.close()
                for note in state.notes:
                    self._say_once(note)

    def _find(self) -> Project | None:
        from devtasks.config import loading

        try:
            root = loading.find_root(self._start)
            if root is None:
                self._say_once(f"no devtasks project above {self._start}: ports and children are not recorded")
                return None
            return loading.load(root)
        except (DevtasksError, OSError) as error:
            reason = " ".join(str(error).split())
            self._say_once(f"the devtasks project cannot be read: ports and children are not recorded: {reason}")
            return None

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def _script_name() -> str:
    """The running script's name, as a service may be called."""
    main = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    path = Path(main)
    stem = path.parent.name if path.stem == "__main__" else path.stem
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return name if name[:1].isalpha() else _NO_NAME
