"""One command on an open connection: its output read within bounds, and its end awaited.

A devtasks that is tethered (see `command/tether.py`) ends as on a hang-up when its standard input does, and
leaves nothing half done; closing the channel alone would let it run on.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable
from threading import Event
from typing import Any

from devtasks.values import Value

_PIECE = 64 * 1024
_POLL_SECONDS = 0.05
_LONGEST_LINE = 20_000
_REST_SECONDS = 3.0  # for what is on its way when the command has ended
FAREWELL_SECONDS = 5.0  # for a command that was told to end because it took too long


class Bounds(Value):
    """When to give up. `deadline` is on the monotonic clock; None: the command may go on for ever."""

    deadline: float | None
    most_bytes: int
    interrupted: Event  # set: tell the command to end, and give it `grace_seconds`
    abandoned: Event  # set: leave it alone at once
    grace_seconds: float


class Said(Value):
    """`exit_code` None: it did not end in time, or the connection was lost."""

    stdout: str
    stderr: str
    exit_code: int | None
    late: bool = False  # it was told to end, having taken too long
    interrupted: bool = False  # it was told to end, by the user
    too_much: bool = False  # it wrote more than is read


class Lines:
    """Bytes in, whole lines out; a line is cut where it gets too long."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._take(line[:_LONGEST_LINE])
        self._rest = self._rest[:_LONGEST_LINE]

    def close(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = ""


def converse(
    channel: Any,
    line: str,
    bounds: Bounds,
    *,
    on_output: Callable[[str], None] | None = None,
    on_error: Callable[[str], None] | None = None,
    on_silence: Callable[[], None] | None = None,
) -> Said:
    """Run `line` by the shell there, and read what it says until it ends.

    With `on_output`, lines of its output go there instead of being kept; with `on_error`, those of its standard
    error go there, too; `on_silence` is called while nothing comes. Raises what paramiko raises when the
    connection fails before the command runs.
    """
    kept, errors = bytearray(), bytearray()
    output = None if on_output is None else Lines(on_output)
    complaints = None if on_error is None else Lines(on_error)
    late = interrupted = too_much = False
    deadline = bounds.deadline
    ended_at: float | None = None
    channel.settimeout(_POLL_SECONDS)
    channel.exec_command(line)
    open_ = True
    while open_ or not channel.exit_status_ready():
        if bounds.interrupted.is_set() and not (interrupted or late):
            interrupted = True
            deadline = _told_to_end(channel, bounds.grace_seconds)
        # What came before it was closed is still to be read.
        if bounds.abandoned.is_set() or (channel.closed and not open_):
            break
        if deadline is not None and time.monotonic() > deadline:
            if late or interrupted:
                break
            late = True
            deadline = _told_to_end(channel, FAREWELL_SECONDS)
        piece = _received(channel) if open_ else None
        if not open_:
            bounds.abandoned.wait(_POLL_SECONDS)
        if piece == b"":
            open_ = False
        elif piece is None:
            if on_silence is not None:
                on_silence()
            # sshd may tell the end before the last of the output; and a process that was left behind may hold the
            # channel open for ever.
            ended_at = ended_at or (time.monotonic() if channel.exit_status_ready() else None)
            open_ = open_ and (ended_at is None or time.monotonic() < ended_at + _REST_SECONDS)
        elif output is not None:
            output.feed(piece)
        elif len(kept) + len(piece) > bounds.most_bytes:
            too_much = True
            break
        else:
            kept += piece
        while channel.recv_stderr_ready():
            piece = channel.recv_stderr(_PIECE)
            if complaints is not None:
                complaints.feed(piece)
            errors += piece
            del errors[: max(len(errors) - _PIECE, 0)]
    while channel.recv_stderr_ready():
        errors += channel.recv_stderr(_PIECE)
    for lines in (output, complaints):
        if lines is not None:
            lines.close()
    code = channel.recv_exit_status() if channel.exit_status_ready() else -1
    channel.close()
    return Said(
        stdout=kept.decode("utf-8", "replace"),
        stderr=bytes(errors).decode("utf-8", "replace"),
        exit_code=None if code < 0 else code,
        late=late,
        interrupted=interrupted,
        too_much=too_much,
    )


def _received(channel: Any) -> bytes | None:
    """What there is of its output; None when there is nothing yet, empty at the end."""
    try:
        return bytes(channel.recv(_PIECE))
    except TimeoutError:
        return None


def _told_to_end(channel: Any, seconds: float) -> float:
    """End its standard input; the moment until which it may still answer."""
    channel.shutdown_write()
    return time.monotonic() + seconds
