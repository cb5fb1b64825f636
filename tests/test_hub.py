"""The example in examples/proxies: many listeners, many connections, and every way to end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toolbox import PYTHON, REPOSITORY, Scratch, Stage, being, eventually, free_port, is_free

from devtasks.config import loading
from devtasks.store.registered import RegisteredChild, RegisteredPort
from devtasks.store.state import State

LISTENERS = 50
CONNECTIONS = 500
DESCRIPTORS = 4 * CONNECTIONS  # the hub has two a connection

TARGET = """
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""


class Hub:
    """The example in a folder of its own, with `count` proxies to one target that echoes."""

    def __init__(self, stage: Stage, root: Path, *, count: int = 2) -> None:
        shutil.copytree(REPOSITORY / "examples" / "proxies", root, ignore=shutil.ignore_patterns(".*", "*.db"))
        self.stage = stage
        self.scratch = Scratch(stage, root)
        self.root = root
        self.target = free_port()
        self.first = free_port(count)
        self.ports = list(range(self.first, self.first + count))
        self.log = root / "hub.log"
        self.settings()
        (root / "echo_target.py").write_text(TARGET)

    def settings(self, *, total: float = 20, drain: float = 0.3, helper: bool = True) -> None:
        lines = [f"total = {total}", f"drain = {drain}", "heartbeat = 0.1"]
        if helper:
            lines += ["[children.echo]", f'command = ["{PYTHON}", "echo_target.py", "{self.target}"]']
            lines += [f"port = {self.target}"]
        for number, port in enumerate(self.ports):
            lines += [f"[proxies.proxy-{number:02}]", f'listen = "127.0.0.1:{port}"']
            lines += [f'target = "127.0.0.1:{self.target}"']
        (self.root / "proxies.toml").write_text("\n".join(lines) + "\n")

    def start(self, **options: Any) -> subprocess.Popen[Any]:
        """By hand, in a session of its own. Returns when it is ready and its target is, too."""
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            process = self.stage.popen(
                [PYTHON, "hub.py"], self.root, stdout=log, stderr=log, start_new_session=True, **options
            )
        eventually(
            lambda: "ready: " in self.said() or process.poll() is not None, f"the hub is ready: {self.said()}"
        )
        assert process.poll() is None, self.said()
        eventually(lambda: not is_free(self.target), "the target listens")
        return process

    def run(self) -> subprocess.CompletedProcess[str]:
        """By hand, to its end."""
        return subprocess.run(
            [PYTHON, "hub.py"],
            cwd=self.root,
            env=self.stage.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def lines(self, *beginnings: str) -> list[str]:
        """The lines of the log that begin so, in their order."""
        return [line for line in self.said().splitlines() if line.startswith(beginnings)]

    @contextlib.contextmanager
    def state(self) -> Iterator[State]:
        state = State.open(loading.load(self.root), create=False)
        try:
            yield state
        finally:
            state.close()

    def registered(self) -> dict[str, RegisteredPort]:
        with self.state() as state:
            return {port.name: port for port in state.registered_ports()}

    def children(self) -> list[RegisteredChild]:
        with self.state() as state:
            return list(state.registered_children(ended=True))


@pytest.fixture
def hub(stage: Stage, tmp_path: Path) -> Hub:
    return Hub(stage, tmp_path / "hub")


@contextlib.contextmanager
def talking(ports: list[int], count: int) -> Iterator[list[socket.socket]]:
    """`count` open connections, spread over the ports; traffic has gone through each."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", ports[number % len(ports)]), timeout=20))
            for number in range(count)
        ]
        for number, client in enumerate(clients):
            client.sendall(b"%08d" % number)
        for number, client in enumerate(clients):
            assert exactly(client, 8) == b"%08d" % number
        yield clients


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def at_the_end(client: socket.socket) -> bytes:
    try:
        return client.recv(100)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("drain", [0.3, 3600.0], ids=["in order", "by force"])
def test_fifty_listeners_and_five_hundred_connections_end_within_the_total(
    stage: Stage, tmp_path: Path, drain: float
) -> None:
    """In order, each connection is asked to end. By force: the connections may go on, and the time is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY, -1) and hard < DESCRIPTORS:
        pytest.skip(f"the hard limit of open files is {hard}, and {DESCRIPTORS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    try:
        hub = Hub(stage, tmp_path / "hub", count=LISTENERS)
        total = 20.0 if drain < 1 else 5.0
        hub.settings(total=total, drain=drain)
        process = hub.start()
        assert sorted(port.port for port in hub.registered().values()) == sorted([*hub.ports, hub.target])
        with talking(hub.ports, CONNECTIONS) as clients:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
            seconds = time.monotonic() - began
            assert {at_the_end(client) for client in clients} == {b""}
        last = hub.said().splitlines()[-1]
        assert seconds < total + 2, last  # its own end, on a loaded machine, comes on top
        if drain < 1:
            assert code == 0, hub.said()
            assert last.startswith("all closed in ")
            assert len([line for line in hub.lines("proxy-") if line.endswith("asked to end")]) == LISTENERS
        else:
            assert code == 1, hub.said()
            assert last.startswith("not all closed in ")
            assert last.count("10 connections of proxy-") == LISTENERS
            # What comes after was done all the same
            assert [line for line in hub.lines("7/7 close the database") if "done in" in line]
        assert all(is_free(port) for port in [*hub.ports, hub.target])
        assert hub.registered() == {}
        assert [(child.cause, child.exit_code) for child in hub.children()] == [("stopped", -15)]
        with contextlib.closing(sqlite3.connect(hub.root / "traffic.db")) as ledger:
            kept = ledger.execute("SELECT count(*), sum(connections), sum(bytes) FROM traffic").fetchone()
        assert kept == (LISTENERS, CONNECTIONS, CONNECTIONS * 8 * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ctrl_c_closes_everything_in_order(hub: Hub) -> None:
    process = hub.start()
    with talking(hub.ports, 4):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
        assert process.wait(timeout=60) == 0
    log = hub.said()
    order = [
        "shutting down (SIGINT)",
        f"proxy-00 (127.0.0.1:{hub.ports[0]}): closed, 2 connections open",
        f"proxy-01 (127.0.0.1:{hub.ports[1]}): closed, 2 connections open",
        "stop accepting: done",
        "stop periodic work: done",
        "stop heartbeats: done",
        f", port {hub.target}): ended by signal 15",
        "stop child services: done",
        "record their state: done",
        "close the database: done",
        "all closed in",
    ]
    places = [log.find(text) for text in order]
    assert -1 not in places, log
    assert places == sorted(places), log
    assert hub.registered() == {}


def test_heartbeats_are_recorded(hub: Hub) -> None:
    process = hub.start()
    proxies = {"proxy-00", "proxy-01"}

    def beats() -> list[float]:
        return [port.beat_at or 0.0 for name, port in hub.registered().items() if name in proxies]

    eventually(lambda: all(beats()), "a first heartbeat")
    first = beats()
    eventually(lambda: min(beats()) > max(first), "a later heartbeat")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_a_second_ctrl_c_ends_it_at_once(hub: Hub) -> None:
    hub.settings(drain=3600)
    process = hub.start()
    child = being(hub.children()[0].child.pid)
    with talking(hub.ports, 4):
        process.send_signal(signal.SIGINT)
        eventually(lambda: "connections open" in hub.said(), "the first one is heard")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 1
        assert time.monotonic() - began < 3
    assert "second signal (SIGINT): ending at once, exit 1" in hub.said()
    assert child.alive  # nobody has stopped it: the next start or `inv force-clean` does
    hub.scratch.run("force-clean")
    assert not child.alive


def test_killed_it_cleans_up_at_the_next_start(hub: Hub) -> None:
    first = hub.start()
    child = being(hub.children()[0].child.pid)
    with talking(hub.ports, 4):
        first.kill()
        first.wait()
    assert child.alive
    assert not is_free(hub.target)
    assert len(hub.registered()) == 3  # nobody could correct it
    second = hub.start()
    assert f"left over from an earlier run, stopped: echo (PID {child.pid})" in hub.said()
    assert not child.alive
    with talking(hub.ports, 4):
        pass
    assert {port.owner.pid for port in hub.registered().values()} == {second.pid, hub.children()[1].child.pid}
    assert [one.cause for one in hub.children()] == ["stopped", None]
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=60) == 0


def test_run_by_devtasks_killed_and_force_cleaned(hub: Hub) -> None:
    """Started with `inv start`, killed with -9: the project's own clean-up finds what is left."""
    pid = hub.scratch.start("hub")
    eventually(lambda: not is_free(hub.target), "the target listens")
    owners = {port.name: port for port in hub.registered().values()}
    assert owners["proxy-00"].owner.pid == pid
    assert {port.service for port in owners.values()} == {"hub"}
    child = being(owners["echo"].owner.pid)
    with talking(hub.ports, 4):
        being(pid).kill()
    report = hub.scratch.run("force-clean")
    assert report["services"][0]["killed"] == [child.pid]
    assert not child.alive
    assert hub.registered() == {}
    assert [one.cause for one in hub.children()] == ["stopped"]
    assert all(is_free(port) for port in [*hub.ports, hub.target])
    # And an orderly stop, from devtasks, leaves nothing to kill
    hub.scratch.start("hub")
    eventually(lambda: not is_free(hub.target), "the target listens")
    with talking(hub.ports, 4):
        report = hub.scratch.run("stop")
    assert report["services"][0]["killed"] == []
    assert hub.registered() == {}
    assert "all closed in" in hub.scratch.log("hub")


HOLDER = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("holds", flush=True)
    time.sleep(600)
"""


def test_a_stranger_on_a_port_is_named_and_nothing_is_opened(hub: Hub, tmp_path: Path) -> None:
    stranger = hub.stage.popen([PYTHON, "-c", HOLDER, str(hub.ports[1])], tmp_path, stdout=subprocess.PIPE)
    assert stranger.stdout is not None
    assert stranger.stdout.readline() == b"holds\n"
    done = hub.run()
    assert done.returncode == 3, done
    assert f"port {hub.ports[1]} is in use" in done.stdout
    assert f"held by PID {stranger.pid} " in done.stdout
    assert "Traceback" not in done.stderr
    assert stranger.poll() is None
    assert is_free(hub.ports[0])
    assert is_free(hub.target)
    assert hub.children() == []


def test_what_is_open_when_a_port_cannot_be_is_closed_again(hub: Hub) -> None:
    """Held by its own parent, whom the guard leaves alone."""
    with socket.create_server(("127.0.0.1", hub.ports[1])):
        done = hub.run()
    assert done.returncode == 3, done
    assert f"proxy-01: cannot listen on 127.0.0.1:{hub.ports[1]}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "all closed in" in done.stdout
    assert is_free(hub.ports[0])
    assert hub.registered() == {}


def test_a_second_hub_takes_over_in_order(hub: Hub) -> None:
    """The guard knows its own: the first one is asked to end, closes everything, and the second one serves."""
    first = hub.start()

    def age() -> float:
        return max((port.beat_at or 0) - port.registered_at for port in hub.registered().values())

    eventually(lambda: age() > 1.5, "it is no newcomer any more")
    first_log = hub.log.rename(hub.root / "first.log")
    second = hub.start()
    assert first.wait(timeout=60) == 0, first_log.read_text()
    assert f"sent TERM to PID {first.pid}" in hub.said()
    assert "all closed in" in first_log.read_text()
    with talking(hub.ports, 4):
        pass
    assert {port.owner.pid for port in hub.registered().values()} == {second.pid, hub.children()[-1].child.pid}
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=60) == 0


def test_a_target_that_is_not_there_costs_that_connection_only(hub: Hub) -> None:
    hub.settings(helper=False)
    hub.log.touch()
    with hub.log.open("wb") as log:
        process = hub.stage.popen([PYTHON, "hub.py"], hub.root, stdout=log, stderr=log)
    eventually(lambda: "ready: " in hub.said(), "the hub is ready")
    with socket.create_connection(("127.0.0.1", hub.ports[0]), timeout=20) as client:
        assert at_the_end(client) == b""
    eventually(lambda: "cannot be reached" in hub.said(), "it says so")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in hub.said()


def test_both_directions_are_forwarded_to_their_own_ends(hub: Hub) -> None:
    """More than fits in any buffer; the end of one direction does not end the other."""
    process = hub.start()
    data = os.urandom(5_000_000)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.ports[0])
        reading = asyncio.create_task(reader.read())
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        answer = b""
        while more := await reading:
            answer += more
            reading = asyncio.create_task(reader.read())
        writer.close()
        return answer

    assert asyncio.run(main()) == data
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "proxies: there is none"),
        ("[proxies", "proxies.toml:"),
        ("speed = 3", "speed: not known"),
        ("total = 0\n[proxies.a]\nlisten='x:1'\ntarget='x:2'", "total: must be a number of seconds"),
        ("[proxies.a]\nlisten = '127.0.0.1:0'\ntarget='x:2'", "proxies.a.listen: must be"),
        ("[proxies.a]\nlisten = '127.0.0.1:70000'\ntarget='x:2'", "proxies.a.listen: must be"),
        ("[proxies.a]\nlisten = '127.0.0.1:http'\ntarget='x:2'", "proxies.a.listen: must be"),
        ("[proxies.a]\nlisten = 'x:1'", "proxies.a.target: must be"),
        ("[proxies.a]\nlisten='x:1'\ntarget='x:2'\n[proxies.b]\nlisten='x:1'\ntarget='x:2'", "that of a, too"),
        ("proxies = 3", "proxies: must hold tables"),
        ("[children.a]\ncommand='x'\n[proxies.a]\nlisten='x:1'\ntarget='x:2'", "children.a.command: must be"),
    ],
)
def test_settings_that_cannot_be_meant(hub: Hub, text: str, complaint: str) -> None:
    (hub.root / "proxies.toml").write_text(text)
    done = hub.run()
    assert done.returncode == 2, done
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
