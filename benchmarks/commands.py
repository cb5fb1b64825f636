"""What a command costs: `inv --list`, `status` and `export`, beside a task that does nothing and the peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from benchmarks import peers
from benchmarks.readings import Row
from benchmarks.scene import Scene
from benchmarks.timing import interleaved

ROUNDS = 25
LIST_LIMIT = 1.15
STATUS_LIMIT = 1.25
PEER_LIMIT = 1.0
EXPORT_LIMIT = 1.3
SERVER = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")

NO_OP_LIST, NO_OP = "inv --list, a task that does nothing", "inv, a task that does nothing"
LIST, STOPPED, RUNNING = "inv --list, two services", "inv status, both stopped", "inv status, both running"
EXPORTS = {f"inv export --to {target}": target for target in ("systemd", "compose", "kubernetes")}
PEERS: Mapping[str, Callable[[Scene], AbstractContextManager[Callable[[], float]]]] = {
    "supervisorctl status (4.2.5, Debian's)": partial(peers.supervisor, group="supervisor-packaged"),
    "supervisorctl status (latest)": partial(peers.supervisor, group="supervisor"),
    "pm2 ls": peers.pm2,
}


def measure(scene: Scene) -> Iterator[Row]:
    no_op = scene.no_op()
    services = {"backend": SERVER, "frontend": SERVER}
    stopped, running = scene.project("stopped", services), scene.project("running", services)
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        stack.enter_context(scene.started(running))
        contenders: dict[str, Callable[[], float]] = {
            NO_OP_LIST: scene.timing([scene.inv, "--list"], no_op),
            NO_OP: scene.timing([scene.inv, "nothing"], no_op),
            LIST: scene.timing([scene.inv, "--list"], running),
            STOPPED: scene.timing([scene.inv, "status"], stopped),
            RUNNING: scene.timing([scene.inv, "status"], running),
        }
        for name, target in EXPORTS.items():
            words = [scene.inv, "export", "--to", target, "--output", str(stopped / f"to-{target}")]
            contenders[name] = scene.timing(words, stopped)
        for name, peer in PEERS.items():
            try:
                contenders[name] = stack.enter_context(peer(scene))
            except peers.PeerMissing as reason:
                missing[name] = str(reason)
        found = interleaved(contenders, rounds=ROUNDS)
    pairs = [(LIST, NO_OP_LIST, LIST_LIMIT), (STOPPED, NO_OP, STATUS_LIMIT), (RUNNING, NO_OP, STATUS_LIMIT)]
    pairs += [(ours, LIST, EXPORT_LIMIT) for ours in EXPORTS]
    pairs += [(ours, peer, PEER_LIMIT) for peer in PEERS for ours in (LIST, RUNNING)]
    for ours, theirs, limit in pairs:
        yield Row(
            what=ours,
            ours=found[ours],
            against=theirs,
            theirs=found.get(theirs),
            kind="ratio",
            limit=limit,
            missing=missing.get(theirs),
        )
