"""Why an `up` ends, and with which exit code: pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from devtasks.errors import UsageError
from devtasks.model import Service
from devtasks.values import Value, replace


class Reason(Value):
    """What ends it: the words for people, and the exit code, unless something cannot be stopped."""

    detail: str
    exit_code: int


class Terms(Value):
    """When one service's end is the end of all."""

    exit_code_from: str | None = None  # that of this service
    abort_on_exit: bool = False  # that of whichever is first

    def ends_all(self, service: str) -> bool:
        return self.abort_on_exit or service == self.exit_code_from

    def watched(self, services: Iterable[Service]) -> tuple[Service, ...]:
        """The services as they are to be watched: whose end is the end of all is not started again."""
        return tuple(
            replace(one, restart=replace(one.restart, policy="never")) if self.ends_all(one.name) else one
            for one in services
        )


def terms(exit_code_from: str | None, services: Iterable[Service], *, abort_on_exit: bool) -> Terms:
    """The flags, checked against the services that are to be started. Raises UsageError."""
    if exit_code_from is None:
        return Terms(abort_on_exit=abort_on_exit)
    if abort_on_exit:
        raise UsageError(
            "--exit-code-from and --abort-on-exit contradict each other",
            hint="--exit-code-from NAME ends with NAME; --abort-on-exit ends with whichever is first",
        )
    meant = [one.name for one in services if exit_code_from in (one.name, one.group)]
    if len(meant) > 1:
        raise UsageError(
            f"--exit-code-from: {exit_code_from} has several instances", hint=f"name one: {', '.join(meant)}"
        )
    if not meant:
        raise UsageError(f'--exit-code-from: "{exit_code_from}" is not among what is started')
    return Terms(exit_code_from=meant[0])


def of_exit(service: str, code: int | None) -> Reason:
    """The end of a service that is the end of all. `code` negative: a signal; None: nobody knows."""
    return Reason(detail=f"{service} has ended", exit_code=1 if code is None else shell_code(code))


def of_signal(number: int) -> Reason:
    return Reason(detail=signal.Signals(number).name, exit_code=128 + number)


def shell_code(code: int) -> int:
    """As a shell would say it: 128 and the signal's number. What no exit status can hold is a failure."""
    if code < 0:
        return 128 - code
    return code if code <= 255 else 1
