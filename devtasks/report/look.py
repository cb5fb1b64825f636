"""How text may look where it goes: how wide, in which colours and characters, in which CI's syntax."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

from devtasks.values import Value

Forge = Literal["github", "gitlab"]
Tone = Literal["good", "bad", "odd", "dim", "bold"]

SERVICE_TONES = ("CYAN", "MAGENTA", "YELLOW", "GREEN", "BLUE")
_TONES = {"good": "GREEN", "bad": "RED", "odd": "YELLOW"}
_NARROWEST = 40
_WIDEST = 200


class Look(Value):
    """The text of a report depends on its outcome and on this, and on nothing else."""

    width: int = 80
    color: bool = False
    unicode: bool = True
    forge: Forge | None = None

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "..."

    @property
    def branches(self) -> tuple[str, str, str, str]:
        """What stands before a child, a last child, and below each of them."""
        return ("├─ ", "└─ ", "│  ", "   ") if self.unicode else ("|- ", "`- ", "|  ", "   ")

    def paint(self, text: str, tone: Tone) -> str:
        if not self.color or not text:
            return text
        from colorama import Fore, Style

        if tone in ("dim", "bold"):
            return f"{Style.DIM if tone == 'dim' else Style.BRIGHT}{text}{Style.RESET_ALL}"
        return f"{getattr(Fore, _TONES[tone])}{text}{Fore.RESET}"

    def label(self, text: str, number: int) -> str:
        """A service's name in a colour of its own."""
        if not self.color:
            return text
        from colorama import Fore

        return f"{getattr(Fore, SERVICE_TONES[number % len(SERVICE_TONES)])}{text}{Fore.RESET}"

    def shorten(self, text: str, room: int) -> str:
        """`text` in at most `room` columns, its middle left out: a command's end tells as much as its start."""
        room = max(room, 8)
        if columns(text) <= room:
            return text
        left = room - len(self.ellipsis)
        head, tail = left - left // 2, left // 2
        while columns(text[:head]) > left - left // 2:
            head -= 1
        while columns(text[-tail:]) > left // 2:
            tail -= 1
        return f"{text[:head]}{self.ellipsis}{text[len(text) - tail :]}"


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def look_for(stream: TextIO | None, *, color: str = "auto", environ: Mapping[str, str] = os.environ) -> Look:
    """The look that suits `stream`. `color` is the flag: auto, always or never."""
    colored = _colored(stream, color, environ)
    if colored and sys.platform == "win32":
        from colorama import just_fix_windows_console

        just_fix_windows_console()
    return Look(
        width=min(max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST), _WIDEST),
        color=colored,
        unicode=_unicode(stream, environ),
        forge="github"
        if environ.get("GITHUB_ACTIONS") == "true"
        else "gitlab"
        if environ.get("GITLAB_CI") == "true"
        else None,
    )


def _colored(stream: TextIO | None, flag: str, environ: Mapping[str, str]) -> bool:
    """The flag, else NO_COLOR (https://no-color.org), else FORCE_COLOR, else whether a terminal is there."""
    if flag != "auto":
        return flag == "always"
    if environ.get("NO_COLOR"):
        return False
    forced = environ.get("FORCE_COLOR", "")
    if forced:
        return forced not in ("0", "false")
    return stream is not None and stream.isatty() and environ.get("TERM") != "dumb"


def _unicode(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether lines and marks beyond ASCII can be shown.

    In the C locale Python writes UTF-8 (PEP 540) whatever the terminal can: that is no promise.
    """
    encoding = getattr(stream, "encoding", None) or "ascii"
    if sys.flags.utf8_mode and not environ.get("PYTHONUTF8") and sys.version_info < (3, 15):
        return False
    return re.sub(r"[^a-z0-9]", "", encoding.lower()) in ("utf8", "utf16", "utf32", "utf8sig")
