"""The one seam to the machine: processes, sockets, signals and the clock.

Nothing outside this package reads the process table or sends a signal. `this_world()` picks the implementation:
`linux.py` where /proc and pidfd are there, else `portable.py` on psutil. Tests drive the rest of the program
with a hand-written fake of the same protocol.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from devtasks.model import Details, Endpoint, Identity, Process, Snapshot

Kind = Literal["listening", "udp", "other"]


class Handle(Protocol):
    """A pinned process: a signal through it reaches this very process or nobody."""

    @property
    def pid(self) -> int: ...

    @property
    def start(self) -> int: ...

    @property
    def descriptor(self) -> int | None:
        """One that becomes readable when the process is gone. None: only `World.wait` tells."""

    def send(self, name: str) -> bool:
        """Send the signal called `name` ("TERM", "CONT", "KILL" …).

        Returns False when the process is gone. Raises PermissionError when it may not be signalled.
        """

    def close(self) -> None:
        """Give the pin back. Idempotent."""


class World(Protocol):
    """What the program can know of this machine and do to it."""

    boot: str
    namespace: int

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        """Read the process table. With `previous`, what cannot have changed is taken from it.

        Processes that vanish while being read are left out. Never raises for a single process.
        """

    def reread(self, pids: Iterable[int]) -> dict[int, Process]:
        """The present rows of `pids`; those that are gone are missing."""

    def newer(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[int, ...]]:
        """`snapshot` with the processes that were created since it was taken, and their PIDs ascending.

        Costs in proportion to what is new. A world without a trustworthy allocation cursor looks at
        everything again. Rows of processes known before are not refreshed.
        """

    def ancestry(self) -> frozenset[int]:
        """This process and everything above it, as PIDs."""

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        """Working folder, executable, user and namespaces of `pids`."""

    def my_details(self) -> Details:
        """The same of this process."""

    def listening(self, ports: Iterable[int]) -> frozenset[int]:
        """Which of the TCP `ports` anybody listens on, in this network namespace."""

    def holders(self, ports: Iterable[int], likely: Sequence[int] = ()) -> dict[int, tuple[int, ...]]:
        """Port to the PIDs of every process that holds a listening TCP socket on it, likely owners first.

        Finding holders means reading everybody's descriptors, so the search ends early once each socket has
        a holder among the `likely`; who else shares it is found without `likely`.
        A port that is held by somebody we may not see maps to an empty tuple; a free one is missing.
        """

    def ports_of(self, pids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """The TCP ports that each of `pids` listens on, ascending; those without one are missing."""

    def endpoints(self, ports: Iterable[int], kind: Kind = "listening") -> tuple[Endpoint, ...]:
        """The sockets on `ports` in this network namespace that are of one kind.

        "listening": TCP sockets that accept connections. "udp": UDP sockets that are bound and connected to
        nobody. "other": TCP sockets that occupy the port without listening, most often a client's own end.
        """

    def owners(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, tuple[int, ...]]:
        """Everybody who has each of the sockets open, as far as we may see: reads everybody's descriptors."""

    def identity(self, process: Process) -> Identity:
        """What names this process for all time."""

    def pin(self, process: Process) -> Handle | None:
        """Pin a process; None when it is gone or its PID is another process by now.

        Raises OSError (EMFILE) when no descriptor is left, PermissionError when it may not be pinned.
        """

    def pin_room(self) -> int:
        """How many more processes may be pinned, with descriptors left for everything else."""

    def wait(
        self,
        handles: Sequence[Handle],
        timeout_seconds: float,
        enough: Callable[[Handle], bool] | None = None,
    ) -> list[Handle]:
        """Block until one of `handles` is gone or the time is over; returns all that are gone.

        With `enough`, which is told of each that is gone, go on until it says True or all are gone.
        """

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        """CPU seconds used so far, and resident bytes, of each."""

    def reaped_seconds(self, pids: Iterable[int]) -> dict[int, float]:
        """CPU seconds that the children of each had used, and theirs: of those that were waited for."""

    def memory_kills(self) -> int | None:
        """How many processes the kernel has killed for want of memory since the boot. None: it does not tell."""

    def born_before(self, seconds: float) -> int:
        """The `start` of a process that is `seconds` old: what is older has a smaller one."""

    def started_at(self, process: Process) -> float:
        """When it was started, in seconds since the epoch."""

    def make_cgroup(self, name: str, controllers: Collection[str] = ()) -> str | None:
        """Make a cgroup under our own; its folder, or None where that is not possible.

        Where `controllers` are wanted, it may be made beside our own: where most of them are to be had.
        """

    def limit_cgroup(self, path: str, *, memory_bytes: int | None, cpu: float | None) -> frozenset[str]:
        """Limit what all in a cgroup use together; the controllers ("memory", "cpu") that do from now on."""

    def remove_cgroup(self, path: str) -> None:
        """Remove an empty cgroup; one in use stays."""

    def clear_cgroups(self, prefix: str) -> None:
        """Remove the empty cgroups under our own whose names are `prefix` and the nonce of a run."""

    def cgroup_members(self, path: str) -> tuple[int, ...] | None:
        """PIDs in the cgroup at `path` and below it; None where there is no such cgroup."""

    def freeze(self, path: str, frozen: bool) -> bool:
        """Freeze or thaw a cgroup; False where that is not possible."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Let time pass: the one place that does."""


def this_world(environ: Mapping[str, str] = os.environ) -> World:
    """The world for this machine. DEVTASKS_WORLD=portable forces the psutil one (tests use it)."""
    if sys.platform == "linux" and environ.get("DEVTASKS_WORLD") != "portable":
        from devtasks.world.linux import LinuxWorld

        return LinuxWorld()
    from devtasks.world.portable import PortableWorld

    return PortableWorld()


__all__ = ["Handle", "Identity", "Kind", "World", "this_world"]
