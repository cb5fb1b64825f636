"""Every flag of every task, declared once: its help, what it takes, and what of that is accepted.

Values arrive as text and are checked here: Invoke would crash on a number that is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self, cast, get_args

from invoke.parser.argument import Argument

from devtasks.errors import UsageError
from devtasks.values import Row, Value

Color = Literal["auto", "always", "never"]

LONGEST_SECONDS = 86_400.0
HIGHEST_PID = 4_194_304  # PID_MAX_LIMIT of the kernel


def _number(text: str, low: float, high: float, what: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII) or not low <= float(text) <= high:
        raise ValueError(f"{what} from {low:g} to {high:.0f}")
    return float(text)


def _whole(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"{what} from {low} to {high}")
    return int(text)


def _seconds(text: str) -> float:
    return _number(text, 0, LONGEST_SECONDS, "a number of seconds")


def _interval(text: str) -> float:
    return _number(text, 0.1, LONGEST_SECONDS, "a number of seconds")


def _count(text: str) -> int:
    return _whole(text, 1, 999_999_999, "a number of times")


def _days(text: str) -> float:
    return _number(text, 0, 36_500, "a number of days")


def _port(text: str) -> int:
    return _whole(text, 1, 65_535, "a port")


def _workers(text: str) -> int:
    return _whole(text, 1, 1000, "a number of workers")


def _app(text: str) -> str:
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not colon or len(text) > 500 or not all(name.isidentifier() for name in names):
        raise ValueError("an app: write MODULE:ATTRIBUTE, as in main:app")
    return text


def _pid(text: str) -> int:
    return _whole(text, 1, HIGHEST_PID, "a process ID")


def _parallel(text: str) -> int:
    return _whole(text, 1, 1000, "a number of hosts")


def _some_seconds(text: str) -> float:
    return _number(text, 0.1, LONGEST_SECONDS, "a number of seconds")


def _name(text: str) -> str:
    return text  # which services there are is known later


def _lines(text: str) -> int:
    return _whole(text, 1, 100_000, "a number of lines")


def _grep(text: str) -> str:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a regular expression: {error}") from None
    return text


def _since(text: str) -> float:
    import time

    from devtasks.command.moments import moment

    return moment(text, now=time.time())


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:\[\]%][A-Za-z0-9_.:\[\]%-]{0,254}", text):
        raise ValueError("a host name or address")
    return text


def _path(text: str) -> str:
    if not text or len(text) > 1000 or "\0" in text:
        raise ValueError("a path")
    return text


def _color(text: str) -> Color:
    if text not in get_args(Color):
        raise ValueError(f"one of {', '.join(get_args(Color))}")
    return cast("Color", text)


def _folder(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("a folder")
    return text


class Flag(Row):
    """One flag: its help, the word that stands for its value (None: it takes none), and what it accepts.

    `check` makes the value of a text, and raises ValueError with what would have been accepted.
    """

    help: str
    value: str | None = None
    check: Callable[[str], object] | None = None


FLAGS: Mapping[str, Flag] = {
    "only": Flag("Only this service; may be given again.", "NAME"),
    "json": Flag("Print one JSON object; progress goes to stderr."),
    "dry_run": Flag("Say what would be done, and do nothing."),
    "timeout": Flag("SECONDS to wait, instead of the configured time.", "SECONDS", _seconds),
    "force": Flag("Kill at once instead of asking first."),
    "why": Flag("List also what was considered and left alone, and why."),
    "check": Flag("Exit with 0 when all run, 1 when one is broken, 3 when one is stopped, 4 when unclear."),
    "keep_logs": Flag("Leave the log files where they are."),
    "older_than": Flag("Logs untouched for this many DAYS are stale (default 7).", "DAYS", _days),
    "lines": Flag("The last LINES of each service (default 20).", "LINES", _lines),
    "grep": Flag("Only lines that match REGEX.", "REGEX", _grep),
    "since": Flag("Only what is newer: 10m, 2h, 3d, 14:30, 2026-11-22 or 2026-11-22T14:30.", "WHEN", _since),
    "follow": Flag("Go on showing what comes, until Ctrl-C."),
    "exit_code_from": Flag("End all when NAME ends, with its exit code.", "NAME", _name),
    "abort_on_exit": Flag("End all when any service ends, with its exit code."),
    "interval": Flag("SECONDS between two looks (default 1).", "SECONDS", _interval),
    "count": Flag("End after COUNT looks.", "COUNT", _count),
    "udp": Flag("Show the UDP ports of the same numbers, too."),
    "pid": Flag("The process to explain.", "PID", _pid),
    "port": Flag("PORT to use instead of the configured one.", "PORT", _port),
    "host": Flag("HOST to use instead of the configured one.", "HOST", _host),
    "app": Flag("The ASGI app, as MODULE:ATTRIBUTE; where the project runs one only, that one.", "APP", _app),
    "reload": Flag("Start the server again when a file changes."),
    "workers": Flag("Serve with this many processes.", "N", _workers),
    "stop": Flag("Stop the server on the port instead."),
    "status": Flag("Show what is served instead; with --check, as an exit code."),
    "hosts": Flag("Work on these hosts or groups of hosts instead, with commas between them.", "HOSTS"),
    "parallel": Flag("At most N hosts at once (default 32).", "N", _parallel),
    "host_timeout": Flag("SECONDS that a host may take.", "SECONDS", _some_seconds),
    "sudo": Flag("Call devtasks with sudo there."),
    "detach": Flag("Run in the background."),
    "open": Flag("Open the browser, too."),
    "uds": Flag("Serve on a Unix socket at PATH instead.", "PATH", _path),
    "certfile": Flag("A certificate in PEM, for https.", "FILE", _path),
    "keyfile": Flag("The key of the certificate, where that file does not hold it.", "FILE", _path),
    "insecure": Flag("Accept that other machines are served without a certificate."),
    "to": Flag("The TARGET: systemd, dockerfile, compose, kubernetes, launchd or procfile.", "TARGET", str),
    "output": Flag("The folder to write to, instead of the target's own.", "DIR", _folder),
    "color": Flag("Colours: auto (default), always or never.", "WHEN", _color),
}


ABROAD = ("hosts", "parallel", "host_timeout", "sudo")  # of the `devtasks` command, for other hosts


class Flags(Value):
    """What was asked for, checked. A task offers the flags that its row in `tasks.VERBS` names."""

    only: tuple[str, ...] = ()
    json: bool = False
    dry_run: bool = False
    timeout: float | None = None
    force: bool = False
    why: bool = False
    check: bool = False
    keep_logs: bool = False
    older_than: float = 7.0
    lines: int | None = None  # the verb's own number
    grep: str | None = None
    since: float | None = None  # seconds since the epoch
    follow: bool = False
    exit_code_from: str | None = None
    abort_on_exit: bool = False
    interval: float = 1.0
    count: int | None = None
    udp: bool = False
    pid: int | None = None
    port: int | None = None
    host: str | None = None
    app: str | None = None
    reload: bool = False
    workers: int | None = None
    stop: bool = False
    status: bool = False
    hosts: str | None = None
    parallel: int = 32
    host_timeout: float | None = None
    sudo: bool = False
    detach: bool = False
    open: bool = False
    uds: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    insecure: bool = False
    to: str | None = None
    output: str | None = None
    color: Color = "auto"


def dashed(name: str) -> str:
    """A flag's name as it is typed, without the leading dashes."""
    return name.replace("_", "-")


