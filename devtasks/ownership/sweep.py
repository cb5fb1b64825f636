"""What is enough only together: a port or a pattern of a service, and the project as its place.

Meant for what devtasks did not start: a server started by hand, or one whose every trace was lost. So it errs on
the side of leaving alone: whatever cannot be read is not ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from devtasks import programs
from devtasks.model import Evidence, Match, Process, Rejection, Rule, Service
from devtasks.ownership.facts import Facts
from devtasks.ownership.lineage import Barred, Lineages


class Sweep:
    """The claims of services on processes that nothing proves theirs. Answers are remembered."""

    def __init__(self, facts: Facts, lineages: Lineages) -> None:
        self._facts = facts
        self._lineages = lineages
        self._known: dict[int, Match | Rejection | None] = {}
        self._listens: dict[int, list[int]] = {}
        for port, pids in facts.holders.items():
            for pid in pids:
                self._listens.setdefault(pid, []).append(port)

    def verdict(self, process: Process, barred: Barred | None) -> Match | Rejection | None:
        """Ours, claimed but rejected, or (None) claimed by no service."""
        trail: list[Process] = []
        above: Process | None = process
        while above is not None and above.pid not in self._known:
            self._known[above.pid] = None  # a loop of parents ends here
            trail.append(above)
            above = self._leader(above)
        for one in reversed(trail):
            self._known[one.pid] = self._judge(one, barred if one is process else None)
        return self._known[process.pid]

    def _judge(self, process: Process, barred: Barred | None) -> Match | Rejection | None:
        rejection: Rejection | None = None
        for service, evidence in self.claims(process):
            objection = next((rule for rule in self.objections(process, barred) if not rule.holds), None)
            if objection is None:
                return Match(process=process, service=service.name, evidence=evidence)
            rejection = rejection or Rejection(process=process, service=service.name, reason=objection.detail)
        return rejection or self._follows(process, barred)

    def claims(self, process: Process) -> list[tuple[Service, tuple[Evidence, ...]]]:
        """The services that the process seems to be, by port or by pattern, the likeliest first."""
        found = []
        ports = self._listens.get(process.pid, ())
        for service in self._facts.project.services:
            evidence = [Evidence("port", f"listens on {port}") for port in ports if port in service.ports]
            matcher = self._facts.matchers[service.name]
            if process.cmdline and matcher.may_match(process.cmdline):
                matched = matcher.match(process.argv)
                if matched is not None:
                    matched = matcher.match(process.argv, self._facts.details_of(process.pid).cwd)
                if matched is not None:
                    evidence.append(Evidence("pattern", matched))
            if evidence:
                found.append((service, tuple(evidence)))
        if len(found) > 1:
            cwd = self._facts.details_of(process.pid).cwd or ""
            # A port belongs to one service; among those that run alike, the one whose folder is nearest
            found.sort(key=lambda claim: (claim[1][0].kind != "port", -_nearness(str(claim[0].cwd), cwd)))
        return found

    def objections(self, process: Process, barred: Barred | None) -> Iterator[Rule]:
        """The rules that a claimed process has to pass, cheapest first; the first that fails decides."""
        facts = self._facts
        details = facts.details_of(process.pid)
        production = facts.project.production
        broad = not facts.places.proves_something
        mention = programs.bystander(process.argv, terminal=process.terminal != 0)
        yield Rule(
            "not barred", barred is None or not barred.entirely, barred.reason if barred else "nothing bars it"
        )
        yield Rule(
            "environment",
            not production,
            f"environment is {facts.project.environment}"
            + (", which forbids acting on a port or a pattern alone" if production else ""),
        )
        yield Rule(
            "root",
            not broad,
            f"root {facts.places.root}" + (" holds everything, so it proves nothing" if broad else ""),
        )
        yield Rule(
            "program", mention is None, f"{mention}, which only mentions it" if mention else "may be a service"
        )
        yield Rule(
            "user",
            details.uid in facts.users,
            "its user could not be read" if details.uid is None else f"belongs to user {details.uid}",
        )
        same = details.namespaces is not None and details.namespaces == facts.me.namespaces
        yield Rule(
            "namespaces",
            same,
            "the same as ours" if same else "in other namespaces than ours, or they cannot be read",
        )
        inside = facts.places.holds(process, details)
        where = "its working folder cannot be read" if inside is None else f"works in {details.cwd}"
        yield Rule("place", inside is True, f"{where}, {'inside' if inside else 'not inside'} the project")
        starter = self._starter(process)
        yield Rule(
            "starter", starter is None, f"started by a {starter}" if starter else "by no test runner or debugger"
        )

    def _starter(self, process: Process) -> str | None:
        """The test runner or debugger above it, unless that is above the caller as well."""
        seen: set[int] = set()
        above = self._facts.parent(process)
        while above is not None and above.pid > 1 and above.pid not in seen:
            seen.add(above.pid)
            kind = programs.spawns_its_own(above.argv) if above.pid not in self._facts.callers else None
            if kind is not None:
                return f"{kind} (PID {above.pid})"
            above = self._facts.parent(above)
        return None

    def _follows(self, process: Process, barred: Barred | None) -> Match | None:
        """What a swept process started goes with it, unless it is a user's own program that went its own way."""
        parent = self._leader(process)
        above = self._known.get(parent.pid) if parent is not None else None
        if barred is not None or parent is None or not isinstance(above, Match):
            return None
        terminal = process.terminal != 0
        if process.session != parent.session and programs.users_own(process.argv, terminal=terminal):
            return None
        evidence = Evidence("descendant", f"child of PID {parent.pid}")
        return Match(process=process, service=above.service, evidence=(evidence,))

    def _leader(self, process: Process) -> Process | None:
        """The parent that it goes with, if that one is swept: nothing proves it ours, and nothing bars it."""
        parent = self._facts.parent(process)
        if parent is None or self._facts.never(parent) or self._lineages.of(parent.pid) is not None:
            return None
        return parent


def _nearness(folder: str, cwd: str) -> int:
    """How deep `folder` is, if `cwd` is in it; else 0."""
    return len(folder) if f"{cwd}/".startswith(f"{folder.rstrip('/')}/") else 0
