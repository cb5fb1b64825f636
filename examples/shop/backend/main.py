"""The shop's API: a plain ASGI app, so that the example needs uvicorn and nothing else."""

import json

PRODUCTS = [{"name": "tea", "cents": 450}, {"name": "coffee", "cents": 620}]
PAGES = {"/health": {"status": "ok"}, "/products": PRODUCTS}


async def app(scope, _receive, send):
    if scope["type"] != "http":
        raise ValueError(f"this app serves HTTP only, not {scope['type']}")
    page = PAGES.get(scope["path"])
    body = json.dumps({"error": "not found"} if page is None else page).encode()
    headers = [(b"content-type", b"application/json"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 404 if page is None else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
