"""`inv demo`: the point of devtasks on real servers, in under a minute.

Starts the example in a temporary folder, kills its top processes, cleans up with devtasks and proves that
nothing of it is left and that nobody else was touched. Exit 0 only if every proof held; 128 + N when
interrupted by signal N.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from types import FrameType
from typing import Any

import psutil

from devtasks.errors import Interrupted
from examples.stage import INSTALL_SECONDS, DemoFailed, Stage, Terminal, answers, is_free, wait_until

# What Makefiles usually say: one for the backend, one for the front end.
CLASSIC = (
    r"([Pp]ython.*main\.py|uvicorn.*main|fastapi.*main)",
    r"(npm run dev|vite|esbuild|node.*frontend)",
)


def main() -> int:
    """Run the demonstration. Returns the exit code."""
    terminal = Terminal(dict(os.environ))
    began = time.monotonic()
    with ExitStack() as restore:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            restore.callback(signal.signal, number, signal.signal(number, _interrupt))
        try:
            with Stage(terminal) as stage:
                held = _play(stage, terminal)
        except Interrupted as interruption:
            terminal.alarm("Interrupted. Everything it started is gone, and so is its folder.")
            return interruption.exit_code
        except DemoFailed as failure:
            terminal.alarm(f"FAILED: {failure}.")
            return 1
    seconds = f"{time.monotonic() - began:.0f} seconds"
    if held:
        terminal.title(f"\nDone in {seconds}; the demo's folder and its bystanders are gone too.")
    else:
        terminal.alarm(f"Not every proof held ({seconds}).")
    return 0 if held else 1


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def _play(stage: Stage, terminal: Terminal) -> bool:
    """All steps. Whether every proof held."""
    terminal.title("devtasks: stops what your project started, all of it, and nothing else.")
    terminal.step("A shop in a temporary folder: uvicorn --reload and a front end.")
    stage.check_out()
    terminal.say(f"Installing vite with npm, for {INSTALL_SECONDS} seconds at most ...")
    reason = stage.install_vite()
    terminal.say(
        f"The front end is Python's file server: {reason}." if reason else "The front end is vite, run by npm."
    )
    stage.show("start")

    terminal.step("What runs, and why each process counts as the shop's.")
    stage.show("show-processes")
    mains = {row["name"]: row["pid"] for row in stage.ask("status")["services"]}
    ours = _processes(stage.ask("show-processes"))

    terminal.step("Two bystanders: an editor on the same main.py, another checkout's server.")
    editor, server = _bystanders(stage, terminal)

    terminal.step("The reloader and the front end's first process are killed with -9.")
    victims = [mains["backend"], mains["frontend"]]
    terminal.command(f"kill -9 {' '.join(map(str, victims))}")
    _kill(ours, victims)
    left = _processes(stage.ask("show-processes"))
    holders = {port: row for row, _ in left.values() for port in row["ports"]}
    for port in (stage.backend_port, stage.frontend_port):
        if port in holders:
            terminal.row("orphan", False, f"PID {holders[port]['pid']} still holds port {port}")
        else:
            terminal.row("gone", True, f"nobody holds port {port}: the file server was a single process")
    if stage.backend_port not in holders:
        raise DemoFailed("the backend's worker did not survive its reloader, so there is nothing to show")

    terminal.step("What a Makefile's ps | grep makes of that.")
    _classic(stage, terminal, holders, {editor.pid: "the editor", server.pid: "the other checkout's server"})

    terminal.step("devtasks goes by evidence, not by names.")
    stage.show("force-clean")

    terminal.step("Proof.")
    everybody = {**ours, **left}
    survivors = [pid for pid, (_, process) in everybody.items() if _alive(process)]
    strangers = [process.pid for process in stage.inhabitants() if process.pid not in (editor.pid, server.pid)]
    proofs = [
        (is_free(stage.backend_port), f"port {stage.backend_port} is free"),
        (is_free(stage.frontend_port), f"port {stage.frontend_port} is free"),
        (not survivors, f"none of the shop's {len(everybody)} processes is left"),
        (not strangers, "no other process was left in the shop's folder"),
        (editor.poll() is None, f"the editor lives (PID {editor.pid})"),
        (
            server.poll() is None and answers(stage.other_port),
            f"the other checkout answers on port {stage.other_port}",
        ),
    ]
    for holds, text in proofs:
        terminal.row("ok" if holds else "FAILED", holds, text)
    return all(holds for holds, _ in proofs)


def _processes(listing: Any) -> dict[int, tuple[Any, psutil.Process]]:
    """PID to its row in show-processes and, for an independent look later, psutil's idea of it."""
    rows = [row for service in listing["services"] for row in service["processes"]]
    found = {}
    for row in rows:
        try:
            found[row["pid"]] = (row, psutil.Process(row["pid"]))
        except psutil.NoSuchProcess:
            continue
    return found


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _bystanders(stage: Stage, terminal: Terminal) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """An editor's stand-in in the shop's own folder, and a second checkout's backend that serves."""
    # Any editor's command line may mention Python and main.py; that it sleeps is all this one does.
    sleeping = "import signal; signal.pause()  # set filetype=python"
    editor = stage.bystander(["vim", "-c", sleeping, "main.py"], stage.shop / "backend", executable=sys.executable)
    argv = ["uvicorn", "main:app", "--port", str(stage.other_port)]
    server = stage.bystander([sys.executable, "-m", *argv], stage.other / "backend")
    wait_until(lambda: answers(stage.other_port), 20, "the other checkout's server did not start")
    terminal.row(str(editor.pid), True, "vim ... main.py    (a stand-in, in shop/backend)")
    terminal.row(str(server.pid), True, f"{' '.join(argv)}    (in other-checkout/backend)")
    return editor, server


