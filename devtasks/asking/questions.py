"""What HTTP and TCP probes ask, once it is clear that a service of ours may be there."""

from __future__ import annotations

import socket
from collections.abc import Callable

from devtasks.asking import fetching
from devtasks.asking.attempt import Finding, Steps
from devtasks.asking.connecting import connect
from devtasks.asking.expressions import Expression
from devtasks.asking.hosts import refusal
from devtasks.asking.listener import NotOurs
from devtasks.model import HealthProbe, ReadyProbe

Check = Callable[[socket.socket], None]  # raises NotOurs


def by_http(
    probe: ReadyProbe | HealthProbe,
    target: fetching.Target,
    body: Expression | None,
    check: Check,
    *,
    seconds: float,
    label: str,
) -> Steps:
    """GET `target`; the answer counts as `probe` says. Searching its body takes at most `seconds`."""
    asked = f"GET {probe.http}"
    try:
        reply = yield from fetching.fetch(target, check)
    except NotOurs as error:
        return error.finding
    except ConnectionError as error:
        return Finding("unhealthy", refusal(target.host, target.port, error))
    except fetching.BadReply as bad:
        return Finding("unhealthy", f"{asked}: it {bad}")
    if not (reply.status in probe.status if probe.status else 200 <= reply.status < 400):
        return Finding("unhealthy", f"{asked} answers {reply.status}")
    if body is not None:
        text = reply.body.decode("utf-8", "replace")
        found = yield from body.search([text], seconds=seconds, label=label)
        if found is None:
            return Finding("unknown", f"{asked}: searching the body for {body.text} takes too long")
        if not found:
            return Finding("unhealthy", f"{asked}: the body does not match {body.text}")
    return Finding("healthy", f"{asked} answers {reply.status}")


def by_tcp(host: str, port: int, check: Check) -> Steps:
    """Connect, and go."""
    try:
        connection = yield from connect(host, port)
    except ConnectionError as error:
        return Finding("unhealthy", refusal(host, port, error))
    with connection:
        try:
            check(connection)
        except NotOurs as error:
            return error.finding
    return Finding("healthy", f"port {port} accepts connections")