def value_name(name: str) -> str | None:
    """The word that stands for the flag's value in help; None for one that takes none."""
    return FLAGS[name].value


def help_text(name: str) -> str:
    return FLAGS[name].help


class FlatArgument(Argument):
    """Invoke copies the arguments of every task for each command line, deeply; in ours only the value changes."""

    def __deepcopy__(self, _memo: object) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


def arguments(names: Iterable[str], helps: Mapping[str, str] | None = None) -> list[Argument]:
    """The flags called `names` for Invoke's parser; `helps` says what some of them mean in this task."""
    return [
        FlatArgument(
            names=(dashed(name),),
            attr_name=name if "_" in name else None,
            kind=list if name == "only" else bool if value_name(name) is None else str,
            default=False if value_name(name) is None else None,
            help=(helps or {}).get(name, help_text(name)),
        )
        for name in names
    ]


def checked(values: Mapping[str, Any]) -> Flags:
    """`values` as Invoke's parser gives them (text, booleans, None for absent ones; a list for `only`).

    Values of the right type, as from a call in Python, are accepted too. Raises UsageError, naming the flag.
    """
    good: dict[str, Any] = {}
    for name, value in values.items():
        if name not in FLAGS:
            raise UsageError(f"there is no flag --{dashed(name)}")
        if value is None:
            continue
        if name == "only":
            good[name] = (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))
            continue
        check = FLAGS[name].check
        if check is None:
            good[name] = bool(value) if FLAGS[name].value is None else str(value)
            continue
        try:
            good[name] = check(str(value))
        except ValueError as error:
            raise UsageError(f"--{dashed(name)}: {str(value)[:80]!r} is not {error}") from None
    return Flags(**good)
