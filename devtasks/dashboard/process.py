"""The server's own process: what it was told, what it says, how it ends."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtasks.command.edge import guarded
from devtasks.config import loading
from devtasks.dashboard import credentials, presence
from devtasks.dashboard.address import LOOPBACK, Address, Settings, warning
from devtasks.errors import UsageError
from devtasks.model import Project
from devtasks.outcomes import DashboardReport
from devtasks.report.output import Output

READY = "serving on "  # what the log says once connections are accepted
ARENAS = {"MALLOC_ARENA_MAX": "2"}  # glibc gives each thread one of its own, of which hardly anything is used

_PATHS = ("uds", "certfile", "keyfile")
_FLAGS = ("insecure", "open_browser", "json", "managed")


def command(settings: Settings) -> tuple[str, ...]:
    """The command line that serves with these settings."""
    words = [f"host={settings.host}"]
    words += [f"port={settings.port}"] if settings.port is not None else []
    words += [f"{name}={value}" for name in _PATHS if (value := getattr(settings, name)) is not None]
    words += [name for name in _FLAGS if getattr(settings, name)]
    return (sys.executable, "-P", "-m", "devtasks.dashboard", str(settings.root), *words)


def settings_of(words: Sequence[str]) -> Settings:
    """The settings that such a command line stands for. Raises UsageError."""
    if not words:
        raise UsageError("this is how devtasks dashboard starts itself; run that")
    given = dict(word.partition("=")[::2] for word in words[1:])
    if unknown := given.keys() - {"host", "port", *_PATHS, *_FLAGS}:
        raise UsageError(f"unknown: {', '.join(sorted(unknown))}")
    return Settings(
        root=Path(words[0]),
        host=given.get("host", LOOPBACK),
        port=int(given["port"]) if "port" in given else None,
        uds=_path(given, "uds"),
        certfile=_path(given, "certfile"),
        keyfile=_path(given, "keyfile"),
        insecure="insecure" in given,
        open_browser="open_browser" in given,
        json="json" in given,
        managed="managed" in given,
    )


def main(words: Sequence[str]) -> int:
    """Serve until asked to stop; the exit code is 128 and the signal's number."""
    output = Output(json="json" in words[1:])
    return guarded(lambda: _run(settings_of(words), output), output)


def _run(settings: Settings, output: Output) -> int:
    for name, value in ARENAS.items():
        if os.environ.get(name) == value:
            del os.environ[name]  # it was for us, not for what we start
    project = loading.load(settings.root)
    if line := warning(settings):
        output.warn(line)
    from devtasks.dashboard.server import serve

    def ready(where: Address, token: str) -> None:
        presence.tell(project, where)
        gc.collect()
        gc.freeze()
        if settings.managed:
            output.remark(f"{READY}{where.base}")
        else:
            announce(output, report(project, where.base, token, uds=where.uds, pid=os.getpid()), settings)

    with presence.claimed(project):
        return 128 + serve(project, settings, ready)


def report(
    project: Project,
    base: str,
    token: str,
    *,
    uds: Path | str | None,
    pid: int | None,
    already: bool = False,
    managed: bool = False,
) -> DashboardReport:
    """Where the dashboard is, with a fresh one-time token."""
    return DashboardReport(
        dry_run=False,
        url=f"{base}/#token={credentials.one_time(token, time.time())}",
        base=base,
        uds=None if uds is None else str(uds),
        pid=pid,
        already=already,
        managed=managed,
        token_file=str(credentials.path(project)),
        log_file=str(project.state_dir / f"{presence.name(project)}.log") if managed else None,
    )


def announce(output: Output, told: DashboardReport, settings: Settings) -> None:
    """Print it, and open the browser where that was asked for."""
    output.report(told)
    if settings.open_browser and settings.uds is None and told.url is not None:
        threading.Thread(target=open_browser, args=(told.url,), daemon=True).start()


def open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]) if name in given else None