def _kill(ours: dict[int, tuple[Any, psutil.Process]], victims: list[int]) -> None:
    """Kill by PID and wait until they are gone. psutil checks that the number was not given out again."""
    for pid in victims:
        if pid not in ours:
            raise DemoFailed(f"show-processes does not list the main process {pid}")
        ours[pid][1].kill()
    wait_until(lambda: not any(_alive(ours[pid][1]) for pid in victims), 10, "a killed process is still there")


def _classic(stage: Stage, terminal: Terminal, holders: dict[int, Any], bystanders: dict[int, str]) -> None:
    """Run the usual sweep, for show only: what it would have killed, and what not."""
    hits: set[int] = set()
    for pattern in CLASSIC:
        terminal.command(f'ps -ef | grep -E "{pattern}"')
        hits |= _sweep(stage, pattern)
    for port, row in holders.items():
        found = row["pid"] in hits
        terminal.row(
            "finds" if found else "MISSES", found, f"{row['pid']} on port {port}: {_short(row['command'])}"
        )
    for pid, name in bystanders.items():
        if pid in hits:
            terminal.row("HITS", False, f"{pid}, {name}, which is not the shop's")


def _short(command: str) -> str:
    """A command line without the folders of its program and of the script that it runs."""
    return re.sub(r"(^|(?<= ))/\S*/(?=\S)", "", command)


def _sweep(stage: Stage, pattern: str) -> set[int]:
    """The PIDs that the sweep finds; the same from the process table where ps or grep is not installed."""
    if not (shutil.which("ps") and shutil.which("grep")):
        table = psutil.process_iter(["cmdline"])
        return {process.pid for process in table if re.search(pattern, " ".join(process.info["cmdline"] or ()))}
    sweep = ["sh", "-c", f"ps -ef | grep -E '{pattern}'"]
    listing = subprocess.run(
        sweep, env=stage.environ, capture_output=True, text=True, errors="replace", check=False
    )
    return {int(line.split()[1]) for line in listing.stdout.splitlines()}
