"""What a verb tells, for people: short lines, aligned, at most as wide as the terminal."""

from __future__ import annotations

from devtasks import outcomes
from devtasks.report import foreign, forge
from devtasks.report.look import Look


def render(outcome: outcomes.Anything, look: Look, *, why: bool = False) -> list[str]:
    """The lines to print. With `why`, all that was considered and left alone is listed."""
    if isinstance(outcome, outcomes.Looked):
        from devtasks.report import looking

        return looking.render(outcome, look, why=why)
    if isinstance(outcome, outcomes.FleetReport):
        from devtasks.report import fleet

        return fleet.render(outcome, look)
    from devtasks.report import acting

    return acting.render(outcome, look, why=why)


def error(message: str, hint: str | None, look: Look) -> list[str]:
    """What went wrong, with the remedy below it. Messages may have several lines."""
    first, *more = (foreign(line) for line in message.splitlines() or [""])
    if look.forge == "github":
        return [forge.error("\n".join([first, *more, *([f"hint: {foreign(hint)}"] if hint else [])]), look)]
    return [forge.error(first, look), *more, *([f"hint: {foreign(hint)}"] if hint else [])]
