"""Where a report goes: the standard streams, in whatever state they are.

Writing cannot fail the work: a reader that left (`| head`) is no error, a full disk is one, said once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TextIO

from devtasks import outcomes
from devtasks.errors import DevtasksError
from devtasks.report import foreign
from devtasks.report.look import Look, look_for


class Output:
    """One command's output. With `json`, stdout gets one object and everything else goes to stderr."""

    def __init__(self, *, json: bool, color: str = "auto", environ: Mapping[str, str] = os.environ) -> None:
        self.json = json
        self.failure: OSError | None = None  # of writing the report
        self.closed = False  # whether nobody reads stdout any more, or it cannot be written
        self._color = color
        self._environ = environ

    def report(self, outcome: outcomes.Anything, *, why: bool = False) -> None:
        if self.json:
            from devtasks.report import shapes

            self._write(sys.stdout, [shapes.render(outcome)])
        else:
            from devtasks.report import text

            self._write(sys.stdout, text.render(outcome, self.look(), why=why))

    def look(self) -> Look:
        """How text looks on stdout, as wide as it is now."""
        return look_for(sys.stdout, color=self._color, environ=self._environ)

    def raw(self, text: str) -> None:
        """Text and control sequences of ours to stdout, as they are."""
        self._put(sys.stdout, text)

    def lines(self, lines: Iterable[str]) -> None:
        """Lines of ours to stdout, as they are."""
        self._write(sys.stdout, lines)

    def tell(self, line: str) -> None:
        """A line of progress, for people."""
        stream = sys.stderr if self.json else sys.stdout
        look = look_for(stream, color=self._color, environ=self._environ)
        self._write(stream, [look.paint(foreign(line), "dim")])

    def remark(self, line: str) -> None:
        """Why the command ends, where that is no error of anybody's, on stderr."""
        self._write(sys.stderr, [line])

    def warn(self, line: str) -> None:
        """What must not be missed, on stderr."""
        look = look_for(sys.stderr, color=self._color, environ=self._environ)
        self._write(sys.stderr, [look.paint(line, "bad")])

    def complain(self, error: DevtasksError) -> None:
        """An error, on stderr; with `json` also as the object that takes the outcome's place."""
        from devtasks.report import text
        from devtasks.values import replace

        look = look_for(sys.stderr, color=self._color, environ=self._environ)
        if self.json:
            from devtasks.report import shapes

            self._write(sys.stdout, [shapes.render_error(error)])
            look = replace(look, forge=None)
        self._write(sys.stderr, text.error(str(error), error.hint, look))

    def _write(self, stream: TextIO | None, lines: Iterable[str]) -> None:
        self._put(stream, "".join(f"{line}\n" for line in lines))

    def _put(self, stream: TextIO | None, text: str) -> None:
        if stream is None:  # closed before Python started
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            _silence(stream)
            if stream is sys.stdout:
                self.closed = True
                if not isinstance(error, BrokenPipeError):
                    self.failure = error


def _silence(stream: TextIO) -> None:
    """Send what is still buffered, and all that follows, nowhere: Python would complain about it at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
