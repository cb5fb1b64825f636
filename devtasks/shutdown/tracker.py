"""What a process has open: listeners with their connections, child processes, and the records of both."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtasks.shutdown.registry import Registry
from devtasks.shutdown.steps import Action, Step, in_thread
from devtasks.values import replace

if TYPE_CHECKING:
    import asyncio
    import socket
    import subprocess

    from devtasks.shutdown.children import Children
    from devtasks.shutdown.listeners import Handler, Listeners


class Tracker:
    """Opens things for a process, or takes them in, and has the steps that close them.

    `start`: where the search for the devtasks project begins, upward. `service`: this process's name there.
    """

    def __init__(self, start: Path, service: str | None, log: logging.Logger) -> None:
        self._log = log
        self._registry = Registry(start, service, log.warning)
        self._listeners: Listeners | None = None
        self._children: Children | None = None

    async def serve(
        self,
        handler: Handler,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        name: str,
        drain: float | None = None,
        **options: Any,
    ) -> asyncio.Server:
        """`asyncio.start_server` with its listener, connections and port tracked. Raises what that raises.

        A connection ends with its handler; a handler that ends with ConnectionError is fine. `drain`: seconds that
        connections may go on once nothing is accepted any more, before their handlers are cancelled, which is the
        orderly way; None: until they end by themselves. What is still open at the step's timeout is aborted, which
        counts as forced.
        """
        name = one_line(name)
        listener, server = await self._tracked().serve(
            handler, host, port, name=name, drain_seconds=drain, **options
        )
        await in_thread(lambda: self._registry.ports(name, listener.ports))
        self._log.info("listening: %s", listener)
        return server

    def track(self, server: asyncio.AbstractServer | socket.socket, *, name: str) -> None:
        """Close a server, or a listening socket, of your own making in the step that stops accepting.

        Its connections are found where the loop is asyncio's own. Blocks for some milliseconds.
        """
        name = one_line(name)
        self._registry.ports(name, self._tracked().track(server, name=name).ports)

    def register_port(self, port: int, *, name: str, pid: int | None = None) -> None:
        """Tell the project's state that this process, or `pid`, listens on `port`.

        So `ports` and `force-clean` know it. Without a project nothing is recorded. Blocks for some milliseconds.
        """
        self._registry.ports(one_line(name), (_port(port),), pid)

    def child(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        ports: Iterable[int] = (),
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a child process that is stopped, whole, with the child services. Raises what Popen raises.

        It carries the project's marker, so that `force-clean` finds it when this process was killed, and is
        recorded with its `ports`. Its input is empty and its process group its own, unless `options` (Popen's) say
        otherwise. Thread-safe; blocks for some milliseconds.
        """
        numbers = tuple(map(_port, ports))
        return self._offspring().start(one_line(name), command, ports=numbers, env=env, **options)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """`env`, by default this process's, with the project's marker: for children that are started otherwise."""
        return self._offspring().environment(env)

    def clean_up(self, *, timeout: float = 5.0) -> tuple[str, ...]:
        """Stop the children that an earlier run left when it was killed, and correct the records. Their names.

        To be called before anything is opened. Children of another instance that lives are left alone. Blocks for
        `timeout` seconds, then kills.
        """
        if self._registry.project is None:
            return ()
        from devtasks.shutdown.leftovers import clean_up

        found = clean_up(self._registry, seconds("timeout", timeout))
        for one in found:
            self._log.warning("left over from an earlier run, stopped: %s (PID %d)", one.name, one.child.pid)
        return tuple(one.name for one in found)

    async def beat(self) -> None:
        """Record that this process is well."""
        await in_thread(self._registry.beat)

    # --- the steps that close all this ----------------------------------------------------------------------

    async def stop_accepting(self) -> None:
        """Close what is served or tracked here, and wait until its connections are over."""
        if self._listeners is not None:
            await self._listeners.stop()

    def stop_children(self) -> None:
        """Stop the children started here, and wait until they have ended. Blocks."""
        if self._children is not None:
            self._children.stop()

    def record(self) -> None:
        """Record how the children ended, and that this process listens no more. Blocks."""
        if self._children is not None:
            self._children.record()
        self._registry.closed()

    def completed(self, steps: Iterable[Step], timeout_seconds: float) -> list[Step]:
        """`steps` with those of ours: how to force them, without those that have nothing to do.

        Those that nobody placed come where they can: accepting ends first, children last, then their records.
        """
        ours: list[Step] = []

        def add(name: str, action: Action, tracked: Listeners | Children | None = None) -> None:
            ours.append(
                Step(
                    name=name,
                    action=action,
                    timeout_seconds=timeout_seconds,
                    force=None if tracked is None else tracked.force,
                    force_seconds=0.0 if tracked is None else tracked.force_seconds,
                )
            )

        if self._listeners is not None:
            add("stop accepting", self.stop_accepting, self._listeners)
        if self._children is not None and self._children.all:
            add("stop child services", self.stop_children, self._children)
        if self._registry.used:
            add("record their state", self.record)
        useful = [step.action for step in ours]
        unused = {self.stop_accepting, self.stop_children, self.record}.difference(useful)
        complete = [step for step in steps if step.action not in unused]
        for one in ours:
            placed = [at for at, step in enumerate(complete) if step.action == one.action]
            for at in placed:
                complete[at] = replace(complete[at], force=one.force, force_seconds=one.force_seconds)
            if not placed:
                complete.insert(0 if one.action == self.stop_accepting else len(complete), one)
        return complete

    def _tracked(self) -> Listeners:
        if self._listeners is None:
            from devtasks.shutdown.listeners import Listeners

            self._listeners = Listeners(self._log.info)
        return self._listeners

    def _offspring(self) -> Children:
        if self._children is None:
            from devtasks.shutdown.children import Children

            self._children = Children(self._registry, self._log.info)
        return self._children


def seconds(what: str, value: float) -> float:
    """`value`, if it can be a time limit. Raises ValueError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{what}: must be a number of seconds above 0, not {value!r}")
    return float(value)


def one_line(name: str) -> str:
    """`name`, if it can stand in a line of the log. Raises ValueError."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"a name is one line of text, not {name!r}")
    return name


def _port(port: int) -> int:
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise ValueError(f"a port is a number from 1 to 65535, not {port!r}")
    return port
