"""What every implementation of the World promises, with real processes.

Three are run: Linux's own, the portable one as it is on Linux, and the portable one with psutil alone, as it is
where there is no /proc.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from toolbox import PATIENCE_SECONDS, PYTHON, eventually

from devtasks.errors import UsageError
from devtasks.model import Process
from devtasks.values import replace
from devtasks.world import Kind, World, this_world
from devtasks.world.binding import bindable, taken
from devtasks.world.checked import CheckedHandle
from devtasks.world.linux import LinuxWorld
from devtasks.world.portable import PortableWorld
from devtasks.world.waking import Waker

NOBODY = 65534
WORLDS: dict[str, Callable[[], World]] = {
    "linux": LinuxWorld,
    "portable": PortableWorld,
    "psutil-alone": lambda: PortableWorld(stat=False),
}

# Each says "ready" when it is, and ends with its children when its input ends.
IDLE = "print('ready', flush=True); import sys; sys.stdin.read()"
NOTING = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"TERM\\n"))
print("ready", flush=True)
sys.stdin.read()
"""
LISTENING = """
import os, socket, sys
def listen(host, port):
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen()
    return listener
listener = listen(sys.argv[1], int(sys.argv[2]))
print("ready", listener.getsockname()[1], flush=True)
"""
LISTENING_ALONE = LISTENING + "sys.stdin.read()"
LISTENING_TOGETHER = LISTENING + "print(os.fork() or os.getpid(), flush=True); sys.stdin.read()"
HEADLESS = """
import ctypes, os, sys, threading
def live():
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=live).start()
ctypes.CDLL(None).pthread_exit(None)
"""
THREADED = """
import sys, threading
print("ready", flush=True)
def live():
    print("thread", threading.get_native_id(), flush=True)
    sys.stdin.read()
threading.Thread(target=live).start()
"""
HIDING = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None)
if os.getuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
print("ready", flush=True)
sys.stdin.read()
"""
BURST = """
import os, sys
for _ in range(500):
    if not os.fork():
        sys.stdin.read()
        os._exit(0)
print("ready", flush=True)
sys.stdin.read()
for _ in range(500):
    os.wait()
"""
BUSY = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
while min(os.times()[:2]) < 0.06:
    os.stat("/")
print("done", flush=True)
sys.stdin.read()
"""
ON_A_TERMINAL = """
import os, sys
os.setsid()
master, slave = os.openpty()
os.open(os.ttyname(slave), os.O_RDWR)
print("ready", flush=True)
sys.stdin.read()
"""
EXECUTING = 'exec /bin/sh -c "$0" "$0"'  # itself, for ever


class Nursery:
    """Children of a test. All they start inherits the lifeline: when it reads as ended, nobody is left."""

    def __init__(self) -> None:
        self._ended, self._lifeline = os.pipe()
        self._children: list[subprocess.Popen[str]] = []

    def run(
        self, *command: str | bytes, env: dict[str, str] | None = None, **options: bool
    ) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[self._lifeline],
            env={**os.environ, **(env or {})},
            **options,  # type: ignore[call-overload]
        )
        self._children.append(child)
        return child

    def python(self, code: str, *arguments: str | bytes, **options) -> subprocess.Popen[str]:
        """A child that runs `code`, once it has said that it is ready."""
        child = self.run(PYTHON, "-I", "-S", "-c", code, *arguments, **options)
        self.hear(child, "ready")
        return child

    def hear(self, child: subprocess.Popen[str], word: str) -> str:
        """The rest of the child's next line, which begins with `word`."""
        line = child.stdout.readline()
        assert line.startswith(word), line or f"{child.args} ended"
        return line[len(word) :].strip()

    def listener(self, host: str = "127.0.0.1", port: int = 0, code: str = LISTENING_ALONE):
        child = self.run(PYTHON, "-I", "-S", "-c", code, host, str(port))
        return child, int(self.hear(child, "ready"))

    def end(self, child: subprocess.Popen[str]) -> None:
        """Kill it and reap it."""
        child.kill()
        child.wait()

    def close(self) -> None:
        os.close(self._lifeline)
        for child in self._children:
            child.stdin.close()
            child.kill()
            child.wait()
            child.stdout.close()
        left = not select.select([self._ended], [], [], PATIENCE_SECONDS)[0]
        os.close(self._ended)
        assert not left, "a process of the test is left running"


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]()


