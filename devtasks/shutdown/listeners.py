"""Listening sockets and the connections that came through them: stop the one, wait for the other, then abort."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, cast

from devtasks.shutdown.steps import abandon

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_LOOK_SECONDS: Final = 0.01  # between looks at whether connections are over
_UNWIND_SECONDS: Final = 0.1  # how long a handler may take to notice that its connection is gone


class Listener:
    """One asyncio server, or a bare listening socket. `ours`: its connections come to `handle`.

    `drain_seconds`: how long its connections may go on once it is closed, before their handlers are cancelled;
    None: until they end by themselves.
    """

    def __init__(self, name: str, *, ours: bool, drain_seconds: float | None = None) -> None:
        self.name = name
        self.ours = ours
        self.drain_seconds = drain_seconds
        self.server: asyncio.AbstractServer | socket.socket | None = None
        self.handlers: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self.places: tuple[str, ...] = ()  # "127.0.0.1:9001"
        self.ports: tuple[int, ...] = ()

    def attach(self, server: asyncio.AbstractServer | socket.socket) -> None:
        """Here it is, listening."""
        self.server = server
        sockets = [server] if isinstance(server, socket.socket) else list(getattr(server, "sockets", ()))
        names = [one.getsockname() for one in sockets]
        self.places = tuple(sorted({_place(name) for name in names}))
        self.ports = tuple(sorted({name[1] for name in names if isinstance(name, tuple)}))

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.places)})" if self.places else self.name

    def close(self) -> None:
        """Accept no more."""
        if self.server is not None:
            self.server.close()

    def transports(self) -> list[asyncio.BaseTransport]:
        """What is still connected through it."""
        return (
            [writer.transport for writer in self.handlers.values()] if self.ours else list(_accepted(self.server))
        )

    @property
    def busy(self) -> int:
        """How many connections are open."""
        return len(self.handlers) if self.ours else len(self.transports())

    async def handle(self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. It ends with its handler, once everything is sent; that it broke is no error."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.handlers[task] = writer
        try:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
        finally:
            try:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            finally:
                del self.handlers[task]


class Listeners:
    """All listeners of one process. `say` takes a line for the log."""

    force_seconds = 0.5

    def __init__(self, say: Callable[[str], None]) -> None:
        self.all: list[Listener] = []
        self._say = say

    async def serve(
        self,
        handler: Handler,
        host: str | Sequence[str] | None,
        port: int | None,
        *,
        name: str,
        drain_seconds: float | None,
        **options: Any,
    ) -> tuple[Listener, asyncio.Server]:
        """`asyncio.start_server`, tracked. Raises what that raises."""
        listener = Listener(name, ours=True, drain_seconds=drain_seconds)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await listener.handle(handler, reader, writer)

        server = await asyncio.start_server(handle, host, port, **options)
        listener.attach(server)
        self.all.append(listener)
        return listener, server

    def track(self, server: asyncio.AbstractServer | socket.socket, *, name: str) -> Listener:
        """A server that was made elsewhere."""
        listener = Listener(name, ours=False)
        listener.attach(server)
        self.all.append(listener)
        return listener

    async def stop(self) -> None:
        """Accept no more, and wait until all connections are over."""
        for listener in self.all:
            listener.close()
            busy = listener.busy
            left = f", {_connections(busy)} open" if busy else ""
            self._say(f"{listener}: closed{left}")
        draining = [asyncio.ensure_future(self._drain(listener)) for listener in self.all]
        try:
            await asyncio.gather(*draining)
        finally:
            for task in draining:
                task.cancel()

    async def _drain(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        asked_at = None if listener.drain_seconds is None else loop.time() + listener.drain_seconds
        while listener.busy:
            if asked_at is not None and loop.time() >= asked_at:
                asked_at = None
                self._say(f"{listener}: {_connections(listener.busy)} asked to end")
                for task, writer in list(listener.handlers.items()):
                    if not writer.is_closing():  # else it is done, and sends what is left
                        task.cancel()
            await asyncio.sleep(_LOOK_SECONDS)

    async def force(self) -> list[str]:
        """Abort every connection that is still open, and cancel its handler. A line for each listener."""
        lines = []
        handlers: set[asyncio.Task[Any]] = set()
        for listener in self.all:
            listener.close()
            if busy := listener.busy:
                lines.append(f"{_connections(busy)} of {listener}")
            for transport in listener.transports():
                with contextlib.suppress(Exception):  # whatever one of them raises, the others are aborted
                    cast("asyncio.Transport", transport).abort()
            handlers |= set(listener.handlers)
        if handlers:
            for task in handlers:
                task.cancel()
            await asyncio.wait(handlers, timeout=_UNWIND_SECONDS)
            for task in handlers:
                if not task.done():
                    abandon(task)
        return lines


def _connections(count: int) -> str:
    return f"{count} connection{'' if count == 1 else 's'}"


def _place(name: object) -> str:
    """The name of a socket, for people."""
    if isinstance(name, tuple):
        host, port = str(name[0]), name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _accepted(server: object) -> Iterator[asyncio.BaseTransport]:
    """The connections of a server as asyncio itself knows them: it has no public list of them."""
    clients = getattr(server, "_clients", None)  # Python 3.13
    if clients is not None:
        yield from list(clients)
        return
    loop = getattr(server, "_loop", None)
    for transport in list(getattr(loop, "_transports", {}).values()):
        if server is not None and getattr(transport, "_server", None) is server and not _closed(transport):
            yield transport


def _closed(transport: asyncio.BaseTransport) -> bool:
    """Whether it is closed and has nothing left to send."""
    return transport.is_closing() and not getattr(transport, "_buffer", None)
