"""cgroup v2: a folder per run under our own cgroup, where the machine lets us.

Whether a process may be moved in shows only when one tries (a login shell's delegated folder may allow
mkdir and refuse the move with EIO), so the service's own first process tries, and its absence costs the guarantee
and nothing else. `cgroup.kill` is never used: it spares nobody.
"""

from __future__ import annotations

import contextlib
import os
import time

_FREEZE_SECONDS = 0.5


def make(name: str) -> str | None:
    """Make a cgroup called `name` under the caller's own; its folder, or None where there is none to be had."""
    parent = _own()
    if parent is None:
        return None
    path = os.path.join(parent, name)
    try:
        os.mkdir(path)
    except OSError:
        return None
    return path


def remove(path: str) -> None:
    """Remove an empty cgroup and those below it; one that is in use or gone stays as it is."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)


def clear(prefix: str) -> None:
    """Remove those cgroups under the caller's own that are called `prefix` and a nonce, and are empty."""
    parent = _own()
    if parent is None:
        return
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
