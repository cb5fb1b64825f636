"""What is to be served, and where: flag > DEVTASKS_* > .env > configuration > default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtasks.command.options import FLAGS, Flags
from devtasks.config import envfile, textfile
from devtasks.errors import UsageError
from devtasks.launching import words
from devtasks.model import Project, ReadyProbe, Service, StopPolicy
from devtasks.programs.unwrapping import layers
from devtasks.programs.workload import workload
from devtasks.serving import known
from devtasks.values import Value, replace

HOST = "0.0.0.0"  # noqa: S104 - what a server of a container or a team's machine has to bind
PORT = 8000
_ASGI = frozenset(("uvicorn", "fastapi", "hypercorn", "daphne", "granian"))
_CARRIED = {
    "--factory": 0,
    "--app-dir": 1,
}  # uvicorn's options that finding the app may need, and how many values each has


class Target(Value):
    """One server. `service` is what it is to every other verb."""

    app: str | None
    service: Service
    options: tuple[str, ...] = ()  # for uvicorn, from the configured command

    @property
    def port(self) -> int:
        return self.service.ports[0]

    @property
    def url(self) -> str:
        from devtasks.asking.hosts import bracketed, reachable

        return f"http://{bracketed(reachable(self.service.host))}:{self.port}"


def resolve(project: Project, flags: Flags, environ: Mapping[str, str], folder: Path) -> Target:
    """The server that is meant, when asked for in `folder`.

    Without an app in the flags it is the one that the project's services run, if that is one. Raises UsageError,
    naming the source, for a host or port that is none.
    """
    ours = [(service, app) for service in project.services if (app := served_by(service)) is not None]
    apps = tuple(dict.fromkeys(app for _, app in ours))
    app = flags.app or (apps[0] if len(apps) == 1 else None)
    model = next((service for service, served in ours if served == app), None)
    configured = None if project.inferred else model
    said = _Said(environ, _dotenv(project.root))
    host = flags.host or said.value("host", "HOST") or (configured.host if configured else HOST)
    port = flags.port or said.value("port", "PORT") or (configured.port if configured else None) or PORT
    service = known.service_on(project, int(port))
    if any(one.name == service.name and int(port) not in one.ports for one in project.services):
        raise UsageError(
            f"{service.name} is a configured service, and not on port {port}", hint="rename that service"
        )
    return Target(
        app=app,
        service=replace(
            service,
            command=("uvicorn", app, "--port", str(port)) if app else (),  # by hand it is started like this
            shell=False,
            cwd=_folder(model) if model else folder if folder.is_relative_to(project.root) else project.root,
            env=model.env if model else {},
            env_file=model.env_file if model else None,
            before=model.before if model else (),
            host=str(host).removeprefix("[").removesuffix("]"),
            ports=(int(port),),
            daemon_pid_file=None,
            stop=StopPolicy(),
            ready=ReadyProbe(),
            listener="ours",
        ),
        options=_carried(model) if model else (),
    )


def served_by(service: Service) -> str | None:
    """The app that a service's command hands to an ASGI server, as MODULE:ATTRIBUTE."""
    found = layers(words(service)) if service.command else ()
    work = workload(found[-1]) if found else None
    if work is None or work.kind != "app" or work.attribute is None:
        return None
    if work.name not in _ASGI and not any("uvicorn" in word for word in found[-1].args):
        return None
    return f"{'.'.join(work.path)}:{work.attribute}"


def _folder(service: Service) -> Path:
    """Where a service's app is found: its folder, or the one that its shell goes to first."""
    return service.cwd / (layers(words(service))[-1].folder or "")


def _carried(service: Service) -> tuple[str, ...]:
    args = layers(words(service))[-1].args
    return tuple(
        word
        for index, option in enumerate(args)
        if option in _CARRIED
        for word in args[index : index + 1 + _CARRIED[option]]
    )


class _Said:
    """What variables say: those of the environment first, then those of .env."""

    def __init__(self, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> None:
        self._environ = environ
        self._dotenv = dotenv

    def value(self, flag: str, variable: str) -> Any:
        """The checked value of DEVTASKS_{variable} or, in .env only, of {variable}; None where neither is set."""
        own = f"DEVTASKS_{variable}"
        sources = ((own, self._environ, own), (f".env: {own}", self._dotenv, own))
        for name, variables, key in (*sources, (f".env: {variable}", self._dotenv, variable)):
            text = variables.get(key, "").strip()
            check = FLAGS[flag].check
            if not text or check is None:
                continue
            try:
                return check(text)
            except ValueError as error:
                raise UsageError(f"{name}: {text[:80]!r} is not {error}") from None
        return None


def _dotenv(root: Path) -> Mapping[str, str]:
    """The variables of the project's .env; none where there is none. Other mistakes in it are not our business."""
    path = root / ".env"
    try:
        content = textfile.read_bytes(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise textfile.unreadable(path, error) from None
    return envfile.parse(textfile.decode(content, path), reserved=True)[0]
