"""Take the closed prefix of a log away while a service appends to it.

What is whole is copied to NAME.1 (ten are kept) and then taken out of the file: punched, and where the file system
can, collapsed. The service notices nothing. Everything happens in steps, each of which is recorded in an extended
attribute of the file itself before it begins, so that whoever comes after a kill -9 knows what was done:

    copying     the copy is NAME.0; nothing is recorded: it is worth nothing yet
    moving      NAME.0 is complete; the prefix is punched, then NAME.0 becomes NAME.1
    collapsing  blocks at the beginning that hold nothing are cut out: all that follows moves forward
    settled     nothing is under way

Positions in a log are counted from the first byte ever written to it, so that they stay true: byte P is at offset
P - collapsed in the file, and what lies before `moved` is in the copies. All steps are taken under an flock of the
file, exclusive; whoever reads more than the file itself takes a shared one.

Executed by runners, without site packages, too: it imports nothing of devtasks.
"""

from __future__ import annotations

import errno
import os
import sys

KEPT = 10  # rotated files
_ATTRIBUTE = "user.devtasks.log"
_STEPS = (b"settled", b"moving", b"collapsing")
_COPY = b"copy"
_KEEP_SIZE, _PUNCH_HOLE, _COLLAPSE_RANGE = 1, 2, 8  # linux/falloc.h
_NOWHERE = 1 << 40  # so far beyond the end of a log that nothing is written there meanwhile
_CHUNK_BYTES = 1 << 20
_SEEN_BYTES = 1 << 16
_HURRIED_SECONDS, _QUIET_SECONDS = 0.1, 1.0


class Mark:
    """How far a log was taken away, as recorded in it.

    `target` is where the step under way leads: `moved` after moving, `collapsed` after collapsing.
    """

    __slots__ = ("collapsed", "moved", "step", "target")

    def __init__(self, step: str = "settled", collapsed: int = 0, moved: int = 0, target: int = 0) -> None:
        self.step = step
        self.collapsed = collapsed
        self.moved = moved
        self.target = target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mark) and self._all() == other._all()

    __hash__ = None  # type: ignore[assignment]

    def _all(self) -> tuple[str, int, int, int]:
        return self.step, self.collapsed, self.moved, self.target

    @property
    def settled(self) -> bool:
        return self.step == "settled"

    @property
    def begin(self) -> int:
        """The offset in the file at which what is left of it begins."""
        return self.moved - self.collapsed

    def encoded(self) -> bytes:
        return b"%s %d %d %d" % (self.step.encode(), self.collapsed, self.moved, self.target)


def read_mark(log: int) -> Mark:
    """The mark of an open log; that of an untouched one where there is none, or where somebody truncated it."""
    while True:
        mark = _recorded(log)
        if not mark.settled or mark.begin == 0 or os.pread(log, 1, 0) == b"\0":
            return mark
        if mark == _recorded(log):  # it was not collapsed between the two looks
            return Mark()


def _recorded(log: int) -> Mark:
    if sys.platform != "linux":
        return Mark()
    try:
        step, *numbers = os.getxattr(log, _ATTRIBUTE)[:80].split(b" ")
    except OSError:
        return Mark()
    if step not in _STEPS or len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        return Mark()
    mark = Mark(step.decode(), *map(int, numbers))
    return mark if mark.begin >= 0 else Mark()


def is_copy(path: str | os.PathLike[str]) -> bool:
    """Whether a file is what was moved out of a log, not a log that was rotated at a start."""
    if sys.platform != "linux":
        return False
    try:
        return os.getxattr(path, _ATTRIBUTE, follow_symlinks=False) == _COPY
    except OSError:
        return False


def rotated(name: str, number: int) -> str:
    """The name of the rotated file `number`: 1 is the youngest, 0 one that is being made."""
    return f"{name}.{number}"


