"""inotify: a descriptor that becomes readable when files in a folder come, go or are closed after writing."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

CLOSE_WRITE = 0x8
MOVED_TO = 0x80
CREATED = 0x100
DELETED = 0x200
MOVED_SELF = 0x800
DELETED_SELF = 0x400
IGNORED = 0x8000
OVERFLOW = 0x4000

_HEADER = struct.Struct("iIII")
_NONBLOCK, _CLOEXEC = 0o4000, 0o2000000


class Inotify:
    """Watches folders. Raises OSError where the kernel has no more watches, or none at all."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._call("inotify_init1", _NONBLOCK | _CLOEXEC)

    def watch(self, folder: Path, mask: int) -> int:
        """Watch a folder; returns the number by which its events are told apart."""
        return self._call("inotify_add_watch", self.descriptor, os.fsencode(folder), mask)

    def events(self) -> list[tuple[int, int, str]]:
        """What happened since the last call: number of the watch, mask, name of the file. Never blocks."""
        found = []
        while True:
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, mask, _, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size
                found.append((number, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
                at += length

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _call(self, name: str, *arguments: object) -> int:
        result = int(getattr(self._libc, name)(*arguments))
        if result < 0:
            code = ctypes.get_errno() or errno.ENOSYS
            raise OSError(code, os.strerror(code))
        return result
