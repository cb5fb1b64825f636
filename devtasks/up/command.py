"""One call of `up`."""

from __future__ import annotations

import sys

from devtasks import verbs
from devtasks.planning import with_dependencies
from devtasks.report.output import Output
from devtasks.store.logs.follow import Follower
from devtasks.up import reasons
from devtasks.up.news import News
from devtasks.up.printer import Printer
from devtasks.up.reasons import Reason
from devtasks.up.session import Session
from devtasks.verbs import Scope


def up(
    scope: Scope, names: tuple[str, ...], output: Output, *, exit_code_from: str | None, abort_on_exit: bool
) -> int:
    """Start, show and watch the services, until asked to end; the exit code."""
    services = with_dependencies(verbs.startable(scope, names), scope.project.services)
    terms = reasons.terms(exit_code_from, services, abort_on_exit=abort_on_exit)
    scope.remember()
    session: Session | None = None
    hung_up = sys.stdout is not None and sys.stdout.isatty()

    def closed() -> None:
        if session is not None:
            session.end(_HUNG_UP if hung_up else _UNREAD)

    printer = Printer(
        Follower({service.name: service.log_file for service in services}),
        [service.name for service in services],
        output.look(),
        as_json=output.json,
        closed=closed,
        clock=scope.world.now,
    )

    def note(line: str) -> None:
        printer.say(News(event="note", at=scope.world.now(), detail=line))

    tell, scope.tell = scope.tell, note
    try:
        printer.start()
        session = Session(scope, services, terms, say=printer.say, ask=printer.ask, as_json=output.json)
        return session.run()
    finally:
        printer.close()
        scope.tell = tell


_HUNG_UP = Reason(detail="the terminal is gone", exit_code=129)
_UNREAD = Reason(detail="nobody reads the output any more", exit_code=0)
