"""A service on its way out: its processes, what each was sent, and the rung it is on."""

from __future__ import annotations

from dataclasses import dataclass, field

from devtasks.model import Match, StopPolicy
from devtasks.outcomes import Survivor
from devtasks.world import Handle

KILL_SECONDS = 5.0  # how long the kernel may take to end what was killed (uninterruptible sleep, core dumps)


@dataclass(slots=True)
class Target:
    """One process on its way out."""

    match: Match
    handle: Handle | None = None
    sent: list[str] = field(default_factory=list)
    gone: bool = False
    held: bool = False  # it was sent STOP, so that it replaces nobody
    trouble: str | None = None  # why it cannot be signalled

    @property
    def pid(self) -> int:
        return self.match.process.pid


@dataclass(slots=True)
class Ending:
    """One service on its way out. `rung` counts through its signals; past the last is KILL."""

    name: str
    policy: StopPolicy
    began: float
    rung: int = 0
    killing_since: float | None = None
    given_up: bool = False
    targets: dict[int, Target] = field(default_factory=dict)

    @property
    def killed_before(self) -> bool:
        """Whether a round of killing is over; who is alive now came after it, or takes his time to die."""
        return any(target.gone and "KILL" in target.sent for target in self.targets.values())

    @property
    def live(self) -> list[Target]:
        return [target for target in self.targets.values() if not target.gone]

    @property
    def able(self) -> list[Target]:
        """Those alive that can be signalled."""
        return [target for target in self.live if target.trouble is None]

    @property
    def asked(self) -> list[Target]:
        """Those alive that were sent the present signal; where none can be sent any, all that live.

        What may not be signalled may end all the same, when what it worked for is gone.
        """
        signal = self.signal
        return [target for target in self.able if signal in target.sent] if self.able else self.live

    @property
    def signal(self) -> str:
        return "KILL" if self.killing_since is not None else self.policy.signals[self.rung]

    def deadline(self) -> float:
        """When the present rung ends."""
        if self.killing_since is not None:
            return self.killing_since + KILL_SECONDS
        share = self.policy.timeout_seconds / len(self.policy.signals)
        return self.began + share * (self.rung + 1)

    @property
    def stopped(self) -> tuple[int, ...]:
        return tuple(sorted(t.pid for t in self.targets.values() if t.gone and "KILL" not in t.sent))

    @property
    def killed(self) -> tuple[int, ...]:
        return tuple(sorted(t.pid for t in self.targets.values() if t.gone and "KILL" in t.sent))

    @property
    def survivors(self) -> tuple[Survivor, ...]:
        return tuple(Survivor(pid=target.pid, reason=self._reason(target)) for target in self.live)

    def _reason(self, target: Target) -> str:
        if target.trouble is not None:
            return target.trouble
        if not self.policy.kill:
            asked = " and ".join(self.policy.signals)
            return f"still alive {self.policy.timeout_seconds:g} s after {asked}, and kill = false"
        if not target.sent:
            return "came when all time was over: something that is not ours starts it again and again"
        return f"still alive {KILL_SECONDS:g} s after KILL (state {target.match.process.state})"
