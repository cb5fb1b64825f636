"""What a command did, as the events that `inv history` shows: values in, values out.

Whoever acts writes them after the deed, with `State.tell`, which neither fails nor waits: nothing depends on them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from devtasks.ending import Ending, Target
from devtasks.outcomes import Started, Stopped
from devtasks.phrases import duration, pid_list
from devtasks.planning import roots
from devtasks.store.events import Event

KILLS_TOLD = 20  # of one service, each in an event of its own; more of them share one


def by(asker: str) -> str:
    """Who asked, in words: "by inv stop (anna)"."""
    return f"by {asker} ({_user()})" if asker else f"by {_user()}"


def of_endings(endings: Iterable[Ending], asker: str, *, began: float, now: float) -> Iterator[Event]:
    """What a stop did from `began` to `now` (seconds since the epoch), service by service.

    A stop tells whom it asked, a kill with what evidence whom it killed, a failure who is still there.
    """
    for ending in endings:
        asked = [one for one in ending.targets.values() if any(name != "KILL" for name in one.sent)]
        if asked:
            yield _stop(ending, asked, asker, at=began, seconds=max(0.0, now - began))
        killed = sorted((one for one in ending.targets.values() if "KILL" in one.sent), key=lambda one: one.pid)
        if killed and ending.killing_since is not None:
            waited = max(0.0, ending.killing_since - ending.began)
            yield from _kills(ending.name, killed, asker, at=began + waited, waited=waited if asked else None)
        for survivor in ending.survivors[:KILLS_TOLD]:
            detail = f"did not stop: {survivor.reason}; {by(asker)}"
            yield Event(service=ending.name, kind="failure", at=now, pid=survivor.pid, detail=detail)


def of_eviction(report: Stopped, asker: str, *, at: float) -> Iterator[Event]:
    """What was done to strangers on a port."""
    commands = dict(report.commands)
    for kind, pids in (("stop", report.stopped), ("kill", report.killed)):
        for pid in pids:
            detail = f"held {report.name}; ended by force, {by(asker)}: {_masked(commands.get(pid, '?'))}"
            yield Event(service=report.name, kind=kind, at=at, pid=pid, detail=detail)
    for survivor in report.survivors:
        detail = f"did not stop: {survivor.reason}; {by(asker)}"
        yield Event(service=report.name, kind="failure", at=at, pid=survivor.pid, detail=detail)


def of_launch(service: str, pid: int, asker: str, *, port: int | None, at: float) -> Event:
    """A service was executed."""
    detail = by(asker) if port is None else f"{by(asker)}, for port {port}"
    return Event(service=service, kind="start", at=at, pid=pid, detail=detail)


def of_start(result: Started, asker: str, *, at: float) -> Iterator[Event]:
    """How a start of one service came out; nothing for one that ran already."""
    match result.outcome:
        case "already-running":
            return
        case "started":
            where = f", {result.url}" if result.url else ""
            kind, detail = "ready", f"after {duration(result.seconds)}{where}"
        case "refused":
            kind, detail = "refused", _masked(f"start {by(asker)}: {result.detail}")
        case _:
            kind, detail = "failure", _masked(f"start {by(asker)}: {result.detail}")
    yield Event(service=result.name, kind=kind, at=at, pid=result.pid, detail=detail)


def of_refusal(service: str, asker: str, why: str, *, at: float) -> Event:
    """A command would not do what it was asked to."""
    return Event(service=service, kind="refused", at=at, detail=_masked(f"{by(asker)}: {why}"))


def of_restart(service: str, asker: str, pid: int | None, *, at: float) -> Event:
    """A service was stopped to be started again; `pid` None: it was not."""
    how = "it was not started again" if pid is None else f"runs again as PID {pid}"
    return Event(service=service, kind="restart", at=at, pid=pid, detail=f"{by(asker)}: {how}")


# --- words -----------------------------------------------------------------------------------------------


def _stop(ending: Ending, asked: list[Target], asker: str, *, at: float, seconds: float) -> Event:
    everybody = ending.targets.values()
    tops = roots(target.match for target in everybody)
    signals = " and ".join(dict.fromkeys(name for one in asked for name in one.sent if name != "KILL"))
    gone = [target.pid for target in everybody if target.gone and "KILL" not in target.sent]
    ended = f"{pid_list(gone)} ended in {duration(seconds)}" if gone else "nothing ended"
    detail = f"{by(asker)}, with {signals}: {ended}; ours by {_kinds(everybody)}"
    return Event(service=ending.name, kind="stop", at=at, pid=tops[0].pid if tops else None, detail=detail)


def _kills(service: str, killed: list[Target], asker: str, *, at: float, waited: float | None) -> Iterator[Event]:
    why = by(asker) if waited is None else f"{by(asker)}, {duration(waited)} after it was asked to end"
    for target in islice(killed, KILLS_TOLD):
        evidence = "; ".join(f"{item.kind}: {item.detail}" for item in target.match.evidence)
        command = _masked(" ".join(target.match.process.argv)[:200])
        fate = "" if target.gone else ", in vain"
        yield Event(
            service=service,
            kind="kill",
            at=at,
            pid=target.pid,
            detail=f"{why}{fate}; {evidence}; {command or 'no command line'}",
        )
    more = killed[KILLS_TOLD:]
    if more:
        detail = f"{why}; {len(more)} more, ours by {_kinds(more)}: {pid_list(one.pid for one in more)}"
        yield Event(service=service, kind="kill", at=at, detail=detail)


def _kinds(targets: Iterable[Target]) -> str:
    """By what evidence they are ours: "marker (3), descendant (1)"."""
    counted: Mapping[str, int] = Counter(target.match.evidence[0].kind for target in targets)
    return ", ".join(f"{kind} ({count})" for kind, count in counted.items())


def _masked(text: str) -> str:
    from devtasks.report import foreign

    return foreign(text)


def _user() -> str:
    """Who runs this program, and with sudo for whom."""
    if not hasattr(os, "getuid"):
        return os.environ.get("USERNAME", "somebody")
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{name} for {behind}" if behind.isidentifier() else name
