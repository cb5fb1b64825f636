"""Child processes of this one: started with its marker, stopped whole, recorded."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from devtasks.model import Identity
from devtasks.shutdown.family import Family, Turn
from devtasks.shutdown.registry import Registry
from devtasks.values import Value

_KILL_SECONDS: Final = 4.0  # how long all that is left may take to be gone once it is killed


class Child(Value):
    """One child. `identity` is None when it was gone before anybody could look."""

    name: str
    process: subprocess.Popen[Any]
    ports: tuple[int, ...]
    identity: Identity | None

    def __str__(self) -> str:
        ports = "".join(f", port {port}" for port in self.ports)
        return f"{self.name} (PID {self.process.pid}{ports})"


class Children:
    """All children of this process. `say` takes a line for the log."""

    force_seconds = 5.0

    def __init__(self, registry: Registry, say: Callable[[str], None]) -> None:
        self.all: list[Child] = []
        self._registry = registry
        self._say = say
        self._asked: set[int] = set()
        self._family: Family | None = None  # of those that were asked to end
        self._turn = Turn()
        self._forced = False

    def start(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        ports: Iterable[int],
        env: Mapping[str, str] | None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start one, outside our process group: a Ctrl-C is for us, and we stop it when its turn has come."""
        if sys.platform == "win32":
            options.setdefault("creationflags", subprocess.CREATE_NEW_PROCESS_GROUP)
        else:
            options.setdefault("process_group", 0)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(command, env=self.environment(env), **options)
        child = Child(
            name=name, process=process, ports=tuple(ports), identity=self._registry.identity(process.pid)
        )
        self.all.append(child)
        self._registry.child(name, process.pid, child.ports)
        return process

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        """`env`, by default our own, with the marker by which the project finds what we started."""
        marker = self._registry.marker()
        made = dict(os.environ if env is None else env)
        if marker is not None:
            made |= {"DEVTASKS_ID": marker, "SPT_NOENV": "1"}  # setproctitle would overwrite the marker
        return made

    def stop(self) -> None:
        """Ask all to end, and wait until they have. Blocks."""
        alive = [child for child in self.all if child.process.poll() is None]
        for child in alive:
            self._asked.add(child.process.pid)
        self._family = Family(self._registry.world, _identities(alive), self._turn)
        self._family.ask(math.inf)
        for child in alive:
            code = child.process.wait()
            if not self._forced:  # else that is told, and the shutdown may be over by now
                self._say(f"{child}: {_ended(code)}")

    def force(self) -> list[str]:
        """Kill what is left. A line for each child that did not end by itself."""
        self._forced = True
        self._turn.force()
        left = [child for child in self.all if child.process.poll() is None]
        family = self._family or Family(self._registry.world, _identities(left), self._turn)
        family.kill(_KILL_SECONDS)
        lines = [f"{child} killed" for child in left]
        return lines + [f"PID {row.pid} is still alive" for row in family.left]

    def record(self) -> None:
        """Tell the state how each one ended; one that lives is left as it is."""
        for child in self.all:
            code = child.process.poll()
            if child.identity is not None and code is not None:
                cause = "stopped" if child.process.pid in self._asked else "exited"
                self._registry.ended(child.identity, exit_code=code, cause=cause)


def _identities(children: Iterable[Child]) -> list[Identity]:
    return [child.identity for child in children if child.identity is not None]


def _ended(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
