"""A hub of proxies: `python hub.py [SETTINGS]`, or `inv start`.

Opens every listener of proxies.toml, starts the children named there, forwards until it is told to end, and
closes everything in order. Exit codes: 0 all closed, 1 not all, 2 bad settings, 3 something cannot be opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from forward import Forwarder
from ledger import Ledger
from settings import BadSettings, Helper, Settings, read

from devtasks.guard import GracefulShutdown, ensure_port_available

HERE = Path(__file__).resolve().parent
LEDGER_SECONDS = 5.0
log = logging.getLogger("hub")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        settings = read(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "proxies.toml")
    except BadSettings as error:
        complain(error)
        return 2
    allow_many_connections()
    shutdown = GracefulShutdown(total=settings.total_seconds, service="hub")
    shutdown.clean_up()  # what a run that was killed has left
    if not all(ensure_port_available(ports, host) for host, ports in places(settings)):
        return 3  # it has said who holds what
    return asyncio.run(serve(settings, shutdown))


def places(settings: Settings) -> list[tuple[str, list[int]]]:
    """Each host, and the ports on it that are to be bound."""
    hosts: dict[str, list[int]] = {}
    for proxy in settings.proxies:
        hosts.setdefault(proxy.listen.host, []).append(proxy.listen.port)
    return list(hosts.items())


class CannotOpen(Exception):
    """One line: what could not be opened, and why."""


def complain(error: Exception) -> None:
    print(error, file=sys.stderr)


async def serve(settings: Settings, shutdown: GracefulShutdown) -> int:
    """Open everything, wait for the end, close everything."""
    async with shutdown:
        ledger = Ledger(HERE / "traffic.db")
        forwarders = [Forwarder(proxy) for proxy in settings.proxies]
        heartbeats = asyncio.create_task(beat(shutdown, settings.heartbeat_seconds))
        bookkeeping = asyncio.create_task(keep(ledger, forwarders))
        shutdown.recipe(
            periodic=bookkeeping,
            heartbeats=heartbeats,
            record=lambda: ledger.keep(forwarders),
            database=ledger.close,
        )
        try:
            for forwarder in forwarders:
                await listen(shutdown, forwarder, settings.drain_seconds)
            for helper in settings.helpers:
                await asyncio.to_thread(start, shutdown, helper)
        except CannotOpen as error:
            complain(error)
            await shutdown.close()
            return 3
        log.info("ready: %d proxies and what they need", len(forwarders))
        await shutdown.wait()
    return shutdown.exit_code


async def listen(shutdown: GracefulShutdown, forwarder: Forwarder, drain_seconds: float) -> None:
    place = forwarder.proxy.listen
    try:
        await shutdown.serve(forwarder, place.host, place.port, name=forwarder.proxy.name, drain=drain_seconds)
    except OSError as error:
        raise CannotOpen(f"{forwarder.proxy.name}: cannot listen on {place}: {error.strerror or error}") from None


def start(shutdown: GracefulShutdown, helper: Helper) -> None:
    try:
        shutdown.child(helper.name, helper.command, ports=helper.ports, cwd=HERE)
    except OSError as error:
        raise CannotOpen(f"{helper.name}: cannot start {helper.command[0]}: {error.strerror}") from None


async def beat(shutdown: GracefulShutdown, seconds: float) -> None:
    while True:
        await shutdown.beat()
        await asyncio.sleep(seconds)


async def keep(ledger: Ledger, forwarders: list[Forwarder]) -> None:
    while True:
        await asyncio.sleep(LEDGER_SECONDS)
        ledger.keep(forwarders)


def allow_many_connections() -> None:
    """As many descriptors as we may have: each connection takes two."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
