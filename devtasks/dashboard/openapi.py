"""The OpenAPI 3.1 document of docs/api.md, served at /api/openapi.json. Its tests hold every answer against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from devtasks.dashboard.problems import KINDS, MEDIA_TYPE
from devtasks.dashboard.requests import LONGEST_SECONDS
from devtasks.model import EvidenceKind
from devtasks.outcomes import Outcome, PortState, State
from devtasks.version import __version__

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
PID: Schema = {"type": "integer", "minimum": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65_535}


def _object(**properties: Schema) -> Schema:
    """All keys are there; more may come."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(literal: Any) -> Schema:
    return {"type": "string", "enum": list(get_args(literal))}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_REJECTED = _object(pid=PID, service=TEXT, command=TEXT, cwd=_or_null(TEXT), reason=TEXT)
_STOPPED = _object(
    name=TEXT,
    stopped=_list(PID),
    killed=_list(PID),
    survivors=_list(_object(pid=PID, reason=TEXT)),
    rejected=_list(_REJECTED),
    removed=_list(TEXT),
    notes=_list(TEXT),
    processes=_list(_object(pid=PID, command=TEXT)),
)
_STARTED = _object(
    name=TEXT,
    outcome=_one_of(Outcome),
    pid=_or_null(PID),
    seconds=NUMBER,
    url=_or_null(TEXT),
    log_file=_or_null(TEXT),
    detail=_or_null(TEXT),
    hint=_or_null(TEXT),
    log_tail=_list(TEXT),
)
_STOP = {"ok": FLAG, "dry_run": FLAG, "seconds": NUMBER, "services": _list(_STOPPED), "notes": _list(TEXT)}
_START = {"ok": FLAG, "dry_run": FLAG, "services": _list(_STARTED)}
_VERSION: Schema = {"const": 1}

SCHEMAS: Mapping[str, Schema] = {
    "Problem": _object(
        type=TEXT,
        title=TEXT,
        status={"type": "integer", "enum": sorted({status for status, _ in KINDS.values()})},
        detail=TEXT,
        hint=_or_null(TEXT),
    ),
    "Services": _object(
        version=_VERSION,
        project=TEXT,
        environment=TEXT,
        services=_list(
            _object(
                name=TEXT,
                state=_one_of(State),
                health=_or_null(TEXT),
                pid=_or_null(PID),
                ports=_list(PORT),
                uptime_seconds=_or_null(NUMBER),
                restarts=WHOLE,
                cpu_percent=_or_null(NUMBER),
                rss_bytes=_or_null(WHOLE),
                processes=WHOLE,
                holder=_or_null(_object(pid=_or_null(PID), command=TEXT, cwd=_or_null(TEXT))),
                detail=_or_null(TEXT),
                restart=_or_null(
                    _object(
                        policy=TEXT,
                        max=WHOLE,
                        window_seconds=_or_null(NUMBER),
                        left=_or_null(WHOLE),
                        next_at=_or_null(NUMBER),
                        waits_for=_or_null(TEXT),
                        failed=FLAG,
                        failed_until=_or_null(NUMBER),
                        cause=_or_null(TEXT),
                    )
                ),
                group=TEXT,
                url=_or_null(TEXT),
                startable=FLAG,
                depends_on=_list(TEXT),
                action=_or_null(TEXT),
            )
        ),
    ),
    "Processes": _object(
        version=_VERSION,
        project=TEXT,
        services=_list(
            _object(
                name=TEXT,
                guarantee=_or_null(TEXT),
                processes=_list(
                    _object(
                        pid=PID,
                        ppid=WHOLE,
                        command=TEXT,
                        cwd=_or_null(TEXT),
                        started_at=NUMBER,
                        cpu_percent=_or_null(NUMBER),
                        rss_bytes=_or_null(WHOLE),
                        ports=_list(PORT),
                        evidence=_list(_object(kind=_one_of(EvidenceKind), detail=TEXT)),
                    )
                ),
            )
        ),
        rejected=_list(_REJECTED),
    ),
    "Logs": _object(
        version=_VERSION,
        lines=_list(_object(service=TEXT, line=TEXT, at=_or_null(NUMBER))),
        problems=_list(_object(service=TEXT, detail=TEXT)),
    ),
    "Ports": _object(
        version=_VERSION,
        project=TEXT,
        ports=_list(
            _object(
                port=PORT,
                protocol={"type": "string", "enum": ["tcp", "udp"]},
                service=_or_null(TEXT),
                name=_or_null(TEXT),
                state=_one_of(PortState),
                holders=_list(
                    _object(
                        pid=_or_null(PID),
                        command=TEXT,
                        program=TEXT,
                        cwd=_or_null(TEXT),
                        service=_or_null(TEXT),
                        user=_or_null(TEXT),
                        age_seconds=_or_null(NUMBER),
                        project=_or_null(TEXT),
                        project_service=_or_null(TEXT),
                        container=_or_null(TEXT),
                        stop=_or_null(TEXT),
                        addresses=_list(TEXT),
                    )
                ),
                warnings=_list(TEXT),
            )
        ),
    ),
    "Heartbeats": _object(
        version=_VERSION,
        monitor=_object(
            state={"type": "string", "enum": ["watching", "silent", "absent"]},
            pid=_or_null(PID),
            at=_or_null(NUMBER),
            age_seconds=_or_null(NUMBER),
        ),
        services=_list(
            _object(
                name=TEXT,
                at=_or_null(NUMBER),
                age_seconds=_or_null(NUMBER),
                health=_or_null(TEXT),
                probe=_or_null(TEXT),
                seconds=_or_null(NUMBER),
                detail=_or_null(TEXT),
            )
        ),
    ),
    "History": _object(
        version=_VERSION,
        events=_list(_object(at=NUMBER, service=TEXT, kind=TEXT, pid=_or_null(PID), detail=_or_null(TEXT))),
    ),
    "Started": _object(version=_VERSION, **_START),
    "Stopped": _object(version=_VERSION, **_STOP),
    "Restarted": _object(version=_VERSION, ok=FLAG, stop=_object(**_STOP), start=_object(**_START)),
    "Session": _object(version=_VERSION, project=TEXT, expires_at=WHOLE),
}

