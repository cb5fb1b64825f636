"""What several hosts go on telling (`--follow`), merged as it comes, each line with its host in front."""

from __future__ import annotations

import json
import select
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from devtasks.remote.answers import EVENT, LOG_LINE, fits, parsed
from devtasks.report.fleet import event_cells, log_line
from devtasks.report.look import Look
from devtasks.report.output import Output

_SHAPES: Mapping[str, Any] = {"logs": LOG_LINE, "history": EVENT}


class Stream:
    """Called with a host and a line of its output, from any thread; False when nobody reads any more.

    What is no line of that verb's JSON, as a login shell's greeting, is left out.
    """

    def __init__(self, verb: str, hosts: Sequence[str], output: Output) -> None:
        self._shape = _SHAPES[verb]
        self._output = output
        self._lock = threading.Lock()
        self._render = _object if output.json else _Text(verb, hosts, output.look())

    def __call__(self, host: str, line: str) -> bool:
        table = parsed(line)
        if table is not None and table.get("version") == 1 and fits(self._shape, table):
            with self._lock:
                self._output.lines([self._render(host, table)])
        return not self._output.closed

    def reader_left(self) -> bool:
        """Whether nobody reads our output any more, although nothing was written since."""
        if self._output.closed:
            return True
        if not hasattr(select, "poll") or sys.stdout is None:
            return False
        waiting = select.poll()
        waiting.register(sys.stdout.fileno(), 0)  # a pipe tells of its reader's end, whatever is asked for
        return bool(waiting.poll(0))


def _object(host: str, table: Mapping[str, Any]) -> str:
    return json.dumps({"version": 1, "host": host, **{key: table[key] for key in table if key != "version"}})


class _Text:
    def __init__(self, verb: str, hosts: Sequence[str], look: Look) -> None:
        self._event = verb == "history"
        self._look = look
        wide = max(map(len, hosts))
        self._labels = {host: look.label(f"{host:<{wide}}", number) for number, host in enumerate(hosts)}
        self._names = 0

    def __call__(self, host: str, table: Mapping[str, Any]) -> str:
        if self._event:
            return f"{self._labels[host]}  {'  '.join(event_cells(table))}"
        self._names = max(self._names, len(table["service"]))
        return log_line(self._labels[host], f"{table['service']:<{self._names}}", table["line"], self._look)
