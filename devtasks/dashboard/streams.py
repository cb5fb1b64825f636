"""Server-sent events: what is published reaches every stream that wants it, and no stream holds up another.

Each stream has a bounded queue. A reader that does not keep up is told so and cut off; it may connect again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from devtasks.dashboard.problems import Problem
from devtasks.dashboard.views import event

STREAMS = 8
QUEUE_BYTES = 2 * 1024 * 1024
COMMENT_SECONDS = 15.0
KINDS = ("services", "resources", "history", "log", "action", "ports")

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Stream:
    """One client. `logs`: of which services it wants log lines; None means all. `until`: its session ends then."""

    def __init__(self, kinds: Collection[str], logs: Collection[str] | None, until: float | None) -> None:
        self.kinds = kinds
        self.logs = logs
        self.until = until
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.ended = False

    def wants_log(self, service: str) -> bool:
        return "log" in self.kinds and (self.logs is None or service in self.logs)

    def put(self, chunk: bytes) -> None:
        """Queue something, or end the stream when it does not fit."""
        if self.ended:
            return
        if self._bytes + len(chunk) > QUEUE_BYTES:
            self._queue.clear()
            self.end("slow")
            return
        self._queue.append(chunk)
        self._bytes += len(chunk)
        self._filled.set()

    def end(self, reason: str) -> None:
        """Say goodbye; what is queued before it is still sent."""
        if not self.ended:
            self.ended = True
            self._queue.append(event("bye", {"reason": reason}))
            self._filled.set()

    async def take(self) -> bytes:
        """All that is queued; a comment after a while of silence; nothing at the end."""
        if not self._queue and not self.ended:
            try:
                async with asyncio.timeout(COMMENT_SECONDS):
                    await self._filled.wait()
            except TimeoutError:
                if self.until is not None and time.time() >= self.until:
                    self.end("signed-out")
                else:
                    return b": still here\n\n"
        taken = b"".join(self._queue)
        self._queue.clear()
        self._bytes = 0
        self._filled.clear()
        return taken


class Hub:
    """All streams. Lives in the event loop; `publish` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.changed: Callable[[], None] = _nothing  # somebody came or left
        self._streams: set[Stream] = set()

    # --- from any thread ----------------------------------------------------------------------------------

    def watched(self) -> bool:
        return bool(self._streams)

    def wants(self, kind: str) -> bool:
        return any(kind in stream.kinds for stream in tuple(self._streams))

    def wants_log(self, service: str) -> bool:
        return any(stream.wants_log(service) for stream in tuple(self._streams))

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        if not self._streams:
            return
        if kind == "log":
            self._call(self._spread_log, data)
        else:
            self._call(self._spread, kind, event(kind, data))

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- in the loop --------------------------------------------------------------------------------------

    def _spread(self, kind: str, chunk: bytes) -> None:
        for stream in self._streams:
            if kind in stream.kinds:
                stream.put(chunk)

    def _spread_log(self, data: Mapping[str, Any]) -> None:
        whole = event("log", data)
        for stream in self._streams:
            if "log" not in stream.kinds:
                continue
            if stream.logs is None:
                stream.put(whole)
            elif lines := [line for line in data["lines"] if line["service"] in stream.logs]:
                stream.put(event("log", {**data, "lines": lines}))

    def open(self, stream: Stream) -> None:
        """Raises Problem when there are as many streams as there may be."""
        if len(self._streams) >= STREAMS:
            raise Problem(
                "too-many",
                f"{STREAMS} streams are open already",
                hint="close another window of the dashboard",
                headers={"Retry-After": "5"},
            )
        self._streams.add(stream)
        self.changed()

    def close(self, stream: Stream) -> None:
        self._streams.discard(stream)
        self.changed()

    def end(self, reason: str) -> None:
        for stream in self._streams:
            stream.end(reason)


class EventStream:
    """The answer that does not end by itself, as an ASGI application."""

    def __init__(self, hub: Hub, stream: Stream) -> None:
        self._hub = hub
        self._stream = stream

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_disconnected(receive))
        feed = asyncio.create_task(self._feed(send))
        try:
            await asyncio.wait({gone, feed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.close(self._stream)
            for task in (gone, feed):
                task.cancel()
            await asyncio.gather(gone, feed, return_exceptions=True)

    async def _feed(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
        while chunk := await self._stream.take():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _nothing() -> None:
    """Nobody is to be told."""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