@pytest.fixture
def psutil_alone(request: pytest.FixtureRequest) -> bool:
    return "psutil-alone" in request.node.name


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Look with the eyes of an ordinary user."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def row_of(world: World, pid: int) -> Process:
    return world.reread([pid])[pid]


def await_exit(child: subprocess.Popen[str]) -> None:
    """Wait until it has ended; it stays a zombie."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def unshared(nursery: Nursery, *flags: str, code: str = IDLE) -> subprocess.Popen[str]:
    """A child in namespaces of its own, said to be ready."""
    child = nursery.run("unshare", *flags, PYTHON, "-I", "-S", "-c", code, "127.0.0.1", "0")
    if not child.stdout.readline().startswith("ready"):
        pytest.skip("namespaces cannot be made here")
    return child


# --- rows ----------------------------------------------------------------------------------------------


def test_a_row_says_who_it_is(world, nursery):
    marks = {"DEVTASKS_ID": "abc/web/1", "DEVTASKS_KEEP": "1"}
    child = nursery.python(IDLE, "two words", "", "ünï\n", env=marks, start_new_session=True)

    row = world.look().processes[child.pid]

    assert (row.pid, row.ppid, row.session) == (child.pid, os.getpid(), child.pid)
    assert row.argv == (PYTHON, "-I", "-S", "-c", IDLE, "two words", "", "ünï\n")
    assert row.state in "RSD"
    assert (row.marker, row.keep, row.runner, row.kernel, row.blurred) == ("abc/web/1", True, False, False, False)
    assert row.terminal == 0
    assert not row.gone


def test_marks_are_compared_whole(world, nursery):
    other = nursery.python(IDLE, env={"DEVTASKS_KEEP": "10", "MY_DEVTASKS_ID": "x", "DEVTASKS_RUNNER": "1"})
    row = row_of(world, other.pid)
    assert (row.marker, row.keep, row.runner) == (None, False, True)


def test_a_session_is_not_a_group(world, nursery):
    child = nursery.python(IDLE, process_group=0)
    assert os.getpgid(child.pid) == child.pid
    assert row_of(world, child.pid).session == os.getsid(0)


def test_a_controlling_terminal_shows(world, nursery):
    child = nursery.python(ON_A_TERMINAL)
    assert world.look().processes[child.pid].terminal != 0


def test_arguments_that_are_no_text_are_kept(world, nursery):
    child = nursery.python(IDLE, b"\xff\xfe-\xc3")
    assert row_of(world, child.pid).cmdline.endswith(b"\0\xff\xfe-\xc3\0")


def test_a_megabyte_of_arguments_is_read_whole(world, nursery):
    words = [f"{number:x}" * 20_000 for number in range(10, 60)]
    child = nursery.python(IDLE, *words)
    row = row_of(world, child.pid)
    assert len(row.cmdline) > 1_000_000
    assert row.argv[5:] == tuple(words)


def test_an_exec_changes_the_row_and_not_the_identity(world, nursery):
    child = nursery.run("/bin/sh", "-c", "echo ready; read x; exec sleep 600")
    nursery.hear(child, "ready")
    before = row_of(world, child.pid)
    assert before.argv[0] == "/bin/sh"

    child.stdin.write("\n")
    child.stdin.flush()

    eventually(lambda: row_of(world, child.pid).argv == ("sleep", "600"), "the new command line shows")
    assert row_of(world, child.pid).start == before.start


def test_a_process_in_the_middle_of_an_exec_is_itself_or_blurred(world, nursery, psutil_alone):
    if psutil_alone:
        pytest.skip("it cannot tell half a row from a process with an empty environment")
    marker = "abc/loop/1"
    child = nursery.run("/bin/sh", "-c", f"echo ready; {EXECUTING}", EXECUTING, env={"DEVTASKS_ID": marker})
    nursery.hear(child, "ready")
    rows = [row_of(world, child.pid) for _ in range(1000)]
    assert [row for row in rows if not row.blurred and (row.marker != marker or not row.cmdline)] == []
    assert len({row.start for row in rows}) == 1


def test_the_ended_vanish(world, nursery):
    child = nursery.python(IDLE)
    before = world.look()
    assert child.pid in before.processes

    nursery.end(child)

    assert child.pid not in world.look(before).processes
    assert world.reread([child.pid]) == {}


def test_a_second_look_finds_what_is_new(world, nursery):
    before = world.look()
    child = nursery.python(IDLE, env={"DEVTASKS_ID": "abc/web/2"})
    assert world.look(before).processes[child.pid].marker == "abc/web/2"


def test_a_zombie_is_gone(world, nursery):
    child = nursery.python(IDLE)
    row = row_of(world, child.pid)
    handle = world.pin(row)
    child.kill()
    await_exit(child)

    zombie = row_of(world, child.pid)

    assert zombie.gone
    assert zombie.start == row.start
    assert world.wait([handle], PATIENCE_SECONDS) == [handle]
    assert child.wait() == -signal.SIGKILL  # nobody reaped it behind its parent's back
    handle.close()


def test_a_leader_that_left_its_threads_behind_is_not_gone(world, nursery):
    child = nursery.python(HEADLESS, env={"DEVTASKS_ID": "abc/threads/1"})
    stat = Path(f"/proc/{child.pid}/stat")
    eventually(lambda: stat.read_bytes().rpartition(b")")[2].split()[0] == b"Z", "the leader ends its thread")

    row = row_of(world, child.pid)

    assert not row.gone
    assert row.marker == "abc/threads/1"
    assert row.argv[-1] == HEADLESS
    handle = world.pin(row)
    assert world.wait([handle], 0) == []
    assert handle.send("TERM")
    assert world.wait([handle], PATIENCE_SECONDS) == [handle]
    handle.close()


def test_kernel_threads_are_flagged(world, psutil_alone):
    comm = Path("/proc/2/comm")
    if psutil_alone or not comm.exists() or comm.read_text() != "kthreadd\n":
        pytest.skip("no kernel threads to be seen")
    assert row_of(world, 2).kernel
    assert row_of(world, 2).marker is None


def test_both_worlds_tell_the_same(nursery):
    """State recorded by the one is understood by the other."""
    child = nursery.python(IDLE, "x", env={"DEVTASKS_ID": "abc/web/3"}, start_new_session=True)
    one, other = LinuxWorld(), PortableWorld()
    assert (one.boot, one.namespace) == (other.boot, other.namespace)
    mine, theirs = row_of(one, child.pid), row_of(other, child.pid)
    assert mine._replace(state="S") == theirs._replace(state="S")
    assert one.identity(mine) == other.identity(theirs)
    assert one.details([child.pid]) == other.details([child.pid])


def test_the_environment_picks_the_world():
    assert isinstance(this_world({"DEVTASKS_WORLD": "portable"}), PortableWorld)
    assert isinstance(this_world({}), LinuxWorld)


# --- what was created since ----------------------------------------------------------------------------


def test_newer_finds_a_child_and_leaves_the_rest_alone(world, nursery):
    old = nursery.python(IDLE)
    before = world.look()
    child = nursery.python(IDLE, env={"DEVTASKS_ID": "abc/web/4"})

    after, pids = world.newer(before)

    assert child.pid in pids
    assert old.pid not in pids
    assert list(pids) == sorted(pids)
    assert after.processes[child.pid].marker == "abc/web/4"
    assert after.processes[old.pid].start == before.processes[old.pid].start
    assert child.pid not in world.newer(after)[1]


def test_newer_finds_every_child_of_a_burst(world, nursery):
    before = world.look()
    parent = nursery.python(BURST)

    after, pids = world.newer(before)

    children = {pid for pid in pids if after.processes[pid].ppid == parent.pid}
    assert len(children) == 500
    parent.stdin.close()
    assert parent.wait(PATIENCE_SECONDS) == 0


def test_newer_finds_the_present_owner_of_a_reused_number(world, nursery):
    """A row with our child's PID and an earlier start stands for a process that had the number before."""
    child = nursery.python(IDLE)
    snapshot = world.look()
    row = snapshot.processes[child.pid]
    # the cursor of before the child was created
    cursor = None if snapshot.cursor is None else child.pid - 1
    stale = {**snapshot.processes, child.pid: row._replace(start=row.start - 1)}
    before = replace(snapshot, processes=stale, cursor=cursor)

    after, pids = world.newer(before)

    assert child.pid in pids
    assert after.processes[child.pid].start == row.start


