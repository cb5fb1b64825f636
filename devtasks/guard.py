"""For use inside a server: make sure that its port can be bound, before it is.

    from devtasks.guard import ensure_port_available

    if not ensure_port_available(8000):
        sys.exit(1)

Free, a port costs 0.1 ms and nothing is imported for it. What happens otherwise is in docs/guard.md.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from devtasks.errors import UsageError
from devtasks.guarding.claims import claim
from devtasks.world.binding import bindable

if TYPE_CHECKING:
    from devtasks.outcomes import PortHolder
    from devtasks.shutdown import GracefulShutdown

log = logging.getLogger("devtasks.guard")

TIMEOUT_SECONDS = 10.0  # for the whole check


def ensure_port_available(
    port: int | Iterable[int],
    host: str = "127.0.0.1",
    *,
    force: bool = False,
    environment: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    root: str | os.PathLike[str] | None = None,
) -> bool:
    """Whether this process can bind `host` and `port` (or all of several): at once, or after freeing it.

    Held by what an earlier run of this project left, it is freed: the whole service is stopped, gracefully, then
    by force, within `timeout` seconds. A stranger is ended with `force` only. In production (`environment`, by
    default $ENVIRONMENT or the project's) nothing is: what to do is logged. False: it stays held, and why is in
    the log of "devtasks.guard"; the caller exits.

    In a process that will not bind the port (a test run, a shell, a migration, a worker, a server on another port)
    it does nothing and returns True. `root`: where to look for the project, upward; by default the caller's file.
    Raises UsageError for a port or a host that is none, before anything else.
    """
    caller = sys._getframe(1)  # noqa: SLF001
    return _ensure(port, caller, host=host, force=force, environment=environment, timeout=timeout, root=root)


def _ensure(
    port: int | Iterable[int],
    caller: FrameType | None,
    *,
    host: str,
    force: bool,
    environment: str | None,
    timeout: float,
    root: str | os.PathLike[str] | None,
) -> bool:
    wanted = _checked(port)
    if not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise UsageError(f"timeout: {timeout!r} is not a number of seconds")
    held = tuple(one for one in wanted if bindable(host, one) != "free")
    if not held:
        for one in wanted:
            claim(one)
        return True
    from devtasks.guarding.question import Question
    from devtasks.guarding.takeover import take

    folder = Path(root) if root is not None else _folder(caller)
    deadline = time.monotonic() + timeout
    return take(Question(held, host, force, environment, deadline, folder, caller), log)


def _checked(port: int | Iterable[int]) -> tuple[int, ...]:
    """The ports, each once. A text of digits, as from an environment variable, is a port too."""
    several = (port,) if isinstance(port, (int, str)) or not isinstance(port, Iterable) else port
    return tuple(dict.fromkeys(_port(one) for one in several))


def _port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65_535:
        raise UsageError(f"port: {str(value)[:80]!r} is not a port from 1 to 65535")
    return value


def _folder(caller: FrameType | None) -> Path:
    file = caller.f_globals.get("__file__") if caller is not None else None
    return Path(os.path.abspath(file)).parent if isinstance(file, str) else Path.cwd()


class PortManager:
    """The same as an object, for one port. Nothing here is less careful than `ensure_port_available`."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        force: bool = False,
        environment: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        """As for `ensure_port_available`."""
        (self.port,) = _checked(port)
        self.host = host
        self.force = force
        self.environment = environment
        self.timeout = timeout
        self.root = root if root is not None else _folder(sys._getframe(1))  # noqa: SLF001

    def is_port_in_use(self, port: int | None = None) -> bool:
        """Whether a server could not bind it now."""
        return bindable(self.host, self._which(port)) != "free"

    def get_process_using_port(self, port: int | None = None) -> PortHolder | None:
        """Who holds it: PID, command line, folder, age and whose it is. None: nobody listens there."""
        holders = self._holders(self._which(port))
        return holders[0] if holders else None

    def kill_process(self, pid: int, port: int | None = None) -> bool:
        """End process `pid`, if it holds the port and `check_and_clean_port` would end it; True: it is gone."""
        wanted = self._which(port)
        if pid not in {holder.pid for holder in self._holders(wanted)}:
            log.error("port %d: PID %s does not hold it, and is left alone", wanted, pid)
            return False
        if not self._ensure(wanted, sys._getframe(1)):  # noqa: SLF001
            return False
        return pid not in {holder.pid for holder in self._holders(wanted)}

    def check_and_clean_port(self, port: int | None = None) -> bool:
        """`ensure_port_available` for it."""
        return self._ensure(self._which(port), sys._getframe(1))  # noqa: SLF001

    def _holders(self, port: int) -> tuple[PortHolder, ...]:
        from devtasks.guarding.takeover import holders

        return holders(port, Path(self.root), log)

    def _which(self, port: int | None) -> int:
        return self.port if port is None else _port(port)

    def _ensure(self, port: int, caller: FrameType | None) -> bool:
        return _ensure(
            port,
            caller,
            host=self.host,
            force=self.force,
            environment=self.environment,
            timeout=self.timeout,
            root=self.root,
        )


def __getattr__(name: str) -> Any:
    """`GracefulShutdown` is imported for whoever asks for it: a guard alone should cost nothing."""
    if name != "GracefulShutdown":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from devtasks.shutdown import GracefulShutdown

    return GracefulShutdown


__all__ = ["GracefulShutdown", "PortManager", "ensure_port_available"]
