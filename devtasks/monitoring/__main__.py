"""`python -m devtasks.monitoring ROOT [--only NAME …]`: the monitor in the background, without the command line.

What it imports it keeps for as long as it watches, so neither Invoke nor the tasks are among it.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path


def main(arguments: list[str]) -> int:
    from devtasks import verbs
    from devtasks.command.edge import guarded
    from devtasks.config import loading
    from devtasks.monitoring.command import watch
    from devtasks.observing import select
    from devtasks.report.output import Output

    output = Output(json=False, color="never")

    def tell(line: str) -> None:
        output.tell(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def work() -> int:
        root, *rest = arguments
        names = tuple(rest[1::2])
        project = loading.load(Path(root), os.environ)
        with closing(verbs.scope(project, tell=tell, asker="devtasks monitor")) as scope:
            services = tuple(one for one in select(scope.project, names) if one.command)
            report = watch(scope, services, tell)
            if report.state == "watching":
                tell(f"PID {report.pid} watches already")
        return report.exit_code

    return guarded(work, output)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
