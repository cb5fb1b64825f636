"""The hub's own database: how much each proxy has forwarded, over all runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from forward import Forwarder


class Ledger:
    """Totals by proxy. Used by one thread at a time, not always the same."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute(
            """CREATE TABLE IF NOT EXISTS traffic (
                proxy TEXT PRIMARY KEY, connections INTEGER NOT NULL, bytes INTEGER NOT NULL)"""
        )
        self._kept: dict[str, tuple[int, int]] = {}

    def keep(self, forwarders: Iterable[Forwarder]) -> None:
        """Add what has been forwarded since the last time."""
        for one in forwarders:
            now = (one.connections, one.forwarded_bytes)
            before = self._kept.get(one.proxy.name, (0, 0))
            if now != before:
                self._connection.execute(
                    """INSERT INTO traffic VALUES (?, ?, ?) ON CONFLICT (proxy) DO UPDATE
                    SET connections = connections + excluded.connections, bytes = bytes + excluded.bytes""",
                    (one.proxy.name, now[0] - before[0], now[1] - before[1]),
                )
                self._kept[one.proxy.name] = now

    def close(self) -> None:
        self._connection.close()
