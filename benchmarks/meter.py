"""Run a command and print the most memory it ever held, in KiB: `python meter.py COMMAND ...`.

A script of its own, because a child inherits the peak of whoever starts it (Linux keeps it across exec): this one
is smaller than anything it measures.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(sys.argv[1:])}: exit code {os.waitstatus_to_exitcode(status)}")
    print(usage.ru_maxrss)


if __name__ == "__main__":
    main()
