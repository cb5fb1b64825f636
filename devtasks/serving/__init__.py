"""The server command: an ASGI app in the foreground, one on a port, known to every other verb (docs/serve.md)."""
