"""When a service that ended is started again: a pure state machine.

Time is a parameter, in seconds on a clock that neither jumps nor goes on while the machine sleeps
(`World.monotonic`). What counts is how many restarts fell into the last `window` seconds, not how long a life
lasted: limits that ask for short lives never trip when each life is a little longer than they ask for. On a clock
that stands still during a suspend, `max` in any window of it is at most `max` in any window of the wall's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Literal

from devtasks.model import RestartPolicy
from devtasks.values import Value, replace

STEADY_SECONDS: Final = 60.0  # of health, after which the backoff starts over
_SHARE: Final = 0.25  # of a pause that chance may add
_DOUBLINGS: Final = 64  # more of them are more than any `max_backoff`

Verdict = Literal["leave", "restart", "failed"]


class Budget(Value):
    """What one service has used of its restarts since someone started it. All times are on the one clock."""

    spent: tuple[float, ...] = ()  # restarts within the last window, oldest first
    total: int = 0  # restarts since someone started it
    streak: int = 0  # failures without a minute of health between them
    well_since: float | None = None  # it runs and nothing is wrong with it
    next_at: float | None = None  # a restart that was decided
    failed_at: float | None = None  # since when nothing is tried any more
    failed_until: float | None = None  # None with `failed_at`: until someone starts it

    @property
    def failed(self) -> bool:
        return self.failed_at is not None


def is_failure(exit_code: int | None) -> bool:
    """Whether an end counts as a failure: one that nobody knows does."""
    return exit_code != 0


def left(budget: Budget, policy: RestartPolicy, now: float) -> int:
    """How many restarts may follow at once."""
    return 0 if budget.failed else max(0, policy.max - len(_counting(budget, policy, now)))


def well(budget: Budget, now: float) -> Budget:
    """It runs, and nothing is known to be wrong with it."""
    return budget if budget.well_since is not None else replace(budget, well_since=now)


def unwell(budget: Budget, now: float) -> Budget:
    """Something is wrong with it: its health begins anew. A minute of it until now still counts."""
    return replace(_rested(budget, now), well_since=None)


def recovered(budget: Budget, now: float) -> Budget:
    """What it was to be restarted for is over, before it was."""
    return well(replace(budget, next_at=None, failed_at=None, failed_until=None), now)


def ended(
    budget: Budget, policy: RestartPolicy, now: float, *, failure: bool, chance: float
) -> tuple[Budget, Verdict]:
    """It ended, or has to be ended: what is to be done? `chance` is a random number from 0 to 1.

    "restart": at `next_at`. "failed": not before `failed_until`. "leave": its end is what was wanted.
    """
    if policy.policy == "never" or (policy.policy == "on-failure" and not failure):
        return replace(budget, well_since=None, next_at=None), "leave"
    budget = unwell(budget, now)
    if len(_counting(budget, policy, now)) >= policy.max:
        return _given_up(budget, policy, now), "failed"
    pause = backoff_seconds(policy, budget.streak, chance)
    return replace(budget, streak=budget.streak + 1, next_at=now + pause), "restart"


def due_at(budget: Budget) -> float | None:
    """When the next restart is to be tried; None: not by itself."""
    return budget.failed_until if budget.failed else budget.next_at


def spend(budget: Budget, policy: RestartPolicy, now: float) -> Budget | None:
    """A restart begins now: the budget after it, or None: it is not time, or there is none left.

    Everything that restarts asks here at the moment it does, so that no path around the limit exists.
    """
    at = due_at(budget)
    if at is None or now < at:
        return None
    if budget.failed:
        budget = replace(budget, streak=0, failed_at=None, failed_until=None)
    counting = _counting(budget, policy, now)
    if len(counting) >= policy.max:
        return None
    return replace(budget, spent=(*counting, now), total=budget.total + 1, next_at=None, well_since=None)


def begun(budget: Budget, now: float) -> Budget:
    """The restart that was just spent took place by `now`: from then on the window is counted."""
    return replace(budget, spent=(*budget.spent[:-1], max(now, *budget.spent[-1:]))) if budget.spent else budget


def overdrawn(budget: Budget, policy: RestartPolicy, now: float) -> Budget:
    """What was due may not be spent: it is given up, unless it may by now."""
    counting = _counting(budget, policy, now)
    if len(counting) < policy.max or policy.max == 0:
        return budget
    return _given_up(budget, policy, now)


def backoff_seconds(policy: RestartPolicy, streak: int, chance: float) -> float:
    """The pause before a restart: doubled for each failure before it, and somewhat by chance.

    Never below `backoff`, never above `max_backoff`; at that limit chance shortens it instead, so that
    services that fail together do not come back together for ever.
    """
    least, most = policy.backoff_seconds, policy.max_backoff_seconds
    pause = min(most, least * 2.0 ** min(streak, _DOUBLINGS))
    low = max(least, min(pause, most * (1 - _SHARE)))
    high = min(most, pause * (1 + _SHARE))
    return low + max(0.0, high - low) * min(1.0, max(0.0, chance))


def restored(
    policy: RestartPolicy,
    now: float,
    *,
    spent: Iterable[object],
    total: object,
    streak: object,
    next_at: object,
    failed_at: object,
    failed_until: object,
) -> Budget:
    """A budget as an earlier monitor of this boot wrote it down, or what it can be taken for.

    What lies in the future did not happen later than now; nothing is waited for longer than the policy could
    have asked for. A value that is no number counts as the worst that it could mean.
    """
    times = sorted(_past(one, now) for one in spent)
    budget = Budget(
        spent=tuple(times[-max(1, policy.max) :]),
        total=total if isinstance(total, int) and 0 <= total < 2**31 else len(times),
        streak=streak if isinstance(streak, int) and 0 <= streak < 2**31 else _DOUBLINGS,
    )
    if failed_at is not None:
        longest = _cooldown(policy)
        until = None if failed_until is None or longest is None else _until(failed_until, now, longest)
        return replace(budget, failed_at=_past(failed_at, now), failed_until=until)
    if next_at is not None:
        return replace(budget, next_at=_until(next_at, now, policy.max_backoff_seconds))
    return budget


def _past(value: object, now: float) -> float:
    return min(now, value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else now


def _until(value: object, now: float, longest: float) -> float:
    latest = now + longest
    return min(latest, value) if isinstance(value, int | float) and math.isfinite(value) else latest


def _counting(budget: Budget, policy: RestartPolicy, now: float) -> tuple[float, ...]:
    return tuple(at for at in budget.spent if now - at < policy.window_seconds)


def _rested(budget: Budget, now: float) -> Budget:
    rested = budget.well_since is not None and now - budget.well_since >= STEADY_SECONDS
    return replace(budget, streak=0) if rested else budget


def _given_up(budget: Budget, policy: RestartPolicy, now: float) -> Budget:
    cooldown = _cooldown(policy)
    until = None if cooldown is None else now + cooldown
    return replace(budget, next_at=None, failed_at=now, failed_until=until)


def _cooldown(policy: RestartPolicy) -> float | None:
    """Seconds from giving up to the next try; None: someone has to start it."""
    if policy.cooldown_seconds == 0 or policy.max == 0:
        return None
    return max(policy.cooldown_seconds, policy.window_seconds)
