"""An ASGI application. While $STAGE/hold exists, a worker that was asked to shut down does not."""

import asyncio
import os

import stage


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        stage.announce("worker")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        stage.announce("leaving")
        while os.path.exists(f"{stage.FOLDER}/hold"):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
