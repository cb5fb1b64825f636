"""The project's own folder, and how any file of ours is opened: without following a link, owner checked.

Links are refused even where they lead home, because a log or PID file that is one turns a start by root
into a write to somebody else's file (CVE-2011-1098, CVE-2018-16888).

Root working in a user's project (`sudo inv start`) gives every file it creates to the owner of the folder
the file is in, and the state folder to the owner of the project's folder, so that the user's next command
is not locked out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from devtasks.errors import DevtasksError, Refused
from devtasks.model import Project

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ATTEMPTS = 100  # a file that is unlinked as often as it is created is somebody's attack, not a race

_KINDS = (
    (stat.S_ISLNK, "is a symbolic link"),
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def ensure(project: Project) -> None:
    """Make the state folder (0700, ignored by git) and the folders of PID and log files in the project.

    Raises Refused, before anything is written, where the state folder is a link, no folder, somebody
    else's, or the project itself; DevtasksError where the file system does not let us.
    """
    folder = project.state_dir
    if folder == project.root or folder in project.root.parents:
        raise Refused(f"{folder}: state_dir holds the project itself", hint="give state_dir a folder of its own")
    try:
        _make_folders(folder.parent)
        _make_state_dir(project)
        _make_folders_inside(folder, folder / "exits")
        for service in project.services:
            for file in (service.pid_file, service.log_file):
                if file.is_relative_to(folder):
                    _make_folders_inside(folder, file.parent)
                elif file.is_relative_to(project.root):
                    _make_folders(file.parent)
    except OSError as error:
        raise failure("cannot be prepared", error.filename or folder, error) from None


def objection(project: Project) -> str | None:
    """What speaks against using the state folder, as a line; None: nothing, or it is not there yet."""
    folder = project.state_dir
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{folder}: {explain(error)}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder}: {unfit(status, None) or 'is a file'}, not the folder that state_dir needs"
    stranger = _stranger(status, owners(project.root))
    return None if stranger is None else f"{folder}: {stranger}"


def _make_state_dir(project: Project) -> None:
    folder = project.state_dir
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    if problem := objection(project):
        raise Refused(problem, hint=f"remove or rename {folder}, or set state_dir to another folder")
    if os.lstat(folder).st_mode & 0o077:
        # File systems without permissions refuse or ignore this: not a reason to refuse the project.
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)
    if _is_new(folder):
        # Only then: in a folder that a user filled, `*` would hide the user's files from git.
        _hand_over_folder(folder, project.root)
        descriptor = open_nofollow(folder / ".gitignore", os.O_WRONLY | os.O_CREAT)
        try:
            os.write(descriptor, b"*\n")
        finally:
            os.close(descriptor)


def _is_new(folder: Path) -> bool:
    """Whether nothing is in it but, at most, the empty beginning of our .gitignore."""
    with os.scandir(folder) as entries:
        return all(
            entry.name == ".gitignore" and entry.stat(follow_symlinks=False).st_size == 0 for entry in entries
        )


def _make_folders_inside(state_dir: Path, folder: Path) -> None:
    """The same for a folder in the state folder, where no link is followed."""
    for place in (folder, *folder.parents):
        if place == state_dir:
            break
        if place.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(place))
    _make_folders(folder)


def _make_folders(folder: Path) -> None:
    """`mkdir -p`; what is new belongs to the owner of the folder above it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(new)
            _hand_over_folder(new, new.parent)


def owners(folder: Path) -> frozenset[int]:
    """Whose files in `folder` count as ours: our own, and for root those of the folder's owner."""
    user = _user()
    if user is None:
        return frozenset()
    if user != 0:
        return frozenset({user})
    try:
        return frozenset({0, os.stat(folder).st_uid})
    except OSError:
        return frozenset({0})


def unfit(status: os.stat_result, allowed: frozenset[int] | None) -> str | None:
    """Why a file may not be used, in words that follow its name; None: a regular file of `allowed` users.

    A second hard link is refused to root alone: it may be another name of a file that only root can write.
    """
    for matches, reason in _KINDS:
        if matches(status.st_mode):
            return reason
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if _user() == 0 and status.st_nlink > 1:
        return "has another hard link"
    return None if allowed is None else _stranger(status, allowed)


