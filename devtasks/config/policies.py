"""The small tables of a service: stop, ready, health, restart and limits."""

from __future__ import annotations

from devtasks.config.readers import (
    HTTP_TARGET,
    cpus,
    flag,
    matching,
    one_of,
    one_or_more,
    regex,
    seconds,
    size,
    stop_signal,
    whole,
    words,
)
from devtasks.config.section import Section
from devtasks.model import HealthProbe, Limits, ReadyProbe, RestartPolicy, StopPolicy
from devtasks.values import Value

_http = matching(HTTP_TARGET, 'a path like "/health" or a URL like "http://{host}:{port}/health"')


class _Question(Value):
    """What both kinds of probe can ask."""

    http: str | None
    status: tuple[int, ...]
    body: str | None
    tcp: bool
    log: str | None
    command: tuple[str, ...] | None


def read_stop(section: Section | None) -> StopPolicy:
    policy = StopPolicy()
    if section is None:
        return policy
    policy = StopPolicy(
        signals=section.take("signal", one_or_more(stop_signal), policy.signals),
        timeout_seconds=section.take("timeout", seconds(), policy.timeout_seconds),
        kill=section.take("kill", flag, policy.kill),
    )
    section.finish()
    return policy


def read_ready(section: Section | None, *, has_port: bool) -> ReadyProbe:
    probe = ReadyProbe()
    if section is None:
        return probe
    asked = _read_question(section, has_port=has_port)
    probe = ReadyProbe(
        http=asked.http,
        status=asked.status,
        body=asked.body,
        tcp=asked.tcp,
        log=asked.log,
        command=asked.command,
        timeout_seconds=section.take("timeout", seconds(), probe.timeout_seconds),
    )
    section.finish()
    return probe


def read_health(section: Section | None, *, has_port: bool) -> HealthProbe | None:
    """None where no health is asked for. An empty table asks what readiness asks without a kind."""
    if section is None:
        return None
    asked = _read_question(section, has_port=has_port)
    probe = HealthProbe()
    probe = HealthProbe(
        http=asked.http,
        status=asked.status,
        body=asked.body,
        tcp=asked.tcp,
        log=asked.log,
        command=asked.command,
        interval_seconds=section.take("interval", seconds(zero=False), probe.interval_seconds),
        timeout_seconds=section.take("timeout", seconds(zero=False), probe.timeout_seconds),
        failures=section.take("failures", whole(1, 1000), probe.failures),
        start_period_seconds=section.take("start_period", seconds(), probe.start_period_seconds),
    )
    section.finish()
    return probe


def read_restart(section: Section | None) -> RestartPolicy:
    policy = RestartPolicy()
    if section is None:
        return policy
    policy = RestartPolicy(
        # A Literal is not inferred through the reader; the choices are the Literal's.
        policy=section.take("policy", one_of("always", "on-failure", "never"), policy.policy),  # type: ignore[arg-type]
        max=section.take("max", whole(0, 1000), policy.max),
        window_seconds=section.take("window", seconds(zero=False), policy.window_seconds),
        backoff_seconds=section.take("backoff", seconds(), policy.backoff_seconds),
        max_backoff_seconds=section.take("max_backoff", seconds(), policy.max_backoff_seconds),
        cooldown_seconds=section.take("cooldown", seconds(), policy.cooldown_seconds),
        memory_above_bytes=section.take("memory_above", size, None),
    )
    if policy.backoff_seconds > policy.max_backoff_seconds and not section.wrong & {"backoff", "max_backoff"}:
        limit = f"max_backoff, {policy.max_backoff_seconds:g}"
        section.problem("backoff", f"{policy.backoff_seconds:g} seconds exceed {limit}; raise that too")
    section.finish()
    return policy


def read_limits(section: Section | None) -> Limits:
    if section is None:
        return Limits()
    limits = Limits(
        nofile=section.take("nofile", whole(16, 2**30), None),
        nproc=section.take("nproc", whole(1, 2**22), None),
        memory_bytes=section.take("memory", size, None),
        cpu=section.take("cpu", cpus, None),
    )
    section.finish()
    return limits


def _read_question(section: Section, *, has_port: bool) -> _Question:
    """The keys that say what is asked: at most one kind, and nothing that the kind cannot answer."""
    asked = _Question(
        http=section.take("http", _http, None),
        status=section.take("status", one_or_more(whole(100, 599)), ()),
        body=section.take("body", regex, None),
        tcp=section.take("tcp", flag, False),
        log=section.take("log", regex, None),
        command=section.take("command", words, None),
    )
    kinds = {"http": asked.http, "tcp": asked.tcp, "log": asked.log, "command": asked.command}
    chosen = [kind for kind, value in kinds.items() if value or kind in section.wrong]
    if len(chosen) > 1:
        section.problem(chosen[1], f"{chosen[0]} is asked already; a probe asks one thing: remove one")
    for key in ("status", "body"):
        if key in section.table and "http" not in chosen:
            section.problem(key, "is about an HTTP answer; add http, or remove it")
    by_port = asked.tcp or (asked.http is not None and asked.http.startswith("/"))
    if by_port and not has_port:
        section.problem("tcp" if asked.tcp else "http", "asks the service's port, and it has none; add port")
    return asked
