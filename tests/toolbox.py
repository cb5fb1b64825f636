"""What the tests with real processes are made of: a stage, scratch projects on it, and eyes of their own.

Nothing here uses devtasks' code: processes are observed through /proc and ended through pidfd, the program is
run as a user runs it and its JSON is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

PROGRAMS = Path(__file__).parent / "programs"
REPOSITORY = Path(__file__).parent.parent
PATIENCE_SECONDS = 20.0  # how long anything may take on a loaded machine before a test fails
PYTHON = sys.executable

T = TypeVar("T")


# --- waiting -----------------------------------------------------------------------------------------


def eventually(condition: Callable[[], T], message: str, seconds: float = PATIENCE_SECONDS) -> T:
    """The first true result of `condition`, polled; fails with `message` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {message}")
        time.sleep(0.01)


def unchanged_for(read: Callable[[], object], seconds: float) -> bool:
    """Whether `read` gives the same value all that time."""
    first, deadline = read(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if read() != first:
            return False
        time.sleep(0.005)
    return True


# --- processes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Being:
    """One process for all time (of this boot), and what it calls itself."""

    pid: int
    start: int
    name: str = ""

    @property
    def alive(self) -> bool:
        """A zombie is gone: where PID 1 does not reap, it stays for ever."""
        found = stat(self.pid)
        return found is not None and found[1] == self.start and found[0] not in "ZX"

    def send(self, number: signal.Signals) -> None:
        """Signal this very process, or nobody."""
        with contextlib.suppress(ProcessLookupError):
            if not hasattr(os, "pidfd_open"):
                if self.alive:
                    os.kill(self.pid, number)
                return
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)

    def kill(self) -> None:
        """Send KILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        eventually(lambda: not self.alive, f"{self} ends after KILL")


def stat(pid: int) -> tuple[str, int] | None:
    """State letter and start ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[19])


