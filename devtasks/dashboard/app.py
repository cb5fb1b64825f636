"""The ASGI application: guard, then a static file or a route, and the same headers on every answer."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from devtasks.dashboard import problems, routes
from devtasks.dashboard.guard import HEAD_BYTES, Guard, head_of
from devtasks.dashboard.problems import MEDIA_TYPE, Problem
from devtasks.dashboard.static import Files
from devtasks.errors import DevtasksError

_HEADERS = (
    (
        b"content-security-policy",
        (
            b"default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'none'; "
            b"require-trusted-types-for 'script'; trusted-types 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)

_Answer = Callable[[Scope, Receive, Send], Awaitable[None]]


class Dashboard:
    """What uvicorn serves."""

    def __init__(self, api: routes.Api, guard: Guard, files: Files) -> None:
        self._api = api
        self._guard = guard
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_ours(message["headers"])
            await send(message)

        try:
            answer = await self._answer(scope, receive)
        except Problem as problem:
            answer = _told(problem)
        except DevtasksError as error:
            answer = _told(problems.of(error))
        except Exception as error:
            if os.environ.get("DEVTASKS_DEBUG") == "1":
                raise
            answer = _told(Problem("failed", f"internal error: {type(error).__name__}: {error}"))
        await answer(scope, receive, guarded_send)

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        if _size(scope) > HEAD_BYTES:  # the server limits only what is not complete yet
            raise Problem("head-too-large", f"a head has at most {HEAD_BYTES} bytes")
        head = head_of(scope["method"], scope["path"], scope["headers"])
        scope["state"] = {"allowed": self._guard.judge(head)}
        found = routes.find(head.path)
        if found is None:
            return self._files.get(head.path)
        route, scope["path_params"] = found
        answer: _Answer = await route.handler(self._api, Request(scope, receive))
        return answer


def _size(scope: Scope) -> int:
    lines = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return lines + len(scope["raw_path"]) + len(scope["query_string"])


def _with_ours(headers: Any) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    if not any(name.lower() == b"cache-control" for name, _ in given):
        given.append((b"cache-control", b"no-store"))
    return [*given, *_HEADERS]


def _told(problem: Problem) -> Response:
    headers = {**problem.headers}
    if problem.kind in ("too-large", "head-too-large", "host"):
        headers["Connection"] = "close"  # what else it would send is of no interest
    return Response(
        json.dumps(problem.shape()), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )
