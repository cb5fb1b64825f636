"""A WSGI application, imported once in each worker."""

import stage

stage.announce("worker")


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
