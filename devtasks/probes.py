"""Ask a service whether it is ready. An answer counts only when the one who gives it is ours."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Mapping

from devtasks.launching import LaunchError, find_program
from devtasks.model import ReadyProbe, Service
from devtasks.store.logs import LogWatch, since
from devtasks.world import World

_ANSWER_SECONDS = 2.0  # one question's limit; a start asks again until its own
_BODY_BYTES = 1 << 20


class Readiness:
    """Whether one starting service is ready yet.

    `log_offset` is where its new log lines begin; `env` is what a probe command gets.
    """

    def __init__(self, world: World, service: Service, *, log_offset: int, env: Mapping[str, str]) -> None:
        self._world = world
        self._service = service
        self._env = env
        self._log: LogWatch | None = since(service.log_file, log_offset) if service.ready.log is not None else None
        self._log_seen = False
        self.detail = "not asked yet"

    def holds(self, members: Collection[int]) -> bool:
        """Ask once. `members` are the service's processes; `detail` says what is missing."""
        probe = self._service.ready
        if self._log is not None:
            return self._logged(probe)
        if probe.command is not None:
            return self._commanded(probe.command)
        port = self._service.port
        if port is not None and not self._listens(port, members):
            return False
        if probe.http is not None:
            problem = http_problem(probe, self._service, _ANSWER_SECONDS)
            self.detail = problem or "answers"
            return problem is None
        if probe.tcp and port is not None:
            problem = tcp_problem(self._service.host, port, _ANSWER_SECONDS)
            self.detail = problem or "accepts connections"
            return problem is None
        return True

    def _listens(self, port: int, members: Collection[int]) -> bool:
        self.detail = f"nobody listens on port {port}"
        if port not in self._world.listening([port]):
            return False
        if self._service.listener == "any":
            return True
        holders = self._world.holders([port], sorted(members)).get(port, ())
        self.detail = f"port {port} is held by somebody else"
        return not set(members).isdisjoint(holders)

    def _logged(self, probe: ReadyProbe) -> bool:
        pattern = re.compile(probe.log or "")
        self.detail = f"no log line matches {probe.log}"
        if self._log is not None and not self._log_seen:
            self._log_seen = any(pattern.search(line) for line in self._log.new_lines())
        return self._log_seen

    def _commanded(self, command: tuple[str, ...]) -> bool:
        try:
            program = find_program(command[0], self._service, self._env)
            done = subprocess.run(
                [program, *command[1:]],
                cwd=self._service.cwd,
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.detail = f"{command[0]} gives no answer within {_ANSWER_SECONDS:g} s"
            return False
        except (LaunchError, OSError) as error:
            self.detail = str(error)
            return False
        self.detail = f"{command[0]} exits with {done.returncode}"
        return done.returncode == 0


def reachable(host: str) -> str:
    """The address at which a server bound to `host` answers on this machine."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def tcp_problem(host: str, port: int, timeout_seconds: float) -> str | None:
    """Connect once. None: it was accepted; else why not."""
    import socket

    try:
        socket.create_connection((reachable(host), port), timeout=timeout_seconds).close()
    except OSError as error:
        return f"{host}:{port} refuses connections: {error.strerror or error}"
    return None


def http_problem(probe: ReadyProbe, service: Service, timeout_seconds: float) -> str | None:
    """Ask once by HTTP. None: the answer is as wanted; else what is wrong with it."""
    import http.client
    import urllib.parse

    where = urllib.parse.urlsplit(probe.http or "/")
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(
            where.hostname or reachable(service.host), where.port or service.port, timeout=timeout_seconds
        )
        try:
            target = (where.path or "/") + (f"?{where.query}" if where.query else "")
            connection.request("GET", target, headers={"User-Agent": "devtasks", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(_BODY_BYTES) if probe.body is not None else b""
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"GET {probe.http}: {error}"
    accepted = answer.status in probe.status if probe.status else 200 <= answer.status < 400
    if not accepted:
        return f"GET {probe.http} answers {answer.status}"
    if probe.body is not None and not re.search(probe.body, body.decode("utf-8", "replace")):
        return f"GET {probe.http}: the body does not match {probe.body}"
    return None
