"""uvicorn's HTTP/1.1 protocol with what it lacks: a limit of connections, and an end to the slow.

uvicorn waits for a head for ever (300 half-sent requests at 256 descriptors froze it), and its own limit of
concurrency counts them in.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from devtasks.dashboard.problems import MEDIA_TYPE, Problem

CONNECTIONS = 64
REQUEST_SECONDS = 5.0  # from its first byte (or the connection) to the end of a head, and from there of a body
READER_SECONDS = 10.0  # how long a client may leave what was sent unread


class GuardedProtocol(H11Protocol):
    """One connection. The oldest one that asks for nothing makes room for a new one."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._since = 0.0
        self._sending: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    @property
    def answering(self) -> bool:
        """A request has come in whole, and its answer has not gone out."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        others = self.connections
        if len(others) >= CONNECTIONS:
            idle = [one for one in others if isinstance(one, GuardedProtocol) and not one.answering]
            if not idle:
                self.transport = transport
                transport.abort()
                return
            min(idle, key=lambda one: one._since).drop()  # noqa: SLF001 - of this class
        super().connection_made(transport)
        self._since = self.loop.time()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop("_sending")
        self._stop("_reading")
        if self.flow is None:  # it was turned away
            return
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def drop(self) -> None:
        """Close at once."""
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._sending is None and not self.answering:
            self._await_request()  # the first bytes of a further request
        super().data_received(data)
        if self.answering:
            self._stop("_sending")

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self.cycle is not None and self.cycle.more_body:
            self._await_request()  # the head is there: as much again for the body

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        self._stop("_sending")
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """A request that is no HTTP, or whose head is too long: a problem, where an answer is possible at all."""
        error = sys.exc_info()[1]
        long = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        problem = Problem("head-too-large" if long else "malformed", "the head is too long" if long else msg)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(problem.shape()).encode()
            headers = [
                (b"content-type", MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                (b"connection", b"close"),
            ]
            reason = problem.title.encode()
            for event in (
                h11.Response(status_code=problem.status, headers=headers, reason=reason),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    # --- slow ones ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading is None:
            self._reading = self.loop.call_later(READER_SECONDS, self.drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("_reading")

    def _await_request(self) -> None:
        self._stop("_sending")
        self._sending = self.loop.call_later(REQUEST_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._sending = None
        if not self.answering:
            self.drop()

    def _stop(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)
