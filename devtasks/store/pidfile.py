"""PID files: read as hostile input, written whole or not at all.

A file that we did not write is never replaced: only a reading of a PID can be removed, and whether that PID
was ours is `State.knows_pid`'s to say.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from pathlib import Path
from typing import Literal

from devtasks.store import statedir
from devtasks.values import Value

MAX_BYTES = 4096
_PID = rb"([1-9][0-9]{0,9})\n?"
_PID_LIMIT = 2**22 if sys.platform == "linux" else 2**31 - 1  # the largest PID that the kernel gives out
_SHOWN = 40  # bytes of a file's content that are quoted

Signature = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns


class Reading(Value):
    """What a PID file said at one moment.

    `pid` is set for state "pid" alone. `reason` is for people and follows the file's name ("is a FIFO");
    it is set for "garbage" (readable, holds no PID) and "unreadable". `signature` recognises the file.
    """

    path: Path
    state: Literal["absent", "pid", "garbage", "unreadable"]
    pid: int | None = None
    reason: str | None = None
    signature: Signature | None = None


def read(path: Path, owners: frozenset[int] | None = None) -> Reading:
    """Read a PID file. Never raises, never blocks, never follows a link.

    `owners`: whose file it may be; by default ours and, for root, the owner of the file's folder.
    """
    try:
        descriptor = statedir.open_nofollow(path, os.O_RDONLY, allowed=owners)
    except (FileNotFoundError, NotADirectoryError):
        return Reading(path=path, state="absent")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        words = statedir.explain(error) if isinstance(error, OSError) else str(error)
        return Reading(path=path, state="unreadable", reason=words, signature=_signature_of(path))
    try:
        signature = _signature(os.fstat(descriptor))
        content = os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        return Reading(path=path, state="unreadable", reason=statedir.explain(error))
    finally:
        os.close(descriptor)
    reason = _objection(content)
    if reason is not None:
        return Reading(path=path, state="garbage", reason=reason, signature=signature)
    return Reading(path=path, state="pid", pid=int(content), signature=signature)


def _objection(content: bytes) -> str | None:
    """Why `content` is no PID of a service. 0 and 1 are none, nor is what the kernel never gives out."""
    if len(content) > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 1024} KiB"
    if not content.strip():
        return "is empty"
    found = re.fullmatch(_PID, content)
    if found is None or not 2 <= int(found[1]) <= _PID_LIMIT:
        shown = ascii(content[:_SHOWN].decode("utf-8", "replace"))
        return f"holds {shown}{'…' if len(content) > _SHOWN else ''}, which is no PID"
    return None


def write(path: Path, pid: int) -> None:
    """Write `pid` and a newline; a reader sees the old file or the new one, whole.

    The caller holds the service's lock: the temporary name is a fixed one, so that what a killed writer
    left is used up by the next. Raises DevtasksError with the former file untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = statedir.open_nofollow(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            content = b"%d\n" % pid
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        _refuse_special(path)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise statedir.failure("the PID file cannot be written", path, error) from None


def _refuse_special(path: Path) -> None:
    """A rename would silently replace a link, a FIFO or a socket that somebody put there for a purpose."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EPERM, statedir.unfit(status, None), str(path))


def remove_if_unchanged(path: Path, reading: Reading) -> bool:
    """Unlink the file if it still is the one that was read, and held a PID. False: left alone, or not removable.

    Compared right before; that somebody replaces it in between is possible and harmless to processes.
    """
    if reading.state != "pid" or reading.signature is None or _signature_of(path) != reading.signature:
        return False
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _signature_of(path: Path) -> Signature | None:
    try:
        return _signature(os.lstat(path))
    except (OSError, ValueError):
        return None


def _signature(status: os.stat_result) -> Signature:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