def test_ancestry_is_this_process_and_those_above(world, nursery):
    child = nursery.python(IDLE)
    ancestry = world.ancestry()
    assert {os.getpid(), os.getppid()} <= ancestry
    assert child.pid not in ancestry
    assert 0 not in ancestry


# --- details -------------------------------------------------------------------------------------------


def test_details_of_a_child_equal_ours(world, nursery, tmp_path):
    mine = world.my_details()
    assert mine.cwd == os.getcwd()
    assert mine.exe == os.path.realpath(sys.executable)
    assert mine.uid == os.getuid()
    assert mine.namespaces is not None
    child = nursery.python(IDLE)
    assert world.details([child.pid]) == {child.pid: mine}


def test_details_of_the_ended_are_missing(world, nursery):
    child = nursery.python(IDLE)
    nursery.end(child)
    assert world.details([child.pid]) == {}


def test_what_may_not_be_read_is_not_known(world, nursery):
    # its first argument, a program that everybody may read, is no proof of what it executes
    child = nursery.run("/bin/sh", "-I", "-S", "-c", HIDING, env={"DEVTASKS_ID": "abc/web/5"}, executable=PYTHON)
    nursery.hear(child, "ready")
    with as_nobody():
        row = row_of(world, child.pid)
        details = world.details([child.pid])[child.pid]
    assert row.argv[-1] == HIDING
    assert row.marker is None
    assert not row.blurred
    assert (details.cwd, details.exe, details.namespaces) == (None, None, None)
    assert details.uid == (os.getuid() or NOBODY)


