"""Stop services: everything of theirs, and nothing else, until nothing is left.

Straight down: ask the roots, ask what remains, and at the timeout kill. Waiting is for exits, never for a
clock. Whether anything is left is not believed after one look: processes that fork while they are being ended
are followed through the PIDs the kernel gave out (docs/stopping.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from devtasks.ending import Ending, Target
from devtasks.errors import Interrupted
from devtasks.model import Match, Process, Rejection, Service, StopPolicy
from devtasks.observing import Observation, Observer
from devtasks.planning import roots
from devtasks.values import replace
from devtasks.world import Handle

RUNNER_SECONDS = 2.0  # how long a runner may take to notice that its last descendant has ended
_YOUNG_SECONDS = 0.2  # a process this old has long done the exec that followed its fork
_PASSES_WITHOUT_CURSOR = 2  # that find nothing, where nobody tells which processes are new
_NO_ROOM = -(1 << 30)  # for pins, whatever is given back
_SLICE_SECONDS = 0.02  # between looks at what could not be pinned
_DEFAULT_POLICY = StopPolicy()
_NOT_ALLOWED = "may not be signalled: it belongs to another user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How it went: one Ending a service, and the last observation."""

    endings: dict[str, Ending]
    observation: Observation
    interrupted: BaseException | None = None


