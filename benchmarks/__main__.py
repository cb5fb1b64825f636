"""`python -m benchmarks [NAME ...] [--json | --markdown]`: exit code 1 when a limit is exceeded.

A measurement that fails does not cost the others theirs.
"""

from __future__ import annotations

import argparse
import resource
import sys

from benchmarks import commands, dashboard, hosts, managing, memory, observation, ports, stopping, table, terminal
from benchmarks.readings import Row
from benchmarks.scene import BenchmarkFailed, Scene, raise_on_signals
from devtasks.errors import DevtasksError

MEASUREMENTS = {
    "commands": commands.measure,
    "observation": observation.measure,
    "stopping": stopping.measure,
    "memory": memory.measure,
    "ports": ports.measure,
    "dashboard": dashboard.measure,
    "terminal": terminal.measure,
    "hosts": hosts.measure,
    "managing": managing.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure devtasks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)} (default: all)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", dest="render", action="store_const", const=table.as_json, help="print JSON")
    shape.add_argument(
        "--markdown", dest="render", action="store_const", const=table.markdown, help="for the README"
    )
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no measurement {name!r}; there are {', '.join(MEASUREMENTS)}")
    raise_on_signals()
    _allow_many_descriptors()
    rows: list[Row] = []
    failed = False
    try:
        with Scene() as scene:
            for name in arguments.names or MEASUREMENTS:
                print(f"measuring {name} ...", file=sys.stderr, flush=True)
                try:
                    rows += MEASUREMENTS[name](scene)
                except (BenchmarkFailed, DevtasksError, OSError) as error:
                    print(f"error: {error}", file=sys.stderr)
                    failed = True
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print((arguments.render or table.text)(rows))
    return 1 if failed or any(row.verdict == "over" for row in rows) else 0


def _allow_many_descriptors() -> None:
    """A thousand processes are pinned at once, here and in the loop they are compared with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