_SECONDS: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": LONGEST_SECONDS}
_PLAN: Mapping[str, Schema] = {"dry_run": FLAG, "timeout": _SECONDS}


def document(base: str) -> Schema:
    """The whole document; `base` is the URL of the server."""
    lines = _query("lines", {"type": "integer", "minimum": 1, "maximum": 5000})
    events = _query("lines", {"type": "integer", "minimum": 1, "maximum": 10_000})
    paths = {
        "/api/services": _get("How every service stands", "Services"),
        "/api/services/{name}/processes": _get("Its processes, with evidence", "Processes", _path("name")),
        "/api/services/{name}/logs": _get("The last lines of its log", "Logs", _path("name"), lines),
        "/api/services/{name}/start": _post("Start it and what it depends on", "Started", _PLAN, _path("name")),
        "/api/services/{name}/stop": _post("Stop it, whole", "Stopped", _PLAN, _path("name")),
        "/api/services/{name}/restart": _post(
            "Stop it, then start it", "Restarted", {**_PLAN, "force": FLAG}, _path("name")
        ),
        "/api/services/{name}/force-clean": _post(
            "Kill it, remove its files", "Stopped", {**_PLAN, "keep_logs": FLAG}, _path("name")
        ),
        "/api/ports/status": _get("What holds each port", "Ports"),
        "/api/ports/{port}/kill": _post(
            "Free a port of the project's own holder", "Stopped", _PLAN, _path("port")
        ),
        "/api/heartbeat/status": _get("When monitor and services were last heard of", "Heartbeats"),
        "/api/history": _get("What happened", "History", events, _query("service", TEXT)),
        "/api/events": _stream(),
        "/api/openapi.json": _raw("This document", "application/json", {"type": "object"}),
        "/api/session": _sign_in(),
        "/metrics": _raw("Prometheus' text format", "text/plain", TEXT),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "devtasks", "version": __version__, "description": "The dashboard's API: docs/api.md"},
        "servers": [{"url": base}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "devtasks_PORT",
                    "description": "From POST /api/session; a POST with it needs an Origin. Not for /metrics.",
                },
            },
        },
    }


def _get(summary: str, schema: str, *parameters: Schema) -> Schema:
    return {"get": _operation(summary, "application/json", _ref(schema), parameters)}


def _raw(summary: str, media_type: str, schema: Schema) -> Schema:
    return {"get": _operation(summary, media_type, schema, ())}


def _post(summary: str, schema: str, keys: Mapping[str, Schema], *parameters: Schema) -> Schema:
    operation = _operation(summary, "application/json", _ref(schema), (*parameters, _CUSTOM))
    return {"post": {**operation, "requestBody": _body(keys)}}


def _sign_in() -> Schema:
    operation = _operation(
        "Exchange a one-time token for a cookie", "application/json", _ref("Session"), (_CUSTOM,)
    )
    one_time = {"type": "string", "maxLength": 200}
    return {"post": {**operation, "security": [], "requestBody": _body({"token": one_time}, ["token"])}}


def _stream() -> Schema:
    kinds = _query("kinds", TEXT)
    logs = _query("logs", TEXT)
    return {"get": _operation("Server-sent events, without end", "text/event-stream", TEXT, (logs, kinds))}


def _operation(summary: str, media_type: str, schema: Schema, parameters: tuple[Schema, ...]) -> Schema:
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "Done", "content": {media_type: {"schema": schema}}},
            "4XX": _problem("The request, or what was asked for, is refused"),
            "5XX": _problem("It failed, or too many are connected"),
        },
    }


def _problem(text: str) -> Schema:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}


def _body(keys: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    schema = {
        "type": "object",
        "properties": dict(keys),
        "required": required or [],
        "additionalProperties": False,
    }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _path(name: str) -> Schema:
    schema = PORT if name == "port" else {"type": "string", "pattern": r"^[a-z][a-z0-9-]*(\.[0-9]+)?$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema}


_CUSTOM: Schema = {"name": "X-Devtasks", "in": "header", "required": True, "schema": {"const": "1"}}