@needs_root
def test_the_real_user_shows(world, nursery):
    child = nursery.python(f"import os; os.setreuid({NOBODY}, 0); " + IDLE)
    assert world.details([child.pid])[child.pid].uid == NOBODY


@needs_root
def test_namespaces_of_its_own_show(world, nursery):
    child = unshared(nursery, "--mount", "--net")
    mine, its = world.my_details().namespaces, world.details([child.pid])[child.pid].namespaces
    assert its[0] == mine[0]
    assert its[1] != mine[1]
    assert its[2] != mine[2]


@needs_root
def test_a_nested_pid_namespace_shows(world, nursery):
    parent = unshared(nursery, "--pid", "--fork", "--kill-child")
    child = next(row for row in world.look().processes.values() if row.ppid == parent.pid)
    assert child.argv[-3] == IDLE
    assert world.details([child.pid])[child.pid].namespaces[0] != world.my_details().namespaces[0]


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_a_waker_wakes_once_however_often(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    waker = Waker()
    assert not select.select([waker.descriptor], [], [], 0)[0]
    for _ in range(100_000):
        waker.wake()
    assert select.select([waker.descriptor], [], [], 0)[0]
    assert set(waker.drain()) == {0}
    assert not select.select([waker.descriptor], [], [], 0)[0]
    assert waker.drain() == b""
    waker.close()
    waker.wake()


def test_usage_grows(world, nursery):
    child = nursery.python(BUSY)
    before = world.usage([child.pid])[child.pid]
    child.stdin.write("\n")
    child.stdin.flush()
    nursery.hear(child, "done")
    seconds, rss_bytes = world.usage([child.pid])[child.pid]
    assert before[0] < 0.1 < seconds < 60
    assert 1_000_000 < rss_bytes < 1_000_000_000
    nursery.end(child)
    assert world.usage([child.pid]) == {}


def test_the_start_is_told_in_seconds_since_the_epoch(world, nursery):
    before = world.now()
    child = nursery.python(IDLE)
    started_at = world.started_at(row_of(world, child.pid))
    # psutil knows the boot time to the second only
    assert before - 1.5 < started_at < world.now() + 1.5
    assert world.now() == pytest.approx(time.time(), abs=5)


# --- signals -------------------------------------------------------------------------------------------


def test_signals_arrive_by_name(world, nursery):
    child = nursery.python(NOTING)
    handle = world.pin(row_of(world, child.pid))
    assert (handle.pid, handle.start) == (child.pid, row_of(world, child.pid).start)

    assert handle.send("STOP")
    eventually(lambda: row_of(world, child.pid).state == "T", "it is stopped")
    assert handle.send("TERM")
    assert handle.send("CONT")
    nursery.hear(child, "TERM")
    assert handle.send("KILL")
    assert child.wait() == -signal.SIGKILL

    handle.close()
    handle.close()


def test_another_start_is_another_process(world, nursery):
    child = nursery.python(IDLE)
    row = row_of(world, child.pid)
    for start in (row.start - 1, row.start + 1):
        assert world.pin(row._replace(start=start)) is None


def test_a_thread_is_no_process(world, nursery):
    child = nursery.python(THREADED)
    thread = int(nursery.hear(child, "thread"))
    for row in world.reread([thread]).values():
        assert world.pin(row) is None


def test_the_ended_get_no_signal(world, nursery):
    child = nursery.python(IDLE)
    row = row_of(world, child.pid)
    handle = world.pin(row)
    nursery.end(child)
    assert not handle.send("TERM")
    assert world.pin(row) is None
    handle.close()


def test_without_a_pin_the_start_is_checked_before_each_signal(nursery):
    """A handle whose process ended, and whose number our child has got since, reaches nobody."""
    child = nursery.python(IDLE)
    world = PortableWorld()
    start = row_of(world, child.pid).start
    handle = CheckedHandle(psutil.Process(child.pid), start - 1, world.lives)
    assert not handle.send("KILL")
    assert world.wait([handle], PATIENCE_SECONDS) == [handle]
    assert world.lives(child.pid, start)


@needs_root
def test_a_stranger_may_not_be_signalled(world, nursery):
    child = nursery.python(IDLE)
    with as_nobody(), pytest.raises(PermissionError):
        world.pin(row_of(world, child.pid)).send("TERM")
    assert child.poll() is None


# --- waiting -------------------------------------------------------------------------------------------


def test_wait_returns_those_that_are_gone(world, nursery):
    children = [nursery.python(IDLE) for _ in range(3)]
    handles = [world.pin(row_of(world, child.pid)) for child in children]

    children[1].kill()
    assert world.wait(handles, PATIENCE_SECONDS) == [handles[1]]
    assert children[1].wait() == -signal.SIGKILL
    assert world.wait(handles, PATIENCE_SECONDS) == [handles[1]]

    for handle in handles:
        handle.close()


def test_wait_keeps_to_its_timeout(world, nursery):
    handle = world.pin(row_of(world, nursery.python(IDLE).pid))
    before = world.monotonic()
    assert world.wait([handle], 0.05) == []
    assert 0.045 <= world.monotonic() - before < 5
    assert world.wait([handle], 0) == []
    handle.close()


def test_sleep_lets_time_pass(world):
    before = world.monotonic()
    world.sleep(0.01)
    assert world.monotonic() >= before + 0.01


# --- sockets -------------------------------------------------------------------------------------------


def test_every_holder_of_a_shared_socket_is_named(world, nursery):
    parent, port = nursery.listener(code=LISTENING_TOGETHER)
    child = next(
        pid for pid in map(int, (parent.stdout.readline(), parent.stdout.readline())) if pid != parent.pid
    )

    assert world.listening([port]) == {port}
    assert set(world.holders([port])[port]) == {parent.pid, child}
    # a likely owner comes first; who else holds the same socket need not be searched for then
    assert world.holders([port], likely=[child])[port][0] == child


def test_every_socket_of_a_shared_port_counts(world, nursery):
    one, port = nursery.listener()
    other, _ = nursery.listener(port=port)
    assert set(world.holders([port])[port]) == {one.pid, other.pid}


def test_addresses_do_not_matter(world, nursery):
    everywhere, port = nursery.listener("0.0.0.0")
    try:
        sixth, other = nursery.listener("::1")
    except AssertionError:
        pytest.skip("no IPv6 here")
    assert world.holders([port, other]) == {port: (everywhere.pid,), other: (sixth.pid,)}
    assert world.listening([port, other]) == {port, other}


def test_clients_hold_no_port(world, nursery):
    server, port = nursery.listener()
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert world.holders([port])[port] == (server.pid,)
        mine = client.getsockname()[1]
        assert world.holders([mine]) == {}
        assert world.listening([mine]) == frozenset()


def test_only_listening_sockets_count(world):
    with socket.socket() as bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        bound.bind(("127.0.0.1", 0))
        datagrams.bind(("127.0.0.1", 0))
        ports = [bound.getsockname()[1], datagrams.getsockname()[1]]
        assert world.holders(ports) == {}
        bound.listen()
        assert world.holders(ports) == {ports[0]: (os.getpid(),)}


def test_a_port_is_not_another_that_begins_like_it(world):
    with socket.socket() as listener:
        for port in random.sample(range(2000, 6500), 50):
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port * 10 + 1))
                break
        listener.listen()
        if world.listening([port]):
            pytest.skip(f"somebody holds port {port}")
        assert world.holders([port]) == {}
        assert world.holders([port * 10 + 1]) == {port * 10 + 1: (os.getpid(),)}