class Stopper:
    """Ends the services it is given, all at the same time."""

    def __init__(
        self, observer: Observer, seen: Observation, sent: Callable[[int, str], None] | None = None
    ) -> None:
        """`sent` hears of every signal: the PID, and the signal's name."""
        self._sent = sent or (lambda _pid, _name: None)
        self._observer = observer
        self._world = observer.world
        self._seen = seen
        self._endings: dict[str, Ending] = {}
        self._interrupted: BaseException | None = None
        self._room = self._world.pin_room()
        self._began = self._world.now()

    @property
    def endings(self) -> tuple[Ending, ...]:
        """The services on their way out, for whoever shows it meanwhile, from another thread, too."""
        return tuple(self._endings.values())

    def stop(
        self, services: Iterable[Service | str], *, force: bool = False, timeout_seconds: float | None = None
    ) -> Ended:
        """End the services; a name alone stands for one that is configured no more.

        Returns when nothing of them is left, or what is left cannot be ended. An interruption hastens it
        (what was asked to end is killed) and is handed back.
        """
        now = self._world.monotonic()
        for service in services:
            name, policy = (service, _DEFAULT_POLICY) if isinstance(service, str) else (service.name, service.stop)
            if timeout_seconds is not None:
                policy = StopPolicy(signals=policy.signals, timeout_seconds=timeout_seconds, kill=policy.kill)
            self._endings[name] = Ending(name, policy, began=now, killing_since=now if force else None)
        self._thaw()
        self._note_stopping(self._endings)
        try:
            self._until_nothing_is_left()
        finally:
            for ending in self._endings.values():
                for target in ending.targets.values():
                    self._release(target)
                    self._unpin(target)
            self._tell()
        self._note_stopping([ending.name for ending in self._endings.values() if ending.live], over=True)
        return Ended(endings=self._endings, observation=self._seen, interrupted=self._interrupted)

    # ----------------------------------------------------------------------------------------------------

    def _until_nothing_is_left(self) -> None:
        while True:
            try:
                self._admit()
                self._signal()
                busy = [ending for ending in self._endings.values() if ending.live and not ending.given_up]
                asked = [ending for ending in busy if ending.asked]
                if asked:
                    self._wait(asked)
                    self._climb(asked)
                elif not busy:
                    if not self._something_new():
                        self._verify()
                        return
                    self._climb(self._endings.values())
            except (KeyboardInterrupt, Interrupted) as interruption:
                if self._interrupted is not None:
                    raise
                self._interrupted = interruption
                for ending in self._endings.values():
                    self._kill(ending)

    def _admit(self) -> None:
        """Take in what the last look found."""
        for ending in self._endings.values():
            for match in self._seen.of(ending.name):
                known = ending.targets.get(match.process.pid)
                if known is None or known.match.process.start != match.process.start:
                    ending.targets[match.process.pid] = Target(match)

    def _signal(self) -> None:
        """Send each service's present signal to those whose turn it is, after checking once more who they are."""
        killing = [
            ending.name
            for ending in self._endings.values()
            if ending.killing_since is not None and any(ending.signal not in t.sent for t in ending.able)
        ]
        with self._frozen(killing):
            self._hold(killing)
            young = self._world.born_before(_YOUNG_SECONDS)
            doubtful: list[tuple[Target, str]] = []
            for ending in self._endings.values():
                for target in _turn(ending):
                    if not target.sent:
                        self._pin(target)
                    if target.gone or target.trouble is not None:
                        continue
                    if not target.sent and _doubtful(target.match, young):
                        doubtful.append((target, ending.signal))
                    else:
                        self._send(target, ending.signal)
            for target, name in self._rechecked(doubtful):
                self._send(target, name)

    def _hold(self, services: list[str]) -> None:
        """Stop what replaces itself while it is being killed, until a look finds nobody who still moves.

        What is stopped neither forks nor sees anybody die. Only for services of which some were killed already and
        more came: all others die in the first round, and nobody sees them stopped.
        """
        again = [self._endings[name] for name in services if self._endings[name].killed_before]
        while any(self._world.monotonic() < ending.deadline() for ending in again):
            moving = [target for ending in again for target in ending.able if not target.sent and not target.held]
            if not moving:
                return
            young = self._world.born_before(_YOUNG_SECONDS)
            for target in moving:
                self._pin(target)
            pinned = [target for target in moving if not target.gone and target.trouble is None]
            doubtful = [(target, "STOP") for target in pinned if _doubtful(target.match, young)]
            self._rechecked(doubtful)
            for target in pinned:
                if not target.gone:
                    target.held = True
                    self._deliver(target, "STOP")
            self._seen, _ = self._observer.newer(self._seen)
            self._admit()

    def _release(self, target: Target) -> None:
        """Let it go on, where it was held and is not killed after all."""
        if target.held and "KILL" not in target.sent:
            target.held = False
            self._deliver(target, "CONT")

    def _rechecked(self, doubtful: list[tuple[Target, str]]) -> list[tuple[Target, str]]:
        """Read the evidence for pinned processes again; those for which it still holds."""
        if not doubtful:
            return []
        self._seen = self._observer.recheck(self._seen, [target.pid for target, _ in doubtful])
        still = {(name, match.process.pid) for name, found in self._seen.matches.items() for match in found}
        rows = self._seen.table.processes
        for target, _ in doubtful:
            if (target.match.service, target.pid) not in still:
                target.gone = True
                row = rows.get(target.pid)
                if row is not None and not row.gone:
                    self._disown(target)
        return [(target, name) for target, name in doubtful if not target.gone]

    def _disown(self, target: Target) -> None:
        """It lives and is not ours any more: among the rejected, not among those that ended."""
        for ending in self._endings.values():
            if ending.targets.get(target.pid) is target:
                del ending.targets[target.pid]
        self._release(target)
        self._unpin(target)

    def _unpin(self, target: Target) -> None:
        if target.handle is not None:
            target.handle.close()
            target.handle = None
            self._room += 1

    def _pin(self, target: Target) -> None:
        if self._room <= 0 or target.handle is not None:
            return  # where descriptors are few, it is pinned for the moment of each signal instead
        try:
            target.handle = self._world.pin(target.match.process)
        except PermissionError:
            target.trouble = _NOT_ALLOWED
        except OSError:  # somebody else took the last: signals, and reading /proc, need some too
            for ending in self._endings.values():
                for pinned in ending.targets.values():
                    self._unpin(pinned)
            self._room = _NO_ROOM
        else:
            target.gone = target.handle is None
            self._room -= not target.gone

    def _send(self, target: Target, name: str) -> None:
        if target.trouble is not None:
            return
        # a stopped process cannot handle what it was sent
        self._deliver(target, *((name,) if name == "KILL" else (name, "CONT")))
        if target.trouble is not None:
            return
        target.sent.append(name)
        if not target.gone:
            self._sent(target.pid, name)

    def _deliver(self, target: Target, *names: str) -> None:
        handle = target.handle
        try:
            handle = handle or self._world.pin(target.match.process)
            alive = [handle is not None and handle.send(name) for name in names]
            target.gone = target.gone or not alive[0]
        except PermissionError:
            target.trouble = _NOT_ALLOWED
        except OSError as error:
            target.trouble = f"could not be signalled: {error.strerror}"
        finally:
            if handle is not None and target.handle is None:
                handle.close()

    def _wait(self, endings: list[Ending]) -> None:
        """Until all that one of them has asked are gone, or a rung is over."""
        timeout = max(0.0, min(ending.deadline() for ending in endings) - self._world.monotonic())
        left = {ending.name: len(ending.asked) for ending in endings}
        pinned: dict[int, tuple[Ending, Target]] = {}
        loose: list[Target] = []
        for ending in endings:
            for target in ending.asked:
                if target.handle is not None:
                    pinned[id(target.handle)] = ending, target
                else:
                    loose.append(target)

        def enough(handle: Handle) -> bool:
            ending, target = pinned[id(handle)]
            target.gone = True
            left[ending.name] -= 1
            return left[ending.name] == 0

        timeout = min(timeout, _SLICE_SECONDS) if loose else timeout
        handles = [target.handle for _, target in pinned.values() if target.handle is not None]
        if handles:
            self._world.wait(handles, timeout, enough)
        else:
            self._world.sleep(timeout)
        for _, target in pinned.values():
            if target.gone:
                self._unpin(target)
        self._look_at(loose)

    def _look_at(self, targets: Iterable[Target]) -> None:
        """Whether they are gone, where no pin tells."""
        wanted = tuple(targets)
        rows = self._world.reread(target.pid for target in wanted) if wanted else {}
        for target in wanted:
            row = rows.get(target.pid)
            target.gone = row is None or row.gone or row.start != target.match.process.start

    def _climb(self, endings: Iterable[Ending]) -> None:
        """At the end of a rung: the next signal, then KILL, then giving up.

        Also where all that was seen is gone: what replaces itself faster than it is asked must be killed, and
        what somebody else starts again and again must not keep us for ever.
        """
        now = self._world.monotonic()
        for ending in endings:
            if now < ending.deadline():
                continue
            if ending.killing_since is not None or (ending.live and not ending.able):
                ending.given_up = True
            elif ending.rung + 1 < len(ending.policy.signals):
                ending.rung += 1
            elif ending.policy.kill:
                self._kill(ending)
            else:
                ending.given_up = True

    def _kill(self, ending: Ending) -> None:
        if ending.killing_since is None and ending.policy.kill:
            ending.killing_since = self._world.monotonic()

    # --- is anything left? ------------------------------------------------------------------------------

    def _verify(self) -> None:
        """What came for a service after its time was over is named, too; what has ended since is no survivor."""
        if any(ending.given_up for ending in self._endings.values()):
            self._seen, _ = self._observer.newer(self._seen)
            self._admit()
            self._look_at(target for ending in self._endings.values() for target in ending.live)

    def _something_new(self) -> bool:
        """Whether processes of ours came into being since the last look; waits for runs that just begin."""
        deadline = self._world.monotonic() + RUNNER_SECONDS
        names = [ending.name for ending in self._endings.values() if not ending.given_up]
        passes = 0
        while names and self._world.monotonic() < deadline:
            moved = self._seen.table.cursor
            self._seen, arrived = self._observer.newer(self._seen)
            if arrived and self._unknown(names):
                return True
            if self._seen.table.unseen or self._seen.table.cursor != moved:
                continue
            passes += 1
            if moved is None and passes < _PASSES_WITHOUT_CURSOR:
                continue
            gone = {pid for name in names for pid, t in self._endings[name].targets.items() if t.gone}
            runners = [row for name in names for row in self._seen.idle_runners(name, gone)]
            if not runners:
                break
            if not self._have_left(runners):
                self._seen = self._observer.observe()  # who else do they attend?
                if self._unknown(names):
                    return True
        return False

    def _unknown(self, names: list[str]) -> bool:
        """Whether something was seen that is no target yet."""
        for name in names:
            targets = self._endings[name].targets
            for match in self._seen.of(name):
                target = targets.get(match.process.pid)
                if target is None or target.match.process.start != match.process.start:
                    return True
        return False

    def _have_left(self, runners: list[Process]) -> bool:
        """Whether the runners leave within a moment; those that do are none any more."""
        handles: list[Handle] = []
        for row in runners:
            with suppress(OSError):
                handle = self._world.pin(row)
                handles += [handle] if handle is not None else []
        waiting = {handle.pid for handle in handles}

        def enough(handle: Handle) -> bool:
            waiting.discard(handle.pid)
            return not waiting

        try:
            self._world.wait(handles, _SLICE_SECONDS, enough)
        finally:
            for handle in handles:
                handle.close()
        staying = {
            name: tuple(row for row in found if row.pid in waiting or row not in runners)
            for name, found in self._seen.runners.items()
        }
        self._seen = replace(self._seen, runners=staying)
        return not waiting

    def _tell(self) -> None:
        """Make an event of what was done, as far as it can be written."""
        if any(target.sent for ending in self._endings.values() for target in ending.targets.values()):
            from devtasks import recording

            state, now = self._observer.state, self._world.now()
            state.tell(recording.of_endings(self._endings.values(), state.asker, began=self._began, now=now))

    def _note_stopping(self, names: Collection[str], *, over: bool = False) -> None:
        """As far as it can be written: a start after a stop that was killed then knows what is on its way out."""
        open_runs = (run for run in self._seen.runs if run.service in names and run.ended_at is None)
        self._observer.state.stopping([run.nonce for run in open_runs], over=over)

    def _thaw(self) -> None:
        """What is frozen handles no signal: a stop that was killed may have left it so."""
        for run in self._seen.runs:
            if run.cgroup and run.service in self._endings:
                self._world.freeze(run.cgroup, frozen=False)

    @contextmanager
    def _frozen(self, services: list[str]) -> Iterator[None]:
        """Hold the cgroups of the services' runs still, so that nothing forks away while it is being killed."""
        paths = [run.cgroup for run in self._seen.runs if run.cgroup and run.service in services]
        try:
            if any([self._world.freeze(path, frozen=True) for path in paths]):  # noqa: C419 - all of them
                self._seen, _ = self._observer.newer(self._seen)
                self._admit()
            yield
        finally:
            # also those that did not freeze in time: they may do so later, with what is to be left alone in them
            for path in paths:
                self._world.freeze(path, frozen=False)


def _doubtful(match: Match, young: int) -> bool:
    """Whether the evidence may have changed although the pinned identity has not: by an exec.

    What is proven belongs to the identity. But what was born after `young` may be between fork and exec, on
    its way to another command line or to DEVTASKS_KEEP=1.
    """
    return match.process.start >= young or not match.proven


def _turn(ending: Ending) -> list[Target]:
    """Whose turn it is: all that can be, to be killed; the roots, to be asked; nobody is told twice."""
    able = ending.able
    if ending.killing_since is None:
        first = {row.pid for row in roots(target.match for target in able)}
        able = [target for target in able if target.pid in first]
    return [target for target in able if ending.signal not in target.sent]


def rejections_of(seen: Observation, service: str) -> tuple[Rejection, ...]:
    """What was considered for a service and left alone."""
    return tuple(item for item in seen.rejections if item.service == service)
