"""What a monitor noticed or did, for whoever wants to be told."""

from __future__ import annotations

from typing import Literal

from devtasks.values import Value

Kind = Literal["exit", "ready", "restart", "failure", "unhealthy", "healthy", "foreign", "monitor"]


class Happening(Value):
    """One thing that happened to one service; `service` is "monitor" for the monitor itself.

    exit: its main process ended (by itself, or because somebody stopped it: `wanted` tells). restart: it is
    about to be started again. ready: it was, and is ready. failure: restarting was given up; `report` tells why,
    in lines.
    """

    kind: Kind
    service: str
    at: float  # seconds since the epoch
    pid: int | None = None
    exit_code: int | None = None  # of an exit; None: unknown
    wanted: bool = True
    detail: str = ""
    report: tuple[str, ...] = ()
