"""Free a port: whether that may be done, and what becomes of a stranger when it is forced.

The project's own holder is stopped as a service, whole (`stopping.py`): a reloader would start the worker that
was ended alone again. Of a stranger only those that hold the port are ended, and only by force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devtasks.errors import DevtasksError, Refused
from devtasks.model import Match, Process, Service
from devtasks.observing import Observation, Observer
from devtasks.outcomes import PortRow, Stopped, Survivor
from devtasks.planning import roots
from devtasks.ports.surveying import survey
from devtasks.ports.verdict import Claim, claims, describe, is_proxy
from devtasks.showing import command_line
from devtasks.values import Value
from devtasks.world import Handle, World
from devtasks.world.binding import bindable

STRANGER_SECONDS = 5.0  # how long a stranger gets after TERM
_KILL_SECONDS = 5.0
_SETTLE_SECONDS = 1.0  # how long a port may stay taken after its holders have ended
_LOOK_SECONDS = 0.005
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - bound for a moment, never listened on


class Freeing(Value):
    """What freeing a port takes. All empty: it is free already."""

    row: PortRow
    services: tuple[Service | str, ...] = ()  # ours that hold it; a name alone is configured no more
    strangers: tuple[Process, ...] = ()


def decide(observer: Observer, seen: Observation, port: int, *, force: bool) -> Freeing:
    """What has to end for `port` to be free. Raises Refused where that may not be; touches nothing."""
    row = look(observer, seen, port)
    if row.state == "free":
        return Freeing(row=row)
    if observer.project.production:
        raise Refused(production_steps(row, observer.project.environment))
    unseen = next((holder for holder in row.holders if holder.pid is None), None)
    if unseen is not None:
        raise Refused(f"port {port} is held by {describe(unseen)}", hint=f"sudo devtasks free-port --port {port}")
    rows = {pid: process for pid in _pids(row) if (process := _process(observer, seen, pid)) is not None}
    foreign = [holder for holder in row.holders if holder.service is None]
    proxy = next((one for one in foreign if is_proxy(rows.get(one.pid or 0))), None)
    if proxy is not None:
        raise Refused(f"port {port} is held by {describe(proxy)}", hint=f"stop the container: {proxy.stop}")
    ours = {pid: judged for pid in rows if isinstance(judged := seen.judge.verdict(pid), Match)}
    strangers = tuple(process for pid, process in rows.items() if pid not in ours)
    _refuse_strangers(observer, seen, row, strangers, force=force)
    known = {service.name: service for service in observer.project.services}
    names = dict.fromkeys(match.service for match in ours.values())
    return Freeing(row=row, services=tuple(known.get(name, name) for name in names), strangers=strangers)


def look(observer: Observer, seen: Observation, port: int) -> PortRow:
    """What holds `port`, configured or not."""
    known = [claim for claim in claims(observer.project.services) if claim.port == port]
    return survey(observer, seen, known[:1] or [Claim(port)])[0]


def _refuse_strangers(
    observer: Observer, seen: Observation, row: PortRow, strangers: Sequence[Process], *, force: bool
) -> None:
    for process in strangers:
        holder = next(one for one in row.holders if one.pid == process.pid)
        if seen.judge.facts.never(process) or process.pid in observer.world.ancestry():
            raise Refused(
                f"port {row.port} is held by {describe(holder)}, which started this command or is the system's",
                hint="stop it from another terminal",
            )
        if not force:
            named = f"port {row.port} is held by {describe(holder)}"
            if holder.project is not None:
                named += f"; stop it there: devtasks -C {holder.project} stop"
            raise Refused(
                f"{named}: not this project's",
                hint=f"stop that program, choose another port, or: devtasks free-port --port {row.port} --force",
            )


def production_steps(row: PortRow, environment: str) -> str:
    """Why nothing was signalled, and what a person can do, in numbered lines."""
    return "\n".join(
        [
            f"port {row.port} is in use, and environment is {environment}: nothing was signalled",
            *(f"  held by {describe(holder)}" for holder in row.holders),
            *(f"  {line}" for line in steps(row)),
        ]
    )


def steps(row: PortRow) -> tuple[str, ...]:
    """What a person can do about a held port, numbered."""
    service = next((holder.service for holder in row.holders if holder.service), None)
    pid = next((holder.pid for holder in row.holders if holder.pid is not None), None)
    container = next((holder.stop for holder in row.holders if holder.stop), None)
    if container is not None:
        stop = f"if it may go, stop the container: {container}"
    elif service is not None:
        stop = f"if it may go, stop the service: devtasks stop {service}"
    elif pid is not None:
        stop = f"if it may go, stop it with what started it (systemctl, supervisor), or: kill {pid}"
    else:
        stop = "if it may go, ask an administrator to stop it"
    sudo = "sudo " if pid is None else ""
    return (
        f"1. see who holds it, and why: {sudo}devtasks explain --port {row.port}",
        f"2. {stop}",
        f"3. see that nobody holds it any more: ss -ltnp 'sport = :{row.port}'",
        "4. start again, or start on another port",
    )


def _pids(row: PortRow) -> tuple[int, ...]:
    return tuple(holder.pid for holder in row.holders if holder.pid is not None)


def _process(observer: Observer, seen: Observation, pid: int) -> Process | None:
    return seen.table.processes.get(pid) or observer.world.reread([pid]).get(pid)


# --- acting ----------------------------------------------------------------------------------------------


def evict(
    world: World,
    port: int,
    strangers: Sequence[Process],
    *,
    timeout_seconds: float,
    sent: Callable[[int, str], None] = lambda _pid, _name: None,
) -> Stopped:
    """End `strangers`, each only if it still holds `port` once it is pinned: TERM, then KILL.

    `sent` hears of every signal. Children of theirs that hold the port are among the strangers themselves.
    Raises Refused where none of them may be signalled.
    """
    pinned = {
        process.pid: (process, handle) for process in strangers if (handle := world.pin(process)) is not None
    }
    began = world.monotonic()
    gone: dict[int, str] = {}
    trouble: dict[int, str] = {}
    try:
        holding = {pid for pids in world.owners(world.endpoints([port])).values() for pid in pids}
        left = {pid: pair for pid, pair in pinned.items() if pid in holding}
        ladder = (("TERM", began + timeout_seconds), ("KILL", began + timeout_seconds + _KILL_SECONDS))
        for name, deadline in ladder:
            asked: set[int] = set()
            while left and world.monotonic() < deadline:
                rows = [process for process, _ in left.values()]
                turn = rows if name == "KILL" else _tops(rows)
                for process in turn:
                    if process.pid not in asked:
                        asked.add(process.pid)
                        why = _send(left[process.pid][1], name)
                        if why is None:
                            sent(process.pid, name)
                        else:
                            trouble[process.pid] = why
                            del left[process.pid]
                for handle in world.wait([handle for _, handle in left.values()], deadline - world.monotonic()):
                    gone[handle.pid] = name
                    del left[handle.pid]
    finally:
        for _, handle in pinned.values():
            handle.close()
    if trouble and not gone and not left:
        pid, why = next(iter(trouble.items()))
        raise Refused(f"PID {pid}, which holds port {port}, {why}", hint=f"sudo devtasks free-port --port {port}")
    survivors = dict.fromkeys(left, f"still alive {_KILL_SECONDS:g} s after KILL") | trouble
    return Stopped(
        name=f"port {port}",
        stopped=tuple(sorted(pid for pid, name in gone.items() if name == "TERM")),
        killed=tuple(sorted(pid for pid, name in gone.items() if name == "KILL")),
        survivors=tuple(Survivor(pid=pid, reason=reason) for pid, reason in survivors.items()),
        commands=tuple((process.pid, command_line(process)) for process in strangers),
    )


def _tops(rows: Sequence[Process]) -> tuple[Process, ...]:
    """Those whose parent is none of them: a master is asked before its workers, who would be replaced."""
    return roots(Match(process=row, service="", evidence=()) for row in rows)


def _send(handle: Handle, name: str) -> str | None:
    """Why it could not be sent; None: it was, or the process is gone."""
    try:
        if handle.send(name) and name != "KILL":
            handle.send("CONT")  # a stopped process cannot handle what it was sent
    except PermissionError:
        return "may not be signalled: it belongs to another user"
    except OSError as error:
        return f"could not be signalled: {error.strerror}"
    return None


def verdict(observer: Observer, port: int, *, already: bool) -> tuple[bool, str]:
    """Whether the port can be bound now, and a line that says so or who has it. `already`: nothing was ended."""
    if proven_free(observer.world, port, timeout_seconds=0.0 if already else _SETTLE_SECONDS):
        return True, f"port {port} is free{' already' if already else ''}"
    row = look(observer, observer.observe(), port)
    if row.state == "free":
        return False, row.warnings[0] if row.warnings else f"port {port} cannot be bound, and nobody listens on it"
    return False, f"port {port} is held again, by {'; '.join(map(describe, row.holders))}"


def proven_free(world: World, port: int, *, timeout_seconds: float) -> bool:
    """Whether the port can be bound at every address, waiting for that as long as it takes to be true.

    Where this user may not bind it, that nobody listens.
    """
    deadline = world.monotonic() + timeout_seconds
    while True:
        answers = set()
        for host in _EVERYWHERE:
            try:
                answers.add(bindable(host, port))
            except DevtasksError:  # no IPv6 here
                continue
        if "taken" not in answers and not ("forbidden" in answers and world.listening([port])):
            return True
        if world.monotonic() >= deadline:
            return False
        world.sleep(_LOOK_SECONDS)


__all__ = [
    "STRANGER_SECONDS",
    "Freeing",
    "decide",
    "evict",
    "look",
    "production_steps",
    "proven_free",
    "steps",
    "verdict",
]
