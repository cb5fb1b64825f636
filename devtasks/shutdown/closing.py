"""All steps of a shutdown, one after the other, within the total; and what is said about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from devtasks.shutdown.budget import Budget
from devtasks.shutdown.steps import Result, Step, carry_out


async def close(
    steps: Sequence[Step], *, total_seconds: float, reason: str, clock: Callable[[], float], log: logging.Logger
) -> int:
    """Carry the steps out, whatever becomes of each. Returns the exit code: 1 when one failed or was late."""
    budget = Budget(total_seconds, clock)
    log.info("shutting down (%s): %s, %g s at most", reason, _count(len(steps)), total_seconds)
    troubles: list[str] = []
    for number, step in enumerate(steps, 1):
        began = budget.spent_seconds
        wanted = step.timeout_seconds + step.force_seconds
        result = await carry_out(step, budget.for_step(wanted, len(steps) - number))
        _tell(log, f"{number}/{len(steps)} {step.name}", result, budget.spent_seconds - began)
        troubles += result.forced
        if result.outcome == "failed":
            troubles.append(f"{step.name} failed")
    if troubles:
        log.warning("not all closed in %.2f s: %s; exit 1", budget.spent_seconds, "; ".join(troubles))
    else:
        log.info("all closed in %.2f s", budget.spent_seconds)
    return 1 if troubles else 0


def _tell(log: logging.Logger, step: str, result: Result, seconds: float) -> None:
    if result.outcome == "done":
        log.info("%s: done in %.2f s", step, seconds)
    elif result.outcome == "failed":
        log.error("%s: failed after %.2f s: %s", step, seconds, result.detail)
    else:
        what = "; ".join(result.forced) if result.detail == "by force" else result.detail
        log.warning("%s: not done after %.2f s: %s", step, seconds, what or "but now it is")


def _count(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"
