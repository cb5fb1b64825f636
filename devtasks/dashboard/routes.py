"""Every route: a row in ROUTES and a function. `openapi.py` describes them, `guard.py` stands before them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from devtasks import outcomes, verbs
from devtasks.dashboard import beats, metrics, openapi, problems, requests, views
from devtasks.dashboard.acting import Actor
from devtasks.dashboard.address import Address
from devtasks.dashboard.credentials import SESSION_SECONDS, Credentials
from devtasks.dashboard.guard import Allowed
from devtasks.dashboard.lookout import Lookout, Sight
from devtasks.dashboard.problems import Problem
from devtasks.dashboard.streams import KINDS, EventStream, Hub, Stream
from devtasks.model import Service
from devtasks.verbs import Scope
from devtasks.version import __version__

MOST_LINES = 5000
MOST_EVENTS = 10_000


class Api:
    """What the routes work with."""

    def __init__(
        self, *, address: Address, credentials: Credentials, lookout: Lookout, actor: Actor, hub: Hub
    ) -> None:
        self.address = address
        self.credentials = credentials
        self.lookout = lookout
        self.actor = actor
        self.hub = hub

    async def see(self, question: Callable[[Sight], Any]) -> Any:
        """What the lookout answers."""
        return await asyncio.wrap_future(self.lookout.ask(question))

    def named(self, request: Request) -> tuple[Service, ...]:
        return requests.services(self.lookout.project, request.path_params["name"])


Handler = Callable[[Api, Request], Awaitable[Any]]


def answer(told: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(told, allow_nan=False, separators=(",", ":")), media_type="application/json", headers=headers
    )


# --- looking ----------------------------------------------------------------------------------------------


async def services(api: Api, request: Request) -> Response:
    requests.query(request, ())
    return answer(await api.see(lambda sight: _services(api, sight)))


def _services(api: Api, sight: Sight) -> views.Shape:
    return views.services(sight.status(), sight.scope.project, api.actor.underway())


async def processes(api: Api, request: Request) -> Response:
    requests.query(request, ())
    api.named(request)
    name = request.path_params["name"]
    return answer(views.report(await api.see(lambda sight: sight.processes(name))))


async def logs(api: Api, request: Request) -> Response:
    lines = requests.number(requests.query(request, ("lines",)), "lines", default=200, most=MOST_LINES)
    names = tuple(service.name for service in api.named(request))
    found = await api.actor.look(lambda scope: verbs.logs(scope, names, lines=lines))
    return answer(views.report(found))


async def ports(api: Api, request: Request) -> Response:
    requests.query(request, ())
    return answer(views.report(await api.actor.look(lambda scope: verbs.ports(scope, (), udp=False))))


async def heartbeat(api: Api, request: Request) -> Response:
    requests.query(request, ())
    return answer(await api.actor.look(beats.read))


async def history(api: Api, request: Request) -> Response:
    values = requests.query(request, ("lines", "service"))
    lines = requests.number(values, "lines", default=200, most=MOST_EVENTS)
    names: tuple[str, ...] = ()
    if "service" in values:
        names = tuple(one.name for one in requests.services(api.lookout.project, values["service"]))
    found = await api.actor.look(lambda scope: scope.state.events(names, limit=lines))
    return answer({"version": views.VERSION, **views.history(found)})


async def prometheus(api: Api, request: Request) -> Response:
    requests.query(request, ())
    told, cpu_seconds = await api.see(lambda sight: (_services(api, sight), sight.cpu_seconds()))
    text = metrics.render(told, cpu_seconds, await api.actor.look(beats.read))
    return Response(text, headers={"content-type": metrics.MEDIA_TYPE})


async def document(api: Api, request: Request) -> Response:
    requests.query(request, ())
    return answer(openapi.document(api.address.base))


# --- acting -----------------------------------------------------------------------------------------------

_PLAN: Mapping[str, requests.Check] = {"dry_run": requests.flag, "timeout": requests.seconds}


def _do(action: str, keys: Mapping[str, requests.Check], work: Callable[..., outcomes.Acted]) -> Handler:
    """The route of an action on services. `work` gets the scope, the names, and the body's keys."""

    async def handler(api: Api, request: Request) -> Response:
        requests.query(request, ())
        chosen = tuple(service.name for service in api.named(request))
        asked = {"dry_run": False, "timeout": None, **await requests.body(request, keys)}

        def carry_out(scope: Scope) -> outcomes.Acted:
            return work(scope, chosen, **asked)

        if asked["dry_run"]:
            return answer(views.report(await api.actor.look(carry_out)))
        return answer(views.report(await api.actor.act(action, chosen, carry_out)))

    return handler


def _start(scope: Scope, names: tuple[str, ...], *, dry_run: bool, timeout: float | None) -> outcomes.Acted:
    return verbs.start(scope, names, timeout_seconds=timeout, dry_run=dry_run)


def _stop(scope: Scope, names: tuple[str, ...], *, dry_run: bool, timeout: float | None) -> outcomes.Acted:
    return verbs.stop(scope, names, timeout_seconds=timeout, dry_run=dry_run)


