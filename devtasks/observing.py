"""Observe: one look at the machine, judged. Every verb begins here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from devtasks.model import Details, Identity, Match, Process, Project, Rejection, Run, Service, Snapshot
from devtasks.ownership import Candidates, Facts, Judge, Places, is_probe
from devtasks.programs.patterns import matcher
from devtasks.store import pidfile, statedir
from devtasks.store.state import State
from devtasks.values import Value, replace
from devtasks.world import World

_EXIT_RECORD_SECONDS = 0.1  # how long a runner may take to write down an end that we saw
_LOOK_SECONDS = 0.005


class Observation(Value):
    """What is there, and whose it is. PIDs are those of `table`, the process table that was judged."""

    project: Project
    table: Snapshot
    judge: Judge
    matches: Mapping[str, tuple[Match, ...]]  # by service; also services that are configured no more
    rejections: tuple[Rejection, ...]
    runners: Mapping[str, tuple[Process, ...]]
    pid_files: Mapping[str, pidfile.Reading]
    listening: frozenset[int]  # of the configured ports
    runs: tuple[Run, ...]
    elsewhere: frozenset[str]  # services with an open run in another PID namespace

    def of(self, service: str) -> tuple[Match, ...]:
        return self.matches.get(service, ())

    def pids(self) -> list[int]:
        """All that is ours."""
        return [match.process.pid for found in self.matches.values() for match in found]

    def forgotten(self) -> tuple[str, ...]:
        """Services that are configured no more and of which something lives.

        Probe commands are not among them, while their parent lives: it ends them by itself.
        """
        known = {service.name for service in self.project.services}
        return tuple(
            name for name in self.matches if name not in known and not (is_probe(name) and name in self.runners)
        )

    def idle_runners(self, service: str, gone: Collection[int] = ()) -> list[Process]:
        """Runners of a service without a living child: they are about to launch it, or about to leave.

        `gone` are PIDs that are known to have ended since the table was read.
        """
        runners = self.runners.get(service, ())
        if not runners:
            return []
        rows = self.table.processes.values()
        parents = {row.ppid for row in rows if not row.gone and row.pid not in gone}
        return [row for row in runners if row.pid not in parents]

    def holders(self, port: int) -> tuple[int, ...] | None:
        """Who listens on a configured port: PIDs, () when we may not see, None when nobody does."""
        return self.judge.facts.holders.get(port, ()) if port in self.listening else None


class Observer:
    """Looks at one project on one machine; what is the same for every look is found out once."""

    def __init__(self, world: World, project: Project, state: State) -> None:
        self.world = world
        self.project = project
        self.state = state
        self.known: Snapshot | None = None  # an earlier look, on which the next one builds
        cwds = [service.cwd for service in project.services if service.cwd != project.root]
        self._places = Places(project.root, cwds)
        self._matchers = {service.name: matcher(service) for service in project.services}
        self._candidates = Candidates(self._matchers.values())
        self._me = world.my_details()
        self._callers = world.ancestry()
        self._users = _reachable_users(self._me, project)
        self._owners = statedir.owners(project.root)
        self._ports = frozenset(port for service in project.services for port in service.ports)
        self._runs: tuple[Run, ...] = ()
        self._elsewhere: frozenset[str] = frozenset()

    def observe(self, previous: Snapshot | None = None) -> Observation:
        """Look at everything. The state is brought in line with what is seen."""
        self.state.collect_exits(self.project)
        self._recall()
        table = self.world.look(previous or self.known)
        self.known = table if self.known is not None else None
        observation = self._judge(table)
        self._reconcile(table.processes)
        return observation

    def reconcile(self) -> None:
        """Bring the state in line with the process table, of which only what it names is looked at."""
        self.state.collect_exits(self.project)
        self._reconcile({})

    def newer(self, before: Observation) -> tuple[Observation, tuple[int, ...]]:
        """The observation with what was created since, and the PIDs of that. Known rows stay as they were."""
        table, arrived = self.world.newer(before.table)
        if not arrived:
            return replace(before, table=table), ()
        return self._judge(table, before=before, only=arrived), arrived

    def recheck(self, before: Observation, pids: Iterable[int]) -> Observation:
        """The observation with `pids` read anew: those that are gone are no matches any more.

        A process keeps the parent under which it was judged, so that orphans do not lose their descent.
        """
        pids = tuple(pids)
        fresh = self.world.reread(pids)
        rows = dict(before.table.processes)
        for pid in pids:
            old, new = rows.get(pid), fresh.get(pid)
            if old is None:
                continue  # a later look did not find it any more
            if new is None or new.start != old.start:
                rows[pid] = old._replace(state="X")
            else:
                rows[pid] = new._replace(ppid=old.ppid)
        return self._judge(replace(before.table, processes=rows), before=before, only=pids)

    # ----------------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """The runs worth knowing: open ones, and of each service the last few, whose session may live on."""
        runs = {run.nonce: run for run in self.state.open_runs()}
        for service in self.project.services:
            runs |= {run.nonce: run for run in self.state.runs(service.name, 5)}
        here = [run for run in runs.values() if run.boot == self.world.boot]
        self._runs = tuple(
            sorted(
                (run for run in here if run.namespace == self.world.namespace),
                key=lambda run: run.started_at,
                reverse=True,
            )
        )
        self._elsewhere = frozenset(
            run.service for run in here if run.namespace != self.world.namespace and run.ended_at is None
        )

    def _judge(
        self, table: Snapshot, *, before: Observation | None = None, only: tuple[int, ...] | None = None
    ) -> Observation:
        readings = before.pid_files if before else self.read_pid_files()
        facts = Facts(
            project=self.project,
            table=table,
            runs=self._runs,
            pid_files={name: reading.pid for name, reading in readings.items() if reading.pid is not None},
            matchers=self._matchers,
            places=self._places,
            details=_Lazily(self.world),
            me=self._me,
            users=self._users,
            callers=self._callers,
            cgroup_members=self._cgroups(),
        )
        judge = Judge(facts)
        candidates = tuple(self._candidates.of(facts)) if only is None else only
        listening = self.world.listening(self._ports)
        if listening:
            known = before.pids() if before is not None else [pid for pid in candidates if judge.proven(pid)]
            holders = self.world.holders(listening, known)
            facts = replace(facts, holders=holders)
            judge = Judge(facts)
            if only is None:
                candidates = tuple(self._candidates.of(facts))
        matches: dict[str, list[Match]] = {}
        rejections: list[Rejection] = []
        if before is not None and only is not None:
            matches = {
                name: [match for match in found if match.process.pid not in only]
                for name, found in before.matches.items()
            }
            rejections = [item for item in before.rejections if item.process.pid not in only]
        verdicts = {pid: judge.verdict(pid) for pid in candidates}
        if only is None:
            swept = [pid for pid, found in verdicts.items() if isinstance(found, Match) and not judge.proven(pid)]
            verdicts |= {pid: judge.verdict(pid) for pid in self._candidates.below(swept) if pid not in verdicts}
        for verdict in verdicts.values():
            if isinstance(verdict, Match):
                matches.setdefault(verdict.service, []).append(verdict)
            elif isinstance(verdict, Rejection):
                rejections.append(verdict)
        return Observation(
            project=self.project,
            table=table,
            judge=judge,
            matches={name: tuple(found) for name, found in matches.items() if found},
            rejections=tuple(rejections),
            runners=_runners(judge, table),
            pid_files=readings,
            listening=listening,
            runs=self._runs,
            elsewhere=self._elsewhere,
        )

    def read_pid_files(self) -> dict[str, pidfile.Reading]:
        """What each service's PID file says; where a daemon writes its own, that one."""
        return {
            service.name: pidfile.read(service.daemon_pid_file or service.pid_file, self._owners)
            for service in self.project.services
        }

    def _cgroups(self) -> dict[int, Run]:
        found: dict[int, Run] = {}
        for run in self._runs:
            if run.cgroup:
                found.update(dict.fromkeys(self.world.cgroup_members(run.cgroup) or (), run))
        return found

    def _reconcile(self, rows: Mapping[int, Process]) -> None:
        """End, in the state, the runs of which nothing is left, and what ended processes had registered.

        The process table always wins. `rows` are what was seen of it a moment ago.
        """
        gone = {run.nonce: run for run in self.state.open_runs() if self._is_over(run, rows)}
        if any(run.boot == self.world.boot for run in gone.values()):
            gone = self._without_recorded(gone)
        for run in gone.values():
            cause = "gone" if run.boot == self.world.boot else "reboot"
            self.state.finish(run.nonce, ended_at=self.world.now(), cause=cause)
        for owner in self.state.registered_owners():
            if owner.boot != self.world.boot:
                self.state.finish_child(owner, ended_at=self.world.now(), cause="reboot")
            elif self._ended(owner, rows):
                self.state.finish_child(owner, ended_at=self.world.now(), cause="gone")

    def _is_over(self, run: Run, rows: Mapping[int, Process]) -> bool:
        if run.boot != self.world.boot:
            return True
        return run.main is not None and self._ended(run.main, rows)

    def _without_recorded(self, gone: Mapping[str, Run]) -> dict[str, Run]:
        """Those of the runs whose end nobody writes down: a runner that lives does so in a moment."""
        deadline = self.world.monotonic() + _EXIT_RECORD_SECONDS
        while True:
            self.state.collect_exits(self.project)
            still_open = {run.nonce for run in self.state.open_runs()}
            gone = {nonce: run for nonce, run in gone.items() if nonce in still_open}
            awaited = any(run.runner is not None and not self._ended(run.runner, {}) for run in gone.values())
            if not awaited or self.world.monotonic() >= deadline:
                return dict(gone)
            self.world.sleep(_LOOK_SECONDS)

    def _ended(self, one: Identity, rows: Mapping[int, Process]) -> bool:
        """Whether a process of this boot is over. One in another PID namespace is not judged."""
        if one.boot != self.world.boot or one.namespace != self.world.namespace or _lives(one, rows):
            return False
        return not _lives(one, self.world.reread([one.pid]))  # it may have begun since that look


