"""Graceful shutdown: the budget as numbers, everything else with real loops, sockets, processes and signals."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies
from toolbox import PYTHON, REPOSITORY, Being, Scratch, Stage, being, eventually, free_port, is_free, unchanged_for

from devtasks.config import loading
from devtasks.shutdown import GracefulShutdown
from devtasks.shutdown.budget import RESERVE_SECONDS, Budget, allowed
from devtasks.store.registered import RegisteredChild
from devtasks.store.state import State


@pytest.fixture(autouse=True)
def _every_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "devtasks.shutdown")


# --- the budget ------------------------------------------------------------------------------------------


def test_three_hanging_steps_leave_time_to_record_and_to_close() -> None:
    now = [100.0]
    budget = Budget(30.0, lambda: now[0])
    given_seconds = []
    for later in (4, 3, 2, 1, 0):
        given_seconds.append(budget.for_step(10.0, later))
        now[0] += given_seconds[-1]
    assert given_seconds == [10.0, 10.0, 8.0, 1.0, 1.0]
    assert budget.spent_seconds == 30.0


def test_a_total_too_small_for_a_second_each_is_shared() -> None:
    assert allowed(10.0, 2.0, 4) == pytest.approx(0.4)
    assert allowed(0.1, 2.0, 4) == 0.1
    assert allowed(10.0, -3.0, 2) == 0.0
    assert allowed(10.0, 30.0, 0) == 10.0


@settings(deadline=None, database=None)
@given(
    strategies.floats(0.01, 1000),
    strategies.lists(strategies.floats(0.01, 100), min_size=1, max_size=40),
)
def test_whatever_hangs_the_total_holds_and_nobody_gets_nothing(total: float, timeouts: list[float]) -> None:
    left = total
    for number, timeout in enumerate(timeouts):
        later = len(timeouts) - number - 1
        seconds = allowed(timeout, left, later)
        assert 0 < seconds <= timeout
        left -= seconds
        assert left >= min(later * RESERVE_SECONDS, total / len(timeouts) * later) * 0.999 - 1e-9
    assert left >= -1e-6


def test_a_step_is_cut_by_what_the_steps_before_it_took(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The clock is the test's own: the first step takes 29.8 of 30 seconds, whatever a real clock says."""
    now = [0.0]
    shutdown = GracefulShutdown(root=tmp_path, clock=lambda: now[0])
    shutdown.step("long", lambda: now.__setitem__(0, 29.8))
    shutdown.step("hangs", asyncio.Event().wait)
    began = time.monotonic()
    assert asyncio.run(shutdown.close()) == 1
    assert time.monotonic() - began < 5
    assert "1/2 long: done in 29.80 s" in said(caplog)


# --- steps -----------------------------------------------------------------------------------------------


@pytest.fixture
def shutdown(tmp_path: Path) -> GracefulShutdown:
    """One outside any project."""
    return GracefulShutdown(root=tmp_path)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.name == "devtasks.shutdown"]
    assert not any("\n" in line for line in lines)
    return lines


