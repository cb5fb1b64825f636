"""Reading a small text file that somebody else wrote: never blocks, never reads without end."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path

from devtasks.errors import ConfigError

LIMIT_BYTES = 1024 * 1024


def read_bytes(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The content of a regular file. Links are followed.

    Raises OSError, also for what is no regular file (a FIFO does not block) or is larger than `limit_bytes`.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    return content


def decode(content: bytes, path: Path) -> str:
    """UTF-8, with or without a byte order mark, line ends as newlines. Raises ConfigError with file and line."""
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), (f"{path}:{line}: not UTF-8; save the file as UTF-8",)) from None
    return text.replace("\r\n", "\n")


def unreadable(path: Path, error: OSError) -> ConfigError:
    """The error to raise for a file that had to be read."""
    reason = error.strerror or str(error)
    return ConfigError(str(path), (f"{path}: cannot be read: {reason[:1].lower()}{reason[1:]}",))
