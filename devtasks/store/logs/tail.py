"""The end of a log, read backwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devtasks.store.logs.logfile import LogFile, patiently
from devtasks.store.logs.text import shown

_BLOCK_BYTES = 64 * 1024
_TAIL_BYTES = 8 * 1024 * 1024  # as far back as `tail` looks


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last `lines` lines, printable, oldest first; what is longer than 4 KiB is cut and ends in `…`.

    Of the log since its service was started last, with what was rotated away since. Empty where there is no such
    file or it may not be read. Reads at most the last 8 MiB.
    """
    if lines <= 0:
        return ()
    try:
        with LogFile(path) as log:
            return tuple(shown(raw) for raw in last_lines(log, lines)[1])
    except (OSError, ValueError):
        return ()


def last_lines(log: LogFile, lines: int) -> tuple[int, list[bytes]]:
    """The last `lines` lines as they are, at most the last 8 MiB, and the position at which they begin."""
    end = position = patiently(log.end)
    found: list[bytes] = []
    blocks: list[bytes] = []
    breaks = 0
    for block in blocks_backwards(log, end):
        blocks.append(block)
        breaks += block.count(b"\n")
        position -= len(block)
        if breaks > lines or end - position >= _TAIL_BYTES:
            break
    found = b"".join(reversed(blocks)).split(b"\n")
    ended = found[-1] == b""
    if ended:
        found.pop()  # the end of the last line, not a line
    found = found[-lines:] if lines else []
    return end - sum(len(line) + 1 for line in found) + (not ended and bool(found)), found


def whole_lines_end(log: LogFile) -> int:
    """The position behind the last line that is ended; of a line that is longer than 64 KiB, that of its end."""
    end = patiently(log.end)
    block = next(blocks_backwards(log, end), b"")
    if b"\n" in block or len(block) == end:
        return end - len(block) + block.rfind(b"\n") + 1
    return end


def blocks_backwards(log: LogFile, end: int) -> Iterator[bytes]:
    """What is kept of a log up to the position `end`, in pieces, the last one first. Raises OSError."""
    begin, position = patiently(log.begin), end
    while position > begin:
        start = at = max(begin, position - _BLOCK_BYTES)
        pieces: list[bytes] = []
        while at < position:
            found, data = patiently(lambda: log.read(at, position - at))  # noqa: B023
            if found != at:  # what was before is kept no more
                pieces, begin = [], max(found, begin)
                start = at = found
            if not data or found >= position:
                break
            pieces.append(data)
            at += len(data)
        if not pieces:
            return
        yield b"".join(pieces)
        position = start
