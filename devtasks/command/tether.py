"""A command that is called from another host ends when the caller does.

sshd tells a program without a terminal nothing when its connection is gone; only its standard input ends. So
`--tethered` takes the end of the standard input for a hang-up, and the command ends as it always does on HUP.
"""

from __future__ import annotations

import os
import signal
import threading


def tie() -> None:
    """From now on, send this process HUP (TERM where HUP is ignored) when its standard input ends."""
    threading.Thread(target=_wait, name="tether", daemon=True).start()


def _wait() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    hang_up = getattr(signal, "SIGHUP", signal.SIGTERM)
    ignored = signal.getsignal(hang_up) == signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM if ignored else hang_up)
