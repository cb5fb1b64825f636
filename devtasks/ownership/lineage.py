"""What is enough alone: evidence is decided at the nearest process, going up from the one that is judged.

A recorded main process, DEVTASKS_KEEP=1 or a marker decides. So does a user's own program that has left the
run's session (a tmux server, a browser): it got the marker handed down, and so did all it starts. Where the walk
finds nothing, the run's cgroup and its session may.
"""

from typing import NamedTuple

from devtasks import programs
from devtasks.model import Evidence, Process, Run
from devtasks.ownership.facts import Facts
from devtasks.ownership.marker import split_marker


class Owned(NamedTuple):
    """Proven to belong to a run of a service."""

    service: str
    nonce: str | None
    session: int | None  # the run's session, as far as it is known; a runner is outside it
    detail: str


class Barred(NamedTuple):
    """The walk ended here. `entirely`: no rule may make it ours; else port and pattern still may."""

    reason: str
    entirely: bool
    nonce: str | None = None


Lineage = Owned | Barred | None


class Lineages:
    """The lineage of any process of one set of facts. Answers are remembered."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._rows = facts.table.processes
        self._known: dict[int, Lineage] = {}
        self._runs = {run.nonce: run for run in facts.runs}
        oldest_first = facts.runs[::-1]
        self._mains = {run.main.pid: run for run in oldest_first if run.main is not None and facts.names(run)}
        self._sessions = {run.session: run for run in oldest_first if run.session}
        self._vouched_for: dict[str, bool] = {}

    def of(self, pid: int) -> Lineage:
        """What the walk from `pid` upward decides; None: nothing."""
        if pid in self._known:
            return self._known[pid]
        trail: list[Process] = []
        seen: set[int] = set()
        result: Lineage = None
        above = self._rows.get(pid)
        while above is not None and above.pid > 1 and not above.kernel and above.pid not in seen:
            if above.pid in self._known:
                result = self._known[above.pid]
                break
            seen.add(above.pid)
            trail.append(above)
            above = self._facts.parent(above)
        for process in reversed(trail):
            result = self._known[process.pid] = self._inherit(process, result)
        return result

    def proof(self, process: Process) -> tuple[str, tuple[Evidence, ...]] | None:
        """The service a process is proven to belong to, and the evidence that decided it; None: not proven."""
        lineage = self.of(process.pid)
        return (lineage.service, self._walked(process, lineage)) if isinstance(lineage, Owned) else None

    def all_evidence(self, process: Process) -> tuple[Evidence, ...]:
        """All that is enough alone, for people: also what would not have been needed."""
        proof = self.proof(process)
        if proof is None:
            return ()
        further = [evidence for run, evidence in self._placed(process) if run.service == proof[0]]
        return tuple(dict.fromkeys([*proof[1], *further]))

    def _inherit(self, process: Process, above: Lineage) -> Lineage:
        """The lineage of a process, given its parent's."""
        if above is None and process.marker is None and not process.keep and process.pid not in self._mains:
            run = next((run for run, _ in self._placed(process)), None)
            if run is None:
                return None  # nearly every process of a machine
            above = Owned(run.service, run.nonce, run.session, f"run {run.nonce}")
        digest, service, nonce = split_marker(process.marker)
        ours = digest == self._facts.project.digest
        if process.runner and ours:
            return Owned(service, nonce, None, f"runner {process.pid}")
        if process.keep:
            return Barred(f"PID {process.pid} carries DEVTASKS_KEEP=1", entirely=True)
        main = self._mains.get(process.pid)
        if main is not None:
            return Owned(main.service, main.nonce, main.session, f"main process {process.pid}")
        if process.marker is not None and not ours:
            return Barred(f"PID {process.pid} carries another project's marker", entirely=True)
        bar = self._gone_its_own_way(process, above, nonce if ours else None)
        if bar is not None:
            return bar
        if not ours:
            # a runner's child is its run's main process, or one it adopted: their session is not the runner's
            if isinstance(above, Owned) and above.session is None:
                return above._replace(session=process.session)
            return above
        if isinstance(above, Barred) and not above.entirely and above.nonce == nonce:
            return above  # the marker was only handed down
        if not isinstance(above, Owned) and self._elsewhere(process.pid):
            return Barred(f"PID {process.pid} is in another PID namespace", entirely=False, nonce=nonce)
        return Owned(service, nonce, self._session_of(nonce, above) or process.session, f"marker of {service}")

    def _gone_its_own_way(self, process: Process, above: Lineage, nonce: str | None) -> Barred | None:
        """Whether this is a user's own program that left the session of the run it would belong to."""
        if nonce is None and not isinstance(above, Owned):
            return None
        home = self._session_of(nonce, above)
        if process.session == home:
            return None
        kind = programs.users_own(process.argv, terminal=process.terminal != 0)
        if kind is None:
            return None
        if nonce is None and isinstance(above, Owned):
            nonce = above.nonce  # its own could not be read (screen is setgid), and is handed down all the same
        return Barred(f"{kind} (PID {process.pid}) that has left the run's session", entirely=False, nonce=nonce)

    def _session_of(self, nonce: str | None, above: Lineage) -> int | None:
        """The session of a run: as recorded, else as the walk found it."""
        run = self._runs.get(nonce or "")
        if run is not None and run.session is not None:
            return run.session
        if isinstance(above, Owned) and nonce in (None, above.nonce):
            recorded = self._runs.get(above.nonce or "")
            return recorded.session if recorded is not None and recorded.session else above.session
        return None

    def _walked(self, process: Process, lineage: Owned) -> tuple[Evidence, ...]:
        found = []
        if process.pid in self._mains and self._facts.pid_files.get(lineage.service) == process.pid:
            found.append(Evidence("pid-file", "named there, and the recorded identity agrees"))
        if process.marker is not None:
            found.append(Evidence("marker", f"DEVTASKS_ID={process.marker}"))
        above = self._facts.parent(process)
        if above is not None and isinstance(self.of(above.pid), Owned):
            found.append(Evidence("descendant", f"child of PID {above.pid}"))
        found = found or [evidence for _, evidence in self._placed(process)][:1]
        return tuple(found) or (Evidence("descendant", lineage.detail),)

    # --- where the walk finds nothing ---------------------------------------------------------------------

    def _placed(self, process: Process) -> list[tuple[Run, Evidence]]:
        """The runs whose cgroup or session it is in, likelier first."""
        found = []
        run = self._facts.cgroup_members.get(process.pid)
        if run is not None:
            found.append((run, Evidence("cgroup", run.cgroup or "")))
        run = self._sessions.get(process.session)
        if run is not None and self._is_the_runs(run):
            found.append((run, Evidence("session", f"session {run.session}, made for the run")))
        return [] if found and self._elsewhere(process.pid) else found

    def _is_the_runs(self, run: Run) -> bool:
        """Session numbers are reused, as PIDs are: a member has to vouch for it."""
        if run.nonce not in self._vouched_for:
            self._vouched_for[run.nonce] = self._vouched(run)
        return self._vouched_for[run.nonce]

    def _vouched(self, run: Run) -> bool:
        leader = self._rows.get(run.session or 0)
        if leader is not None and not leader.gone:
            return self._facts.names(run) and run.main is not None and run.main.pid == leader.pid
        marker = f"{self._facts.project.digest}/{run.service}/"
        members = [row for row in self._rows.values() if row.session == run.session and not row.gone]
        if any((row.marker or "").startswith(marker) for row in members):
            return True
        places = self._facts.places
        return places.proves_something and any(
            places.holds(row, self._facts.details_of(row.pid)) is True for row in members
        )

    def _elsewhere(self, pid: int) -> bool:
        """Whether it is in another PID namespace, where marker, cgroup and session prove nothing."""
        theirs, ours = self._facts.details_of(pid).namespaces, self._facts.me.namespaces
        return theirs is not None and ours is not None and theirs[0] != ours[0]
