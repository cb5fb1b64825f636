"""`init`: the inferred services written down as configuration, so that they can be changed."""

from __future__ import annotations

import contextlib
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtasks.config.loading import OWN_FILE, PYPROJECT
from devtasks.config.parsing import parse
from devtasks.config.textfile import read_bytes
from devtasks.errors import UsageError
from devtasks.inferring import Inference, infer

_MINIMAL = (
    '[{prefix}services.backend] with command = "uvicorn main:app --host {{host}} --port {{port}}" and port = 8000'
)


@dataclass(frozen=True, slots=True)
class _Target:
    """The file to write, and what is in it so far; None: it does not exist."""

    path: Path
    content: bytes | None

    @property
    def prefix(self) -> str:
        """What our tables' names begin with in this file."""
        return "" if self.content is None else "tool.devtasks."


def propose(root: Path) -> str:
    """The TOML text that `write` would add, with a comment on each service that says where it came from.

    Raises UsageError when a table is there already, when the file cannot be read or parsed, and when nothing
    can be inferred.
    """
    target = _target(root)
    return _render(_inferred(root, target), target)


def write(root: Path, *, environ: Mapping[str, str]) -> Path:
    """Append the proposal to the pyproject.toml in `root`, or make a devtasks.toml where there is none.

    What was in the file stays as it was, byte for byte, and so does its mode; it is replaced in one step. Returns
    the file. Raises UsageError like `propose` and when the file cannot be written, ConfigError when, under
    `environ`, the result would not be accepted.
    """
    target = _target(root)
    inference = _inferred(root, target)
    parse(inference.table, root=root, source=inference.source, project_name=None, environ=environ)
    before = target.content or b""
    text = _render(inference, target)
    if before:
        text = ("\n" if before.endswith(b"\n") else "\n\n") + text
    newline = "\r\n" if b"\r\n" in before else "\n"
    after = before + text.replace("\n", newline).encode()
    if not _adds_only(before, after, inference.table, target):
        raise UsageError(
            f"{target.path}: a table cannot be added at its end",
            hint="write `tool` with headers, [tool.NAME], and try again",
        )
    _replace(target.path, after)
    return target.path


def _target(root: Path) -> _Target:
    own, pyproject = root / OWN_FILE, root / PYPROJECT
    if os.path.lexists(own):
        raise UsageError(f"{own} is there already; change it, or remove it first")
    if not os.path.lexists(pyproject):
        return _Target(own, None)
    try:
        if not stat.S_ISREG(os.lstat(pyproject).st_mode):
            raise UsageError(f"{pyproject} is no regular file; make one, or write {OWN_FILE} by hand")
        content = read_bytes(pyproject)
        tool = tomllib.loads(content.decode("utf-8-sig")).get("tool")
    except OSError as error:
        raise UsageError(f"{pyproject} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise UsageError(f"{pyproject}: {error}; correct it first") from None
    if isinstance(tool, dict) and "devtasks" in tool:
        raise UsageError(f"{pyproject} has [tool.devtasks] already; change it, or remove it first")
    return _Target(pyproject, content)


def _inferred(root: Path, target: _Target) -> Inference:
    inference = infer(root)
    if not inference.table:
        left_out = "".join(f"\n  {note}" for note in inference.notes)
        hint = f"name one in {target.path.name}: {_MINIMAL.format(prefix=target.prefix)}"
        raise UsageError(f"no service can be inferred in {root}{left_out}", hint=hint)
    return inference


def _adds_only(before: bytes, after: bytes, table: Mapping[str, Any], target: _Target) -> bool:
    """Whether the new file says what the old one said, our table, and nothing else."""
    try:
        old, new = (tomllib.loads(content.decode("utf-8-sig")) for content in (before, after))
    except ValueError:
        return False
    expected = table if target.content is None else old | {"tool": old.get("tool", {}) | {"devtasks": table}}
    return new == expected


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        previous = os.lstat(path) if os.path.lexists(path) else None
        temporary.unlink(missing_ok=True)  # of an earlier process with this PID that was killed
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                if previous:
                    os.fchmod(descriptor, stat.S_IMODE(previous.st_mode))
                    with contextlib.suppress(PermissionError):  # only root can give a file to its owner again
                        os.fchown(descriptor, previous.st_uid, previous.st_gid)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


# --- TOML --------------------------------------------------------------------------------------------


def _render(inference: Inference, target: _Target) -> str:
    return "\n".join(_lines(inference, target.prefix)) + "\n"


def _lines(inference: Inference, prefix: str) -> Iterator[str]:
    if prefix:
        yield f"[{prefix[:-1]}]"
    yield f"# {inference.source[:1].upper()}{inference.source[1:]} by `devtasks init`; change it as you like."
    for note in inference.notes:
        yield f"# Note: {note}"
    reasons = dict(inference.reasons)
    for name, keys in inference.table["services"].items():
        yield ""
        yield f"# {reasons[name]}"
        yield f"[{prefix}services.{name}]"
        for key, value in keys.items():
            yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    """A value of an inferred table as TOML: text, a number, a truth value, or a list or table of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    return _text(value)


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _text(key)


def _text(text: str) -> str:
    if ('"' in text or "\\" in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in escaped) + '"'
