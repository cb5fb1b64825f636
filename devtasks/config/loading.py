"""Where the configuration is: the project's root, its table, and inference where there is none."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtasks.config.readers import project_title, service_name
from devtasks.config.section import Mistake, Reader, T, fits
from devtasks.config.textfile import decode, read_bytes, unreadable
from devtasks.errors import ConfigError, UsageError
from devtasks.values import Value

# Listing the tasks only takes the names: neither the parser nor the model is imported for that.
if TYPE_CHECKING:
    from devtasks.config.service import Address
    from devtasks.model import Project

PYPROJECT = "pyproject.toml"
OWN_FILE = "devtasks.toml"

# A header or dotted key that is ours, in a file that cannot be parsed.
_OUR_HEADER = r"""(?m)^[ \t]*(?:\[+[ \t]*)?tool[ \t]*\.[ \t]*(["']?)devtasks\1[ \t]*[].=]"""
_OUR_SERVICE = r"(?m)^[ \t]*\[[ \t]*(?:tool\.devtasks\.)?services\.([a-z][a-z0-9-]*)[ \t]*[].]"
_AT_LINE = r" \(at line (\d+), column \d+\)$"


class _Found(Value):
    """What the files of one folder say. `table` None: nothing."""

    table: Mapping[str, Any] | None
    source: str | None
    project_name: str | None


def find_root(start: Path) -> Path | None:
    """The nearest folder, from `start` upward, that holds a devtasks table; a real path.

    Whether the table is any good is found out by `load`. A pyproject.toml without our table, or one that cannot
    be read or parsed and shows no sign of it, is not a root.
    """
    real = Path(os.path.realpath(start))
    for folder in (real, *real.parents):
        if (folder / OWN_FILE).exists() or _has_our_table(folder / PYPROJECT):
            return folder
    return None


def load(
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    addresses: Mapping[str, Address] | None = None,
) -> Project:
    """The project in `folder`: its table, completed by inference where that names no services.

    Without any service the project has none. `addresses`, by service, win over everything. Raises ConfigError.
    """
    from devtasks.config.parsing import parse

    root = Path(os.path.realpath(folder))
    found = _read_folder(root)
    table, source = found.table, found.source
    if table is None or table.get("services", {}) == {}:
        from devtasks.inferring import infer

        inference = infer(root)
        if inference.table:
            table = {**inference.table, **(table or {}), "services": inference.table.get("services", {})}
            source = f"{source}; services {inference.source}" if source else inference.source
        source = source or inference.source
    return parse(
        table or {},
        root=root,
        source=source or "",
        project_name=found.project_name,
        environ=environ,
        addresses=addresses,
    )


def with_address(
    project: Project,
    names: Iterable[str],
    *,
    host: str | None = None,
    port: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """The project again, with `host` and `port` for the services (groups) in `names`.

    It is read anew, because both stand in commands and file names. Raises UsageError when a port is meant for
    several services, is none, or a name is none of the project's, ConfigError when the result would not do.
    """
    from devtasks.config.service import Address, host_name, port_number

    chosen = tuple(dict.fromkeys(names))
    known = {service.group for service in project.services}
    for name in chosen:
        if name not in known:
            from devtasks.config.suggest import did_you_mean

            raise UsageError(f'no service is called "{name}"{did_you_mean(name, known)}')
    if port is not None and len(chosen) != 1:
        raise UsageError("--port is for one service", hint="name it: --only NAME")
    address = Address(host=_flag("--host", host_name, host), port=_flag("--port", port_number, port))
    return load(project.root, environ, addresses=dict.fromkeys(chosen, address))


def _flag(name: str, read: Reader[T], value: T | None) -> T | None:
    try:
        return None if value is None else read(value)
    except Mistake as mistake:
        raise UsageError(f"{name} {mistake.found[0][1]}") from None


def service_names(folder: Path) -> tuple[str, ...]:
    """The names for which there can be tasks, in the order they are written. Never raises.

    Of a file that cannot be parsed, those that its headers show: their tasks say what is wrong when called.
    """
    try:
        return _readable_names(Path(os.path.realpath(folder)))
    except Exception:  # noqa: BLE001 - importing a tasks.py must not fail for any reason; calling a task tells
        return ()


def _readable_names(root: Path) -> tuple[str, ...]:
    """Those of the table, of the headers where it cannot be parsed, else the inferred ones."""
    try:
        found = _read_folder(root, name_wanted=False)
    except ConfigError:
        return _names_in_headers(root)
    services = {} if found.table is None else found.table.get("services", {})
    if services == {}:
        from devtasks.inferring import infer

        services = infer(root).table.get("services", {})
    return tuple(name for name in services if fits(service_name, name)) if isinstance(services, dict) else ()


def _names_in_headers(root: Path) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for file in (OWN_FILE, PYPROJECT):
        try:
            text = read_bytes(root / file).decode("utf-8", "replace")
        except OSError:
            continue
        names.update(dict.fromkeys(match[1] for match in re.finditer(_OUR_SERVICE, text)))
    return tuple(names)


def _read_folder(root: Path, *, name_wanted: bool = True) -> _Found:
    """Both files of a folder. Without `name_wanted` a pyproject.toml that never says devtasks is not parsed.

    Raises ConfigError when a file of ours cannot be read or parsed, or when both have a table.
    """
    pyproject = _read_pyproject(root / PYPROJECT, everything=name_wanted)
    tool = pyproject.get("tool")
    table = tool.get("devtasks") if isinstance(tool, dict) else None
    package = pyproject.get("project")
    name = package.get("name") if isinstance(package, dict) else None
    own = _read_own(root / OWN_FILE)
    if table is not None and own is not None:
        raise ConfigError(
            str(root),
            (f"{root / OWN_FILE} and [tool.devtasks] in {root / PYPROJECT}: there may be one; remove the other",),
        )
    if table is not None and not isinstance(table, dict):
        raise ConfigError(PYPROJECT, ("tool.devtasks: must be a table; write [tool.devtasks]",))
    source = PYPROJECT if table is not None else OWN_FILE if own is not None else None
    return _Found(
        table=own if table is None else table,
        source=source,
        project_name=name if fits(project_title, name) else None,
    )


def _read_own(path: Path) -> Mapping[str, Any] | None:
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    return _parse_toml(decode(content, path), path)


def _read_pyproject(path: Path, *, everything: bool) -> Mapping[str, Any]:
    """The whole file; empty when it is missing, or broken without a sign of us: that is other tools' business."""
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error) from None
    if not everything and b"devtasks" not in content:
        return {}
    try:
        return _parse_toml(decode(content, path), path)
    except ConfigError:
        if re.search(_OUR_HEADER, content.decode("utf-8", "replace")):
            raise
        return {}


def _has_our_table(path: Path) -> bool:
    try:
        content = read_bytes(path)
    except OSError:
        return False
    if b"devtasks" not in content:
        return False
    try:
        tool = _parse_toml(decode(content, path), path).get("tool")
    except ConfigError:
        return re.search(_OUR_HEADER, content.decode("utf-8", "replace")) is not None
    return isinstance(tool, dict) and "devtasks" in tool


@functools.lru_cache(maxsize=4)
def _parse_toml(text: str, path: Path) -> Mapping[str, Any]:
    """Parsed once a command, although the names, the root and the project are asked for one by one."""
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        at = re.search(_AT_LINE, message)
        line = int(at[1]) if at else text.count("\n") + 1
        reason = message[: at.start()] if at else message.removesuffix(" (at end of document)")
        raise ConfigError(str(path), (f"{path}:{line}: not TOML: {reason[:1].lower()}{reason[1:]}",)) from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(str(path), (f"{path}: not TOML: {error}",)) from None
