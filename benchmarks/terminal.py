"""How fast log lines come through `up`, beside honcho: from the command to the last line, its start included."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.readings import Row
from benchmarks.scene import BenchmarkFailed, Scene, undisturbed
from benchmarks.timing import interleaved, timed

ROUNDS = 5
LINES = 300_000
LIMIT = 1.0
SECONDS = 120
OURS, THEIRS = f"{LINES:,} log lines through inv up", "honcho start"
FLOOD = """import sys, time
for number in range({lines}):
    sys.stdout.write("2026-11-22 12:00:00 INFO request %d served in 12 ms\\n" % number)
print("all of them", flush=True)
time.sleep(3)  # and then it leaves, however it is that honcho takes Ctrl-C
"""


def measure(scene: Scene) -> Iterator[Row]:
    command = [sys.executable, "flood.py"]
    folder = scene.project("flood", {"flood": command})
    table = folder / "pyproject.toml"  # it listens on no port
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.startswith("port")))
    (folder / "flood.py").write_text(FLOOD.format(lines=LINES))
    (folder / "Procfile").write_text(f"flood: {' '.join(command)}\n")
    missing = None
    contenders = {OURS: _reading(scene, [scene.inv, "up"], folder)}
    try:
        honcho = peers.installed("honcho") / "honcho"
        contenders[THEIRS] = _reading(scene, [str(honcho), "start"], folder)
    except peers.PeerMissing as reason:
        missing = str(reason)
    found = interleaved(contenders, rounds=ROUNDS, warm_up=1)
    yield Row(
        what=OURS,
        ours=found[OURS],
        against=THEIRS,
        theirs=found.get(THEIRS),
        kind="ratio",
        limit=LIMIT,
        missing=missing,
    )


def _reading(scene: Scene, command: Sequence[str], folder: Path) -> Callable[[], float]:
    """Runs `command` until the last line has come through; then it is stopped, which does not count."""

    def sample() -> float:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=scene.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            return timed(lambda: _read(child, command))
        finally:
            with undisturbed():
                child.send_signal(signal.SIGINT)
                child.communicate(timeout=SECONDS)

    return sample


def _read(child: subprocess.Popen[bytes], command: Sequence[str]) -> None:
    assert child.stdout is not None
    count = 0
    for line in child.stdout:
        count += b"INFO request" in line
        if line.rstrip().endswith(b"| all of them"):
            break
    if count != LINES:
        raise BenchmarkFailed(f"{' '.join(command)}: {count} of {LINES} lines came through")
