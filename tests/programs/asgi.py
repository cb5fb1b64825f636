"""An ASGI application without a framework: `/stream` never ends, `/sleep` blocks a thread for two minutes.

It announces itself as `asgi`, and as `closed` once its shutdown is complete, which with HANG set it never is.
With FAIL set it does not start.
"""

import asyncio
import os
import time

import stage


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["path"] == "/sleep":
        await asyncio.to_thread(time.sleep, 120)
    streams = scope["path"] == "/stream"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok\n", "more_body": streams})
    while streams:
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"ok\n", "more_body": True})


async def lifespan(receive, send):
    await receive()
    if os.environ.get("FAIL"):
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        return
    stage.announce("asgi")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if os.environ.get("HANG"):
        await asyncio.Event().wait()
    stage.announce("closed")
    await send({"type": "lifespan.shutdown.complete"})
