"""The dashboard's server: how fast it answers, how soon it tells of a death, what it costs while it is watched."""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from benchmarks.herd import Herd
from benchmarks.readings import Reading, Row
from benchmarks.scene import BenchmarkFailed, Scene
from benchmarks.timing import timed

SERVICES = 10
OTHERS = 1000
REQUESTS = 300
WARM_UP = 30
DEATHS = 5
IDLE_SECONDS = 10.0
SETTLED_SECONDS = 4.0  # a younger process may still be in the middle of its exec, so it is read again
LISTENER = (
    "import signal, socket, sys; held = socket.create_server(('127.0.0.1', int(sys.argv[1]))); signal.pause()"
)
SERVER = [sys.executable, "-I", "-S", "-c", LISTENER, "{port}"]

REQUEST_LIMIT_MS = 5.0
TOGETHER_LIMIT_MS = 1000.0
DEATH_LIMIT_MS = 200.0
IDLE_LIMIT_PERCENT = 2.0
MEMORY_LIMIT_MIB = 45.0


def measure(scene: Scene) -> Iterator[Row]:
    folder = scene.project("board", {f"s{number}": SERVER for number in range(SERVICES)})
    with scene.started(folder), Herd(OTHERS):
        scene.devtasks(folder, "dashboard", "--detach")
        time.sleep(SETTLED_SECONDS)
        board = _Board(folder)
        what = f"{SERVICES} services, {OTHERS:,} other processes"
        for _ in range(WARM_UP):
            board.services()
        used = board.cpu_seconds()
        taken = [timed(board.services) for _ in range(REQUESTS)]
        busy = (board.cpu_seconds() - used) / REQUESTS * 100 * 1000
        yield _row(f"GET /api/services, {what}", taken, REQUEST_LIMIT_MS)
        yield _row("100 such requests, CPU", [busy], TOGETHER_LIMIT_MS)
        with board.stream() as events:
            time.sleep(SETTLED_SECONDS)
            before, began = board.cpu_seconds(), time.monotonic()
            time.sleep(IDLE_SECONDS)
            share = (board.cpu_seconds() - before) / (time.monotonic() - began) * 100
            yield _row("CPU with one browser connected, nothing happens", [share], IDLE_LIMIT_PERCENT, "%")
            deaths = [events.death(f"s{number}") for number in range(DEATHS)]
            yield _row("from a death to the stream", deaths, DEATH_LIMIT_MS)
        yield _row("memory of the server", [board.rss_mib()], MEMORY_LIMIT_MIB, "MiB")


def _row(what: str, taken: list[float], limit: float, unit: Literal["ms", "MiB", "%"] = "ms") -> Row:
    median = statistics.median(taken)  # the limits are about medians
    ours = Reading(best=median, median=median)
    return Row(what=what, ours=ours, against="-", theirs=None, kind="value", limit=limit, unit=unit)


class _Board:
    """A client of the dashboard that runs in `folder`."""

    def __init__(self, folder: Path) -> None:
        state = folder / ".devtasks"
        told = json.loads((state / "dashboard.json").read_text())
        self._port = int(told["base"].rpartition(":")[2])
        self._pid = int(told["pid"])
        self._headers = {"Authorization": f"Bearer {(state / 'dashboard.token').read_text().strip()}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port)

    def services(self) -> dict[str, int | None]:
        self._connection.request("GET", "/api/services", headers=self._headers)
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise BenchmarkFailed(f"GET /api/services: {answer.status} {answer.read()!r}")
        return {row["name"]: row["pid"] for row in json.loads(answer.read())["services"]}

    def stream(self) -> _Events:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/api/events", headers=self._headers)
        return _Events(self, connection)

    def cpu_seconds(self) -> float:
        columns = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


class _Events:
    """The stream of one client."""

    def __init__(self, board: _Board, connection: http.client.HTTPConnection) -> None:
        self._board = board
        self._connection = connection
        self._answer = connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
        self._answer.close()

    def death(self, service: str) -> float:
        """Milliseconds from a kill to the event that says so."""
        pid = self._board.services()[service]
        if pid is None:
            raise BenchmarkFailed(f"{service} does not run")
        os.kill(pid, signal.SIGKILL)  # started by this benchmark, a moment ago
        began = time.perf_counter()
        while True:
            line = self._answer.readline()
            if not line:
                raise BenchmarkFailed("the stream ended")
            if line.startswith(b"data: ") and b'"services"' in line and b'"state"' in line:
                rows = json.loads(line[6:])["services"]
                if any(row["name"] == service and row["state"] != "running" for row in rows):
                    return (time.perf_counter() - began) * 1000
