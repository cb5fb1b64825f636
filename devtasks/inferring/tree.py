"""Reading a project that nobody vouches for, and the values that inference passes on."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from devtasks.config import envfile
from devtasks.config.textfile import read_bytes

_LARGEST_BYTES = 256 * 1024  # no file that declares services comes near it
_MOST_ENTRIES = 1000
_MOST_FOLDERS = 32
_ENVIRONMENTS = (".venv", "venv")
_NOT_PACKAGES = {"tests", "test", "docs", "node_modules", "venv", "env", "build", "dist", "scripts", "examples"}


class Found(NamedTuple):
    """One inferred service: its name, its keys as in `[tool.devtasks.services.NAME]`, and where it came from."""

    name: str
    keys: dict[str, Any]
    file: str  # relative to the root
    detail: str  # what in the file told it


class Port(NamedTuple):
    """Where a program will listen: on what the environment's `variable` says, else on `number`."""

    number: int | None
    variable: str | None = None


def port_number(value: object) -> int | None:
    """`value` as a port, if it is one: an int, or its ASCII digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    return value if type(value) is int and 0 < value < 65536 else None


def joined(folder: str, name: str) -> str:
    """`folder/name`, where the root is the empty string."""
    return f"{folder}/{name}" if folder else name


class Tree:
    """A project's files, by paths relative to its root with `/` between components.

    Only regular text files of at most 256 KiB that really are below the root are read. What is there and
    cannot be read is treated as missing, with a line in `notes`. Nothing here raises for what is on disk.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: dict[str, None] = {}  # lines, each once, in order
        self._texts: dict[str, str | None] = {}

    def text(self, path: str) -> str | None:
        """The text of a file, or None."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def has_file(self, path: str) -> bool:
        return self._is(path, stat.S_ISREG)

    def has_folder(self, path: str) -> bool:
        return self._is(path, stat.S_ISDIR)

    def packages(self, folder: str) -> tuple[str, ...]:
        """Names of the folders in `folder` that can be Python packages, sorted; links are left out."""
        names = []
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:
                for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False):
                    name = entry.name
                    if name.isascii() and name.isidentifier() and entry.is_dir(follow_symlinks=False):
                        names.append(name)
        except OSError:
            return ()
        return tuple(sorted(set(names) - _NOT_PACKAGES)[:_MOST_FOLDERS])

    def has_environment(self, folder: str) -> bool:
        """Whether commands of a service in `folder` find a virtual environment of the project."""
        return any(self.has_folder(joined(place, name)) for place in (folder, "") for name in _ENVIRONMENTS)

    def env_file(self, *paths: str) -> str | None:
        """The first of `paths` that is a `.env` file as `env_file` takes them."""
        for path in paths:
            text = self.text(path)
            if text is None:
                continue
            _, mistakes = envfile.parse(text)
            if not mistakes:
                return path
            line, what = mistakes[0]
            self.note(f"{path} line {line}: {what}; not used")
        return None

    def declared(self, path: str, variable: str) -> str | None:
        """The value that the `.env` file at `path` gives to `variable`."""
        return envfile.parse(self.text(path) or "")[0].get(variable)

    def note(self, line: str) -> None:
        line = "".join(character if character.isprintable() else "?" for character in line)
        self.notes[line] = None

    def _inside(self, path: str) -> str | None:
        root = os.path.realpath(self.root)
        real = os.path.realpath(os.path.join(root, path))
        return real if real == root or real.startswith(root.rstrip("/") + "/") else None

    def _is(self, path: str, kind: Any) -> bool:
        try:
            real = self._inside(path)
            return real is not None and kind(os.stat(real).st_mode)
        except (OSError, ValueError):
            return False

    def _read(self, path: str) -> str | None:
        try:
            real = self._inside(path)
            if real is None:
                if os.path.exists(os.path.join(self.root, path)):
                    self.note(f"{path}: leads out of the project; not read")
                return None
            text = read_bytes(Path(real), _LARGEST_BYTES).decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.note(f"{path}: {error.strerror or error}; not read")
            return None
        except ValueError:  # undecodable, or a path that cannot exist
            self.note(f"{path}: is not text; not read")
            return None
        if any(character < " " and character not in "\t\n\r\f" for character in set(text)):
            self.note(f"{path}: is not text; not read")
            return None
        return text