def test_the_ports_of_a_process_are_listed(world, nursery):
    child, port = nursery.listener()
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.create_server(("127.0.0.1", 0)) as other:
        ports = tuple(sorted(item.getsockname()[1] for item in (mine, other)))
        silent = nursery.python(IDLE)
        assert world.ports_of([child.pid, silent.pid, os.getpid()]) == {child.pid: (port,), os.getpid(): ports}
    nursery.end(child)
    assert world.ports_of([child.pid]) == {}


def test_no_ports_no_holders(world):
    assert world.holders([]) == {}
    assert world.listening([]) == frozenset()


@needs_root
def test_a_holder_that_we_may_not_see_is_nobody_named(world, nursery):
    _, port = nursery.listener()
    with as_nobody():
        assert world.holders([port]) == {port: ()}
        assert world.listening([port]) == {port}


def test_sockets_are_told_one_by_one(world, nursery):
    everywhere, port = nursery.listener("0.0.0.0")
    try:
        sixth, _ = nursery.listener("::1", port)
    except AssertionError:
        pytest.skip("no IPv6 here")
    found = world.endpoints([port, port + 1])
    assert {(one.protocol, one.port, one.address) for one in found} == {
        ("tcp", port, "0.0.0.0"),
        ("tcp", port, "::1"),
    }
    by_address = {one.address: pids for one, pids in world.owners(found).items()}
    assert by_address == {"0.0.0.0": (everywhere.pid,), "::1": (sixth.pid,)}


