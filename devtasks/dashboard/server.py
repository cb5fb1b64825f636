"""Serves the dashboard until it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

from uvicorn.config import Config
from uvicorn.server import ServerState

from devtasks.dashboard import address, credentials, routes
from devtasks.dashboard.acting import Actor
from devtasks.dashboard.address import Address, Settings
from devtasks.dashboard.app import Dashboard
from devtasks.dashboard.credentials import Credentials
from devtasks.dashboard.guard import HEAD_BYTES, Guard
from devtasks.dashboard.lookout import Lookout
from devtasks.dashboard.protocol import GuardedProtocol
from devtasks.dashboard.static import Files
from devtasks.dashboard.streams import Hub
from devtasks.errors import DevtasksError, UsageError
from devtasks.model import Project
from devtasks.store import statedir

BACKLOG = 64  # also how many connections asyncio accepts at a time, before it looks at any of them
HANDSHAKE_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 20
GOODBYE_SECONDS = 0.5  # for answers on their way, once it is asked to stop
SETTLE_SECONDS = 3.0  # for actions under way; what they began goes on without us


def serve(project: Project, settings: Settings, ready: Callable[[Address, str], None]) -> int:
    """Serve until INT, TERM or HUP. `ready` gets the address and the token once connections are accepted.

    Returns the number of the signal. Raises DevtasksError when the address cannot be had.
    """
    token = credentials.ensure(project)
    context = _context(settings)
    with _listener(settings) as listening:
        port = 0 if settings.uds is not None else int(listening.getsockname()[1])
        names = address.names_of_this_machine() if settings.host in ("0.0.0.0", "::") else ()  # noqa: S104
        where = address.of(settings, port, names)
        server = _Server(project, where, Credentials(token))
        return asyncio.run(server.run(listening, context, lambda: ready(where, token)))


class _Server:
    """The parts, put together in the event loop."""

    def __init__(self, project: Project, where: Address, judge: Credentials) -> None:
        self._project = project
        self._where = where
        self._judge = judge
        self._state = ServerState()

    async def run(
        self, listening: socket.socket, context: ssl.SSLContext | None, ready: Callable[[], None]
    ) -> int:
        loop = asyncio.get_running_loop()
        hub = Hub(loop)
        actor = Actor(lambda: lookout.project, publish=hub.publish, done=lambda: lookout.wake(stale=True))
        lookout = Lookout(self._project, hub=hub, actions=actor.underway)
        hub.changed = lookout.wake
        api = routes.Api(address=self._where, credentials=self._judge, lookout=lookout, actor=actor, hub=hub)
        config = _config(Dashboard(api, Guard(self._where, self._judge, routes.methods), Files()))
        server = await loop.create_server(
            lambda: GuardedProtocol(config, self._state, {}, loop),
            sock=listening,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if context is not None else None,
            backlog=BACKLOG,
        )
        lookout.start()
        clock = loop.create_task(_date(self._state))
        try:
            asked = _asked_to_stop(loop)
            ready()
            return await asked
        finally:
            clock.cancel()
            server.close()
            hub.end("shutdown")
            await actor.settle(SETTLE_SECONDS)
            await self._hang_up()
            lookout.end()
            lookout.join(1.0)

    async def _hang_up(self) -> None:
        """Let answers on their way go out, for a moment."""
        connections = self._state.connections
        for connection in list(connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                while connections:  # noqa: ASYNC110 - uvicorn's set tells nobody
                    await asyncio.sleep(0.01)
        for connection in list(connections):
            connection.transport.abort()


def _config(app: Dashboard) -> Config:
    config = Config(
        app,
        loop="none",
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    config.load()
    return config


def _asked_to_stop(loop: asyncio.AbstractEventLoop) -> asyncio.Future[int]:
    """The number of the signal, when it comes."""
    asked: asyncio.Future[int] = loop.create_future()

    def ask(number: int) -> None:
        if not asked.done():
            asked.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask, number)
    return asked


async def _date(state: ServerState) -> None:
    """The Date header of every answer."""
    while True:
        state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
        await asyncio.sleep(1.0)


# --- the address ------------------------------------------------------------------------------------------


def _context(settings: Settings) -> ssl.SSLContext | None:
    if settings.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"--certfile {settings.certfile}: {error.strerror or error}",
            hint="give a certificate and its key in PEM, as in --certfile cert.pem --keyfile key.pem",
        ) from None
    return context


@contextlib.contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    if settings.uds is not None:
        with _unix_socket(settings.uds) as listening:
            yield listening
        return
    wanted = [settings.port] if settings.port is not None else _ports()
    for port in wanted:
        try:
            listening = _bound(settings.host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != wanted[-1]:
                continue
            raise _unbound(settings.host, port, error) from None
        with listening:
            yield listening
        return


def _ports() -> list[int]:
    return list(range(address.FIRST_PORT, address.FIRST_PORT + address.PORTS_TRIED))


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: {error.strerror}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _unbound(host: str, port: int, error: OSError) -> DevtasksError:
    if error.errno == errno.EADDRINUSE:
        return DevtasksError(
            f"port {port} is in use",
            hint=f"choose another with --port; devtasks explain --port {port} says by whom",
        )
    return DevtasksError(f"{host} port {port}: {statedir.explain(error)}")


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """A socket at `path` that only we may connect to; one that nobody listens on any more is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path)
        before = os.umask(0o177)
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise DevtasksError(f"--uds {path}: {statedir.explain(error)}") from None
    made = os.lstat(path)
    try:
        with listening:
            yield listening
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(made, os.lstat(path)):
                os.unlink(path)


def _make_room(path: Path) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(errno.EADDRINUSE, "somebody listens on it")
