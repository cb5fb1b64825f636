"""Probes against whatever may answer them: within their time, and only an answer of ours counts."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import project, service
from toolbox import PATIENCE_SECONDS, PYTHON, Stage, end, eventually, marked

from devtasks.asking.listener import serving
from devtasks.health import Answer
from devtasks.model import Endpoint, HealthProbe
from devtasks.probes import Prober
from devtasks.readiness import Readiness
from devtasks.values import replace
from devtasks.world import this_world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ME = os.getpid()
Talk = Callable[[socket.socket], None]


class Server:
    """Something on a free port that does with each connection what a test says. In this process, or `fork`ed."""

    def __init__(self, talk: Talk | bytes, host: str = "127.0.0.1", port: int = 0, *, reuse: bool = False) -> None:
        self._talk = talk
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if reuse:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if ":" in host:
            self._listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._listener.bind((host, port))
        self._listener.listen(16)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if isinstance(self._talk, bytes):
                self.requests.append(connection.recv(65536))
                connection.sendall(self._talk)
            else:
                self._talk(connection)

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def begin(talk: Talk | bytes = OK, **options: Any) -> Server:
        servers.append(Server(talk, **options))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def prober(
    folder: Path, port: int | None, *, seconds: float = 10.0, listener: str = "ours", **probe: Any
) -> Prober:
    asked = service(
        ports=() if port is None else (port,),
        cwd=folder,
        log_file=folder / "web.log",
        listener=listener,
        health=HealthProbe(timeout_seconds=seconds, **probe),
    )
    return Prober(this_world(), replace(project(asked), root=folder), asked)


def ask(folder: Path, port: int | None, members: Iterable[int] = (ME,), **probe: Any) -> Answer:
    return prober(folder, port, **probe).ask(tuple(members))


# --- HTTP --------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "asked", "state"),
    [
        (OK, {}, "healthy"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", {}, "healthy"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", {"body": "end$"}, "healthy"),
        (b"HTTP/1.1 200\nContent-Length: 2\n\nok", {}, "healthy"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, {"body": "^ok$"}, "healthy"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", {}, "healthy"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", {"status": (200,)}, "unhealthy"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", {}, "unhealthy"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", {"status": (500, 503)}, "healthy"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", {}, "unhealthy"),
        (OK, {"body": "^ok$"}, "healthy"),
        (OK, {"body": "^fine$"}, "unhealthy"),
        (CHUNKED + b"3\r\nall\r\n5;x=y\r\n well\r\n0\r\n\r\n", {"body": "^all well$"}, "healthy"),
        (CHUNKED + b"3\r\nall\r\n", {}, "unhealthy"),
        (CHUNKED + b"3\r\nall too long\r\n0\r\n\r\n", {}, "unhealthy"),
        (CHUNKED + b"minus one\r\n", {}, "unhealthy"),
        (CHUNKED + b"fffffffffffffffffffffff\r\n", {}, "unhealthy"),
        (PACKED + gzip.compress(b"all is well", mtime=0), {"body": "^all is well$"}, "healthy"),
        (PACKED + b"no gzip at all", {"body": "gzip"}, "unhealthy"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + zlib.compress(b"well"),
            {"body": "l+"},
            "healthy",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it", {}, "unhealthy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", {}, "unhealthy"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", {}, "unhealthy"),
        (b"HTTP/1.1 2", {}, "unhealthy"),
        (b"", {}, "unhealthy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {}, "unhealthy"),
        (b"\x15\x03\x01\x00\x02\x02\x50\n", {}, "unhealthy"),
        (b"\xff\x00\n" * 1000, {}, "unhealthy"),
        (b"ok\n", {}, "unhealthy"),
    ],
)
def test_what_an_answer_means(tmp_path: Path, serve: Serve, answer: bytes, asked: dict[str, Any], state: str):
    server = serve(answer)
    found = ask(tmp_path, server.port, http="/health?deep=1", **asked)
    assert (found.state, found.probe) == (state, "http"), found
    assert server.requests[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert len(server.requests) == 1, "a redirect is not followed"


def hang(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drip(connection: socket.socket) -> None:
    """Each read gets something soon; only the whole takes for ever."""
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(CHUNKED)
    while True:
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("talk", [hang, drip, drip_body])
def test_the_timeout_bounds_the_whole_probe(tmp_path: Path, serve: Serve, talk: Talk):
    found = ask(tmp_path, serve(talk).port, http="/", seconds=0.4)
    assert found.state == "unhealthy"
    assert "no complete answer within 0.4 s" in found.detail
    assert 0.4 <= found.seconds < PATIENCE_SECONDS


def endless(head: bytes, block: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range((1 << 30) // len(block)):
            connection.sendall(block)

    return talk


BOMB = gzip.compress(bytes(64 << 20), mtime=0)


@pytest.mark.parametrize(
    ("talk", "state"),
    [
        (endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", bytes(1 << 16)), "healthy"),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16)), "healthy"),
        (endless(CHUNKED, b"1\r\nx\r\n" * 10_000), "healthy"),
        (endless(CHUNKED, b"1" * 65536), "unhealthy"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000), "unhealthy"),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536), "unhealthy"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000), "unhealthy"),
        (endless(b"", b"y" * 65536), "unhealthy"),
        (PACKED + BOMB, "healthy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gigabyte_is_not_read(tmp_path: Path, serve: Serve, talk: Talk | bytes, state: str):
    import tracemalloc

    server = serve(talk)
    tracemalloc.start()
    try:
        found = ask(tmp_path, server.port, http="/", seconds=PATIENCE_SECONDS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.state == state, found
    assert peak < 16 << 20


def test_a_body_that_backtracks_without_end(tmp_path: Path, serve: Serve):
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 5000)
    found = ask(tmp_path, server.port, http="/", body="(a+)+b", seconds=0.6)
    assert found.state in ("unknown", "unhealthy")  # the latter where the machine is too busy to search at all
    assert found.seconds < PATIENCE_SECONDS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "1"]
    try:
        subprocess.run([*command, "-keyout", made, "-out", f"{made}.crt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl to make a certificate")
    made.write_text(made.read_text() + Path(f"{made}.crt").read_text())
    return made


def test_tls_is_spoken_whatever_the_certificate(tmp_path: Path, serve: Serve, certificate: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            for byte in OK:
                secure.sendall(bytes([byte]))

    port = serve(talk).port
    assert ask(tmp_path, port, http=f"https://localhost:{port}/", body="^ok$").state == "healthy"
    plain = ask(tmp_path, port, http="/")
    assert plain.state == "unhealthy"
    refused = ask(tmp_path, port, http=f"https://127.0.0.1:{serve(OK).port}/")
    assert refused.state == "unhealthy"
    assert "does not speak TLS" in refused.detail


# --- whose the listener is ---------------------------------------------------------------------------


@pytest.mark.parametrize("probe", [{"http": "/"}, {"tcp": True}, {}])
def test_whoever_else_answers_is_foreign(tmp_path: Path, serve: Serve, stage: Stage, probe: dict[str, Any]):
    server = serve()
    web = stage.popen(["sleep", "600"], tmp_path).pid
    assert ask(tmp_path, server.port, **probe).state == "healthy"
    stranger = ask(tmp_path, server.port, (web,), **probe)
    assert stranger.state == "foreign"
    assert f"PID {ME}" in stranger.detail
    assert ask(tmp_path, server.port, (), **probe).state == "foreign", "in its place, while it does not run"
    assert ask(tmp_path, server.port, (web,), listener="any", **probe).state == "healthy"
    assert len([one for one in server.requests if one]) == (2 if "http" in probe else 0), "a stranger is not asked"


def test_nobody_on_the_port_is_no_stranger(tmp_path: Path, serve: Serve):
    server = serve()
    server.close()
    for probe in ({"http": "/"}, {"tcp": True}, {}):
        for listener in ("ours", "any"):
            assert ask(tmp_path, server.port, listener=listener, **probe).state == "unhealthy"
    assert ask(tmp_path, server.port, (), http="/").detail == "it does not run"


def test_an_address_of_its_own_goes_before_all_addresses(tmp_path: Path, serve: Serve, stage: Stage):
    """Ours has the port on all addresses; a stranger has it on the very one that is asked."""
    ours = serve(host="0.0.0.0", reuse=True)
    program = (
        "import socket, sys, time\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        f"s.bind(('127.0.0.2', {ours.port}))\ns.listen()\nprint('up', flush=True)\ntime.sleep(600)"
    )
    stranger = stage.detached("stranger", [PYTHON, "-c", program], tmp_path)
    said = stage.folder / "stranger.out"
    eventually(said.read_text, "it listens")
    if said.read_text() != "up\n":
        pytest.skip("this system does not let two have one port")
    for http in ("/", f"http://127.0.0.1:{ours.port}/"):
        assert ask(tmp_path, ours.port, http=http).state == "healthy"
    found = ask(tmp_path, ours.port, http=f"http://127.0.0.2:{ours.port}/", seconds=2)
    assert found.state == "foreign", found
    assert f"PID {stranger.pid}" in found.detail


FORKED = """
import os, socket, sys, time
if os.fork() == 0:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    time.sleep(600)
time.sleep(600)
"""


def test_a_worker_that_was_forked_since_the_look_is_no_stranger(tmp_path: Path, stage: Stage):
    """Unless it says itself that it is another's."""
    parent = stage.popen([PYTHON, "-c", FORKED], tmp_path, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert ask(tmp_path, port, (parent.pid,), tcp=True).state == "healthy"
    assert ask(tmp_path, port, (parent.pid,)).state == "healthy"
    assert ask(tmp_path, port, (ME,), tcp=True).state == "healthy"
    assert ask(tmp_path, port, (2_000_000,), tcp=True).state == "foreign"
    kept = stage.popen([PYTHON, "-c", FORKED], tmp_path, stdout=subprocess.PIPE, env={"DEVTASKS_KEEP": "1"})
    assert kept.stdout is not None
    assert ask(tmp_path, int(kept.stdout.readline()), (kept.pid,)).state == "foreign"
    end(lambda: marked(f"STAGE={stage.folder}"))


def test_which_listeners_a_connection_may_reach():
    def tcp(address: str, *, dual: bool = False) -> Endpoint:
        return Endpoint("tcp", 80, address, dual=dual)

    every, local, six, both = tcp("0.0.0.0"), tcp("127.0.0.1"), tcp("::"), tcp("::", dual=True)
    assert serving("127.0.0.1", [every, local, six]) == (local,)
    assert serving("127.0.0.2", [every, local, six]) == (every,)
    assert serving("127.0.0.2", [both, local]) == (both,)
    assert serving("127.0.0.1", [six]) == ()
    assert serving("::1", [every, six]) == (six,)
    assert serving("::ffff:127.0.0.1", [local, six]) == (local,)
    assert serving("fe80::1%eth0", [tcp("fe80::1"), six]) == (tcp("fe80::1"),)


def test_a_name_is_looked_up_without_waiting_for_it(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """A resolver that takes for ever, as one does whose server is not there."""
    resolved = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *arguments: Any, **more: Any) -> Any:
        if host == "slow.example" and not more.get("flags"):
            resolved.wait(PATIENCE_SECONDS)
        return real("127.0.0.1" if host == "slow.example" and not more.get("flags") else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    port = serve().port
    assert ask(tmp_path, port, http=f"http://slow.example:{port}/", seconds=0.3).state == "unhealthy"
    resolved.set()
    assert ask(tmp_path, port, http=f"http://slow.example:{port}/").state == "healthy"
    assert ask(tmp_path, port, http=f"http://localhost:{port}/").state == "healthy"


# --- commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (("true",), "healthy"),
        (("false",), "unhealthy"),
        (("sh", "-c", "kill -9 $$"), "unhealthy"),
        (("./is-not-there",), "unknown"),
        (("sh", "-c", "exec ./is-not-there"), "unhealthy"),
        (("sh", "-c", 'test "$PWD" = "$(pwd)" && test -z "$(cat)" && test -n "$DEVTASKS_ID"'), "healthy"),
    ],
)
def test_a_command_says_by_its_exit_code(tmp_path: Path, command: tuple[str, ...], state: str):
    assert ask(tmp_path, None, command=command).state == state


