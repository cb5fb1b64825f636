"""Look at ports: the sockets, who holds them, and what else the machine knows about those."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from devtasks import programs
from devtasks.errors import DevtasksError
from devtasks.model import Match, Process
from devtasks.observing import Observation, Observer
from devtasks.outcomes import PortHolder, PortRow
from devtasks.ownership import split_marker
from devtasks.ports.shadows import shadows
from devtasks.ports.verdict import Claim, Socket, is_proxy, row, user_name
from devtasks.showing import command_line
from devtasks.values import replace
from devtasks.world.binding import Answer, bindable

_ANYWHERE = "0.0.0.0"  # noqa: S104 - bound for a moment, never listened on


def survey(
    observer: Observer, seen: Observation, claimed: Iterable[Claim], *, udp: bool = False
) -> tuple[PortRow, ...]:
    """One row a claim, and with `udp` one more for the UDP port of the same number."""
    wanted = tuple(claimed)
    kinds: tuple[Literal["listening", "udp"], ...] = ("listening", "udp") if udp else ("listening",)
    world = observer.world
    found = [one for kind in kinds for one in world.endpoints({claim.port for claim in wanted}, kind)]
    owners = world.owners(found)
    people = _People(observer, seen)
    holders = {pid: people.holder(pid) for pid in sorted({pid for pids in owners.values() for pid in pids})}
    rows = []
    for claim in wanted:
        for kind in kinds:
            protocol: Literal["tcp", "udp"] = "udp" if kind == "udp" else "tcp"
            sockets = [
                Socket(one, owners[one]) for one in found if (one.port, one.protocol) == (claim.port, protocol)
            ]
            told = row(claim, protocol, sockets, holders, people.rows)
            told = replace(told, holders=tuple(people.complete(holder, told) for holder in told.holders))
            shadowed = shadows(claim.port, sockets, told.holders, people.rows)
            rows.append(replace(told, warnings=(*told.warnings, *people.remarks(claim, told), *shadowed)))
    return _published(observer, rows)


def _published(observer: Observer, rows: Iterable[PortRow]) -> tuple[PortRow, ...]:
    """With the containers whose ports the kernel passes on, so that nobody is seen to listen."""
    listed = tuple(rows)
    unseen = {row.service for row in listed if row.state == "free" and row.protocol == "tcp"}
    services = [one for one in observer.project.services if one.contained and one.name in unseen]
    if not services:
        return listed
    from devtasks.engines import contained

    found = contained.publishers(services)
    return tuple(
        replace(row, state="container", holders=(_holder_of(*found[row.port]),))
        if row.state == "free" and row.protocol == "tcp" and row.port in found
        else row
        for row in listed
    )


def _holder_of(container: str, stop: str) -> PortHolder:
    return PortHolder(pid=None, command="", cwd=None, service=None, container=container, stop=stop)


class _People:
    """Who the holders are, read where the observation does not tell it."""

    def __init__(self, observer: Observer, seen: Observation) -> None:
        self._observer = observer
        self._world = observer.world
        self._seen = seen
        self._now = self._world.now()
        self.rows: dict[int, Process] = {}

    def holder(self, pid: int) -> PortHolder:
        """All that can be told of one process; its addresses are not known here."""
        process = self._seen.table.processes.get(pid) or self._world.reread([pid]).get(pid)
        if process is None:
            return PortHolder(pid=pid, command="?", cwd=None, service=None)
        self.rows[pid] = process
        details = self._world.details([pid]).get(pid)
        cwd = details.cwd if details is not None else None
        service = self._service(process)
        holder = PortHolder(
            pid=pid,
            command=command_line(process),
            cwd=cwd,
            service=service,
            program=programs.program(process.argv),
            user=user_name(details.uid) if details is not None else None,
            age_seconds=max(0.0, self._now - self._world.started_at(process)),
        )
        if service is not None:
            return holder
        place = self._seen.judge.facts.places.owner(cwd) if cwd else None
        _, theirs, _ = split_marker(process.marker)
        return replace(
            holder,
            project=place if place != str(self._observer.project.root) else None,
            project_service=theirs or None,
        )

    def _service(self, process: Process) -> str | None:
        verdict = self._seen.judge.verdict(process.pid)
        if isinstance(verdict, Match):
            return verdict.service
        # the caller and those above it are never judged, and may be ours all the same
        digest, service, _ = split_marker(process.marker)
        ours = digest == self._observer.project.digest and process.pid in self._seen.judge.facts.callers
        return service if ours else None

    def complete(self, holder: PortHolder, told: PortRow) -> PortHolder:
        """With the container that a proxy works for. Engines are asked about ports of proxies only."""
        if told.state != "container" or holder.pid is None or not is_proxy(self.rows.get(holder.pid)):
            return holder
        from devtasks.world import containers

        found = containers.publishing(told.port, told.protocol)
        if found is None:
            return replace(holder, stop="docker ps  (find the container that publishes the port, and stop it)")
        return replace(holder, container=found.name, stop=found.stop)

    def remarks(self, claim: Claim, told: PortRow) -> list[str]:
        """What only the machine can tell about a row."""
        strangers = {one.project: one for one in reversed(told.holders) if one.service is None and one.project}
        found = [self._elsewhere(claim, holder) for holder in strangers.values()]
        if told.protocol == "tcp" and told.state in ("free", "foreign"):
            answer = _answer(claim.host or _ANYWHERE, claim.port)
            if told.state == "free" and answer == "taken":
                found.append(self._occupied(claim.port))
            elif told.state == "foreign" and answer == "free":
                found.append(f"{claim.host}:{claim.port} is free all the same")
        return found

    def _elsewhere(self, claim: Claim, holder: PortHolder) -> str:
        namesake = claim.service is not None and holder.project_service == claim.service
        same = namesake or _title(holder.project) == self._observer.project.name
        what = "another checkout" if same else "another project"
        return f"{claim} is served by {what}, {holder.project} (PID {holder.pid})"

    def _occupied(self, port: int) -> str:
        others = self._world.endpoints([port], "other")
        pids = sorted({pid for held in self._world.owners(others).values() for pid in held})
        who = f" of PID {pids[0]}" if pids else ""
        return f"nobody listens on port {port}, but it cannot be bound now: a connection{who} uses the number"


def _answer(host: str, port: int) -> Answer | None:
    """What binding says; None where the host is none of this machine's."""
    try:
        return bindable(host, port)
    except DevtasksError:
        return None


def _title(root: str | None) -> str | None:
    """What the project in another root is called, if it tells."""
    from devtasks.config import loading

    try:
        return loading.load(Path(root)).name if root is not None else None
    except (DevtasksError, OSError):
        return None