def being(pid: int, name: str = "") -> Being:
    found = stat(pid)
    assert found is not None, f"there is no process {pid} {name}"
    return Being(pid, found[1], name)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def argv(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
    except OSError:
        return []


def marked(item: str) -> list[Being]:
    """Every live process with `item` ("NAME=value") in its environment."""
    wanted, found = os.fsencode(item), []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    one, name = stat(int(entry)), " ".join(argv(int(entry)))[:100]
                    if one and one[0] not in "ZX" and name != "catatonit -P":  # podman keeps one for each user
                        found.append(Being(int(entry), one[1], name))
    return found


def end(beings: Callable[[], Iterable[Being]]) -> None:
    """Kill what `beings` finds until it finds nothing; stopped first, so that nothing replaces the killed."""
    for _ in range(100):
        found = list(beings())
        if not found:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for one in found:
                one.send(number)


# --- ports -------------------------------------------------------------------------------------------

_reserved: list[socket.socket] = []


def free_port(count: int = 1) -> int:
    """The first of `count` consecutive ports that nobody uses and no other test, in whichever suite, gets.

    They lie below the range from which the kernel takes the ports of clients. A name in the abstract socket
    space reserves each for as long as this process lives.
    """
    first = 12000 + (os.getpid() * 97) % 15000
    for candidate in [*range(first, 30000), *range(12000, first)]:
        held: list[socket.socket] = []
        try:
            for port in range(candidate, candidate + count):
                name = socket.socket(socket.AF_UNIX)
                held.append(name)
                name.bind(f"\0devtasks-tests-port-{port}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            for one in held:
                one.close()
            continue
        _reserved.extend(held)
        return candidate
    raise AssertionError("no free port")


def answers(port: int) -> bool:
    """Whether somebody serves on the port: an HTTP request gets an answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return bool(connection.recv(16))
    except OSError:
        return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# --- the stage ---------------------------------------------------------------------------------------


class Stage:
    """A folder, and every process that a test causes: all carry STAGE=<folder> or announce themselves there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stage"
        (self.folder / "signals").mkdir(parents=True)
        (self.folder / "home").mkdir()
        self.folder.chmod(0o755)
        self.environ = {
            "PATH": f"{Path(PYTHON).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "PYTHONPATH": str(REPOSITORY),
            "STAGE": str(self.folder),
            "npm_config_update_notifier": "false",
        }
        if "DEVTASKS_WORLD" in os.environ:  # so that all these tests can be run on the other world
            self.environ["DEVTASKS_WORLD"] = os.environ["DEVTASKS_WORLD"]
        self._children: list[subprocess.Popen[Any]] = []
        self._bystanders: list[Being] = []

    # what announced itself

    def announced(self, name: str | None = None) -> list[Being]:
        """Announcements so far, oldest first."""
        try:
            lines = (self.folder / "announced").read_text().splitlines()
        except OSError:
            return []
        rows = [line.split() for line in lines]
        return [Being(int(row[1]), int(row[2]), row[0]) for row in rows if name in (None, row[0])]

    def order(self) -> list[str]:
        """The names announced so far, oldest first."""
        return [one.name for one in self.announced()]

    def at(self, name: str) -> float:
        """When `name` last announced itself, on the monotonic clock."""
        lines = (self.folder / "announced").read_text().splitlines()
        return max(float(line.split()[3]) for line in lines if line.split()[0] == name)

    def living(self, name: str) -> list[Being]:
        return [one for one in self.announced(name) if one.alive]

    def wait_for(self, name: str, count: int = 1) -> list[Being]:
        """Wait until `count` processes of this name live."""
        return eventually(
            lambda: found if len(found := self.living(name)) >= count else None,
            f"{count} of {name}; announced so far: {self.announced()}",
        )

    def one(self, name: str) -> Being:
        return self.wait_for(name)[-1]

    def everything(self) -> list[Being]:
        """Every live process of this stage: by marker and by announcement."""
        found = {(one.pid, one.start): one for one in marked(f"STAGE={self.folder}")}
        for one in self.announced():
            if one.alive:
                found.setdefault((one.pid, one.start), one)
        return list(found.values())

    # what a test starts itself

    def popen(self, command: Sequence[str | Path], cwd: Path, **options: Any) -> subprocess.Popen[Any]:
        """A child of the test, reaped when the stage is closed. `env` adds to the stage's environment."""
        options["env"] = {**self.environ, **options.pop("env", {})}
        child = subprocess.Popen(command, cwd=cwd, **options)
        self._children.append(child)
        return child

    def detached(
        self,
        name: str,
        command: Sequence[str | Path],
        cwd: Path,
        *,
        executable: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Path | None = None,
        announce: bool = True,
    ) -> Being:
        """A program that is nobody's child, in a session of its own, as if started from another terminal.

        Announced by the launcher, or with `announce=False` by the program itself.
        """
        program = executable or shutil.which(command[0], path=self.environ["PATH"])
        assert program, f"there is no {command[0]}"
        before = len(self.announced(name))
        with open(stdin or os.devnull, "rb") as source, open(self.folder / f"{name}.out", "ab") as output:
            subprocess.run(
                [PYTHON, "-I", "-S", PROGRAMS / "detach.py", name if announce else "-", program, *command],
                cwd=cwd,
                env={**self.environ, **(env or {})},
                stdin=source,
                stdout=output,
                stderr=output,
                check=True,
                timeout=PATIENCE_SECONDS,
            )
        found = eventually(
            lambda: self.announced(name)[before:], f"{name}: {(self.folder / f'{name}.out').read_text()[-500:]}"
        )[0]
        if announce:  # by the launcher, which becomes the program in a moment
            eventually(lambda: "detach.py" not in " ".join(argv(found.pid)), f"{name} is executed")
        self._bystanders.append(found)
        return found

    def masked(
        self,
        name: str,
        command: Sequence[str],
        cwd: Path,
        *,
        executable: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Being:
        """A process whose argument vector is `command`, and its executable too, where it is not Python's.

        It notes the signals that it gets: see `signals`.
        """
        size = sum(len(os.fsencode(word)) + 1 for word in command)
        assert size >= 9, "too short a command line to be put on"
        return self.detached(
            name,
            ["x", "-S", "-", "y" * (size - 8)],
            cwd,
            executable=executable or self.disguise(os.path.basename(command[0])),
            env={
                "MASK_NAME": name,
                "MASK_ARGV": "\x1f".join(command),
                "PYTHONHOME": sys.base_prefix,
                **(env or {}),
            },
            stdin=PROGRAMS / "mask.py",
            announce=False,
        )

    def adopt(self, one: Being) -> Being:
        """A process that the test is answerable for, although something else started it."""
        self._bystanders.append(one)
        return one

    def disguise(self, name: str) -> Path:
        """An interpreter whose file is called `name`."""
        if name.lower().startswith("python"):
            return Path(PYTHON)
        copy = self.folder / "bin" / name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(os.path.realpath(PYTHON), copy)
        return copy

    def signals(self, name: str) -> list[str]:
        """Signals that the masked process `name` has got."""
        return sorted(file.name.rpartition(".")[2] for file in (self.folder / "signals").glob(f"{name}.SIG*"))

    # the end

    def dismiss(self) -> None:
        """End what the test itself started."""
        for one in self._bystanders:
            one.kill()
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()

    def close(self) -> None:
        """End everything; fails when something was left that the test should have seen ended."""
        self.dismiss()
        deadline = time.monotonic() + 5
        while (left := self.everything()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            (self.folder / "end").touch()  # the programs that replace each other look for it
            end(self.everything)
            raise AssertionError(f"left running: {left}")


# --- the program without its start-up ---------------------------------------------------------------


class Warm:
    """Runs `devtasks` as processes forked from one that has imported it: what is tested is not the import.

    One for each test process, begun when it is first needed; a command at a time.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._busy = threading.Lock()
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"

    def suits(self, options: Mapping[str, Any], env: Mapping[str, str]) -> bool:
        """Whether a command with these options of subprocess.run is the same here as executed anew."""
        special = [name for name in env if name.startswith(("PYTHON", "LANG", "LC_", "DEVTASKS_"))]
        return sys.platform == "linux" and not (set(options) - {"cwd", "env"}) and not special

    def raw(
        self,
        environ: Mapping[str, str],
        folder: Path,
        *words: str,
        tracer: Sequence[str] | None = None,
        seconds: float = 90,
    ) -> tuple[int, str, str]:
        """Exit code, output and errors. `tracer`: a command line of strace that is put on it. A hang fails."""
        with self._busy:
            child = self._begun()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(json.dumps([str(folder), dict(environ), words, tracer]) + "\n")
                answered = select.select([child.stdout], [], [], seconds)[0]
                code, output, errors = json.loads(child.stdout.readline()) if answered else (None, "", "")
            except BaseException:
                self._give_up()
                raise
            if code is None:
                self._give_up()
                raise subprocess.TimeoutExpired(["devtasks", *words], seconds)
            return code, output, errors

    def _give_up(self) -> None:
        """End it and what it began; the next command gets another one."""
        end(lambda: marked(f"WARM={self._mark}"))
        self.close()

    def _begun(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [PYTHON, PROGRAMS / "warm.py"],
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8", "WARM": self._mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        return self._child

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.communicate()


WARM = Warm()

# --- a project ---------------------------------------------------------------------------------------


def toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


class Scratch:
    """A project of its own in a fresh folder, and the program run in it."""

    def __init__(self, stage: Stage, root: Path) -> None:
        self.stage = stage
        self.root = root
        self.state = root / ".devtasks"
        root.mkdir(parents=True, exist_ok=True)

    def install(self, *programs: str, to: str = ".") -> None:
        """Copy programs, and what they share, into the project. Nothing is written over what may just be read."""
        folder = self.root / to
        folder.mkdir(parents=True, exist_ok=True)
        for program in ("stage.py", *programs):
            if not (folder / program).exists():
                shutil.copy(PROGRAMS / program, folder)

    def declare(self, services: Mapping[str, Mapping[str, object]], **table: object) -> None:
        """Write devtasks.toml, and a tasks.py that adopts the package."""
        lines = [f"{key} = {toml(value)}" for key, value in table.items()]
        for name, service in services.items():
            lines += ["", f"[services.{name}]", *(f"{key} = {toml(value)}" for key, value in service.items())]
        (self.root / "devtasks.toml").write_text("\n".join(lines) + "\n")
        (self.root / "tasks.py").write_text("from devtasks import ns\n")

    def server(self, *words: str, **service: object) -> dict[str, object]:
        """The declaration of a service that runs main.py on a free port."""
        self.install("main.py")
        port = service.setdefault("port", free_port())
        return {"command": [PYTHON, "main.py", *words, "--port", str(port)], **service}

    def raw(self, *arguments: str, seconds: float = 90, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `devtasks`, and wait for it; a hang fails."""
        env = options.pop("env", {})
        options = {"cwd": self.root, **options, "env": {**self.stage.environ, **env}}
        if WARM.suits(options, env):
            done = WARM.raw(options["env"], options["cwd"], *arguments, seconds=seconds)
            return subprocess.CompletedProcess(["devtasks", *arguments], *done)
        return subprocess.run(
            [PYTHON, "-m", "devtasks", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **options,
        )

    def run(self, *arguments: str, expect: int | tuple[int, ...] = 0, **options: Any) -> dict[str, Any]:
        """Run `devtasks … --json`, compare the exit code and return what it says."""
        done = self.raw(*arguments, "--json", **options)
        said = f"devtasks {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode in ((expect,) if isinstance(expect, int) else expect), said
        assert "Traceback" not in done.stderr, said
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(said) from None
        assert report["version"] == 1, said
        return report

    def start(self, *names: str) -> int:
        """Start, expecting success; the PID of the first service."""
        report = self.run("start", *names)
        assert report["ok"], report
        pid: int = report["services"][0]["pid"]
        return pid

    def background(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """`devtasks` as a child that the test goes on beside."""
        return self.stage.popen(
            [PYTHON, "-m", "devtasks", *arguments],
            self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def pid_file(self, service: str = "web") -> Path:
        return self.state / f"{service}.pid"

    def log(self, service: str = "web") -> str:
        return (self.state / f"{service}.log").read_text()


def ended(report: Mapping[str, Any]) -> set[int]:
    """Every PID that a stop says it ended."""
    return {pid for service in report["services"] for pid in (*service["stopped"], *service["killed"])}


def expect_gone(beings: Iterable[Being], report: Mapping[str, Any] | None = None) -> None:
    """None of them lives; with a report, it names each, and no survivor."""
    beings = list(beings)
    left = [one for one in beings if one.alive]
    assert not left, f"alive after stop: {left}; {report}"
    if report is not None:
        assert report["ok"], report
        assert not any(service["survivors"] for service in report["services"]), report
        assert {one.pid for one in beings} <= ended(report), (beings, report)
