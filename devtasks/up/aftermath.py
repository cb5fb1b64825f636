"""After an `up` that was killed: stop what it had begun. Its guardian executes this."""

from __future__ import annotations

import sys

from devtasks.monitoring import claim
from devtasks.store import pidfile
from devtasks.store.state import State
from devtasks.up import estate
from devtasks.up.runs import Runs
from devtasks.world import this_world


def main() -> None:
    """Standard input tells: the first line is the estate, each further one a service and the nonce of its run."""
    left = estate.read(sys.stdin.readline())
    project = left.project
    nonces = dict(line.split() for line in sys.stdin)
    state = State.open(project, create=False, asker="the guardian of an up that was killed")
    try:
        Runs(this_world(), project, state, nonces).end_all()
    finally:
        state.close()
    file = pidfile.read(left.watch_file)
    if file.pid is not None and not claim.is_watched(project):  # its own, as the one who watched
        pidfile.remove_if_unchanged(file.path, file)