async def swallow() -> None:
    """A coroutine that cannot be cancelled."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def test_steps_are_carried_out_in_order_and_told(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0.01)
        done.append("second")

    async def third() -> None:
        done.append("third")

    shutdown.step("first", lambda: done.append("first"))
    shutdown.step("second", second)

    def later() -> Awaitable[None]:
        return third()

    shutdown.step("third", later)
    assert shutdown.exit_code == 1
    assert asyncio.run(shutdown.close()) == 0
    assert shutdown.exit_code == 0
    assert done == ["first", "second", "third"]
    lines = said(caplog)
    assert lines[0] == "shutting down (closed): 3 steps, 30 s at most"
    assert [line.partition(":")[0] for line in lines[1:4]] == ["1/3 first", "2/3 second", "3/3 third"]
    assert all(": done in 0." in line for line in lines[1:4])
    assert lines[4].startswith("all closed in 0.")
    assert len(lines) == 5


def test_what_hangs_is_left_behind_and_the_later_steps_are_done(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    forever = threading.Event()

    async def cancelled() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            done.append("tidied up")

    def later() -> Awaitable[None]:
        return cancelled()

    shutdown.step("thread", forever.wait, timeout=0.1)
    shutdown.step("coroutine", cancelled, timeout=0.1)
    shutdown.step("coroutine of a function", later, timeout=0.1)
    shutdown.step("stubborn", swallow, timeout=0.1)
    shutdown.step("database", lambda: done.append("database"))
    began = time.monotonic()
    assert asyncio.run(shutdown.close()) == 1  # returns: the loop does not wait for the stubborn one either
    assert time.monotonic() - began < 5
    forever.set()
    assert done == ["tidied up", "tidied up", "database"]
    lines = said(caplog)
    assert [line.rpartition(": ")[2] for line in lines[1:5]] == [
        "abandoned",
        "cancelled",
        "cancelled",
        "abandoned",
    ]
    assert lines[5].startswith("5/5 database: done")
    assert lines[6].startswith("not all closed in 0.")
    assert lines[6].endswith(
        ": thread (abandoned); coroutine (cancelled); coroutine of a function (cancelled); stubborn (abandoned);"
        " exit 1"
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines \x1b[31m"), r"ValueError: two lines \x1b[31m"),
        (KeyError(), "KeyError"),
        (SystemExit(0), "RuntimeError: SystemExit: 0"),
        (KeyboardInterrupt(), "RuntimeError: KeyboardInterrupt: "),
        (StopIteration(3), "RuntimeError"),
        (asyncio.CancelledError(), "was cancelled"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
def test_what_fails_is_told_and_the_later_steps_are_done(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture, error: BaseException, text: str
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise error

    async def fail_too() -> None:
        raise error

    shutdown.step("thread", fail)
    shutdown.step("coroutine", fail_too)
    shutdown.step("database", lambda: done.append("database"))
    assert asyncio.run(shutdown.close()) == 1
    assert done == ["database"]
    lines = said(caplog)
    assert lines[1].startswith("1/3 thread: failed after 0.")
    assert lines[2].startswith("2/3 coroutine: failed after 0.")
    assert text.strip() in lines[1]
    assert text.strip() in lines[2]
    assert lines[4].endswith(": thread failed; coroutine failed; exit 1")


def test_a_task_is_cancelled(shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        async def broken() -> None:
            raise OSError("lost")

        tasks = [asyncio.create_task(asyncio.sleep(3600)), asyncio.create_task(broken())]
        shutdown.step("heartbeats", tasks[0], timeout=5)
        shutdown.step("timer", tasks[1])
        await asyncio.sleep(0)
        code = await shutdown.close()
        assert tasks[0].cancelled()
        return code

    assert asyncio.run(main()) == 1
    assert "timer: failed after 0.00 s: OSError: lost" in said(caplog)[2]


def test_threads_see_the_context_of_the_program(shutdown: GracefulShutdown) -> None:
    import contextvars

    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    async def main() -> None:
        tenant.set("shop")
        shutdown.step("look", lambda: seen.append(tenant.get()))
        await shutdown.close()

    asyncio.run(main())
    assert seen == ["shop"]


def test_it_closes_once(shutdown: GracefulShutdown) -> None:
    done: list[int] = []

    async def slow() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    async def main() -> None:
        shutdown.step("slow", slow)
        assert await asyncio.gather(shutdown.close(), shutdown.close(), shutdown.wait()) == [0, 0, 0]
        with pytest.raises(RuntimeError, match="step late: the shutdown has begun"):
            shutdown.step("late", slow)
        assert await shutdown.wait() == 0

    asyncio.run(main())
    assert asyncio.run(shutdown.close()) == 0
    assert shutdown.close_sync() == 0
    assert done == [1]


def test_cancelled_while_it_closes_it_finishes_first(shutdown: GracefulShutdown) -> None:
    done: list[int] = []

    async def slow() -> None:
        await asyncio.sleep(0.1)
        done.append(1)

    async def main() -> None:
        shutdown.step("slow", slow)
        task = asyncio.create_task(shutdown.close())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert done == [1]


def test_the_recipe_is_in_the_order_that_people_need(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: done.append(name)

    shutdown.recipe(
        database=note("database"),
        record=note("record"),
        children=note("children"),
        heartbeats=note("heartbeats"),
        periodic=[note("periodic"), note("periodic, too")],
        accepting=note("accepting"),
    )
    assert [step.timeout_seconds for step in shutdown._steps if step.name == "stop heartbeats"] == [5.0]
    assert {step.timeout_seconds for step in shutdown._steps if step.name != "stop heartbeats"} == {10.0}
    assert asyncio.run(shutdown.close()) == 0
    assert done == ["accepting", "periodic", "periodic, too", "heartbeats", "children", "record", "database"]
    names = [line.partition(" ")[2].partition(":")[0] for line in said(caplog)[1:-1]]
    assert names == [
        *("stop accepting (2)", "stop periodic work", "stop periodic work (2)", "stop heartbeats"),
        *("stop child services (2)", "record their state (2)", "close the database"),
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GracefulShutdown(total=0), "total: must be a number of seconds above 0, not 0"),
        (lambda: GracefulShutdown(total=float("nan")), "total: must be"),
        (lambda: GracefulShutdown(step_timeout=-1), "step_timeout: must be"),
        (lambda: GracefulShutdown(total="30"), "total: must be"),  # type: ignore[arg-type]
        (lambda: GracefulShutdown().step("x", print, timeout=float("inf")), "step x: timeout: must be"),
        (lambda: GracefulShutdown().step("a\nb", print), "a name is one line of text, not 'a\\\\nb'"),
        (lambda: GracefulShutdown().step(" ", print), "a name is one line"),
        (lambda: GracefulShutdown().step("x", "print"), "step x: an action is a function or a task"),  # type: ignore[arg-type]
        (lambda: GracefulShutdown().recipe(database=3), "'int' object is not iterable"),  # type: ignore[arg-type]
        (lambda: GracefulShutdown().register_port(0, name="x"), "a port is a number from 1 to 65535, not 0"),
        (lambda: GracefulShutdown().register_port(70000, name="x"), "a port is a number"),
        (lambda: GracefulShutdown().register_port("http", name="x"), "a port is a number"),  # type: ignore[arg-type]
        (lambda: GracefulShutdown().child("x", ["true"], ports=[True]), "a port is a number"),
    ],
)
def test_bad_input_is_refused_where_it_is_given(call: Callable[[], object], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        call()


# --- listeners and connections ---------------------------------------------------------------------------


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def echo_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await echo(reader, writer)
    writer.close()


@contextlib.asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator[tuple[Any, Any]]:
    """A client whose traffic goes through."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def at_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b"reset"


