"""The verdict on one process: proven, swept, rejected, or none of ours."""

from __future__ import annotations

from devtasks.model import Evidence, Match, Process, Rejection, Rule
from devtasks.ownership.facts import Facts
from devtasks.ownership.lineage import Barred, Lineages, Owned
from devtasks.ownership.marker import split_marker
from devtasks.ownership.sweep import Sweep


class Judge:
    """Applies the rules to processes of one set of facts. Pure: the same facts, the same verdicts."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._lineages = Lineages(facts)
        self._sweep = Sweep(facts, self._lineages)

    def verdict(self, pid: int) -> Match | Rejection | None:
        """Ours, considered and rejected, or (None) nothing to do with the project."""
        process = self.facts.table.processes.get(pid)
        if process is None or process.gone or self.facts.never(process) or process.runner:
            return None
        proof = self._lineages.proof(process)
        if proof is not None:
            return Match(process, *proof)
        lineage = self._lineages.of(pid)
        return self._sweep.verdict(process, lineage if isinstance(lineage, Barred) else None)

    def evidence(self, match: Match) -> tuple[Evidence, ...]:
        """All the evidence for a match, where the verdict stops at what is enough."""
        return self._lineages.all_evidence(match.process) or match.evidence

    def proven(self, pid: int) -> bool:
        """Whether the walk alone makes it ours: a likely owner of a port."""
        return isinstance(self._lineages.of(pid), Owned)

    def nonce(self, pid: int) -> str | None:
        """The run that it is proven to belong to."""
        lineage = self._lineages.of(pid)
        return lineage.nonce if isinstance(lineage, Owned) else None

    def run_attended(self, process: Process) -> str | None:
        """The service whose run this process attends as its runner, if it is one of ours."""
        if not process.runner:
            return None
        digest, service, _ = split_marker(process.marker)
        return service if digest == self.facts.project.digest else None

    def explain(self, pid: int) -> tuple[Rule, ...]:
        """Every rule, pass or fail, for one process of the table."""
        process = self.facts.table.processes[pid]
        lineage = self._lineages.of(pid)
        barred = lineage if isinstance(lineage, Barred) else None
        proven = {item.kind: item.detail for item in self._lineages.all_evidence(process)}
        claimed = {item.kind: item.detail for _, items in self._sweep.claims(process) for item in items}
        caller = pid in self.facts.callers
        system = pid <= 1 or process.kernel
        return (
            Rule(
                "not the caller", not caller, "the caller or above it" if caller else "neither caller nor above it"
            ),
            Rule("not the system", not system, "PID 1 or a kernel thread" if system else "an ordinary process"),
            Rule(
                "not a runner",
                not process.runner,
                "attends a run, and leaves when it has ended" if process.runner else "attends no run",
            ),
            Rule("walk", barred is None, barred.reason if barred else "nothing above it ends the walk"),
            Rule("pid-file", "pid-file" in proven, proven.get("pid-file", "not the recorded main process")),
            Rule("marker", "marker" in proven, proven.get("marker", f"DEVTASKS_ID={process.marker or ''}")),
            Rule("descendant", "descendant" in proven, proven.get("descendant", "of nothing that is ours")),
            Rule("cgroup", "cgroup" in proven, proven.get("cgroup", "in no cgroup of a run")),
            Rule("session", "session" in proven, proven.get("session", f"session {process.session} is no run's")),
            Rule("port", "port" in claimed, claimed.get("port", "listens on no configured port")),
            Rule("pattern", "pattern" in claimed, claimed.get("pattern", "matches none from its program on")),
            *self._sweep.objections(process, barred),
        )
