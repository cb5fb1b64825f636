"""The configuration table as a Project, or every mistake in it at once.

`parse` is pure but for one thing: it asks the file system where the root and the working folders really are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from devtasks.config.readers import LONGEST_NAME, printable, project_title, service_name, words
from devtasks.config.section import Mistake, Reader, Section, key_text, quoted
from devtasks.config.service import Address, file_path, host_name, port_number, read_service
from devtasks.errors import ConfigError
from devtasks.model import HostGroup, Project, Service


def parse(
    table: Mapping[str, Any],
    *,
    root: Path,
    source: str,
    project_name: str | None,
    environ: Mapping[str, str],
    addresses: Mapping[str, Address] | None = None,
) -> Project:
    """Check `table`, shaped like [tool.devtasks], and complete it.

    `project_name` serves where the table gives none, and the folder's name after it. From `environ` come
    ENVIRONMENT, DEVTASKS_STATE_DIR, and DEVTASKS_<SERVICE>_HOST and _PORT; `addresses`, by service, are flags
    and win over them. Raises ConfigError with every mistake.
    """
    root = Path(os.path.realpath(root))
    flags = addresses or {}
    top = Section(table, "", [])
    name = top.take("project", project_title, None)
    environment = top.take("environment", _environment, "development")
    state_dir = _read_state_dir(top, root, environ)
    on_event = top.take("on_event", words, ())
    services: list[Service] = []
    listed = top.section("services")
    if listed is not None:
        for group in listed.table:
            address = _address_of(group, environ, top.problems).under(flags.get(group, Address()))
            services += _read_group(listed, group, root=root, state_dir=state_dir, address=address)
        _check_dependencies(listed, services)
        _check_shared(listed, services)
    hosts: tuple[HostGroup, ...] = ()
    fleet = top.section("hosts")
    if fleet is not None:
        from devtasks.config.hosts import read_hosts

        hosts = read_hosts(fleet)
    top.finish()
    if top.problems:
        raise ConfigError(source, tuple(top.problems))
    return Project(
        name=name or project_name or folder_name(root),
        root=root,
        digest=digest(root),
        state_dir=state_dir,
        environment=_environment_of(environ) or environment,
        services=tuple(services),
        hosts=hosts,
        on_event=on_event,
        source=source,
    )


def digest(root: Path) -> str:
    """The first part of every marker of a project: 16 hexadecimal digits that stand for its real root."""
    return sha256(os.fsencode(root))[:16]


def sha256(content: bytes) -> str:
    """The SHA-256 of `content` in hexadecimal digits."""
    # hashlib loads OpenSSL, which costs more than all else here; `random` in the standard library avoids it too.
    try:
        made = import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:
        made = import_module("hashlib").sha256
    return str(made(content).hexdigest())


def folder_name(root: Path) -> str:
    """The name of a folder as a project's name: whatever cannot be printed becomes `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in root.name)[:LONGEST_NAME] or "root"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the table."""
    import json

    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return loaded


def _read_group(
    listed: Section, group: str, *, root: Path, state_dir: Path, address: Address
) -> tuple[Service, ...]:
    try:
        service_name(group)
    except Mistake as mistake:
        for _, message in mistake.found:
            listed.problem(key_text(group), message)
    section = listed.section(group)
    if section is None:
        return ()
    if "container" in section.table or "compose" in section.table:
        from devtasks.config.container import read_container

        return read_container(section, name=group, root=root, state_dir=state_dir, address=address)
    return read_service(section, name=group, root=root, state_dir=state_dir, address=address)


def _environment(value: Any) -> str:
    return printable(value).strip().lower()


def _environment_of(environ: Mapping[str, str]) -> str:
    return environ.get("ENVIRONMENT", "").strip().lower()


def _read_state_dir(top: Section, root: Path, environ: Mapping[str, str]) -> Path:
    read = _state_dir_below(root)
    written = top.take("state_dir", read, root / ".devtasks")
    return _variables(environ, top.problems, "DEVTASKS_STATE_DIR").take("DEVTASKS_STATE_DIR", read, written)


def _state_dir_below(root: Path) -> Reader[Path]:
    def read(value: Any) -> Path:
        path = Path(os.path.abspath(root / file_path(value)))
        # It is made private and tells git to ignore all that is in it.
        if root.is_relative_to(path):
            raise Mistake(f"{quoted(str(path))} holds the project itself; name a folder of its own")
        return path

    return read


def _address_of(group: str, environ: Mapping[str, str], problems: list[str]) -> Address:
    prefix = f"DEVTASKS_{group.replace('-', '_').upper()}_"
    host, port = f"{prefix}HOST", f"{prefix}PORT"
    section = _variables(environ, problems, host, port)
    return Address(host=section.take(host, host_name, None), port=section.take(port, _port_in_text, None))


def _variables(environ: Mapping[str, str], problems: list[str], *names: str) -> Section:
    """Variables as a section. An empty one does not count."""
    return Section({name: environ[name].strip() for name in names if environ.get(name, "").strip()}, "", problems)


def _port_in_text(value: Any) -> int:
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return port_number(int(value))
    raise Mistake(f"must be a whole number from 1 to 65535, not {quoted(value)}")


def _check_dependencies(listed: Section, services: list[Service]) -> None:
    depends = {service.group: service.depends_on for service in services}
    for group, wanted in depends.items():
        for name in wanted:
            if name not in listed.table:
                from devtasks.config.suggest import did_you_mean

                message = f"no service is called {quoted(name)}{did_you_mean(name, listed.table)}"
                listed.problem(f"{key_text(group)}.depends_on", message)
    for cycle in cycles(depends):
        way = " -> ".join((*cycle, cycle[0]))
        listed.problem(f"{cycle[0]}.depends_on", f"goes round in a circle, {way}; remove one of these")


def cycles(depends: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Circles in a graph of names, no two with a name in common. Names that are no key do not count."""
    left = {name: [other for other in others if other in depends] for name, others in depends.items()}
    while left:
        free = [name for name, others in left.items() if not others]
        if not free:
            path = [next(iter(left))]
            while left[path[-1]][0] not in path:
                path.append(left[path[-1]][0])
            free = path[path.index(left[path[-1]][0]) :]
            yield tuple(free)
        gone = set(free)
        left = {
            name: [other for other in others if other not in gone]
            for name, others in left.items()
            if name not in gone
        }


def _check_shared(listed: Section, services: list[Service]) -> None:
    """Report ports and files that two services, or two keys of one, would share."""
    ports: dict[int, Service] = {}
    files: dict[Path, tuple[str, str]] = {}
    for service in services:
        place = key_text(service.group)
        for port in service.ports:
            owner = ports.setdefault(port, service)
            if owner.group != service.group:
                key = "ports" if "ports" in listed.table[service.group] else "port"
                listed.problem(f"{place}.{key}", f"{port} is the port of {owner.name} too; choose another")
        for key, path in (
            ("pid_file", service.pid_file),
            ("daemon_pid_file", service.daemon_pid_file),
            ("log_file", service.log_file),
        ):
            if path is None:
                continue
            group, name = files.setdefault(path, (service.group, key))
            if (group, name) != (service.group, key):
                listed.problem(f"{place}.{key}", f"is also the {name} of {key_text(group)}; choose another")