def test_connections_that_end_by_themselves_are_waited_for(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> int:
        server = await shutdown.serve(echo, "127.0.0.1", 0, name="echo")
        port = server.sockets[0].getsockname()[1]
        async with connected(port) as (reader, writer):
            closing = asyncio.create_task(shutdown.close())
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
            assert not closing.done()
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            writer.write_eof()
            assert await at_the_end(reader) == b""
            return await closing

    assert asyncio.run(main()) == 0
    assert any(line.startswith("echo (127.0.0.1:") and "1 connection open" in line for line in said(caplog))


def test_connections_open_at_the_timeout_are_closed_by_force(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    shutdown = GracefulShutdown(root=tmp_path, step_timeout=0.2)
    ended: list[str] = []

    async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await swallow()

    async def main() -> int:
        idle = await shutdown.serve(echo, "127.0.0.1", 0, name="idle")
        deaf = await shutdown.serve(stubborn, "127.0.0.1", 0, name="deaf")
        shutdown.step("database", lambda: ended.append("database"))
        ports = [server.sockets[0].getsockname()[1] for server in (idle, idle, deaf)]
        async with connected(ports[0]) as one, connected(ports[1]) as two, connected(ports[2]) as three:
            code = await shutdown.close()
            assert {await at_the_end(reader) for reader, _ in (one, two, three)} <= {b"", b"reset"}
            return code

    began = time.monotonic()
    assert asyncio.run(main()) == 1
    assert time.monotonic() - began < 5
    assert ended == ["database"]
    last = said(caplog)[-1]
    assert "2 connections of idle (127.0.0.1:" in last
    assert "1 connection of deaf (127.0.0.1:" in last


def test_drained_connections_are_asked_to_end_which_is_no_force(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture
) -> None:
    said_goodbye = b"goodbye" * 100_000

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await echo(reader, writer)
        except asyncio.CancelledError:
            writer.write(said_goodbye)  # more than fits: it is sent although the handler is over
            raise

    async def main() -> int:
        server = await shutdown.serve(polite, "127.0.0.1", 0, name="polite", drain=0.1)
        async with connected(server.sockets[0].getsockname()[1]) as (reader, _):
            closing = asyncio.create_task(shutdown.close())
            assert await at_the_end(reader) == said_goodbye
            return await closing

    assert asyncio.run(main()) == 0
    assert any("1 connection asked to end" in line for line in said(caplog))


def test_a_client_that_never_reads_is_no_reason_to_stay(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    shutdown = GracefulShutdown(root=tmp_path, step_timeout=0.3)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.write(b"x" * 50_000_000)

    async def main() -> int:
        server = await shutdown.serve(flood, "127.0.0.1", 0, name="flood", drain=0.1)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.sendall(b"go")
            await asyncio.sleep(0.05)
            return await shutdown.close()

    assert asyncio.run(main()) == 1
    assert "1 connection of flood" in said(caplog)[-1]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["streams", "protocol"])
def test_servers_made_elsewhere_are_tracked(caplog: pytest.LogCaptureFixture, tmp_path: Path, kind: str) -> None:
    shutdown = GracefulShutdown(root=tmp_path, step_timeout=0.2)

    async def main() -> int:
        if kind == "streams":
            server = await asyncio.start_server(echo_and_close, "127.0.0.1", 0)
        else:
            server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        shutdown.track(server, name=kind)
        port = server.sockets[0].getsockname()[1]
        async with connected(port) as (gone, writer), connected(port) as (reader, _):
            writer.transport.abort()
            assert await at_the_end(gone) == b""
            code = await shutdown.close()
            assert await at_the_end(reader) in (b"", b"reset")
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
            return code

    assert asyncio.run(main()) == 1
    assert f"1 connection of {kind} (127.0.0.1:" in said(caplog)[-1]


def test_bare_sockets_and_both_families_are_closed_and_named(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def main() -> int:
        bare = socket.create_server(("127.0.0.1", 0))
        shutdown.track(bare, name="bare")
        places = ["127.0.0.1", *(["::1"] if socket.has_ipv6 else [])]
        await shutdown.serve(echo, places, 0, name="both")
        local = await asyncio.start_unix_server(echo, tmp_path / "socket")
        shutdown.track(local, name="local")
        code = await shutdown.close()
        assert bare.fileno() == -1
        return code

    assert asyncio.run(main()) == 0
    closed = [line for line in said(caplog) if line.endswith(": closed")]
    assert closed[0].startswith("bare (127.0.0.1:")
    assert closed[1].startswith("both (127.0.0.1:")
    if socket.has_ipv6:
        assert ", [::1]:" in closed[1]
    assert closed[2] == f"local ({tmp_path / 'socket'}): closed"


def test_a_port_that_is_held_is_the_callers_to_handle(shutdown: GracefulShutdown) -> None:
    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(OSError, match="in use"):
            await shutdown.serve(echo, "127.0.0.1", held.getsockname()[1], name="echo")
        return await shutdown.close()

    assert asyncio.run(main()) == 0


def test_a_handler_that_fails_takes_its_connection_with_it(shutdown: GracefulShutdown) -> None:
    async def main() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(5))
            raise ValueError("broken")

        server = await shutdown.serve(fail, "127.0.0.1", 0, name="broken")
        async with connected(server.sockets[0].getsockname()[1]) as (reader, _):
            assert await at_the_end(reader) == b""
        return await shutdown.close()

    assert asyncio.run(main()) == 0


def test_a_connection_that_breaks_is_no_error(shutdown: GracefulShutdown) -> None:
    complaints: list[Any] = []

    async def write_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()

    async def main() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        server = await shutdown.serve(write_on, "127.0.0.1", 0, name="broken")
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        return await shutdown.close()

    assert asyncio.run(main()) == 0
    gc.collect()
    assert complaints == []


# --- signals ---------------------------------------------------------------------------------------------

HEAD = """
import asyncio, contextlib, logging, os, signal, sys, threading, time
from devtasks.shutdown import GracefulShutdown
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
async def swallow():
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
def say(text):
    print(text, flush=True)
def say_ready():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.001)
    say("ready")
"""


class Program:
    """A program that uses the library, as a child of the test. It prints `ready` when it may be signalled."""

    def __init__(self, stage: Stage, folder: Path, text: str, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "program.py"
        self.file.write_text(HEAD + textwrap.dedent(text))
        self.log = folder / "program.log"
        with self.log.open("wb") as log:
            options.setdefault("stderr", log)
            self.process = stage.popen([PYTHON, self.file], folder, stdout=subprocess.PIPE, text=True, **options)

    def line(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        assert line, self.log.read_text()
        return line.strip()

    def until(self, text: str) -> None:
        eventually(lambda: text in self.log.read_text(), f"{text!r} in the log: {self.log.read_text()}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        return self.process.wait(timeout=20)


ASYNC = """
async def main():
    shutdown = GracefulShutdown(total=10)
    shutdown.step("one", lambda: say("one"))
    shutdown.step("two", ACTION)
    before = signal.getsignal(signal.SIGTERM)
    asyncio.get_running_loop().call_soon(say, "ready")
    code = await shutdown.wait()
    assert signal.getsignal(signal.SIGTERM) is before
    say("over")
    return code
sys.exit(asyncio.run(main()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_begins_it_and_the_handlers_are_restored(stage: Stage, tmp_path: Path, number: Any) -> None:
    program = Program(stage, tmp_path / "x", ASYNC.replace("ACTION", "lambda: say('two')"))
    assert program.line() == "ready"
    program.send(number)
    assert [program.line() for _ in range(3)] == ["one", "two", "over"]
    assert program.ends() == 0
    assert f"shutting down ({number.name}): 2 steps, 10 s at most" in program.log.read_text()


@pytest.mark.parametrize(
    "hang",
    [
        "threading.Event().wait",
        "swallow",
        "lambda: time.sleep(3600)",
        "block",  # the loop itself is blocked
    ],
)
def test_a_second_signal_ends_it_at_once(stage: Stage, tmp_path: Path, hang: str) -> None:
    text = "async def block(): time.sleep(3600)\n" + ASYNC.replace("ACTION", hang)
    program = Program(stage, tmp_path / "x", text)
    assert program.line() == "ready"
    program.send(signal.SIGINT)
    assert program.line() == "one"
    program.until("1/2 one: done")
    began = time.monotonic()
    program.send(signal.SIGTERM)
    assert program.ends() == 1
    assert time.monotonic() - began < 3
    assert "second signal (SIGTERM): ending at once, exit 1" in program.log.read_text()


def waiting_in(pipe: int) -> int:
    """How many bytes nobody has read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_a_second_signal_ends_it_even_if_nobody_reads_its_log(stage: Stage, tmp_path: Path) -> None:
    """Its standard error is a pipe that is full, and a thread hangs in it with the log's lock."""
    reading, writing = os.pipe()
    hang = "lambda: [logging.info('x' * 1000) for _ in range(1000)]"
    program = Program(stage, tmp_path / "x", ASYNC.replace("ACTION", hang), stderr=writing)
    os.close(writing)
    try:
        assert program.line() == "ready"
        program.send(signal.SIGINT)
        assert program.line() == "one"
        room = fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ)
        eventually(
            lambda: waiting_in(reading) > room / 2 and unchanged_for(lambda: waiting_in(reading), 0.1),
            "the pipe is full",
        )
        program.send(signal.SIGINT)
        assert program.ends() == 1
    finally:
        os.close(reading)


def test_what_hangs_does_not_keep_the_process(stage: Stage, tmp_path: Path) -> None:
    """Threads, coroutines that swallow their cancellation: the process ends when the last step is over."""
    program = Program(
        stage,
        tmp_path / "x",
        """
        async def main():
            shutdown = GracefulShutdown(total=2)
            shutdown.step("thread", lambda: time.sleep(3600))
            shutdown.step("coroutine", swallow)
            shutdown.step("database", lambda: say("database"))
            shutdown.request("test")
            return await shutdown.wait()
        sys.exit(asyncio.run(main()))
        """,
    )
    began = time.monotonic()
    assert program.line() == "database"
    assert program.ends() == 1
    assert time.monotonic() - began < 10
    assert "Traceback" not in program.log.read_text(), program.log.read_text()
    assert "destroyed" not in program.log.read_text()


def test_a_signal_that_is_ignored_stays_ignored(stage: Stage, tmp_path: Path) -> None:
    text = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + ASYNC.replace("ACTION", "lambda: say('two')")
    program = Program(stage, tmp_path / "x", text)
    assert program.line() == "ready"
    program.send(signal.SIGHUP)
    program.send(signal.SIGTERM)
    assert program.line() == "one"
    assert program.ends() == 0
    assert "shutting down (SIGTERM)" in program.log.read_text()


def test_a_block_of_a_coroutine_is_cancelled(stage: Stage, tmp_path: Path) -> None:
    program = Program(
        stage,
        tmp_path / "x",
        """
        async def main():
            async with GracefulShutdown() as shutdown:
                shutdown.step("one", lambda: say("one"))
                try:
                    say("ready")
                    await asyncio.sleep(3600)
                finally:
                    say("cancelled")
            say("after")
            await asyncio.sleep(0.01)
            return shutdown.exit_code
        sys.exit(asyncio.run(main()))
        """,
    )
    assert program.line() == "ready"
    program.send(signal.SIGTERM)
    assert [program.line() for _ in range(3)] == ["cancelled", "one", "after"]
    assert program.ends() == 0


def test_a_block_may_wait_fail_or_be_cancelled_by_others(shutdown: GracefulShutdown, tmp_path: Path) -> None:
    done: list[str] = []

    async def waits() -> int:
        async with GracefulShutdown(root=tmp_path) as one:
            one.step("one", lambda: done.append("waits"))
            asyncio.get_running_loop().call_soon(one.request)
            return await one.wait()
        return 9

    async def closes() -> int:
        async with GracefulShutdown(root=tmp_path) as one:
            one.step("one", lambda: done.append("closes"))
            assert await one.close() == 0
            await asyncio.sleep(0.01)
            return 3

    async def is_closed() -> None:
        async with GracefulShutdown(root=tmp_path) as one:
            other = asyncio.create_task(one.close())
            await asyncio.sleep(3600)
        assert await other == 0

    async def fails() -> None:
        async with GracefulShutdown(root=tmp_path) as one:
            one.step("one", lambda: done.append("fails"))
            raise ValueError("inside")

    async def cancelled() -> None:
        async with GracefulShutdown(root=tmp_path) as one:
            one.step("one", lambda: done.append("cancelled"))
            await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(cancelled())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = signal.getsignal(signal.SIGTERM)
    assert asyncio.run(waits()) == 0
    assert asyncio.run(closes()) == 3
    asyncio.run(is_closed())
    with pytest.raises(ValueError, match="inside"):
        asyncio.run(fails())
    asyncio.run(main())
    assert done == ["waits", "closes", "fails", "cancelled"]
    assert signal.getsignal(signal.SIGTERM) is before


SYNC = """
def main():
    shutdown = GracefulShutdown(total=10)
    async def two():
        await asyncio.sleep(0.01)
        say("two")
    shutdown.step("one", lambda: say("one"))
    shutdown.step("two", two)
    threading.Thread(target=say_ready).start()
    return shutdown.run()
sys.exit(main())
"""

SYNC_BLOCK = """
with GracefulShutdown(total=10) as shutdown:
    shutdown.step("one", lambda: say("one"))
    shutdown.step("two", lambda: say("two"))
    say("ready")
    threading.Event().wait()
    say("never")
sys.exit(shutdown.exit_code)
"""


@pytest.mark.parametrize("text", [SYNC, SYNC_BLOCK], ids=["run", "with"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_programs_without_a_loop(stage: Stage, tmp_path: Path, text: str, number: Any) -> None:
    program = Program(stage, tmp_path / "x", text)
    assert program.line() == "ready"
    program.send(number)
    assert [program.line(), program.line()] == ["one", "two"]
    assert program.ends() == 0
    assert f"shutting down ({number.name})" in program.log.read_text()


def test_a_program_without_a_loop_asked_by_another_thread(tmp_path: Path) -> None:
    shutdown = GracefulShutdown(root=tmp_path)
    done: list[str] = []
    shutdown.step("one", lambda: done.append("one"))
    timer = threading.Timer(0.05, shutdown.request)
    timer.start()
    assert shutdown.run() == 0
    timer.join()
    assert done == ["one"]
    with GracefulShutdown(root=tmp_path) as second, contextlib.suppress(ValueError):
        second.step("two", lambda: done.append("two"))
        raise ValueError
    assert done == ["one", "two"]


def test_in_a_coroutine_a_plain_with_is_refused(shutdown: GracefulShutdown) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="async with"), shutdown:
            pass

    asyncio.run(main())


def test_outside_the_main_thread_it_waits_for_a_request(shutdown: GracefulShutdown) -> None:
    codes: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: codes.append(asyncio.run(shutdown.wait())))
    thread.start()
    assert signal.getsignal(signal.SIGTERM) is before
    shutdown.request("enough")
    thread.join(20)
    assert codes == [0]


# --- the project's state ---------------------------------------------------------------------------------


@contextlib.contextmanager
def state_of(scratch: Scratch) -> Iterator[State]:
    state = State.open(loading.load(scratch.root), create=False)
    try:
        yield state
    finally:
        state.close()


def registered(scratch: Scratch) -> dict[str, int]:
    with state_of(scratch) as state:
        return {port.name: port.port for port in state.registered_ports()}


def children_of(scratch: Scratch) -> dict[str, RegisteredChild]:
    with state_of(scratch) as state:
        return {child.name: child for child in state.registered_children(ended=True)}


def environ_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_what_is_opened_is_known_to_the_project_for_as_long_as_it_is_open(scratch: Scratch) -> None:
    scratch.declare({"hub": {"command": ["true"]}})
    ports = [free_port() for _ in range(3)]

    async def main() -> int:
        shutdown = GracefulShutdown(root=scratch.root, service="hub")
        await shutdown.serve(echo, "127.0.0.1", ports[0], name="proxy-a")
        child = shutdown.child("helper", ["sleep", "600"], ports=[ports[1]])
        shutdown.register_port(ports[2], name="elsewhere")
        assert registered(scratch) == dict(zip(("proxy-a", "helper", "elsewhere"), ports, strict=True))
        with state_of(scratch) as state:
            assert {port.service for port in state.registered_ports()} == {"hub"}
            assert {port.beat_at for port in state.registered_ports()} == {None}
        await shutdown.beat()
        with state_of(scratch) as state:
            beats = {port.name: port.beat_at for port in state.registered_ports()}
            assert beats.pop("helper") is None
            assert all(beat is not None and abs(beat - time.time()) < 60 for beat in beats.values())
        one = children_of(scratch)["helper"]
        assert (one.child.pid, one.parent.pid, one.ended_at) == (child.pid, os.getpid(), None)
        assert f"DEVTASKS_ID={loading.load(scratch.root).digest}/hub/".encode() in environ_of(child.pid)
        return await shutdown.close()

    assert asyncio.run(main()) == 0
    assert registered(scratch) == {}
    one = children_of(scratch)["helper"]
    assert (one.exit_code, one.cause) == (-15, "stopped")
    assert one.ended_at is not None


def test_without_a_project_one_line_says_so(
    shutdown: GracefulShutdown, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async def main() -> int:
        for number in range(3):
            await shutdown.serve(echo, "127.0.0.1", 0, name=f"proxy-{number}")
        shutdown.register_port(8000, name="x")
        await shutdown.beat()
        assert shutdown.clean_up() == ()
        return await shutdown.close()

    assert asyncio.run(main()) == 0
    lines = [line for line in said(caplog) if "recorded" in line]
    assert lines == [f"no devtasks project above {tmp_path}: ports and children are not recorded"]
    assert os.listdir(tmp_path) == []


def test_a_project_that_cannot_be_read_is_no_reason_not_to_serve(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "devtasks.toml").write_text("[services.web]\ncommand = 3\nport = 'http'\n")
    shutdown = GracefulShutdown(root=tmp_path)
    shutdown.register_port(8000, name="x")
    shutdown.register_port(8001, name="y")
    (line,) = said(caplog)
    assert line.startswith("the devtasks project cannot be read: ports and children are not recorded: ")
    assert asyncio.run(shutdown.close()) == 0


def test_the_project_is_that_of_the_callers_file(scratch: Scratch, tmp_path: Path) -> None:
    scratch.declare({"hub": {"command": ["true"]}})
    inner = scratch.root / "tools"
    inner.mkdir()
    program = Program(
        scratch.stage,
        inner,
        """
        shutdown = GracefulShutdown()
        shutdown.register_port(8000, name="x")
        say(shutdown._registry.service)
        """,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert program.line() == "program"
    assert program.ends() == 0
    with state_of(scratch) as state:
        assert [port.service for port in state.registered_ports()] == ["program"]
    scratch.run("status", expect=0)
    assert registered(scratch) == {}  # its owner is gone, which any command finds


def test_the_state_may_be_locked_or_full_of_nonsense(scratch: Scratch, caplog: pytest.LogCaptureFixture) -> None:
    scratch.declare({"hub": {"command": ["true"]}})
    shutdown = GracefulShutdown(root=scratch.root)
    scratch.state.mkdir()
    (scratch.state / "state.db").write_bytes(b"nonsense" * 1000)
    shutdown.register_port(8000, name="x")
    assert registered(scratch) == {"x": 8000}
    assert any("damaged" in line for line in said(caplog))


# --- children --------------------------------------------------------------------------------------------


def test_children_are_stopped_whole(shutdown: GracefulShutdown, stage: Stage, tmp_path: Path) -> None:
    tree = "sleep 600 & (sleep 601 & exec sleep 602) & echo ready; exec sleep 603"

    async def main() -> int:
        child = shutdown.child("tree", ["sh", "-c", tree], stdout=subprocess.PIPE, env=stage.environ)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdout.close()
        eventually(lambda: len(sleeping(stage)) == 4, "all four sleep")
        return await shutdown.close()

    assert asyncio.run(main()) == 0
    assert sleeping(stage) == []


def sleeping(stage: Stage) -> list[Being]:
    return [one for one in stage.everything() if one.name.startswith("sleep 60")]


def test_children_that_do_not_listen_are_killed_at_the_timeout(
    caplog: pytest.LogCaptureFixture, stage: Stage, tmp_path: Path
) -> None:
    shutdown = GracefulShutdown(root=tmp_path, step_timeout=0.4)
    deaf = "trap '' TERM; sleep 600 & echo ready; while :; do sleep 601; done"
    children = [
        shutdown.child(name, ["sh", "-c", deaf], stdout=subprocess.PIPE, env=stage.environ) for name in "ab"
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdout.close()
    shutdown.child("good", ["sleep", "600"], env=stage.environ)
    assert shutdown.close_sync() == 1
    assert sleeping(stage) == []
    last = said(caplog)[-1]
    assert f"a (PID {children[0].pid}) killed; b (PID {children[1].pid}) killed" in last
    assert "good" not in last
    assert "alive" not in last  # those that nobody has reaped yet are gone all the same
    for child in children:
        assert child.wait() == -9


def test_children_that_fork_while_they_are_killed_are_killed_whole(stage: Stage, tmp_path: Path) -> None:
    """Each is in the middle of forking; what it forks after the look would be nobody's child once it is dead."""
    count = 30 if os.environ.get("DEVTASKS_WORLD") == "portable" else 300  # psutil takes a millisecond for each
    forking = f"trap '' TERM; echo ready; i=0; while [ $i -lt {count} ]; do sleep 601 & i=$((i + 1)); done; wait"
    for _ in range(5):
        shutdown = GracefulShutdown(root=tmp_path, step_timeout=0.03)
        child = shutdown.child("again", ["sh", "-c", forking], stdout=subprocess.PIPE, env=stage.environ)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdout.close()
        assert shutdown.close_sync() == 1
        assert sleeping(stage) == []


def test_what_left_the_family_is_spared(shutdown: GracefulShutdown, stage: Stage) -> None:
    """DEVTASKS_KEEP=1, and what carries another project's marker."""
    kept = "DEVTASKS_KEEP=1 sleep 600 & DEVTASKS_ID=other/web/1 sleep 601 & echo ready; exec sleep 602"
    child = shutdown.child("tree", ["sh", "-c", kept], stdout=subprocess.PIPE, env=stage.environ)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.stdout.close()
    eventually(lambda: len(sleeping(stage)) == 3, "all three sleep")
    assert shutdown.close_sync() == 0
    spared = sleeping(stage)
    assert sorted(one.name for one in spared) == ["sleep 600", "sleep 601"]
    for one in spared:
        one.kill()


def test_a_child_that_ended_by_itself(scratch: Scratch) -> None:
    scratch.declare({"hub": {"command": ["true"]}})
    shutdown = GracefulShutdown(root=scratch.root)
    child = shutdown.child("brief", ["sh", "-c", "exit 3"])
    child.wait()
    assert shutdown.close_sync() == 0
    found = children_of(scratch)
    # It may have been gone before anybody could look at it
    assert all((one.exit_code, one.cause) in ((3, "exited"), (None, "gone")) for one in found.values())


def test_ctrl_c_does_not_reach_children_before_their_turn(stage: Stage, tmp_path: Path) -> None:
    """The whole foreground group gets a Ctrl-C. The child lives until the step before its own is over."""
    program = Program(
        stage,
        tmp_path / "x",
        """
        shutdown = GracefulShutdown()
        child = shutdown.child("child", ["sleep", "600"])
        shutdown.step("before", lambda: say(f"alive: {child.poll() is None}"))
        shutdown.step("stop child services", shutdown.stop_children)
        shutdown.step("after", lambda: say(f"alive: {child.poll() is None}"))
        threading.Thread(target=say_ready).start()
        sys.exit(shutdown.run())
        """,
        start_new_session=True,
    )
    assert program.line() == "ready"
    os.killpg(program.process.pid, signal.SIGINT)
    assert [program.line(), program.line()] == ["alive: True", "alive: False"]
    assert program.ends() == 0


def test_a_command_that_does_not_exist_is_the_callers_to_handle(shutdown: GracefulShutdown) -> None:
    with pytest.raises(FileNotFoundError):
        shutdown.child("x", ["/nowhere/at/all"])
    assert shutdown.close_sync() == 0


# --- after an abnormal exit ------------------------------------------------------------------------------

HUB = """
async def echo(reader, writer):
    writer.write(await reader.read(100))
async def main():
    shutdown = GracefulShutdown(service="hub")
    say(f"cleaned {shutdown.clean_up()}")
    await shutdown.serve(echo, "127.0.0.1", int(os.environ["HUB_PORT"]), name="proxy")
    one = shutdown.child("helper", ["sh", "-c", "sleep 600 & exec sleep 601"])
    say(f"ready {one.pid}")
    return await shutdown.wait()
sys.exit(asyncio.run(main()))
"""


def test_force_clean_finds_the_children_of_a_killed_hub_that_devtasks_started(scratch: Scratch) -> None:
    port = free_port()
    (scratch.root / "hub.py").write_text(HEAD + HUB)
    scratch.declare(
        {
            "hub": {
                "command": [PYTHON, "hub.py"],
                "port": port,
                "env": {"HUB_PORT": str(port), "PYTHONUNBUFFERED": "1"},
            }
        }
    )
    hub = being(scratch.start("hub"))
    eventually(lambda: "ready" in scratch.log("hub"), scratch.log("hub"))
    helper = being(int(scratch.log("hub").rpartition("ready ")[2].split()[0]))
    eventually(lambda: len(sleeping(scratch.stage)) == 2, "helper and its child")
    both = sleeping(scratch.stage)
    assert registered(scratch) == {"proxy": port}
    hub.kill()
    assert helper.alive
    assert scratch.run("status", "--check", expect=1)["services"][0]["state"] == "orphaned"
    assert registered(scratch) == {}  # nobody listens any more
    assert children_of(scratch)["helper"].ended_at is None
    report = scratch.run("force-clean")
    assert {one.pid for one in both} <= set(report["services"][0]["killed"]), report
    assert not any(one.alive for one in both)
    found = children_of(scratch)["helper"]
    assert (found.child.pid, found.cause) == (helper.pid, "stopped")
    assert found.ended_at is not None
    assert is_free(port)
    connection = sqlite3.connect(scratch.state / "state.db")
    assert connection.execute("SELECT count(*) FROM runs WHERE ended_at IS NULL").fetchone() == (0,)
    connection.close()


def test_force_clean_finds_the_children_of_a_killed_hub_that_was_started_by_hand(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": ["true"]}})
    program = Program(scratch.stage, scratch.root, HUB, env={"HUB_PORT": str(free_port())})
    assert program.line() == "cleaned ()"
    helper = being(int(program.line().split()[1]))
    program.process.kill()
    program.ends()
    eventually(lambda: len(sleeping(scratch.stage)) == 2, "helper and its child")
    report = scratch.run("force-clean")
    assert helper.pid in [pid for service in report["services"] for pid in service["killed"]]
    assert sleeping(scratch.stage) == []
    assert children_of(scratch)["helper"].cause == "stopped"


def test_the_next_start_cleans_up_and_spares_the_children_of_whoever_lives(
    scratch: Scratch, tmp_path: Path
) -> None:
    scratch.declare({"hub": {"command": ["true"]}})
    killed = Program(scratch.stage, scratch.root, HUB, env={"HUB_PORT": str(free_port())})
    assert killed.line() == "cleaned ()"
    orphan = being(int(killed.line().split()[1]))
    living = Program(scratch.stage, scratch.root, HUB, env={"HUB_PORT": str(free_port())})
    assert living.line() == "cleaned ()"  # the first one lives, and so does what it started
    spared = being(int(living.line().split()[1]))
    killed.process.kill()
    killed.ends()
    third = Program(scratch.stage, scratch.root, HUB, env={"HUB_PORT": str(free_port())})
    assert third.line() == "cleaned ('helper',)"
    third.line()
    assert not orphan.alive
    assert spared.alive
    assert "left over from an earlier run, stopped: helper" in third.log.read_text()
    for program in (living, third):
        program.send(signal.SIGTERM)
        assert program.ends() == 0
    assert not spared.alive
    assert sleeping(scratch.stage) == []
    assert registered(scratch) == {}


# --- what it costs ---------------------------------------------------------------------------------------


def test_importing_it_imports_neither_asyncio_nor_the_rest_of_us() -> None:
    code = """
import sys, devtasks.shutdown
heavy = {"asyncio", "sqlite3", "psutil", "invoke", "socket", "subprocess"} & set(sys.modules)
ours = {name for name in sys.modules if name.startswith("devtasks.") and not name.startswith("devtasks.shutdown")}
print(sorted(heavy), sorted(ours))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] ['devtasks.errors', 'devtasks.values', 'devtasks.version']\n"


# --- what is documented ----------------------------------------------------------------------------------


def documented() -> list[str]:
    text = (REPOSITORY / "docs" / "shutdown.md").read_text()
    return [block.partition("```")[0] for block in text.split("```python\n")[1:]]


@pytest.mark.parametrize("number", range(3))
def test_what_the_documentation_shows_works(stage: Stage, tmp_path: Path, number: int) -> None:
    program = Program(stage, tmp_path / "x", "\n" + documented()[number])
    status = Path(f"/proc/{program.process.pid}/status")
    caught = 1 << (signal.SIGTERM - 1)
    eventually(
        lambda: (
            int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & caught
            and (number != 0 or "listening: echo" in program.log.read_text())
        ),
        "the program waits",
    )
    program.send(signal.SIGTERM)
    assert program.line() == "closed"
    assert program.ends() == 0, program.log.read_text()
    assert "all closed in" in program.log.read_text()
