"""System calls at which a command can be killed: recorded with strace in one run, and hit with it in others.

Only the command itself is traced, never the runner or the service: they are not what is killed.
"""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crashes.pair import Pair
from toolbox import WARM

# What may change something that outlives the process. A shared object, a pipe end or a seek does not.
_CALLS = (
    "openat,mkdir,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,symlink,chmod,fchmod,chown,fchown,"
    "write,pwrite64,ftruncate,flock,fsync,fdatasync,fork,vfork,clone,clone3,kill,tgkill,pidfd_send_signal"
).replace(",", ",?")  # ?: not every architecture has each of them
_LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
_NONCE = re.compile(r"\b[0-9a-f]{16}\b")
_QUOTED = re.compile(r'"(/[^"]*)"')
_DESCRIPTOR = re.compile(r"\d+<(/[^>]*)>")
_OUTPUT = re.compile(r"write\([12]<")
_DATABASE = re.compile(r"/state\.db(-journal)?$")
_PIVOTS = ("clone", "clone3", "fork", "vfork", "rename", "kill", "pidfd_send_signal")


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`th call of its kind in a run; with `path`, the `number`th for that file.

    `path` is relative to the project, and {} in it stands for the service.
    """

    call: str
    path: str | None
    number: int
    text: str

    @property
    def is_detail(self) -> bool:
        """One of the many steps of a database's transaction."""
        return self.path is not None and _DATABASE.search("/" + self.path) is not None

    @property
    def is_pivot(self) -> bool:
        """A step after which the machine is another one: what follows it is tried with every next command."""
        return self.call in _PIVOTS or (self.call == "write" and "<pipe:" in self.text)

    def __str__(self) -> str:
        return f"before {self.call} {self.path or ''} #{self.number}: {self.text}"


def record(pair: Pair, words: Sequence[str]) -> list[Point]:
    """Run a command to its end; every call of it that changed a file of the project, a process or a cgroup."""
    root, service = pair.root, pair.name
    log = root / ".strace"
    tracer = ["strace", "-y", "-s", "40", "-e", f"trace=?{_CALLS}", "-o", str(log)]
    code, output, errors = WARM.raw(pair.stage.environ, root, *words, tracer=tracer)
    assert code == 0, (output, errors)
    numbers: Counter[tuple[str, str | None]] = Counter()
    points = []
    for line in log.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        call, arguments, result = found.groups()
        place = next(iter(_QUOTED.findall(arguments) or _DESCRIPTOR.findall(arguments)), "")
        inside = Path(place).is_relative_to(root)
        path = None
        if inside and not _NONCE.search(place):
            path = str(Path(place).relative_to(root)).replace(service, "{}")
        numbers[call, path] += 1
        numbers[call, None] += path is not None
        lasting = inside or call in _PIVOTS or place.startswith("/sys/fs/cgroup/") or "<pipe:" in arguments
        if call == "openat":  # numbered by its path alone: how often others are opened differs from run to run
            lasting = path is not None and "O_CREAT" in arguments
        if lasting and not result.startswith("-") and not _OUTPUT.match(line):
            points.append(Point(call, path, numbers[call, path], line.replace(str(root), "")[:120]))
    log.unlink()
    return points


def hit(pair: Pair, point: Point, words: Sequence[str]) -> bool:
    """Run a command that is killed (-9) instead of making the call. False: it never came there."""
    tracer = ["strace", "-e", f"trace={point.call}", "-o", "/dev/null"]
    if point.path is not None:
        tracer += ["-P", str(pair.root / point.path.format(pair.name))]
    tracer += ["-e", f"inject={point.call}:signal=KILL:when={point.number}"]
    done = WARM.raw(pair.stage.environ, pair.root, *words, tracer=tracer)
    assert done[0] in (0, -signal.SIGKILL), (str(point), done)
    return done[0] != 0


def chosen(points: Sequence[Point], *, everything: bool) -> list[Point]:
    """All points, or so many that no kind is missing: of each transaction its beginning, middle and end."""
    if everything:
        return list(points)
    picked: list[Point] = []
    run: list[Point] = []
    for point in [*points, None]:
        if point is not None and point.is_detail:
            run.append(point)
            continue
        if run:
            picked += [run[index] for index in sorted({0, len(run) // 2, len(run) - 1})]
            run = []
        if point is not None:
            picked.append(point)
    return picked