def test_a_dual_stack_socket_shows_as_one(world):
    with socket.socket(socket.AF_INET6) as both, socket.socket(socket.AF_INET6) as sixth:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        sixth.bind(("::1", 0))
        for one in (both, sixth):
            one.listen()
        found = world.endpoints([both.getsockname()[1], sixth.getsockname()[1]])
        assert {(one.address, one.dual) for one in found} == {("::", True), ("::1", False)}


def test_linux_tells_ipv6_alone_from_dual_stack():
    with socket.socket(socket.AF_INET6) as sixth:
        sixth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sixth.bind(("::", 0))
        sixth.listen()
        (found,) = LinuxWorld().endpoints([sixth.getsockname()[1]])
        assert (found.address, found.dual, found.uid) == ("::", False, os.getuid())


def test_without_sock_diag_the_tables_tell_the_same(monkeypatch):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as sixth,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_connection(listener.getsockname()) as client,
    ):
        datagrams.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (listener, sixth, datagrams, client)]
        kinds: tuple[Kind, ...] = ("listening", "udp", "other")
        asked = [set(LinuxWorld().endpoints(ports, kind)) for kind in kinds]
        assert [len(found) for found in asked] == [2, 1, 2]  # a connection has two ends

        def refuse(*_: object) -> Iterator[bytes]:
            raise PermissionError("a sandbox")

        monkeypatch.setattr("devtasks.world.sockets._dump", refuse)
        assert [set(LinuxWorld().endpoints(ports, kind)) for kind in kinds] == asked
        assert LinuxWorld().holders(ports[:1]) == {ports[0]: (os.getpid(),)}


def test_udp_sockets_show_when_asked_for_and_connected_ones_never(world):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        ports = [server.getsockname()[1], client.getsockname()[1]]
        assert world.endpoints(ports) == ()
        (found,) = world.endpoints(ports, "udp")
        assert (found.protocol, found.port) == ("udp", ports[0])
        assert world.owners([found]) == {found: (os.getpid(),)}


def test_what_occupies_a_port_without_listening_is_of_another_kind(world, nursery):
    _, port = nursery.listener()
    with socket.create_connection(("127.0.0.1", port)) as client:
        mine = client.getsockname()[1]
        assert world.endpoints([mine]) == ()
        (found,) = world.endpoints([mine], "other")
        assert world.owners([found]) == {found: (os.getpid(),)}


@needs_root
def test_a_socket_of_somebody_unseen_has_no_owner(world, nursery):
    _, port = nursery.listener()
    with as_nobody():
        (found,) = world.endpoints([port])
        assert world.owners([found]) == {found: ()}


