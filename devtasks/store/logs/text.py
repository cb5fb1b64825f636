"""What programs write, made fit to be shown: cut, decoded, with nothing left that would command a terminal."""

from __future__ import annotations

import re

LONGEST_LINE_BYTES = 4096

# C0 but tab, DEL, C1, the line and paragraph separators, and the bidirectional overrides, which reorder what
# follows; lone surrogates cannot be printed at all.
_UNPRINTABLE = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"


def printable(text: str) -> str:
    r"""`text` with everything that a terminal would obey written out, as in `\x1b`. Tabs stay."""
    if text.isprintable():
        return text
    return re.sub(_UNPRINTABLE, lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte (PEP 383): shown as the byte that it is
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shown(raw: bytes) -> str:
    """One line of a log, printable; what is longer than 4 KiB is cut and ends in `…`."""
    raw = raw.removesuffix(b"\r")
    cut = len(raw) > LONGEST_LINE_BYTES
    text = raw[:LONGEST_LINE_BYTES].decode("utf-8", "ignore" if cut else "replace")
    return printable(text) + ("…" if cut else "")


class Lines:
    """Bytes as they come, in; whole lines, printable, out. Of an endless line no more than 4 KiB is held."""

    __slots__ = ("_rest", "_skipping")

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False  # what is left of a line whose beginning was given out, cut

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes. A line beyond 4 KiB comes as soon as it is known to be one."""
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            self._skipping = not newline
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        lines = _shown_all(whole) if newline else []
        self._rest = rest
        if len(rest) > LONGEST_LINE_BYTES + 1:  # one more: it may be the \r of a line that is not too long
            lines.append(shown(rest))
            self._rest, self._skipping = b"", True
        return lines

    def end(self) -> list[str]:
        """What was begun and not completed, as a line."""
        rest, self._rest, self._skipping = self._rest, b"", False
        return [shown(rest)] if rest else []


def _shown_all(whole: bytes) -> list[str]:
    """The lines of `whole`, at once where they are as lines mostly are: for a service that writes much."""
    try:
        lines = whole.decode().split("\n")
    except UnicodeDecodeError:
        return [shown(raw) for raw in whole.split(b"\n")]
    if len(max(lines, key=len)) * 4 <= LONGEST_LINE_BYTES:
        if "".join(lines).isprintable():
            return lines
        return [line if line.isprintable() else printable(line.removesuffix("\r")) for line in lines]
    return [shown(raw) for raw in whole.split(b"\n")]