ESCAPES = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execve(sys.executable, [sys.executable, "-S", "stay.py"], {"STAGE": os.environ["STAGE"]})
sys.path.insert(0, ".")
import stage
stage.announce("command")
END
"""
STAY = "import time\nimport stage\nstage.announce('stray')\ntime.sleep(600)\n"


def escaping(stage: Stage, folder: Path, end: str) -> tuple[str, ...]:
    """A command that leaves two daemons without marker, in sessions of their own, and then does `end`."""
    from toolbox import PROGRAMS

    (folder / "stage.py").write_text((PROGRAMS / "stage.py").read_text())
    (folder / "stay.py").write_text(STAY)
    wait = "while open(os.environ['STAGE'] + '/announced').read().count('stray') < 2: time.sleep(0.01)\n"
    (folder / "escape.py").write_text(ESCAPES.replace("END", wait + end))
    return (PYTHON, "escape.py")


@pytest.mark.parametrize(("end", "state"), [("time.sleep(600)", "unhealthy"), ("sys.exit(0)", "healthy")])
def test_nothing_that_a_command_starts_outlives_the_probe(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, end: str, state: str
):
    monkeypatch.setenv("STAGE", str(stage.folder))
    command = escaping(stage, tmp_path, end)
    found = ask(tmp_path, None, command=command, seconds=3)
    assert found.state == state, found
    assert len(stage.announced("stray")) == 2
    assert not [one for one in stage.announced() if one.alive], "all are gone when the answer is there"


@pytest.mark.parametrize("who", ["prober", "interrupt"])
def test_nor_does_it_outlive_whoever_asked(tmp_path: Path, stage: Stage, who: str):
    """Kill -9, and Ctrl-C."""
    command = escaping(stage, tmp_path, "time.sleep(600)")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom test_probes import ask\n"
        f"ask(Path({str(tmp_path)!r}), None, command={command!r}, seconds=600)\n"
    )
    asking = stage.popen(
        [PYTHON, "-c", program, Path(__file__).parent],
        tmp_path,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    stage.wait_for("stray", 2)
    stage.wait_for("command")
    asking.send_signal(9 if who == "prober" else 2)
    asking.wait(PATIENCE_SECONDS)
    eventually(lambda: not [one for one in stage.announced() if one.alive], "its command's tree is gone")


def test_probes_leave_no_descriptor_and_no_child(tmp_path: Path, serve: Serve):
    def children() -> list[str]:
        return Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()

    server, hanging = serve(), serve(hang)
    before, mine = len(os.listdir("/proc/self/fd")), set(children())
    one = prober(tmp_path, server.port, http="/")
    for _ in range(20):
        one.ask((ME,))
    for seconds in (0.01, 0.2):
        ask(tmp_path, hanging.port, http="/", seconds=seconds)
        ask(tmp_path, None, command=("sleep", "600"), seconds=seconds)
    ask(tmp_path, None, command=("true",))

    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, "every connection is closed")
    eventually(lambda: set(children()) <= mine or not ask(tmp_path, None, command=("true",)), "no child")


# --- logs --------------------------------------------------------------------------------------------


def test_a_heartbeat_in_the_log(tmp_path: Path):
    log = tmp_path / "web.log"
    one = prober(tmp_path, None, log="heart.?beat", interval_seconds=30)
    assert one.ask((ME,)).state == "unhealthy"
    log.write_text("begun\nheartbeat\n")
    assert one.ask((ME,)).state == "healthy"
    assert one.ask((ME,)).state == "unhealthy", "none since"
    with log.open("a") as file:
        file.write("something\nheart beat\nelse\n")
    assert one.ask((ME,)).state == "healthy"
    log.write_text("heartbeat\n")  # rotated
    assert one.ask((ME,)).state == "healthy"
    os.utime(log, (time.time() - 60, time.time() - 60))
    other = prober(tmp_path, None, log="heart.?beat", interval_seconds=30).ask((ME,))
    assert (other.state, "nothing was logged for 60 s" in other.detail) == ("unhealthy", True)


def test_a_log_that_floods_is_read_at_its_end(tmp_path: Path):
    log = tmp_path / "web.log"
    log.write_bytes(b"heartbeat\n" + b"x" * 100 + b"\n")
    one = prober(tmp_path, None, log="heartbeat")
    assert one.ask((ME,)).state == "healthy"
    with log.open("ab") as file:
        file.write((b"\xff\x1b[2J" * 1000 + b"\n") * 1000 + b"heartbeat\n")
    assert one.ask((ME,)).state == "healthy"


def test_a_log_line_that_backtracks_without_end_holds_nobody_up(tmp_path: Path):
    (tmp_path / "web.log").write_text("a" * 4000 + "\n")
    found = ask(tmp_path, None, log="(a+)+b", seconds=0.6)
    assert found.state in ("unknown", "unhealthy")
    assert found.seconds < PATIENCE_SECONDS


# --- readiness ---------------------------------------------------------------------------------------


def test_waiting_for_readiness_never_blocks(tmp_path: Path, serve: Serve):
    asked = service(ports=(serve(hang).port,), cwd=tmp_path, ready=HealthProbe(http="/"))
    readiness = Readiness(this_world(), project(asked), asked, log_offset=0)
    began = time.monotonic()
    for _ in range(20):
        assert not readiness.holds((ME,))
    assert time.monotonic() - began < PATIENCE_SECONDS, "twenty answers would take twice that"
    readiness.close()


if __name__ == "__main__":
    sys.exit("run it with pytest")
