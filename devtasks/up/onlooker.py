"""Sees what becomes of the services where another monitor restarts them."""

from __future__ import annotations

import select
from collections.abc import Callable

from devtasks.model import Identity, Service, Snapshot
from devtasks.monitoring.happening import Happening
from devtasks.phrases import how_it_ended
from devtasks.standing import stand
from devtasks.verbs import Scope
from devtasks.world import Handle

_LOOK_SECONDS = 1.0


class Onlooker:
    """Looks once a second, and at once after an exit; `happened` hears of ends and beginnings."""

    def __init__(self, scope: Scope, services: tuple[Service, ...], happened: Callable[[Happening], None]) -> None:
        self._scope = scope
        self._services = services
        self._happened = happened
        self._table: Snapshot | None = None
        self._mains: dict[str, Identity] = {}
        self._nonces: dict[str, str] = {}
        self._pins: dict[str, Handle] = {}
        self._first = True

    def look(self) -> bool:
        """Whether something still runs, or is to be started again."""
        seen = self._scope.observer.observe(self._table)
        self._table = seen.table
        lives = False
        for service in self._services:
            standing = stand(seen, service)
            lives = lives or standing.standing != "absent"
            main = seen.table.identity(standing.main) if standing.main is not None else None
            before = self._mains.get(service.name)
            if main == before:
                continue
            if before is not None:
                self._ended(service.name, before)
            if main is not None and standing.main is not None:
                self._mains[service.name] = main
                self._nonces[service.name] = standing.run.nonce if standing.run is not None else ""
                pin = self._scope.world.pin(standing.main)
                if pin is not None:
                    self._pins[service.name] = pin
                if not self._first:
                    self._tell("ready", service.name, f"runs again (PID {main.pid})", main)
        self._first = False
        return lives or self._restarts_follow()

    def wait(self, descriptor: int) -> None:
        """For the next look, or until `descriptor` is readable."""
        pins = [pin.descriptor for pin in self._pins.values() if pin.descriptor is not None]
        select.select([descriptor, *pins], [], [], _LOOK_SECONDS)

    def close(self) -> None:
        for pin in self._pins.values():
            pin.close()
        self._pins.clear()

    def _ended(self, name: str, main: Identity) -> None:
        del self._mains[name]
        if name in self._pins:
            self._pins.pop(name).close()
        runs = self._scope.state.runs(name, 5)
        run = next((run for run in runs if run.nonce == self._nonces[name]), None)
        code = run.exit_code if run is not None else None
        row = self._scope.state.watching.wanted().get(name)
        self._tell("exit", name, how_it_ended(code), main, code, wanted=row is None or row.wanted)

    def _restarts_follow(self) -> bool:
        _, beats = self._scope.state.watching.beats()
        names = {service.name for service in self._services}
        return any(
            beat.next_restart_at is not None or beat.failed_until is not None
            for name, beat in beats.items()
            if name in names
        )

    def _tell(
        self, kind: str, name: str, detail: str, main: Identity, code: int | None = None, *, wanted: bool = True
    ) -> None:
        self._happened(
            Happening(
                kind=kind,  # type: ignore[arg-type]
                service=name,
                at=self._scope.world.now(),
                pid=main.pid,
                exit_code=code,
                wanted=wanted,
                detail=detail,
            )
        )
