"""cgroup v2: a folder per run under our own cgroup, where the machine lets us.

Whether a process may be moved in shows only when one tries (a login shell's delegated folder may allow
mkdir and refuse the move with EIO), so the service's own first process tries, and its absence costs the guarantee
and nothing else. `cgroup.kill` is never used: it spares nobody.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping

_FREEZE_SECONDS = 0.5


def make(name: str, controllers: Collection[str] = ()) -> str | None:
    """Make a cgroup called `name` under the caller's own; its folder, or None where there is none to be had.

    A cgroup with processes in it, as our own is, hands no controllers down, except the root of all. So where
    `controllers` are wanted and the one above ours has more of them to give, it is made there.
    """
    own = _own()
    if own is None:
        return None
    parent = max(_parents(own), key=lambda folder: len(_offered(folder, controllers))) if controllers else own
    path = os.path.join(parent, name)
    try:
        os.mkdir(path)
    except OSError:
        return None
    return path


def limit(path: str, values: Mapping[str, str]) -> frozenset[str]:
    """Write `values` ("memory.max") into the control files of a cgroup; the names of those that took."""
    done = set()
    for name, value in values.items():
        with contextlib.suppress(OSError):
            # Without O_CREAT: a file that the kernel did not make would limit nothing
            descriptor = os.open(os.path.join(path, name), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
            done.add(name)
    return frozenset(done)


def remove(path: str) -> None:
    """Remove an empty cgroup and those below it; one that is in use or gone stays as it is."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)


def clear(prefix: str) -> None:
    """Remove those cgroups where `make` makes them that are called `prefix` and a nonce, and are empty."""
    own = _own()
    for parent in _parents(own) if own is not None else ():
        with contextlib.suppress(OSError):
            for name in os.listdir(parent):
                if name.startswith(prefix) and "-" not in name[len(prefix) :]:  # web- begins web-api- too
                    remove(os.path.join(parent, name))


def members(path: str) -> tuple[int, ...] | None:
    """PIDs in the cgroup and below it, as seen from our PID namespace; None: there is no such cgroup."""
    if not os.path.isfile(os.path.join(path, "cgroup.procs")):
        return None
    found: list[int] = []
    for folder, _, _ in os.walk(path):
        with (
            contextlib.suppress(OSError),
            open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as procs,
        ):
            found.extend(int(line) for line in procs)
    return tuple(pid for pid in found if pid > 0)  # 0: not visible from here


def freeze(path: str, frozen: bool) -> bool:
    """Freeze or thaw, and wait until the kernel says so. False: not possible, or not in time."""
    try:
        with open(os.path.join(path, "cgroup.freeze"), "w", encoding="ascii") as control:
            control.write("1" if frozen else "0")
    except OSError:
        return False
    deadline = time.monotonic() + _FREEZE_SECONDS
    while frozen and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            open(os.path.join(path, "cgroup.events"), encoding="ascii") as events,
        ):
            if "frozen 1" in events.read():
                return True
        time.sleep(0.001)
    return not frozen


def _parents(own: str) -> tuple[str, ...]:
    """Where a cgroup may be made: under our own, or the one above, if we may move processes there."""
    above = os.path.dirname(own)
    return (own, above) if os.access(os.path.join(above, "cgroup.procs"), os.W_OK) else (own,)


def _offered(parent: str, controllers: Collection[str]) -> set[str]:
    """Those of `controllers` that a cgroup made in `parent` has. What can be handed down from now on, is."""
    control = os.path.join(parent, "cgroup.subtree_control")
    try:
        for missing in set(controllers) - set(_words(control)):
            limit(parent, {"cgroup.subtree_control": f"+{missing}"})
        return set(controllers) & set(_words(control))
    except OSError:
        return set()


def _words(path: str) -> list[str]:
    with open(path, encoding="ascii") as file:
        return file.read().split()


def _own() -> str | None:
    """The folder of the cgroup this process is in."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as table:
            inside = next((line[3:].rstrip("\n") for line in table if line.startswith("0::/")), None)
    except OSError:
        return None
    if inside is None:
        return None
    for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        path = os.path.normpath(mount + inside)
        if os.path.isfile(os.path.join(path, "cgroup.procs")) and os.path.isfile(f"{mount}/cgroup.controllers"):
            return path
    return None
