"""A server that guards its port when it is imported: $PORT, and $GUARD, more arguments as JSON.

`python guarded.py` serves by itself, `python guarded.py reload` with uvicorn's reloader, `python guarded.py exit`
not at all. `uvicorn guarded:app` and `gunicorn guarded:application` work too.
"""

import json
import logging
import os
import sys

import stage

from devtasks.guard import ensure_port_available

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
logging.getLogger("devtasks").setLevel(logging.DEBUG)
PORT = int(os.environ["PORT"])
PASSED = ensure_port_available(PORT, **json.loads(os.environ.get("GUARD", "{}")))
stage.announce("passed" if PASSED else "refused")
if not PASSED:
    sys.exit(1)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        stage.announce("worker")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


if __name__ == "__main__":
    if sys.argv[1:] == ["reload"]:
        import uvicorn

        uvicorn.run("guarded:app", port=PORT, reload=True)
    elif sys.argv[1:] != ["exit"]:
        listener = stage.listen(PORT)
        stage.announce("serving")
        stage.serve(listener)
