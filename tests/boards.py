"""A dashboard of a scratch project, and a client for it that says exactly what it is told to say."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from toolbox import PATIENCE_SECONDS, PYTHON, Scratch, eventually, free_port

PROBLEM = "application/problem+json"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The kind of an answer that is a problem; fails for one that is none."""
        assert self.headers["content-type"] == PROBLEM, self
        told = self.json()
        assert told["status"] == self.status
        assert {"type", "title", "detail", "hint"} <= told.keys()
        return str(told["type"]).removeprefix("urn:devtasks:")


class Board:
    """A dashboard that runs. Requests go over connections of their own unless `connection` is given."""

    def __init__(
        self, scratch: Scratch, port: int, *, url: str | None, child: subprocess.Popen[str] | None
    ) -> None:
        self.scratch = scratch
        self.port = port
        self.url = url
        self.child = child
        self.token = (scratch.state / "dashboard.token").read_text().strip()
        self.host = f"127.0.0.1:{port}"
        self.origin = f"http://{self.host}"
        self.bearer = {"Authorization": f"Bearer {self.token}"}
        self.change = {"Content-Type": "application/json", "X-Devtasks": "1"}

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        *,
        host: str | None = None,
        seconds: float = 60,
    ) -> Answer:
        """One request, with these headers and a Host only."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if host != "":
                connection.putheader("Host", self.host if host is None else host)
            raw = body.encode() if isinstance(body, str) else body
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if raw is not None and not {"content-length", "transfer-encoding"} & {
                n.lower() for n in headers or {}
            }:
                connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            return _answer(connection.getresponse())

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path, self.bearer)
        assert answer.status == 200, answer
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.body.decode()

    def post(self, path: str, **body: Any) -> Answer:
        return self.ask("POST", path, {**self.bearer, **self.change}, json.dumps(body))

    def row(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(row for row in self.get("/api/services")["services"] if row["name"] == name)
        return found

    def signed_in(self) -> dict[str, str]:
        """The Cookie header of a new session."""
        told = self.scratch.run("dashboard")
        assert told["already"]
        answer = self.ask(
            "POST", "/api/session", self.change, json.dumps({"token": told["url"].partition("#token=")[2]})
        )
        assert answer.status == 200, answer
        return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}

    @contextlib.contextmanager
    def stream(self, query: str = "", headers: Mapping[str, str] | None = None) -> Iterator[Events]:
        with contextlib.closing(Events(self, query, self.bearer if headers is None else headers)) as events:
            yield events

    def end(self) -> int:
        """Ctrl-C, where it runs in the foreground; its exit code."""
        assert self.child is not None
        self.child.send_signal(signal.SIGINT)
        return self.child.wait(20)


class Events:
    """A stream of server-sent events, read as it comes."""

    def __init__(self, board: Board, query: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", board.port, timeout=30)
        self._connection.request("GET", f"/api/events{query}", headers=dict(headers))
        self.response = self._connection.getresponse()
        self.past: list[tuple[str, Any]] = []

    def next(self) -> tuple[str, Any]:
        """The next event; ("end", None) after the last. A stream that only says that it is there fails."""
        kind, data = "", ""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while line := self.response.readline().decode():
            if line.startswith("event: "):
                kind = line[7:].strip()
            elif line.startswith("data: "):
                data = line[6:]
            elif line.startswith(":"):
                assert time.monotonic() < deadline, "nothing comes"
            elif line == "\n" and kind:
                self.past.append((kind, json.loads(data)))
                return self.past[-1]
        return "end", None

    def until(self, wanted: str, holds: Any = lambda _data: True) -> Any:
        """The data of the first event of a kind for which `holds`, among those that came and those that come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        at = 0
        while True:
            for kind, data in self.past[at:]:
                if kind == wanted and holds(data):
                    return data
            at = len(self.past)
            assert time.monotonic() < deadline, f"no such {wanted}: {self.past[-3:]}"
            assert self.next()[0] != "end", f"the stream ended before {wanted}"

    def happened(self) -> list[str]:
        """The kinds of what the history told so far."""
        return [one["kind"] for kind, data in self.past if kind == "history" for one in data["events"]]

    def close(self) -> None:
        self._connection.close()
        self.response.close()


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def detached(scratch: Scratch, *arguments: str) -> Board:
    """In the background, as a service of devtasks itself."""
    port = free_port()
    told = scratch.run("dashboard", "--detach", "--port", str(port), *arguments)
    return Board(scratch, port, url=told["url"], child=None)


def foreground(scratch: Scratch, *arguments: str, descriptors: int | None = None) -> Board:
    """As a child of the test; with at most so many descriptors."""
    port = free_port()
    words = [PYTHON, "-m", "devtasks", "dashboard", "--json", "--port", str(port), *arguments]
    if descriptors is not None:
        words = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"', *words]
    child = scratch.stage.popen(
        words, scratch.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = child.stdout.readline()
    assert line, child.stderr.read()
    told = json.loads(line)
    assert told["pid"] == child.pid
    return Board(scratch, port, url=told["url"], child=child)


def half_sent(port: int) -> socket.socket:
    """A connection that has begun a request."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(b"GET /api/services HTTP/1.1\r\nHost: 127")
    return connection


def closed(connection: socket.socket) -> bool:
    """Whether the other side has hung up."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


__all__ = ["Answer", "Board", "Path", "closed", "detached", "eventually", "foreground", "half_sent", "os"]