def _lives(one: Identity, rows: Mapping[int, Process]) -> bool:
    row = rows.get(one.pid)
    return row is not None and not row.gone and row.start == one.start


class _Lazily(Mapping[int, Details]):
    """Details read when they are asked for, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[int, Details] = {}

    def __getitem__(self, pid: int) -> Details:
        if pid not in self._known:
            self._known[pid] = self._world.details([pid]).get(pid, Details())
        return self._known[pid]

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _runners(judge: Judge, table: Snapshot) -> dict[str, tuple[Process, ...]]:
    found: dict[str, tuple[Process, ...]] = {}
    for row in table.processes.values():
        if row.runner and not row.gone:
            service = judge.run_attended(row)
            if service is not None:
                found[service] = (*found.get(service, ()), row)
    return found


def _reachable_users(me: Details, project: Project) -> frozenset[int]:
    """Whose processes a sweep may reach: our own and, for root, those of the folder's owner."""
    if me.uid is None:
        return frozenset()
    return frozenset({me.uid, project.root.stat().st_uid}) if me.uid == 0 else frozenset({me.uid})


def select(project: Project, names: Iterable[str]) -> tuple[Service, ...]:
    """The services that `names` mean: a group means all its instances, no name means all services."""
    wanted = set(names)
    return tuple(
        service for service in project.services if not wanted or service.name in wanted or service.group in wanted
    )
