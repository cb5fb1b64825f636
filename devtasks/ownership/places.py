"""Which project a folder belongs to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from devtasks.model import Details, Process
from devtasks.programs import script

_TABLE_BYTES = 1 << 20


class Places:
    """Tells, by path component and on real paths, whether a folder is inside one project.

    A folder belongs to the innermost folder at or above it that is a configured `cwd` of ours, our root, or
    anybody's root: one with a devtasks table or a `.git` entry. A `cwd` that holds everything, as the home folder
    does, does not count. Answers are remembered: one of these serves one command.
    """

    def __init__(self, root: Path, cwds: Iterable[Path] = ()) -> None:
        self.root = str(root)
        self._cwds = tuple(os.path.realpath(cwd) for cwd in cwds)
        self._known: dict[str, str | None] = {}

    @cached_property
    def proves_something(self) -> bool:
        """False for a root that is `/`, the home folder or above it: everything a user does is inside."""
        return not self._holds_everything(self.root)

    @cached_property
    def _ours(self) -> frozenset[str]:
        return frozenset((self.root, *(cwd for cwd in self._cwds if not self._holds_everything(cwd))))

    def _holds_everything(self, folder: str) -> bool:
        return folder == "/" or any(os.path.commonpath([folder, home]) == folder for home in self._homes)

    @cached_property
    def _homes(self) -> tuple[str, ...]:
        """Ours, and that of the root's owner: under sudo they are not the same."""
        homes = [os.path.expanduser("~")]
        with contextlib.suppress(ImportError, OSError, KeyError):
            import pwd

            homes.append(pwd.getpwuid(os.stat(self.root).st_uid).pw_dir)
        return tuple(os.path.realpath(home) for home in homes)

    def holds(self, process: Process, details: Details) -> bool | None:
        """Whether a process is inside the project. None: it could not be told.

        Its working folder decides where that is in anybody's project; else its executable or its script.
        """
        owner = self.owner(details.cwd) if details.cwd else None
        if owner is not None:
            return owner == self.root
        source = script(process.argv)
        real = os.path.realpath(source) if source is not None and os.path.isabs(source) else None
        if any(self.inside(path) for path in (details.exe, real) if path):
            return True
        return None if details.cwd is None else False

    def inside(self, path: str) -> bool:
        """Whether `path`, a folder or a file, belongs to our project."""
        return self.owner(path) == self.root

    def owner(self, path: str) -> str | None:
        """The root of the project that `path` belongs to: ours, another's, or None for nobody's."""
        path = path.removesuffix(" (deleted)")
        if not os.path.isabs(path):
            return None
        trail = []
        folder = os.path.normpath(path)
        while folder not in self._known:
            trail.append(folder)
            if folder in self._ours:
                self._known[folder] = self.root
            elif _is_root(folder):
                self._known[folder] = folder
            elif folder == os.path.dirname(folder):
                self._known[folder] = None
            else:
                folder = os.path.dirname(folder)
        found = self._known[folder]
        for step in trail:
            self._known[step] = found
        return found


def _is_root(folder: str) -> bool:
    if os.path.lexists(os.path.join(folder, ".git")) or os.path.isfile(os.path.join(folder, "devtasks.toml")):
        return True
    path = os.path.join(folder, "pyproject.toml")
    try:
        if not os.path.isfile(path):  # opening a FIFO would wait for a writer
            return False
        with open(path, "rb") as file:
            return b"tool.devtasks" in file.read(_TABLE_BYTES)
    except OSError:
        return False