def lock(log: int, *, shared: bool = False) -> bool:
    """Take the lock of an open log, or say that somebody else has it. Closing the descriptor lets go, too."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(log, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # no locks there: no rotation either
    return True


def unlock(log: int) -> None:
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(log, fcntl.LOCK_UN)
        except OSError:
            pass


def shift(folder: int | None, name: str) -> None:
    """Make NAME.1 free. What was in the way of an earlier one that was killed stays where it is."""
    last = next((number for number in range(1, KEPT) if not _exists(folder, rotated(name, number))), KEPT)
    for number in range(last - 1, 0, -1):
        os.replace(rotated(name, number), rotated(name, number + 1), src_dir_fd=folder, dst_dir_fd=folder)


def recover(folder: int, name: str, log: int) -> Mark:
    """Finish what a killed rotation had begun. To be called under the lock, with a log open for writing."""
    mark = _recorded(log)
    copy = rotated(name, 0)
    if mark.step == "moving":
        if _exists(folder, copy):
            if _still_there(folder, copy, log, mark):
                _fallocate(log, _PUNCH_HOLE | _KEEP_SIZE, 0, mark.target - mark.collapsed)
            _become_first(folder, name, log, mark)
        else:
            _record(log, Mark("settled", mark.collapsed, mark.target))
        return read_mark(log)
    try:
        os.unlink(copy, dir_fd=folder)
    except FileNotFoundError:
        pass
    if mark.step == "collapsing":
        happened = data_begins(log) < mark.target - mark.collapsed
        _record(log, Mark("settled", mark.target if happened else mark.collapsed, mark.moved))
    return read_mark(log)


def rotate(folder: int, name: str, log: int, max_bytes: int) -> bool:
    """Move what is whole of the log away if it holds more than `max_bytes`; False when there was nothing to do.

    `folder` and `log` are descriptors, the log's open for reading and writing. Nothing happens where NAME is
    another file by now, or somebody else rotates it. Raises OSError where the file system cannot, or is full;
    then everything is as it was.
    """
    if os.fstat(log).st_size <= max_bytes or not lock(log):
        return False
    try:
        if not _is_at(folder, name, log):
            return False
        mark = _collapsed(log, recover(folder, name, log))
        size = os.fstat(log).st_size
        end = _cut(log, mark.begin, size, max_bytes)
        if end is None:
            return False
        _copy(folder, rotated(name, 0), log, mark.begin, end)
        moving = _record(log, Mark("moving", mark.collapsed, mark.moved, mark.collapsed + end))
        try:
            _fallocate(log, _PUNCH_HOLE | _KEEP_SIZE, 0, end)
        except OSError:
            _record(log, mark)
            os.unlink(rotated(name, 0), dir_fd=folder)
            raise
        _collapsed(log, _become_first(folder, name, log, moving))
        return True
    finally:
        unlock(log)


def tend(folder: int, name: str, log: int, max_bytes: int) -> float:
    """`rotate` if it is time to; the seconds until it may be again."""
    if rotate(folder, name, log, max_bytes):
        return _HURRIED_SECONDS
    held = os.fstat(log).st_size - read_mark(log).begin
    return _HURRIED_SECONDS if held > max_bytes // 2 else _QUIET_SECONDS


# --- the steps -----------------------------------------------------------------------------------------------


def _cut(log: int, begin: int, size: int, max_bytes: int) -> int | None:
    """Where to cut: behind the end of a line; if there is one in the later half, at the end of a block, too.

    A line alone that is longer than the log may be is cut at a block. None: there is nothing to cut.
    """
    if size - begin <= max_bytes:
        return None
    block = _block(log)
    position, found = size, None
    while position > begin and (found is None or position > begin + (size - begin) // 2):
        start = max(begin, (position - 1) // _CHUNK_BYTES * _CHUNK_BYTES)
        chunk = os.pread(log, position - start, start)
        if found is None and (at := chunk.rfind(b"\n")) >= 0:
            found = start + at + 1
        first = -(start + 1) % block  # the last byte of the first block that ends in this chunk
        at = chunk[first : size - 1 - start : block].rfind(b"\n")  # something must follow, or nothing is collapsed
        if at >= 0:
            return start + first + at * block + 1
        position = start
    if found is not None:
        return found
    whole = size // block * block
    return whole if whole > begin else None


def _copy(folder: int, copy: str, log: int, begin: int, end: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(copy, flags, 0o600, dir_fd=folder)
    try:
        try:
            mine, theirs = os.fstat(descriptor), os.fstat(log)
            if mine.st_uid != theirs.st_uid:
                os.fchown(descriptor, theirs.st_uid, theirs.st_gid)
            os.setxattr(descriptor, _ATTRIBUTE, _COPY)
            at = begin
            while at < end:
                done = os.sendfile(descriptor, log, at, min(_CHUNK_BYTES, end - at))
                if done == 0:
                    raise OSError(errno.EAGAIN, "was truncated while it was copied")
                at += done
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        os.unlink(copy, dir_fd=folder)
        raise


def _become_first(folder: int, name: str, log: int, mark: Mark) -> Mark:
    """The copy gets its name; the prefix is punched already."""
    shift(folder, name)
    os.replace(rotated(name, 0), rotated(name, 1), src_dir_fd=folder, dst_dir_fd=folder)
    return _record(log, Mark("settled", mark.collapsed, mark.target))


def _collapsed(log: int, mark: Mark) -> Mark:
    """Cut the empty blocks out, where the file system can and something follows them."""
    block = _block(log)
    cut = min(mark.begin, data_begins(log)) // block * block
    if cut == 0 or mark.begin >= os.fstat(log).st_size:
        return mark
    _record(log, Mark("collapsing", mark.collapsed, mark.moved, mark.collapsed + cut))
    try:
        _fallocate(log, _COLLAPSE_RANGE, 0, cut)
    except OSError:
        return _record(log, mark)
    return _record(log, Mark("settled", mark.collapsed + cut, mark.moved))


def _still_there(folder: int, copy: str, log: int, mark: Mark) -> bool:
    """Whether the log still holds what was copied: it was not punched, and nobody has truncated it."""
    descriptor = os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        at, length = 0, mark.target - mark.moved
        while at < length:
            ours = os.pread(descriptor, min(_SEEN_BYTES, length - at), at)
            if not ours or ours != os.pread(log, len(ours), mark.begin + at):
                return False
            at += len(ours)
        return True
    finally:
        os.close(descriptor)


def _record(log: int, mark: Mark) -> Mark:
    os.setxattr(log, _ATTRIBUTE, mark.encoded())
    return mark


def data_begins(log: int) -> int:
    """The offset of the first block that holds something."""
    try:
        return os.lseek(log, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return os.fstat(log).st_size


def _block(log: int) -> int:
    return os.fstatvfs(log).f_bsize or 4096


def _exists(folder: int | None, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_at(folder: int, name: str, log: int) -> bool:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(log))


def can_rotate(log: int) -> bool:
    """Whether the file system of an open log gives up parts of files, and keeps the record of it."""
    if sys.platform != "linux":
        return False
    try:
        _record(log, read_mark(log))
        _fallocate(log, _PUNCH_HOLE | _KEEP_SIZE, _NOWHERE, 1 << 12)
    except (OSError, AttributeError):  # no fallocate in this C library
        return False
    return True


def _fallocate(log: int, mode: int, offset: int, length: int) -> None:
    import ctypes  # 0.4 MB, which a runner whose log stays small does without

    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "fallocate64", None) or libc.fallocate  # off_t may have 32 bits without
    while call(log, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
