"""What a monitor last said of a service counts while it watches, for the run it said it of, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import BOOT, NAMESPACE, FakeWorld

from devtasks.lastword import LastWord
from devtasks.model import HealthProbe, Identity
from devtasks.store.watching import MonitorBeat, ServiceBeat

NOW = 10_000.0
PROBE = HealthProbe(interval_seconds=10, timeout_seconds=2)


def last(
    monitor: dict[str, Any] | None = None, *, nonce: str | None = "run", **beat: Any
) -> tuple[str, str | None]:
    world = FakeWorld()
    watcher = world.add("devtasks monitor", start=77)
    identity = Identity(BOOT, NAMESPACE, watcher.pid, 77)
    said = {"service": "web", "at": NOW, "nonce": "run", "answered_at": NOW - 5, "detail": "sick", **beat}
    return LastWord(
        MonitorBeat(**{"identity": identity, "since": 0.0, "at": NOW, **(monitor or {})}),
        {"web": ServiceBeat(**said)},
        world.look().processes,
        boot=BOOT,
        namespace=NAMESPACE,
        now=NOW,
    ).on("web", PROBE, nonce)


@pytest.mark.parametrize("health", ["healthy", "unhealthy", "foreign", "starting", "unknown"])
def test_a_fresh_word_counts(health: str):
    assert last(health=health) == (health, None if health == "healthy" else "sick")


@pytest.mark.parametrize(
    "stale",
    [
        {"health": None},
        {"health": "healthy", "nonce": "another"},
        {"health": "healthy", "answered_at": NOW - 60},
        {"health": "healthy", "answered_at": None},
        {"health": "healthy", "monitor": {"at": NOW - 60}},
        {"health": "healthy", "monitor": {"at": NOW + 3600}},
        {"health": "healthy", "monitor": {"identity": Identity(BOOT, NAMESPACE, 3, 77)}},
        {"health": "healthy", "monitor": {"identity": Identity(BOOT, NAMESPACE, 50, 76)}},
        {"health": "healthy", "monitor": {"identity": Identity("an earlier boot", NAMESPACE, 50, 77)}},
    ],
)
def test_another_does_not(stale: dict[str, Any]):
    assert last(stale.pop("monitor", None), **stale) == ("unknown", None)


def test_without_a_monitor_nobody_knows():
    said = LastWord(None, {}, {}, boot=BOOT, namespace=NAMESPACE, now=NOW)
    assert said.on("web", PROBE, None) == ("unknown", None)
