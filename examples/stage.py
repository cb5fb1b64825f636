"""What the demonstration plays on: a copy of the example, its bystanders, and a terminal to speak to.

Whatever happens, leaving a Stage ends all that was started on it and removes its folder.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

EXAMPLE = Path(__file__).resolve().parent / "shop"
WIDTH = 80
INDENT = "     "
COMMAND_SECONDS = 60
INSTALL_SECONDS = 20


class DemoFailed(Exception):
    """A step went another way than it should: one sentence for people."""


class Terminal:
    """Prints steps, at most 80 columns wide, in colour where that is wanted."""

    def __init__(self, environ: dict[str, str]) -> None:
        forced = environ.get("FORCE_COLOR", "") not in ("", "0") or sys.stdout.isatty()
        self.colour = forced and not environ.get("NO_COLOR")
        self._step = 0

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def title(self, text: str) -> None:
        self._print(self._paint("1", text))

    def step(self, text: str) -> None:
        """One numbered sentence."""
        self._step += 1
        lines = textwrap.wrap(text, WIDTH - len(INDENT))
        self._print(f"\n{self._step:>3}. " + self._paint("1", f"\n{INDENT}".join(lines)))

    def say(self, text: str) -> None:
        for line in textwrap.wrap(text, WIDTH - len(INDENT)):
            self._print(INDENT + line)

    def alarm(self, text: str) -> None:
        for line in textwrap.wrap(text, WIDTH - len(INDENT)):
            self._print(INDENT + self._paint("31", line))

    def command(self, text: str) -> None:
        self._print(INDENT + self._paint("36", f"$ {text}"))

    def quote(self, text: str) -> None:
        """What another program wrote."""
        for line in text.splitlines():
            self._print((INDENT + line).rstrip())

    def row(self, mark: str, good: bool, text: str) -> None:
        """A marked line, cut to the width."""
        line = textwrap.shorten(text, WIDTH - len(INDENT) - 8, placeholder=" ...")
        self._print(INDENT + self._paint("32" if good else "31", f"{mark:<8}") + line)

    def _print(self, text: str) -> None:
        print(
            text.encode(sys.stdout.encoding or "ascii", "backslashreplace").decode(sys.stdout.encoding or "ascii")
        )
        sys.stdout.flush()


class Stage:
    """A temporary folder with two checkouts of the example, three free ports, and the processes of the play."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.folder = Path(tempfile.mkdtemp(prefix="devtasks-demo-")).resolve()
        self.shop = self.folder / "shop"
        self.other = self.folder / "other-checkout"
        self.backend_port, self.frontend_port, self.other_port = free_ports(3)
        self.bystanders: list[subprocess.Popen[bytes]] = []
        # The services and their tools come from this environment; nothing of a surrounding run goes in.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(AMBIENT) or k == "DEVTASKS_DEBUG"}
        self.environ = kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything and remove the folder. Not to be interrupted, but bounded."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in self.bystanders:
            process.kill()
            process.wait()
        if kind is not None:
            self._abandon()
        wait_until(lambda: not self.inhabitants(), 5, f"something still runs in {self.folder}")
        shutil.rmtree(self.folder)

    def _abandon(self) -> None:
        """After an interruption or failure: also what was being started when it came, known to nobody yet."""
        if self.shop.exists():
            self.devtasks("force-clean")
        wait_until(self._nobody_is_left, 5, f"something still runs in {self.folder}")

    def _nobody_is_left(self) -> bool:
        """Look once, and kill what is found: it may have been forking meanwhile, so one look is not enough."""
        found = self.inhabitants()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not found

    def check_out(self) -> None:
        """Make both checkouts, the shop's on ports of its own."""
        left_out = shutil.ignore_patterns(".devtasks", "__pycache__")
        for checkout in (self.shop, self.other):
            shutil.copytree(EXAMPLE, checkout, symlinks=True, ignore=left_out)
        table = self.shop / "pyproject.toml"
        text = table.read_text(encoding="utf-8")
        for declared, picked in (("port = 8000", self.backend_port), ("port = 5173", self.frontend_port)):
            text = text.replace(declared, f"port = {picked}")
        table.write_text(text, encoding="utf-8")

    # --- acting ----------------------------------------------------------------------------------------

    def devtasks(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `devtasks` command in the shop, as a person would; nothing is printed here."""
        colour = {"FORCE_COLOR": "1"} if self.terminal.colour else {"NO_COLOR": "1"}
        try:
            return subprocess.run(
                [sys.executable, "-m", "devtasks", *arguments],
                cwd=self.shop,
                env=self.environ | colour | {"COLUMNS": str(WIDTH - len(INDENT))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(
                f"devtasks {' '.join(arguments)} took longer than {COMMAND_SECONDS} seconds"
            ) from None

    def show(self, *arguments: str) -> None:
        """Run a devtasks command before the audience. It must succeed."""
        self.terminal.command(f"devtasks {' '.join(arguments)}")
        done = self.devtasks(*arguments)
        self.terminal.quote(done.stdout)
        if done.returncode:
            raise DemoFailed(f"devtasks {' '.join(arguments)} ended with exit code {done.returncode}")

    def ask(self, *arguments: str) -> Any:
        """The JSON that a devtasks command answers with."""
        done = self.devtasks(*arguments, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise DemoFailed(f"devtasks {' '.join(arguments)} --json gave no JSON: {done.stdout[:200]}") from None

    def bystander(self, argv: list[str], cwd: Path, executable: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process that devtasks has no business with. Its session is its own, so that Ctrl-C spares it."""
        process = subprocess.Popen(
            argv,
            executable=executable,
            cwd=cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.bystanders.append(process)
        return process

    def install_vite(self) -> str | None:
        """Install vite into the copy with npm. None when it is there and starts; else why it is not."""
        frontend = self.shop / "frontend"
        npm, node = shutil.which("npm"), shutil.which("node")
        if not npm or not node:
            return "npm is not installed"
        if not (frontend / "node_modules" / "vite").is_dir():
            argv = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
            if (code := run_bounded(argv, frontend, self.environ, INSTALL_SECONDS)) != 0:
                shutil.rmtree(frontend / "node_modules", ignore_errors=True)
                took_long = f"npm install took longer than {INSTALL_SECONDS} seconds"
                return took_long if code is None else f"npm install ended with exit code {code}"
        vite = [node, "node_modules/vite/bin/vite.js", "--version"]
        if run_bounded(vite, frontend, self.environ, INSTALL_SECONDS) != 0:
            shutil.rmtree(frontend / "node_modules", ignore_errors=True)
            return "vite does not start with the Node that is installed"
        return None

    # --- looking ---------------------------------------------------------------------------------------

    def inhabitants(self) -> list[psutil.Process]:
        """Every live process that works in the stage's folder, found without asking devtasks."""
        found = []
        for process in psutil.process_iter():
            try:
                inside = Path(process.cwd()).is_relative_to(self.folder)
                if inside and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


# What would change the example's behaviour from outside.
AMBIENT = ("DEVTASKS_", "ENVIRONMENT", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "PYTHONPATH")


def run_bounded(argv: list[str], cwd: Path, environ: dict[str, str], seconds: float) -> int | None:
    """Run a program silently. Its exit code, or None when it was killed, with its group, at the time limit."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        argv, cwd=cwd, env=environ, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:  # not waited for yet, so the number is still its group's
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_ports(count: int) -> list[int]:
    """Different TCP ports that nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def is_free(port: int) -> bool:
    """Whether a server could be started on the port: it can be bound and nobody answers."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections are no holders
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether the shop's backend answers on the port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Look until it holds; DemoFailed with `failure` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(failure)
        time.sleep(0.05)
