"""Stop runs by their nonces: what one `up` began, and not what became of the same services since."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from devtasks.ending import Ending
from devtasks.errors import Interrupted
from devtasks.model import Project, Service
from devtasks.observing import Observation, Observer
from devtasks.ownership.marker import split_marker
from devtasks.planning import levels
from devtasks.standing import stand
from devtasks.stopping import Ended, Stopper
from devtasks.store import exits, pidfile, statedir
from devtasks.store.state import State
from devtasks.values import Value, replace
from devtasks.world import World

Begins = Callable[[Stopper, tuple[Service, ...]], None]

_PASSES = 2  # that find nothing: what was being forked at the first look has executed its program at the second
_PAUSE_SECONDS = 0.2
_ROUNDS = 10


class RunsObserver(Observer):
    """Sees of the services only what belongs to certain runs. What else is theirs is not there."""

    def __init__(self, world: World, project: Project, state: State, nonces: Collection[str]) -> None:
        super().__init__(world, project, state)
        self._nonces = frozenset(nonces)

    def _judge(self, *arguments: Any, **options: Any) -> Observation:
        seen = super()._judge(*arguments, **options)
        matches = {
            name: tuple(match for match in found if seen.judge.nonce(match.process.pid) in self._nonces)
            for name, found in seen.matches.items()
        }
        runners = {
            name: tuple(row for row in found if split_marker(row.marker).nonce in self._nonces)
            for name, found in seen.runners.items()
        }
        return replace(
            seen,
            matches={name: found for name, found in matches.items() if found},
            runners={name: found for name, found in runners.items() if found},
            runs=tuple(run for run in seen.runs if run.nonce in self._nonces),
        )


class Ends(Value):
    """How the runs came to their end. `interrupted`: what hastened it."""

    endings: tuple[Ending, ...]
    interrupted: BaseException | None = None

    @property
    def ok(self) -> bool:
        return not any(ending.survivors for ending in self.endings)


class Runs:
    """The runs that one `up` began, by service: the last of each."""

    def __init__(self, world: World, project: Project, state: State, nonces: Mapping[str, str]) -> None:
        self._world = world
        self._project = project
        self._state = state
        self._nonces = nonces
        self._observer = RunsObserver(world, project, state, nonces.values())
        self._services = tuple(one for one in project.services if one.name in nonces)

    def alive(self) -> tuple[Service, ...]:
        """The services of which something lives."""
        seen = self._observer.observe()
        return tuple(one for one in self._services if seen.of(one.name) or seen.runners.get(one.name))

    def end(self, begins: Begins = lambda _stopper, _services: None) -> Ends:
        """Stop them, dependants first, each within its own time.

        `begins` hears of each group of services that is about to be asked, and of who asks. An interruption
        hastens it: what is being asked is killed, and so is all that follows. A second one between two groups
        is raised.
        """
        self._unwant()
        endings: dict[str, Ending] = {}
        interrupted: BaseException | None = None
        waiting = [*levels(self._services)]
        while waiting:
            try:
                ended = self._end_group(waiting[-1], begins, force=interrupted is not None)
            except (KeyboardInterrupt, Interrupted) as interruption:
                if interrupted is not None:
                    raise
                interrupted = interruption
                continue
            interrupted = interrupted or ended.interrupted
            endings |= ended.endings
            waiting.pop()
        return Ends(endings=tuple(endings.values()), interrupted=interrupted)

    def others(self) -> tuple[tuple[Service, int], ...]:
        """Which services run all the same, as somebody else's runs, and their main processes."""
        everything = Observer(self._world, self._project, self._state)
        seen = everything.observe()
        found = ((one, stand(seen, one).main) for one in self._project.services)
        return tuple((one, main.pid) for one, main in found if main is not None)

    def _end_group(self, group: tuple[Service, ...], begins: Begins, *, force: bool) -> Ended:
        seen = self._observer.observe()
        stopper = Stopper(self._observer, seen)
        begins(stopper, tuple(one for one in group if seen.of(one.name)))
        ended = stopper.stop(group, force=force)
        for service in group:
            self._tidy(service, ended.endings[service.name])
        return ended

    def _unwant(self) -> None:
        """No monitor may start them again, now or later. What somebody else has started since stays wanted."""
        last = {one.name: self._state.last_run(one.name) for one in self._services}
        mine = [name for name, run in last.items() if run is None or run.nonce == self._nonces[name]]
        self._state.watching.unwant(mine)

    def end_all(self) -> None:
        """Stop them until nobody comes any more: a launch may have been under way."""
        clean = 0
        for _ in range(_ROUNDS):
            if self.alive():
                clean = 0
                self.end()
            else:
                clean += 1
                if clean == _PASSES:
                    return
            self._world.sleep(_PAUSE_SECONDS)

    def _tidy(self, service: Service, ending: Ending) -> None:
        """Remove the PID file of what has ended, now or before; say in the state that the run is over."""
        if ending.survivors:
            return
        nonce = self._nonces[service.name]
        end = next((one for one in exits.read(self._project) if one.nonce == nonce), None)
        self._state.finish(
            nonce,
            ended_at=end.at if end is not None else self._world.now(),
            exit_code=end.status if end is not None else None,
            cause="stopped",
        )
        ended = set(ending.targets)
        for run in self._state.runs(service.name, 5):
            if run.nonce == nonce and run.main is not None:
                ended.add(run.main.pid)
            if run.nonce == nonce and run.cgroup:
                self._world.remove_cgroup(run.cgroup)
        reading = pidfile.read(service.pid_file, statedir.owners(self._project.root))
        if reading.pid in ended:
            pidfile.remove_if_unchanged(reading.path, reading)
