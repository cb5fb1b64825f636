"""Whose process is it: the rules of docs/ownership.md, as one pure judgement.

Two questions in turn. *Lineage*: is the process proven to belong to a run, by what it carries or what it descends
from? Only when that says nothing, *sweep*: does it hold a port or match a pattern of a service, and is it beyond
doubt that the project is its place? Everything the judge knows comes in as `Facts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from devtasks import programs
from devtasks.model import Details, Evidence, EvidenceKind, Match, Process, Project, Rejection, Rule, Run, Snapshot
from devtasks.patterns import Matcher
from devtasks.places import Places
from devtasks.values import Value

_NOBODY = Details()


class Facts(Value):
    """All that a judgement rests on.

    `details` may be a lazy mapping: it is asked for candidates only. `holders` maps a configured port to every
    process that listens on it. `cgroup_members` maps a PID to the run whose cgroup it is in.
    """

    project: Project
    table: Snapshot
    runs: tuple[Run, ...]  # of this boot and PID namespace, newest first, ended ones too
    pid_files: Mapping[str, int]  # service name to the PID that its PID file holds
    matchers: Mapping[str, Matcher]
    places: Places
    details: Mapping[int, Details]
    me: Details
    users: frozenset[int]  # whose processes a sweep may reach
    callers: frozenset[int]
    holders: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    cgroup_members: Mapping[int, Run] = MappingProxyType({})


class Owned(NamedTuple):
    """Proven to belong to a service's run."""

    service: str
    nonce: str | None
    session: int | None  # the run's session, as far as it is known
    via: EvidenceKind
    detail: str


class Barred(NamedTuple):
    """The walk ended here. `entirely`: no rule may make it ours; else port and pattern still may."""

    reason: str
    entirely: bool
    nonce: str | None = None


Lineage = Owned | Barred | None


