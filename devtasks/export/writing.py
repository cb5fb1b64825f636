"""The files of an export on disk: what is there, what may be replaced, and all of them or none written.

The first comment of each file carries a digest of all that follows it: what does not agree was edited by hand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from devtasks.config.parsing import sha256
from devtasks.config.textfile import read_bytes
from devtasks.errors import DevtasksError, UsageError
from devtasks.export.plan import File, Ledger
from devtasks.values import Value

State = Literal["new", "unchanged", "outdated", "edited", "foreign", "stale"]

_LARGEST_BYTES = 4 * 1024 * 1024
_MOST_ENTRIES = 10_000
_SEAL = re.compile(
    rb"(?:#|<!--) Written by devtasks export \((\S+)\) for (\S+); sha256 of the rest: ([0-9a-f]{64})"
)
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'


class Page(Value):
    """One file as it is to be: its place below the output folder, and its whole content."""

    path: str
    content: bytes


def pages(files: Iterable[File], ledger: Ledger, *, target: str, project: str) -> tuple[Page, ...]:
    """The files with their headers: where they are from, and what the target cannot express."""
    return tuple(Page(path=file.path, content=_sealed(file, ledger, target, project)) for file in files)


def state(path: Path, wanted: bytes) -> State:
    """How the file at `path` stands to what it should be. Raises UsageError for what is no readable file."""
    try:
        found = read_bytes(path, _LARGEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):  # of the second, writing tells
        return "new"
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if found == wanted:
        return "unchanged"
    seal = _SEAL.search(found[:1024])
    if seal is None:
        return "foreign"
    return "outdated" if sha256(_rest(found, seal)) == seal[3].decode() else "edited"


def stale(output: Path, written: Sequence[Page], *, target: str, project: str) -> tuple[str, ...]:
    """Files of an earlier export of the same project to the same target that would not be written any more."""
    wanted = {page.path for page in written}
    suffixes = {os.path.splitext(page.path)[1] for page in written}
    found = []
    for folder in dict.fromkeys(os.path.dirname(page.path) for page in written):
        try:
            with os.scandir(output / folder) as entries:
                names = sorted(entry.name for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False))
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            if (
                path not in wanted
                and os.path.splitext(name)[1] in suffixes
                and _is_of(output / path, target, project)
            ):
                found.append(path)
    return tuple(found)


def write(output: Path, changed: Sequence[Page]) -> None:
    """Write all of `changed`, or nothing: everything is beside its place before the first is moved there.

    Raises DevtasksError (UsageError for an output folder that is a file); what was new is removed again.
    """
    made: list[Path] = []
    waiting: list[tuple[Path, Path]] = []
    try:
        for page in changed:
            path = output / page.path
            made += _folders(path.parent)
            _check_replaceable(path)
            waiting.append((_beside(path, page.content), path))
        for temporary, path in waiting:
            os.replace(temporary, path)
    except OSError as error:
        _undo(waiting, made)
        raise _failure(error.filename or str(output), error) from None
    except BaseException:
        _undo(waiting, made)
        raise


# --- the header ----------------------------------------------------------------------------------------


def _sealed(file: File, ledger: Ledger, target: str, project: str) -> bytes:
    about = file.about
    notes = [note for note in ledger.remarks if about is None or (about and note.service in (None, *about))]
    lines = ["`devtasks export` writes this file again, unless it was changed by hand."]
    if notes:
        lines += ["", "Not expressed, or otherwise than devtasks does it:"]
        lines += [_line(f"{f'{note.service}.' if note.service else ''}{note.key}: {note.text}") for note in notes]
    if file.comment == "#":
        below = "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n" + file.body
        return f"# {_first(target, project, below.encode())}\n{below}".encode()
    body = file.body.encode().removeprefix(_XML)
    comment = "".join(f"{line.replace('--', '- -')}\n" for line in lines)
    rest = f"\n<!--\n{comment}-->\n".encode() + body
    return _XML + f"<!-- {_first(target, project, rest)} -->".encode() + rest


def _first(target: str, project: str, rest: bytes) -> str:
    return f"Written by devtasks export ({target}) for {project}; sha256 of the rest: {sha256(rest)}"


def _rest(content: bytes, seal: re.Match[bytes]) -> bytes:
    after = content[seal.end() :]
    return after.removeprefix(b" -->") if seal[0].startswith(b"<!--") else after.removeprefix(b"\n")


def _line(text: str) -> str:
    return "  " + "".join(one if one.isprintable() else "?" for one in text).rstrip("\\ ")


def _is_of(path: Path, target: str, project: str) -> bool:
    try:
        seal = _SEAL.search(read_bytes(path, _LARGEST_BYTES)[:1024])
    except OSError:
        return False
    return seal is not None and (seal[1], seal[2]) == (target.encode(), project.encode())


# --- writing -------------------------------------------------------------------------------------------


def _folders(folder: Path) -> list[Path]:
    """`mkdir -p`; the folders that were made, outermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    made = []
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one)
            made.append(one)
    return made


def _check_replaceable(path: Path) -> None:
    """Raise for a folder in a file's place, which would be found out when others had been moved already."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # of an earlier process with this PID that was killed
    mode = stat.S_IMODE(os.stat(path).st_mode) if path.exists() else 0o666
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _undo(waiting: Iterable[tuple[Path, Path]], made: Sequence[Path]) -> None:
    for temporary, _ in waiting:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    for folder in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _failure(place: str, error: OSError) -> DevtasksError:
    place = re.sub(r"\.([^/]+)\.\d+\.new$", r"\1", place)  # what was to be written, not what stands beside it
    reason = (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return UsageError(f"{place}: cannot be written: {reason}", hint="name another folder with --output")
    return DevtasksError(f"{place}: cannot be written: {reason}; nothing was changed")
