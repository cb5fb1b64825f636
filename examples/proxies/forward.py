"""One proxy: what comes in is sent to its target, and what the target answers is sent back."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from settings import Proxy

CONNECT_SECONDS = 5.0
CHUNK_BYTES = 65536
log = logging.getLogger("hub")


@dataclass(slots=True)
class Forwarder:
    """Forwards connections for one proxy, and counts what it forwarded."""

    proxy: Proxy
    connections: int = 0
    forwarded_bytes: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until both sides have said all. Cancelled, it ends both in order."""
        target = self.proxy.target
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answers, questions = await asyncio.open_connection(target.host, target.port)
        except (OSError, TimeoutError) as error:
            log.warning("%s: %s cannot be reached: %s", self.proxy.name, target, error or "no answer")
            return
        self.connections += 1
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, questions))
                both.create_task(self._pump(answers, writer))
        except* ConnectionError:
            pass  # one side is gone, and so is the other
        finally:
            questions.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
            self.forwarded_bytes += len(data)
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()  # the other direction may go on