class Judge:
    """Applies the rules to processes of one set of facts. Answers are remembered."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._rows = facts.table.processes
        self._lineage: dict[int, Lineage] = {}
        self._runs = {run.nonce: run for run in facts.runs}
        self._mains = {
            run.main.pid: run
            for run in reversed(facts.runs)
            if run.main is not None and self._is(run.main.pid, run)
        }
        self._sessions = {run.session: run for run in reversed(facts.runs) if run.session is not None}
        self._session_holds: dict[str, bool] = {}
        self._swept: dict[int, Match | Rejection | None] = {}
        self._listens: dict[int, list[int]] = {}
        for port, pids in facts.holders.items():
            for pid in pids:
                self._listens.setdefault(pid, []).append(port)

    # --- the verdicts ------------------------------------------------------------------------------------

    def verdict(self, pid: int) -> Match | Rejection | None:
        """Ours, considered and rejected, or (None) nothing to do with the project."""
        process = self._rows.get(pid)
        if process is None or process.gone or self._never(process) or process.runner:
            return None
        lineage = self.lineage(pid)
        if isinstance(lineage, Owned):
            return Match(process=process, service=lineage.service, evidence=self._proofs(process, lineage))
        barred = lineage if isinstance(lineage, Barred) else None
        if barred is None:
            for evidence in (self._cgroup(process), self._session(process)):
                if evidence is not None:
                    service, item = evidence
                    return Match(process=process, service=service, evidence=(item,))
        return self._sweep(process, barred)

    def proven(self, pid: int) -> bool:
        """Whether lineage alone makes it ours: the likely owner of a port."""
        return isinstance(self.lineage(pid), Owned)

    def is_runner(self, process: Process) -> str | None:
        """The service whose run this runner attends, if it is one of ours."""
        if process.runner and process.marker is not None:
            digest, service, _ = split_marker(process.marker)
            if digest == self.facts.project.digest:
                return service
        return None

    # --- enough alone ------------------------------------------------------------------------------------

    def lineage(self, pid: int) -> Lineage:
        """What the walk from `pid` upward proves."""
        trail: list[Process] = []
        seen: set[int] = set()
        result: Lineage = None
        while pid > 1 and pid not in seen:
            if pid in self._lineage:
                result = self._lineage[pid]
                break
            process = self._rows.get(pid)
            if process is None or process.kernel:
                break
            seen.add(pid)
            trail.append(process)
            pid = process.ppid
        for process in reversed(trail):
            result = self._lineage[process.pid] = self._inherit(process, result)
        return result

    def _inherit(self, process: Process, above: Lineage) -> Lineage:
        """The lineage of a process, given its parent's."""
        digest, service, nonce = split_marker(process.marker)
        ours = digest == self.facts.project.digest
        if process.runner and ours:
            return Owned(service, nonce, None, "descendant", f"runner {process.pid}")
        if process.keep:
            return Barred(f"PID {process.pid} carries DEVTASKS_KEEP=1", entirely=True)
        run = self._mains.get(process.pid)
        if run is not None:
            return Owned(run.service, run.nonce, run.session, "descendant", f"main process {process.pid}")
        if process.marker is not None and not ours:
            whose = "another project" if digest else "something else"
            return Barred(f"PID {process.pid} carries the marker of {whose}", entirely=True)
        session = self._session_of(nonce, above)
        home = session if session is not None else getattr(above, "session", None)
        if (ours or isinstance(above, Owned)) and process.session != home:
            kind = programs.users_own(process.argv, terminal=process.terminal != 0)
            if kind is not None:
                reason = f"{kind} (PID {process.pid}) that has left the run's session"
                return Barred(reason, entirely=False, nonce=nonce)
        if ours:
            if isinstance(above, Barred) and not above.entirely and above.nonce == nonce:
                return above  # the marker was only handed down
            if not isinstance(above, Owned) and self._elsewhere(process.pid):
                return Barred(f"PID {process.pid} is in another PID namespace", entirely=False, nonce=nonce)
            return Owned(service, nonce, session or process.session, "marker", f"marker of {service}")
        if isinstance(above, Owned) and above.session is None:
            # the runner's own child: its session is the run's
            return Owned(above.service, above.nonce, process.session, "descendant", above.detail)
        return above

    def _session_of(self, nonce: str | None, above: Lineage) -> int | None:
        run = self._runs.get(nonce or "")
        if run is not None and run.session is not None:
            return run.session
        return above.session if isinstance(above, Owned) and above.nonce == nonce else None

    def _proofs(self, process: Process, lineage: Owned) -> tuple[Evidence, ...]:
        """All the evidence that is enough alone, for people to read; never empty."""
        found: list[Evidence] = []
        if process.pid in self._mains and self.facts.pid_files.get(lineage.service) == process.pid:
            found.append(Evidence("pid-file", "named there, and the recorded identity agrees"))
        if process.marker is not None:
            found.append(Evidence("marker", f"DEVTASKS_ID={process.marker}"))
        above = self.lineage(process.ppid)
        if isinstance(above, Owned):
            found.append(Evidence("descendant", f"child of PID {process.ppid}"))
        found += [item for _, item in filter(None, (self._cgroup(process), self._session(process)))]
        return tuple(found) or (Evidence("descendant", lineage.detail),)

    def _cgroup(self, process: Process) -> tuple[str, Evidence] | None:
        run = self.facts.cgroup_members.get(process.pid)
        return (run.service, Evidence("cgroup", run.cgroup or "")) if run is not None else None

    def _session(self, process: Process) -> tuple[str, Evidence] | None:
        run = self._sessions.get(process.session)
        if run is None or not self._session_is_the_runs(run) or self._elsewhere(process.pid):
            return None
        return run.service, Evidence("session", f"session {run.session}, made for the run")

    def _session_is_the_runs(self, run: Run) -> bool:
        """Session numbers are reused, as PIDs are: a member has to vouch for it."""
        if run.nonce not in self._session_holds:
            self._session_holds[run.nonce] = self._vouched(run)
        return self._session_holds[run.nonce]

    def _vouched(self, run: Run) -> bool:
        leader = self._rows.get(run.session or 0)
        if leader is not None and not leader.gone:
            return run.main is not None and self._is(leader.pid, run)
        members = [row for row in self._rows.values() if row.session == run.session and not row.gone]
        marker = f"{self.facts.project.digest}/{run.service}/"
        return any((row.marker or "").startswith(marker) or self._inside(row.pid, row) is True for row in members)

    def _is(self, pid: int, run: Run) -> bool:
        row = self._rows.get(pid)
        return row is not None and run.main is not None and self.facts.table.identity(row) == run.main

    def _elsewhere(self, pid: int) -> bool:
        """Whether it is in another PID namespace, where markers and sessions prove nothing."""
        namespaces = self.facts.details.get(pid, _NOBODY).namespaces
        mine = self.facts.me.namespaces
        return namespaces is not None and mine is not None and namespaces[0] != mine[0]

    # --- enough together ---------------------------------------------------------------------------------

    def _sweep(self, process: Process, barred: Barred | None) -> Match | Rejection | None:
        if process.pid not in self._swept:
            self._swept[process.pid] = None  # a loop of parents ends here
            self._swept[process.pid] = self._sweep_afresh(process, barred)
        return self._swept[process.pid]

    def _sweep_afresh(self, process: Process, barred: Barred | None) -> Match | Rejection | None:
        rejection: Rejection | None = None
        for service, evidence in self._claims(process):
            objection = next((rule for rule in self._objections(process, barred) if not rule.holds), None)
            if objection is None:
                return Match(process=process, service=service, evidence=evidence)
            rejection = rejection or Rejection(process=process, service=service, reason=objection.detail)
        return rejection or self._follows_swept(process, barred)

    def _claims(self, process: Process) -> Iterator[tuple[str, tuple[Evidence, ...]]]:
        """The services that the process seems to be, by port or by pattern."""
        ports = self._listens.get(process.pid, [])
        for service in self.facts.project.services:
            found = [Evidence("port", f"listens on {port}") for port in ports if port in service.ports]
            matcher = self.facts.matchers[service.name]
            if process.cmdline and matcher.may_match(process.cmdline):
                matched = matcher.match(process.argv)
                if matched is not None:
                    found.append(Evidence("pattern", matched))
            if found:
                yield service.name, tuple(found)

    def _objections(self, process: Process, barred: Barred | None) -> Iterator[Rule]:
        """The rules that a swept process has to pass, cheapest first."""
        facts = self.facts
        details = facts.details.get(process.pid, _NOBODY)
        yield Rule("not barred", barred is None or not barred.entirely, barred.reason if barred else "by nothing")
        yield Rule("environment", not facts.project.production, f"environment is {facts.project.environment}")
        broad = not facts.places.proves_something
        yield Rule(
            "root", not broad, f"root {facts.places.root}{' holds everything, so it proves nothing' * broad}"
        )
        mention = programs.bystander(process.argv, terminal=process.terminal != 0)
        yield Rule(
            "program",
            mention is None,
            f"{mention}: only mentions the service" if mention else "is not one that only mentions services",
        )
        yield Rule(
            "user",
            details.uid in facts.users,
            "could not be read" if details.uid is None else f"user {details.uid}",
        )
        same = details.namespaces is not None and details.namespaces == facts.me.namespaces
        yield Rule("namespaces", same, "the same as ours" if same else "other namespaces, or unreadable")
        inside = self._inside(process.pid, process)
        yield Rule("place", inside is True, self._place(details, inside))
        starter = self._started_by(process)
        yield Rule(
            "starter",
            starter is None,
            f"started by a {starter}" if starter else "no test runner or debugger above it",
        )

    def _inside(self, pid: int, process: Process) -> bool | None:
        """Its working folder decides where that is in some project; else its executable or script."""
        details = self.facts.details.get(pid, _NOBODY)
        places = self.facts.places
        owner = places.owner(details.cwd) if details.cwd else None
        if owner is not None:
            return owner == places.root
        script = next((word for word in process.argv[1:] if word.startswith("/")), None)
        if any(places.inside(path) for path in (details.exe, script) if path):
            return True
        return None if details.cwd is None else False

    def _place(self, details: Details, inside: bool | None) -> str:
        if inside is None:
            return "its working folder could not be read"
        return f"{'inside' if inside else 'outside'} the project: {details.cwd}"

    def _started_by(self, process: Process) -> str | None:
        seen = set()
        pid = process.ppid
        while pid > 1 and pid not in seen and pid in self._rows:
            seen.add(pid)
            above = self._rows[pid]
            kind = programs.spawns_its_own(above.argv)
            if kind is not None:
                return f"{kind} (PID {pid})"
            pid = above.ppid
        return None

    def _follows_swept(self, process: Process, barred: Barred | None) -> Match | None:
        """What a swept process started goes with it, unless it is a user's own program that went its own way."""
        parent = self._rows.get(process.ppid)
        if barred is not None or parent is None or parent.pid <= 1 or parent.kernel or self._never(parent):
            return None
        above = self._sweep(parent, None) if self.lineage(parent.pid) is None else None
        if not isinstance(above, Match):
            return None
        terminal = process.terminal != 0
        if process.session != parent.session and programs.users_own(process.argv, terminal=terminal):
            return None
        return Match(
            process=process,
            service=above.service,
            evidence=(Evidence("descendant", f"child of PID {parent.pid}"),),
        )

    # --- never -------------------------------------------------------------------------------------------

    def _never(self, process: Process) -> bool:
        return process.pid <= 1 or process.kernel or process.pid in self.facts.callers

    # --- explain -----------------------------------------------------------------------------------------

    def explain(self, pid: int) -> tuple[Rule, ...]:
        """Every rule, pass or fail, for one process of the table."""
        process = self._rows[pid]
        lineage = self.lineage(pid)
        owned = (
            {item.kind: item.detail for item in self._proofs(process, lineage)}
            if isinstance(lineage, Owned)
            else {}
        )
        kinds: tuple[EvidenceKind, ...] = ("pid-file", "marker", "descendant", "cgroup", "session")
        barred = lineage if isinstance(lineage, Barred) else None
        if barred is None and not owned:
            owned = {
                item.kind: item.detail for _, item in filter(None, (self._cgroup(process), self._session(process)))
            }
        claims = {item.kind: item.detail for _, items in self._claims(process) for item in items}
        return (
            Rule(
                "not the caller",
                pid not in self.facts.callers,
                "the caller or above it" if pid in self.facts.callers else "not the caller, nor above it",
            ),
            Rule(
                "not the system",
                pid > 1 and not process.kernel,
                "PID 1 or a kernel thread" if pid <= 1 or process.kernel else "an ordinary process",
            ),
            Rule(
                "not a runner",
                not process.runner,
                "the parent of a run, which leaves by itself" if process.runner else "is not the parent of a run",
            ),
            Rule("walk", barred is None, barred.reason if barred else "nothing above it ends the walk"),
            *(Rule(kind, kind in owned, owned.get(kind, "no")) for kind in kinds),
            Rule("port", "port" in claims, claims.get("port", "listens on no configured port")),
            Rule("pattern", "pattern" in claims, claims.get("pattern", "matches no pattern from its program on")),
            *self._objections(process, barred),
        )


def split_marker(marker: str | None) -> tuple[str, str, str | None]:
    """DEVTASKS_ID in its parts: digest, service, nonce. Anything that is not one gives empty parts."""
    parts = (marker or "").split("/")
    if len(parts) != 3 or not all(parts):
        return "", "", None
    return parts[0], parts[1], parts[2]


def make_marker(project: Project, service: str, nonce: str) -> str:
    """The value of DEVTASKS_ID for one run."""
    return f"{project.digest}/{service}/{nonce}"
