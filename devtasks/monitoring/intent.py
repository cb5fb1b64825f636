"""Whether a service that ended was meant to go on: pure."""

from __future__ import annotations

from devtasks.model import Run
from devtasks.store.watching import Wanted


def is_wanted(
    row: Wanted | None, run: Run, *, own: str | None, acting: bool, known: bool, pid_file: bool | None = None
) -> bool:
    """Whether the service whose `run` is over is to run.

    `row`: what is recorded. `own`: the run that the monitor began itself; `acting`: it was stopping `run` to
    start it again. `known`: it was wanted as this run before, and the record of that is lost. `pid_file`: whether
    there still is a PID file, None where that does not matter: whoever stops a service removes it, and can
    do so on a full disk, too, where nothing can be recorded.

    A run that ended before it was ready is its starter's business.
    """
    if (row is not None and not row.wanted) or pid_file is False:
        return False
    if run.cause == "reboot" or (run.cause in ("stopped", "stopping") and not acting):
        return False
    if own == run.nonce or (row is not None and row.nonce == run.nonce):
        return True
    return row is None and known
