"""inotify: be told when files grow and when folders get new ones, instead of looking again and again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000
_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_CLOSE_WRITE = 0x8
_ONLYDIR, _DONT_FOLLOW = 0x01000000, 0x02000000
_QUEUE_BYTES = 64 * 1024


class Notices:
    """One inotify instance. `descriptor` is readable when something that is watched has changed."""

    def __init__(self) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        self._add = libc.inotify_add_watch
        self.descriptor: int = libc.inotify_init1(_NONBLOCK | _CLOEXEC)
        if self.descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def folder(self, path: Path, *, written: bool = False) -> bool:
        """Watch what comes and goes in a folder; False where there is none, or no watch is left.

        `written`: also whoever closes a file there that he could write.
        """
        more = _CLOSE_WRITE if written else 0
        return self._watch(path, _CREATE | _MOVED_TO | _MOVED_FROM | _DELETE | _ONLYDIR | more)

    def file(self, path: Path) -> bool:
        """Watch the file that `path` names now, for as long as there is one, whatever it is called then."""
        return self._watch(path, _MODIFY | _ATTRIB | _DONT_FOLLOW)

    def _watch(self, path: Path, mask: int) -> bool:
        return bool(self._add(self.descriptor, os.fsencode(path), mask) >= 0)

    def drain(self) -> None:
        """Take what was told, so that the descriptor is readable with the next change only."""
        try:
            while len(os.read(self.descriptor, _QUEUE_BYTES)) > _QUEUE_BYTES // 2:
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self.descriptor)


def open_notices() -> Notices | None:
    """An instance; None where this system has none, or no more to give."""
    if sys.platform != "linux":
        return None
    try:
        return Notices()
    except (OSError, AttributeError):
        return None