@needs_root
def test_the_same_port_in_another_network_has_other_owners(world, nursery):
    code = "import fcntl, socket, struct\n" + LISTENING_ALONE
    child = unshared(nursery, "--net", code=code.replace("sys.argv[1]", '"0.0.0.0"'))
    listing = Path(f"/proc/{child.pid}/net/tcp").read_text().splitlines()[1]
    port = int(listing.split()[1].rpartition(":")[2], 16)
    with socket.socket() as mine:
        try:
            mine.bind(("127.0.0.1", port))
        except OSError:
            pytest.skip(f"somebody holds port {port} in our network too")
        assert world.endpoints([port]) == ()
        mine.listen()
        assert list(world.owners(world.endpoints([port])).values()) == [(os.getpid(),)]
        assert world.holders([port]) == {port: (os.getpid(),)}


@needs_root
def test_another_network_is_not_ours(world, nursery):
    code = "import fcntl, socket, struct\n" + LISTENING_ALONE
    child = unshared(nursery, "--net", code=code.replace("sys.argv[1]", '"0.0.0.0"'))
    listing = Path(f"/proc/{child.pid}/net/tcp").read_text().splitlines()[1]
    port = int(listing.split()[1].rpartition(":")[2], 16)
    if world.listening([port]):
        pytest.skip(f"somebody holds port {port} in our network too")
    assert world.holders([port], likely=[child.pid]) == {}


# --- where the system tells only root --------------------------------------------------------------------


def test_a_taken_port_is_found_by_binding_it(nursery):
    _, port = nursery.listener()
    assert taken(port)
    _, everywhere = nursery.listener("0.0.0.0")
    assert taken(everywhere)


def test_binding_answers_for_the_very_address(nursery):
    _, port = nursery.listener("127.0.0.1")
    assert bindable("127.0.0.1", port) == "taken"
    assert bindable("0.0.0.0", port) == "taken"
    assert bindable("127.0.0.2", port) == "free"
    assert bindable("localhost", port) == "taken"
    _, everywhere = nursery.listener("0.0.0.0")
    assert bindable("127.0.0.2", everywhere) == "taken"


@pytest.mark.parametrize("host", ["nope.invalid", "", "a" * 300, "x\0y", "203.0.113.7"])
def test_a_host_that_cannot_be_bound_is_an_error(host):
    with pytest.raises(UsageError, match=r"does not resolve|not an address of this machine"):
        bindable(host, 8000)


@needs_root
def test_a_port_that_only_root_may_bind_is_forbidden_to_others():
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2:
        pytest.skip("anybody may bind any port here")
    with as_nobody():
        assert bindable("127.0.0.1", 1) == "forbidden"


def test_connections_of_the_past_do_not_take_a_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # sets SO_REUSEADDR, as servers do
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            listener.accept()[0].close()
            assert client.recv(1) == b""
    with socket.socket() as strict, pytest.raises(OSError, match="in use"):
        strict.bind(("127.0.0.1", port))  # the side that closed first is in TIME_WAIT
    assert not taken(port)
    assert bindable("127.0.0.1", port) == "free"


# --- cgroups -------------------------------------------------------------------------------------------


def test_the_portable_world_has_no_cgroups(tmp_path):
    world = PortableWorld()
    assert world.make_cgroup("devtasks-test") is None
    assert world.cgroup_members(str(tmp_path)) is None
    assert world.freeze(str(tmp_path), True) is False


# --- without a count, and with many numbers at once --------------------------------------------------


def test_rows_known_before_stay_where_the_count_is_not_trusted(nursery):
    world = LinuxWorld()
    world._cursor_trusted = False
    gone = nursery.python(IDLE)
    before = world.look()
    assert before.cursor is None
    nursery.end(gone)
    child = nursery.python(IDLE)
    after, arrived = world.newer(before)
    assert child.pid in arrived
    assert after.processes[gone.pid] == before.processes[gone.pid]


def test_numbers_that_showed_nothing_are_remembered_however_many_they_are(nursery):
    """One of them may belong to a process that is not in the table yet."""
    world = LinuxWorld()
    before = world.look()
    gone, child = nursery.python(IDLE), nursery.python(IDLE)
    nursery.end(gone)
    after, arrived = world.newer(replace(before, processes={}))
    assert child.pid in arrived
    assert gone.pid in after.unseen
