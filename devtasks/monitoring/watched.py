"""One service as its monitor knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from devtasks.health import Health
from devtasks.model import Identity, Run, Service
from devtasks.restarts import Budget
from devtasks.store.watching import ServiceBeat
from devtasks.world import Handle

Phase = Literal["unclear", "idle", "running", "ending", "waiting", "acting", "failed"]


@dataclass(slots=True)
class Watched:
    """unclear: found in the middle of somebody's start. idle: nothing is to be done.
    running: its main process lives. ending: it is gone, and how it ended not known
    yet. waiting: for the moment of a restart, or for what it depends on. acting: a thread stops or starts it.
    failed: restarting was given up.
    """

    service: Service
    phase: Phase = "idle"
    budget: Budget = field(default_factory=Budget)
    run: Run | None = None  # the last one that is known
    main: Identity | None = None
    handle: Handle | None = None
    began: float = 0.0  # when `main` was started, on the monotonic clock
    ready: bool = False  # it was ready once, as this run
    own: str | None = None  # the run that the monitor began last
    by_hand: bool = False  # nobody recorded its start: it is probed, and left alone
    elsewhere: bool = False  # it runs in another PID namespace
    folder: int | None = (
        None  # the state folder it was taken up in: one that was deleted says nothing of PID files
    )
    acting: bool = False  # its run is being stopped by us, to be started again
    health: Health | None = None
    asked_at: float | None = None  # a probe is in flight since then
    sick: str | None = None  # why a running service is to be started again
    mute: bool = False  # its worker was found dead, and that was told
    cause: str | None = None  # why it ended, in lines
    blocked: str | None = None  # what it waits for
    look_at: float = 0.0  # when to look again how it ended
    give_up_at: float = 0.0  # when to stop waiting for that
    told: ServiceBeat | None = None  # as it was last written down

    @property
    def name(self) -> str:
        return self.service.name

    @property
    def is_up(self) -> bool:
        """Whether a service that depends on it may be started."""
        if self.elsewhere:
            return True
        well = self.health is None or self.health.condition != "unhealthy"
        return self.phase == "running" and self.ready and well

    def let_go(self) -> None:
        """Forget the process; whether it was ready is still asked of one that ended."""
        if self.handle is not None:
            self.handle.close()
        self.handle = None
        self.asked_at = None
        self.health = None
        self.sick = None
        self.by_hand = self.mute = False
