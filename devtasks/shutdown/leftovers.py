"""What an earlier run left when it was killed: children without a parent, and records that are true no more."""

from __future__ import annotations

from typing import Final

from devtasks.model import Identity, Match
from devtasks.observing import Observer
from devtasks.shutdown.family import Family
from devtasks.shutdown.registry import Registry
from devtasks.store.registered import RegisteredChild

_KILL_SECONDS: Final = 5.0


def clean_up(registry: Registry, seconds: float) -> tuple[RegisteredChild, ...]:
    """Stop the children of this service whose parent is dead, within `seconds`, then by force. Returns them.

    Only what is recorded, is that very process still, and is judged to be the project's. Children of an instance
    that lives are left alone. The records of all that is gone are corrected.
    """
    with registry.opened() as state:
        if state is None or registry.project is None:
            return ()
        world = registry.world
        seen = Observer(world, registry.project, state).observe()  # forgets the dead

        def alive(one: Identity) -> bool:
            row = seen.table.processes.get(one.pid)
            return row is not None and not row.gone and seen.table.identity(row) == one

        orphans = tuple(
            one
            for one in state.registered_children()
            if one.service == registry.service
            and alive(one.child)
            and not alive(one.parent)
            and isinstance(seen.judge.verdict(one.child.pid), Match)
        )
        if orphans:
            family = Family(world, (one.child for one in orphans))
            if not family.ask(seconds):
                family.kill(_KILL_SECONDS)
            left = {row.pid for row in family.left}
            for one in orphans:
                if one.child.pid not in left:
                    state.finish_child(one.child, ended_at=world.now(), cause="stopped")
        return orphans
