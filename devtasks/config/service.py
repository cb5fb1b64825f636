"""One table of `services`: what a user wrote, as the Services it stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from devtasks.config.policies import read_health, read_limits, read_ready, read_restart, read_stop
from devtasks.config.readers import (
    FILE_PATH,
    HOST,
    array,
    flag,
    matching,
    one_of,
    process_pattern,
    service_name,
    shell_line,
    size,
    variables,
    whole,
    words,
)
from devtasks.config.section import Section, quoted
from devtasks.model import HealthProbe, ReadyProbe, Service
from devtasks.values import Value, replace

host_name = matching(HOST, 'a host name or an address like "127.0.0.1" or "::1"')
port_number = whole(1, 65535)
file_path = matching(FILE_PATH, "a path without control characters (~ is not expanded: write it out)")

MOST_INSTANCES = 100
_URL = r"https?://(?:\[[0-9A-Fa-f:.%]+\]|[^/?#@:\[\]]+)(?::([0-9]{1,5}))?(?:[/?].*)?"
_REPLACED = r"\{(host|port|instance)\}"
_Probe = TypeVar("_Probe", ReadyProbe, HealthProbe)


class Address(Value):
    """Where a flag or a variable puts a service, whatever the file says. None: it does not."""

    host: str | None = None
    port: int | None = None

    def under(self, stronger: Address) -> Address:
        return Address(
            host=self.host if stronger.host is None else stronger.host,
            port=self.port if stronger.port is None else stronger.port,
        )


def read_service(
    section: Section, *, name: str, root: Path, state_dir: Path, address: Address
) -> tuple[Service, ...]:
    """The services that the table of `name` stands for, one an instance.

    Mistakes go to the section; what is returned then only serves to find more of them.
    """
    shell = section.take("shell", flag, default=False)
    command = section.require(
        "command", shell_line if shell else words, (), 'write the program and its arguments, as in "npm run dev"'
    )
    before = section.take("before", array(words), ())
    env = section.take("env", variables, {})
    written_host = section.take("host", host_name, "127.0.0.1")
    host = written_host if address.host is None else address.host
    ports = read_ports(section, address.port)
    # A port that was written badly is a port: what needs one is not told to add it.
    has_port = bool(ports) or bool(section.wrong & {"port", "ports"})
    instances = section.take("instances", whole(1, MOST_INSTANCES), 1)
    cwd = section.take("cwd", file_path, ".")
    env_file = section.take("env_file", file_path, None)
    default_file = f"{name}.{{instance}}" if instances > 1 else name
    files = {
        "pid_file": section.take("pid_file", file_path, None),
        "daemon_pid_file": section.take("daemon_pid_file", file_path, None),
        "log_file": section.take("log_file", file_path, None),
    }
    patterns = section.take("patterns", array(process_pattern), None)
    ready = read_ready(section.section("ready"), has_port=has_port)
    health = read_health(section.section("health"), has_port=has_port)
    template = Service(
        name=name,
        group=name,
        command=command,
        shell=shell,
        cwd=Path(os.path.realpath(root / cwd)),
        env=env,
        env_file=None if env_file is None else _absolute(root, env_file),
        before=before,
        host=host,
        ports=ports,
        pid_file=state_dir,
        log_file=state_dir,
        patterns=patterns or (),
        patterns_derived=patterns is None,
        # A Literal is not inferred through the reader; the choices are the Literal's.
        stdin=section.take("stdin", one_of("open", "null"), "open"),  # type: ignore[arg-type]
        depends_on=section.take("depends_on", array(service_name, unique=True), ()),
        stop=read_stop(section.section("stop")),
        ready=ready,
        health=health,
        listener=section.take("listener", one_of("ours", "any"), "ours"),  # type: ignore[arg-type]
        restart=read_restart(section.section("restart")),
        log_max_bytes=section.take("log_max_bytes", size, None),
        limits=read_limits(section.section("limits")),
        data=tuple(_absolute(root, path) for path in section.take("data", array(file_path, unique=True), ())),
    )
    section.finish()
    check_tokens(section, template, files, has_port=has_port, instances=instances)

    def instance(number: int) -> Service:
        moved = tuple(port + number - 1 for port in ports)
        tokens = {"host": host, "port": str(moved[0]) if moved else "{port}", "instance": str(number)}

        def fill(text: str) -> str:
            return re.sub(_REPLACED, lambda match: tokens[match[1]], text)

        def place(key: str) -> Path | None:
            # Filled before it is joined: a folder above the project may have braces in its name.
            written = files[key]
            return None if written is None else _absolute(root, fill(written))

        return replace(
            template,
            name=f"{name}.{number}" if instances > 1 else name,
            instance=number,
            command=tuple(map(fill, command)),
            before=tuple(tuple(map(fill, step)) for step in before),
            env={key: fill(value) for key, value in env.items()},
            ports=moved,
            pid_file=place("pid_file") or state_dir / f"{fill(default_file)}.pid",
            daemon_pid_file=place("daemon_pid_file"),
            log_file=place("log_file") or state_dir / f"{fill(default_file)}.log",
            ready=fill_probe(ready, fill),
            health=None if health is None else fill_probe(health, fill),
        )

    services = tuple(instance(number) for number in range(1, instances + 1))
    _check_urls(section, services)
    _check_instances(section, services)
    return services


def read_ports(section: Section, override: int | None) -> tuple[int, ...]:
    """The ports of the first instance; `override` takes the place of the first of them."""
    port = section.take("port", port_number, None)
    ports = section.take("ports", array(port_number, minimum=1, unique=True), ())
    if "port" in section.table and "ports" in section.table:
        section.problem("ports", "port is given too; keep one of them, the first of ports is {port}")
    written = ports or (() if port is None else (port,))
    merged = written if override is None else (override, *written[1:])
    if len(set(merged)) < len(merged) and merged != written:
        section.problem("ports", f"{override} would be there twice; choose another first port")
    return merged


def check_tokens(
    section: Section, service: Service, files: dict[str, str | None], *, has_port: bool, instances: int
) -> None:
    """Report {port} where there is none, and instances that could not tell their ports apart."""
    start = {"command": service.command, "env": tuple(service.env.values())}
    texts: dict[str, Iterable[str]] = {
        **start,
        **{f"before[{index}]": step for index, step in enumerate(service.before)},
        **{key: (path,) for key, path in files.items() if path is not None},
    }
    for name, probe in (("ready", service.ready), ("health", service.health)):
        if probe is not None:
            texts[f"{name}.http"] = (probe.http or "",)
            texts[f"{name}.command"] = probe.command or ()
    if not has_port:
        for path, parts in texts.items():
            if any("{port}" in part for part in parts):
                section.problem(path, "uses {port}, and the service has none; add port")
    distinct = any(
        token in part for parts in start.values() for part in parts for token in ("{port}", "{instance}")
    )
    if instances > 1 and service.ports and not distinct and not section.wrong & {"command", "env"}:
        section.problem("command", f"its {instances} instances would share a port; use {{port}} or {{instance}}")


def _check_urls(section: Section, services: tuple[Service, ...]) -> None:
    """Report, once a probe, a URL that leads nowhere when its tokens are replaced."""
    found: dict[str, str] = {}
    for service in services:
        for path, probe in (("ready.http", service.ready), ("health.http", service.health)):
            url = probe.http if probe is not None else None
            if url is None or url.startswith("/") or "{port}" in url:
                continue
            parts = re.fullmatch(_URL, url)
            if parts is None or not 1 <= int(parts[1] or 80) <= 65535:
                found.setdefault(path, f"{quoted(url)} leads nowhere; write http://HOST:PORT/PATH")
    for path, message in found.items():
        section.problem(path, message)


def _check_instances(section: Section, services: tuple[Service, ...]) -> None:
    """Report what two instances of one service would share."""
    count = len(services)
    key = "ports" if "ports" in section.table else "port"
    ports = [port for service in services for port in service.ports]
    if ports and max(ports) > 65535:
        section.problem(
            key, f"instance {count} would need port {max(ports)}, and 65535 is the last; choose lower ones"
        )
    if len(set(ports)) < len(ports) and len(set(services[0].ports)) == len(services[0].ports):
        section.problem(
            key, f"ports count up, and {count} instances would share some; leave {count} from port to port"
        )
    for key, paths in (
        ("pid_file", {service.pid_file for service in services}),
        ("daemon_pid_file", {service.daemon_pid_file for service in services} - {None}),
        ("log_file", {service.log_file for service in services}),
    ):
        if 0 < len(paths) < count:
            section.problem(key, f"{count} instances would share it; put {{instance}} or {{port}} into the name")


def fill_probe(probe: _Probe, fill: Callable[[str], str]) -> _Probe:
    return replace(
        probe,
        http=None if probe.http is None else fill(probe.http),
        command=None if probe.command is None else tuple(map(fill, probe.command)),
    )


def _absolute(root: Path, path: str) -> Path:
    """Links are left as they are: whoever opens the file decides whether to follow them."""
    return Path(os.path.abspath(root / path))
