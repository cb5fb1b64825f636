"""What a verb tells, for people: short lines, aligned, at most as wide as the terminal."""

from __future__ import annotations

from devtasks import outcomes
from devtasks.report import acting, foreign, forge, looking
from devtasks.report.look import Look


def render(outcome: outcomes.Anything, look: Look, *, why: bool = False) -> list[str]:
    """The lines to print. With `why`, all that was considered and left alone is listed."""
    match outcome:
        case outcomes.Status():
            return looking.status(outcome, look)
        case outcomes.Processes():
            return looking.processes(outcome, look, why=why)
        case outcomes.StartReport():
            return acting.start(outcome, look)
        case outcomes.StopReport():
            return acting.stop(outcome, look, why=why)
        case outcomes.RestartReport():
            return acting.restart(outcome, look, why=why)
        case outcomes.CleanReport():
            return acting.clean(outcome, look)
        case outcomes.ExplainReport():
            return looking.explain(outcome, look)
        case outcomes.LogLines():
            return looking.logs(outcome, look)
        case outcomes.Proposal():
            return acting.proposal(outcome)


def error(message: str, hint: str | None, look: Look) -> list[str]:
    """What went wrong, with the remedy below it. Messages may have several lines."""
    first, *more = (foreign(line) for line in message.splitlines() or [""])
    if look.forge == "github":
        return [forge.error("\n".join([first, *more, *([f"hint: {foreign(hint)}"] if hint else [])]), look)]
    return [forge.error(first, look), *more, *([f"hint: {foreign(hint)}"] if hint else [])]