def _restart(
    scope: Scope, names: tuple[str, ...], *, dry_run: bool, timeout: float | None, force: bool = False
) -> outcomes.Acted:
    return verbs.restart(scope, names, timeout_seconds=timeout, dry_run=dry_run, force=force)


def _force_clean(
    scope: Scope, names: tuple[str, ...], *, dry_run: bool, timeout: float | None, keep_logs: bool = False
) -> outcomes.Acted:
    return verbs.force_clean(scope, names, timeout_seconds=timeout, dry_run=dry_run, keep_logs=keep_logs)


async def kill(api: Api, request: Request) -> Response:
    requests.query(request, ())
    port = requests.port(request.path_params["port"])
    asked = {"dry_run": False, "timeout": None, **await requests.body(request, _PLAN)}
    owners = [one.name for one in api.lookout.project.services if port in one.ports]
    if not owners:
        registered = await api.actor.look(lambda scope: scope.state.registered_ports())
        owners = [one.service for one in registered if one.port == port]
    if not owners:
        raise Problem("unknown", f"port {port} is neither configured nor registered")

    def carry_out(scope: Scope) -> outcomes.Acted:
        return verbs.free_port(
            scope, port=port, force=False, timeout_seconds=asked["timeout"], dry_run=asked["dry_run"]
        )

    if asked["dry_run"]:
        return answer(views.report(await api.actor.look(carry_out)))
    return answer(views.report(await api.actor.act("kill", tuple(dict.fromkeys(owners)), carry_out)))


# --- signing in, and the stream ---------------------------------------------------------------------------


async def session(api: Api, request: Request) -> Response:
    """Exchange a one-time token for a cookie."""
    requests.query(request, ())
    given = (await requests.body(request, {"token": requests.text})).get("token")
    now = time.time()
    if given is None or not api.credentials.redeem(given, now):
        raise Problem(
            "unauthorized",
            "this URL was used before, or is too old",
            hint="run devtasks dashboard again: it prints a fresh one",
            headers={"WWW-Authenticate": "Bearer"},
        )
    value, expires_at = api.credentials.session(now)
    secure = "; Secure" if api.address.scheme == "https" else ""
    lasts = f"Path=/api; Max-Age={int(SESSION_SECONDS)}"
    cookie = f"{api.address.cookie}={value}; {lasts}; HttpOnly; SameSite=Strict{secure}"
    told = {"version": views.VERSION, "project": api.lookout.project.name, "expires_at": expires_at}
    return answer(told, {"set-cookie": cookie})


async def events(api: Api, request: Request) -> EventStream:
    values = requests.query(request, ("logs", "kinds"))
    kinds = frozenset(values["kinds"].split(",")) if "kinds" in values else frozenset(KINDS)
    if unknown := sorted(kinds - set(KINDS)):
        raise Problem("malformed", f'kinds: there is no "{unknown[0][:50]}"; known: {", ".join(KINDS)}')
    logs: frozenset[str] | None = None
    if values.get("logs") == "none":
        logs = frozenset()
    elif values.get("logs", "all") != "all":
        logs = frozenset(one.name for one in requests.services(api.lookout.project, values["logs"]))
    allowed: Allowed = request.scope["state"]["allowed"]
    first = await api.see(lambda sight: _services(api, sight))
    stream = Stream(kinds, logs, allowed.until)
    api.hub.open(stream)
    stream.put(views.hello(first, __version__, time.time()))
    if "services" in kinds:
        stream.put(views.event("services", first))
    return EventStream(api.hub, stream)


# --- the table --------------------------------------------------------------------------------------------


class Route(NamedTuple):
    method: str
    path: str  # {name} and {port} stand for one segment each
    handler: Handler


ROUTES = (
    Route("GET", "/api/services", services),
    Route("GET", "/api/services/{name}/processes", processes),
    Route("GET", "/api/services/{name}/logs", logs),
    Route("POST", "/api/services/{name}/start", _do("start", _PLAN, _start)),
    Route("POST", "/api/services/{name}/stop", _do("stop", _PLAN, _stop)),
    Route("POST", "/api/services/{name}/restart", _do("restart", {**_PLAN, "force": requests.flag}, _restart)),
    Route(
        "POST",
        "/api/services/{name}/force-clean",
        _do("force-clean", {**_PLAN, "keep_logs": requests.flag}, _force_clean),
    ),
    Route("GET", "/api/ports/status", ports),
    Route("POST", "/api/ports/{port}/kill", kill),
    Route("GET", "/api/heartbeat/status", heartbeat),
    Route("GET", "/api/history", history),
    Route("GET", "/api/events", events),
    Route("GET", "/api/openapi.json", document),
    Route("POST", "/api/session", session),
    Route("GET", "/metrics", prometheus),
)

_PATTERNS = [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route) for route in ROUTES]


def find(path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path, and what stands in its places. No path belongs to two routes."""
    for pattern, route in _PATTERNS:
        if found := pattern.fullmatch(path):
            return route, found.groupdict()
    return None


def methods(path: str) -> tuple[str, ...] | None:
    found = find(path)
    return None if found is None else (found[0].method,)


__all__ = ["ROUTES", "Api", "Route", "answer", "find", "methods", "problems"]
