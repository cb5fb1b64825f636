"""docker or podman: which, and what is asked of it. Every answer is checked; nothing waits for ever."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from devtasks.engines import state
from devtasks.engines.calling import MOST_BYTES, Called, call
from devtasks.engines.state import Container, Row, told
from devtasks.errors import DevtasksError
from devtasks.model import Service

ENGINES = ("docker", "podman")
VARIABLE = "DEVTASKS_CONTAINER_ENGINE"
LOOK_SECONDS = 5.0
_AWAY = (  # how docker and podman say that nobody is there to answer
    r"cannot connect to|is the docker daemon running|error during connect|connection refused|"
    r"unable to connect to podman|permission denied while trying to connect|failed to connect to the docker api"
)
_NO_COMPOSE = (
    r"is not a docker command|unknown (shorthand )?flag|unknown command|unrecognized command|looking up compose"
)
_NONE_SUCH = r"no such (object|container|service)|no container with name|no such service"


class Away(DevtasksError):
    """The engine cannot be asked: it is not installed, or its daemon does not answer."""


class Engine:
    """One engine's command line, as one service calls it. What it raises are Away and DevtasksError."""

    def __init__(self, name: str, program: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self._program = program
        self._environ = environ

    def find(self, service: Service) -> Container | None:
        """The service's container, of several the one that stands worst; None: there is none."""
        names: Sequence[str] = (service.container,) if service.container else self._of_compose(service)
        if not names:
            return None
        done = self._call(service, ["inspect", "--type", "container", *names], LOOK_SECONDS)
        if done.code != 0:
            if re.search(_NONE_SUCH, done.errors, re.IGNORECASE):
                return None
            raise self._failure(done, f"{self.name} inspect")
        found = state.containers(done.output)
        if found is None:
            raise DevtasksError(f"{self.name} inspect printed what no engine prints", hint=_hint(self.name))
        return min(found, key=lambda one: (one.running, one.state == "running", one.id), default=None)

    def start(self, service: Service, seconds: float) -> None:
        """Start it, and return when the engine says that it has."""
        words = (
            ["start", service.container] if service.container else ["compose", "up", "--detach", service.compose]
        )
        self._acted(service, words, seconds)

    def stop(self, service: Service, grace_seconds: float, seconds: float) -> None:
        """Stop it; the engine kills it after `grace_seconds`."""
        grace = str(max(int(grace_seconds), 0))
        words = ["stop", "-t", grace, service.container]
        if service.compose:
            words = ["compose", "stop", "-t", grace, service.compose]
        self._acted(service, words, seconds)

    def kill(self, service: Service, seconds: float) -> None:
        """Kill it at once."""
        self._acted(service, [*(("compose",) if service.compose else ()), "kill", _name(service)], seconds)

    def logs(self, service: Service, lines: int) -> tuple[str, ...]:
        """Its last lines, of both streams."""
        words = ["logs", "--tail", str(lines), _name(service)]
        if service.compose:
            words = ["compose", "logs", "--no-color", "--no-log-prefix", *words[1:]]
        done = self._call(service, words, LOOK_SECONDS)
        if done.code != 0 and not done.too_much:
            raise self._failure(done, f"{self.name} logs")
        both = [*done.output.splitlines(), *done.errors.splitlines()]
        return tuple(both[-lines:])

    def processes(self, service: Service, container: Container) -> tuple[Row, ...]:
        """The processes in it."""
        if self.name == "podman":
            done = self._call(service, ["top", container.id, "pid", "ppid", "hpid", "args"], LOOK_SECONDS)
            return state.rows(done.output, 4) if done.code == 0 else ()
        done = self._call(service, ["top", container.id, "-eo", "pid,ppid,args"], LOOK_SECONDS)
        return state.rows(done.output, 3) if done.code == 0 else ()

    def command(self, verb: str, service: Service) -> str:
        """What a person types to do the same."""
        return " ".join((self.name, *(("compose",) if service.compose else ()), verb, _name(service)))

    # ------------------------------------------------------------------------------------------------------

    def _of_compose(self, service: Service) -> tuple[str, ...]:
        done = self._call(service, ["compose", "ps", "--all", "--quiet", service.compose], LOOK_SECONDS)
        if done.code != 0:
            raise self._failure(done, f"{self.name} compose ps")
        found = state.ids(done.output)
        if found is None:
            raise DevtasksError(f"{self.name} compose ps printed what no engine prints", hint=_hint(self.name))
        return found

    def _acted(self, service: Service, words: Sequence[str | None], seconds: float) -> None:
        done = self._call(service, words, seconds)
        if done.code != 0:
            what = " ".join((self.name, *(("compose",) if service.compose else ()), *_verb(words)))
            raise self._failure(done, what)

    def _call(self, service: Service, words: Sequence[str | None], seconds: float) -> Called:
        try:
            done = call(
                [self._program, *(word for word in words if word is not None)],
                cwd=service.cwd,
                environ=self._environ,
                seconds=seconds,
            )
        except OSError as error:
            where = service.cwd if isinstance(error, FileNotFoundError | NotADirectoryError) else self._program
            raise Away(f"{self.name} cannot be run ({where}): {error.strerror}") from None
        if done.code is None and not done.too_much:
            raise DevtasksError(f"{self.name} did not answer within {seconds:g} s", hint=_hint(self.name))
        if done.code != 0 and re.search(_AWAY, done.errors, re.IGNORECASE):
            raise Away(f"{self.name} does not answer: {_last(done.errors)}", hint=_hint(self.name))
        return done

    def _failure(self, done: Called, what: str) -> DevtasksError:
        if done.too_much:
            return DevtasksError(f"{what} prints more than {MOST_BYTES // 1024**2} MiB", hint=_hint(self.name))
        if re.search(_NO_COMPOSE, done.errors, re.IGNORECASE):
            return DevtasksError(
                f"{self.name} has no compose: {_last(done.errors)}", hint=f"install it: {_COMPOSE[self.name]}"
            )
        return DevtasksError(f"{what} failed: {_last(done.errors) or f'exit code {done.code}'}")


_COMPOSE = {"docker": "the package docker-compose-plugin", "podman": "podman 4.7 or newer, with podman-compose"}


class Engines:
    """The engine of each service, found once a command: its `engine`, else the variable, else whichever is there.

    Of several that are there the first on PATH counts, unless it does not answer and a later one does.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._answered: dict[str | None, Engine] = {}
        self._away: dict[str | None, Away] = {}

    def find(self, service: Service) -> tuple[Engine, Container | None]:
        """The engine of `service` and its container. Raises Away when no engine answers, DevtasksError else."""
        wanted = self._environ.get(VARIABLE, "").strip() or service.engine
        if wanted is not None and wanted not in ENGINES:
            raise DevtasksError(f"{VARIABLE}: {wanted!r} is none of {', '.join(ENGINES)}")
        known = self._answered.get(wanted)
        if known is not None:
            return known, known.find(service)
        if wanted in self._away:
            raise self._away[wanted]
        trouble: Away | None = None
        for engine in self._installed((wanted,) if wanted else ENGINES):
            try:
                found = engine.find(service)
            except Away as error:
                trouble = trouble or error
                continue
            self._answered[wanted] = engine
            return engine, found
        names = wanted or " nor ".join(ENGINES)
        trouble = trouble or Away(
            f"{'neither ' if wanted is None else ''}{names} is installed",
            hint=f"install one of them, or name the one to use: engine = {ENGINES[1]!r}".replace("'", '"'),
        )
        self._away[wanted] = trouble
        raise trouble

    def _installed(self, names: Iterable[str]) -> Iterator[Engine]:
        wanted = tuple(names)
        given: set[str] = set()
        for folder in self._environ.get("PATH", os.defpath).split(os.pathsep):
            for name in wanted:
                path = Path(folder or ".") / name
                if name not in given and path.is_file() and os.access(path, os.X_OK):
                    given.add(name)
                    yield Engine(name, str(path.absolute()), self._environ)


def _name(service: Service) -> str:
    return service.container or service.compose or ""


def _verb(words: Sequence[str | None]) -> Iterator[str]:
    """The words of a call that a person has to know."""
    yield from (word for word in words[:1] if word and word != "compose")
    yield from (word for word in words[1:2] if word and words[0] == "compose")


def _hint(name: str) -> str:
    start = "start it (sudo systemctl start docker)" if name == "docker" else "see podman info"
    other = next(one for one in ENGINES if one != name)
    return f'{start}, or name another: engine = "{other}"'


def _last(text: str) -> str:
    """What an engine complained of: the line that says so, else its last one."""
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.lower().startswith("error")), lines[-1] if lines else "")


__all__ = ["ENGINES", "Away", "Engine", "Engines", "told"]