def _stranger(status: os.stat_result, allowed: frozenset[int]) -> str | None:
    if _user() is None or status.st_uid in allowed:
        return None
    return f"belongs to another user (uid {status.st_uid})"


def open_nofollow(path: Path, flags: int, mode: int = 0o600, *, allowed: frozenset[int] | None = None) -> int:
    """Open a regular file of ours; returns a descriptor that no program we start inherits.

    `allowed`: who may own it; by default `owners` of its folder. O_TRUNC is not supported: nothing is
    touched before it is checked. Never blocks. Raises OSError, its `strerror` a text for people.
    """
    flags = (flags | _SAFE) & ~os.O_TRUNC
    for _ in range(_ATTEMPTS):
        if flags & os.O_CREAT:
            try:
                descriptor = os.open(path, flags | os.O_EXCL, mode)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
            else:
                return _blocking(_hand_over(descriptor, path.parent))
        try:
            return _open_existing(path, flags & ~os.O_CREAT, owners(path.parent) if allowed is None else allowed)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
    raise OSError(errno.EAGAIN, "is created and removed again by another program", str(path))


def _open_existing(path: Path, flags: int, allowed: frozenset[int]) -> int:
    _check(os.lstat(path), allowed, path)  # before opening: a device may act on being opened
    descriptor = os.open(path, flags)
    try:
        _check(os.fstat(descriptor), allowed, path)
    except OSError:
        os.close(descriptor)
        raise
    return _blocking(descriptor)


def _check(status: os.stat_result, allowed: frozenset[int], path: Path) -> None:
    if reason := unfit(status, allowed):
        raise OSError(errno.EPERM, reason, str(path))


def _blocking(descriptor: int) -> int:
    if sys.platform != "win32":
        os.set_blocking(descriptor, True)  # the flag was for opening; a service may inherit this description
    return descriptor


def _hand_over(descriptor: int, folder: Path) -> int:
    """Give a file that we have just created to the owner of `folder`, if we are root."""
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = os.stat(folder)
        if owner.st_uid != 0:
            # A file system of one owner (FAT, some mounts) refuses; the file is usable all the same.
            with contextlib.suppress(OSError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _hand_over_folder(folder: Path, heir: Path) -> None:
    if sys.platform != "win32" and os.geteuid() == 0:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _hand_over(descriptor, heir)
        finally:
            os.close(descriptor)


def _user() -> int | None:
    return None if sys.platform == "win32" else os.geteuid()


def explain(error: OSError) -> str:
    """What went wrong with a file, in words that follow its name and a colon."""
    if error.errno == errno.ELOOP:
        return "is a symbolic link"
    text = error.strerror or type(error).__name__
    return text[:1].lower() + text[1:]


def failure(what: str, path: Path | str, error: OSError) -> DevtasksError:
    """The error for people: the file, `what` could not be done with it ("cannot be written"), why, what to do."""
    return DevtasksError(f"{path}: {what}: {explain(error)}", hint=_remedy(error, Path(path)))


def _remedy(error: OSError, path: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "free some disk space, then try again"
        case errno.EROFS:
            return "the file system is read-only: set state_dir, pid_file and log_file to one that can be written"
        case errno.ENOENT | errno.ENOTDIR:
            return f"make the folder: mkdir -p {path.parent}"
        case errno.ELOOP | errno.EISDIR:
            return f"remove or rename {path}"
        case errno.EPERM if (error.strerror or "").startswith(("is ", "has ", "belongs ")):
            return f"remove or rename {path}"
        case errno.EACCES | errno.EPERM:
            return f"see whose it is, and who may write there: ls -ld {path.parent} {path}"
        case errno.EMFILE | errno.ENFILE:
            return "raise the limit of open files: ulimit -n 1024"
        case _:
            return f"look at it: ls -ld {path}"
