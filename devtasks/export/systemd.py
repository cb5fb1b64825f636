"""systemd: a unit a service, for the system and for a user, and one target that holds them together.

The rules of quoting are those of systemd.syntax(7) and systemd.service(5); those of restarts, of
systemd.unit(5) (StartLimitBurst).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from devtasks.errors import UsageError
from devtasks.export.images import question
from devtasks.export.plan import (
    File,
    Ledger,
    Surroundings,
    Unit,
    argv,
    no_line_breaks,
    number,
    slug,
    units,
    variables,
)
from devtasks.model import Project, Service
from devtasks.values import Value

TITLE = "systemd"
FOLDER = "deploy/systemd"

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_EXIT_CODES = {"HUP": 129, "INT": 130, "QUIT": 131, "TERM": 143}
_ASK_SECONDS = 2.0
# MAINPID is systemd's; while it lives, the question is asked every second, until `timeout` ends this.
_WAIT = 'until "$0" "$@" >/dev/null 2>&1; do kill -0 "$MAINPID" || exit 1; sleep 1; done'


class _Scene(Value):
    """What all units of one manager share."""

    project: Project
    around: Surroundings
    prefix: str
    manager: str  # "system" or "user"


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """The units below system/ and user/, and the commands that install them."""
    prefix = slug(project.name)
    made = units(project)
    files: list[File] = []
    for manager in ("system", "user"):
        scene = _Scene(project=project, around=around, prefix=prefix, manager=manager)
        files.append(File(path=f"{manager}/{prefix}.target", body=_target(scene, made)))
        for unit in made:
            body = "".join(f"{line}\n" for line in _unit(scene, ledger, unit))
            path = f"{manager}/{prefix}-{unit.name}.service"
            files.append(File(path=path, body=body, about=(unit.service.group,)))
    for service in project.services:
        ledger.put(service, "data", "stays where it is")
        ledger.put(service, "host", "stands in the command")
        if service.stdin == "open":
            ledger.cannot(
                None, "stdin", "standard input is /dev/null: what ends when its input ends, ends at once"
            )
        else:
            ledger.put(service, "stdin", "/dev/null")
    return tuple(files), _commands(around, prefix)


def _target(scene: _Scene, made: Iterable[Unit]) -> str:
    lines = ["[Unit]", f"Description={_percent(scene.project.name)}"]
    lines += [f"Wants={scene.prefix}-{unit.name}.service" for unit in made]
    lines += ["", "[Install]", f"WantedBy={'multi-user' if scene.manager == 'system' else 'default'}.target"]
    return "".join(f"{line}\n" for line in lines)


def _unit(scene: _Scene, ledger: Ledger, unit: Unit) -> Iterator[str]:
    service = unit.service
    yield "[Unit]"
    yield f"Description={_percent(scene.project.name)}: {unit.name}"
    yield f"PartOf={scene.prefix}.target"
    if service.ports and scene.manager == "system":
        yield "After=network.target"
    yield from _order(scene, ledger, service)
    yield from _start_limit(ledger, service)
    yield ""
    yield "[Service]"
    yield from _execution(scene, ledger, service)
    yield from _stopping(ledger, service)
    yield from _restarting(ledger, service)
    yield from _resources(ledger, service)
    yield from _logging(ledger, service)
    yield ""
    yield "[Install]"
    yield f"WantedBy={scene.prefix}.target"
    if service.name != service.group:
        ledger.put(service, "instances", "one unit each")


def _order(scene: _Scene, ledger: Ledger, service: Service) -> Iterator[str]:
    for group in service.depends_on:
        needed = [unit for unit in units(scene.project) if unit.service.group == group]
        for unit in needed:
            yield f"Requires={scene.prefix}-{unit.name}.service"
            yield f"After={scene.prefix}-{unit.name}.service"
        if not needed:
            ledger.cannot(service, "depends_on", f"{group} is not exported with it")
        ledger.put(service, "depends_on", "Requires, After: when that is restarted, so is this")


def _start_limit(ledger: Ledger, service: Service) -> Iterator[str]:
    """A limit that trips: as many starts as it takes must fit into the interval, with the delay between them."""
    policy = service.restart
    if policy.policy == "never" or policy.max == 0:
        return
    burst = policy.max + 1  # the first start counts, too
    delay = policy.backoff_seconds
    needed = burst * max(2 * delay, delay + 1)
    interval = max(policy.window_seconds, needed)
    if interval > policy.window_seconds:
        ledger.cannot(
            service,
            "restart.window",
            f"{burst} starts with {number(delay)} s between them take longer than "
            f"{number(policy.window_seconds)} s: so that the limit can be reached, "
            f"StartLimitIntervalSec is {number(interval)}",
        )
    ledger.put(service, "restart.window", "StartLimitIntervalSec")
    ledger.put(service, "restart.max", "StartLimitBurst, which counts the first start and those by hand, too")
    yield f"StartLimitIntervalSec={number(interval)}"
    yield f"StartLimitBurst={burst}"


def _execution(scene: _Scene, ledger: Ledger, service: Service) -> Iterator[str]:
    prefix, around = scene.prefix, scene.around
    if service.daemon_pid_file is not None:
        yield "Type=forking"
        yield f"PIDFile={_path(service, 'daemon_pid_file', str(service.daemon_pid_file))}"
        ledger.put(service, "daemon_pid_file", "Type=forking, PIDFile")
    else:
        yield "Type=exec"
    if scene.manager == "system":
        yield f"User={around.user}"
        ledger.put(
            service, "user", f"User: {around.user}, who owns the project's folder; a user unit has its user"
        )
    yield f"WorkingDirectory={_path(service, 'cwd', str(service.cwd))}"
    ledger.put(service, "cwd", "WorkingDirectory")
    plain, secret = variables(
        service, ledger, f"set it in /etc/{prefix}/{service.group}.env (of a user, in ~/.config)"
    )
    path = ":".join([*around.tools[service.group], plain.pop("PATH", _SYSTEM_PATH)])
    fixed = {"PYTHONUNBUFFERED": "1", "PATH": path}
    # On the command line: all of it where there is a file, which would win over Environment=, and what this cannot
    # hold.
    by_command = {
        name: value for name, value in plain.items() if service.env_file is not None or not _settable(name, value)
    }
    for name, value in (fixed | {key: plain[key] for key in plain if key not in by_command}).items():
        yield f"Environment={_quoted(f'{name}={value}')}"
    if service.env:
        ledger.put(service, "env", "ExecStart=/usr/bin/env NAME=VALUE" if by_command else "Environment")
    if service.env_file is not None:
        yield f"EnvironmentFile={_globless(_path(service, 'env_file', str(service.env_file)))}"
        ledger.put(service, "env_file", "EnvironmentFile")
        ledger.cannot(
            service, "env_file", "systemd reads it itself: it takes no `export`, and no comment after a bare value"
        )
    if secret:
        yield f"EnvironmentFile=%E/{prefix}/{service.group}.env"
    for step in service.before:
        yield f"ExecStartPre={_command(service, step, by_command)}"
        ledger.put(service, "before", "ExecStartPre")
    yield f"ExecStart={_command(service, argv(service), by_command)}"
    ledger.put(service, "command", "ExecStart")
    if service.shell:
        ledger.put(service, "shell", "ExecStart=/bin/sh -c")
    yield from _readiness(around, ledger, service)
    if service.ports:
        ledger.put(service, "ports", "stand in the command")
    if service.health is not None:
        ledger.cannot(service, "health", "systemd asks nobody; a program can report itself (WatchdogSec)")


def _readiness(around: Surroundings, ledger: Ledger, service: Service) -> Iterator[str]:
    yield "TimeoutStartSec=infinity"  # `before` may take its time; readiness has a limit of its own
    asked = question(
        service, service.ready, around.builds[service.group].language, wait=_ASK_SECONDS, inside=False
    )
    if asked is None:
        if service.ready.log is not None:
            ledger.cannot(service, "ready", "the log is not looked at: it counts as started when it was executed")
        return
    if asked.loss:
        ledger.cannot(service, "ready", asked.loss)
    limit = number(max(0.001, service.ready.timeout_seconds))
    yield f"ExecStartPost={_words(('/usr/bin/timeout', limit, '/bin/sh', '-c', _WAIT, *asked.argv))}"
    ledger.put(service, "ready", "ExecStartPost asks until it is")


def _stopping(ledger: Ledger, service: Service) -> Iterator[str]:
    policy = service.stop
    first = policy.signals[0]
    yield "KillMode=mixed"
    yield f"KillSignal=SIG{first}"
    yield f"TimeoutStopSec={number(max(0.001, policy.timeout_seconds))}"  # 0 would be for ever
    if first in _EXIT_CODES:
        yield f"SuccessExitStatus={_EXIT_CODES[first]}"
    if not policy.kill:
        yield "SendSIGKILL=no"
    ledger.put(service, "stop.signal", "KillSignal")
    ledger.put(service, "stop.timeout", "TimeoutStopSec")
    ledger.put(service, "stop.kill", "SendSIGKILL")
    if len(policy.signals) > 1:
        ledger.cannot(
            service, "stop.signal", f"only {first} is sent, not {', '.join(policy.signals[1:])} after it"
        )


def _restarting(ledger: Ledger, service: Service) -> Iterator[str]:
    policy = service.restart
    ledger.put(service, "restart.policy", "Restart")
    if policy.policy == "never" or policy.max == 0:
        yield "Restart=no"
        ledger.put(service, "restart.max", "Restart=no")
        for key in ("window", "backoff", "max_backoff", "cooldown"):
            ledger.put(service, f"restart.{key}", "Restart=no: nothing to delay or to count")
        return
    yield f"Restart={policy.policy}"
    yield f"RestartSec={number(policy.backoff_seconds)}"
    ledger.put(service, "restart.backoff", "RestartSec")
    if policy.backoff_seconds < policy.max_backoff_seconds:
        ledger.cannot(
            service,
            "restart.max_backoff",
            f"the delay stays {number(policy.backoff_seconds)} s (RestartSteps needs systemd 254)",
        )
    ledger.cannot(
        service, "restart.cooldown", "what has reached its limit stays failed until `systemctl reset-failed`"
    )


def _resources(ledger: Ledger, service: Service) -> Iterator[str]:
    limits = service.limits
    for key, name, value in (
        ("nofile", "LimitNOFILE", limits.nofile),
        ("nproc", "LimitNPROC", limits.nproc),
        ("memory", "MemoryMax", limits.memory_bytes),
        ("cpu", "CPUQuota", None if limits.cpu is None else f"{number(limits.cpu * 100)}%"),
    ):
        if value is not None:
            yield f"{name}={value}"
            ledger.put(service, f"limits.{key}", name)


def _logging(ledger: Ledger, service: Service) -> Iterator[str]:
    if service.log_file.name == f"{service.name}.log":
        ledger.put(service, "log_file", "the journal")
        if service.log_max_bytes is not None:
            ledger.cannot(service, "log_max_bytes", "the journal has limits of its own (journald.conf)")
        return
    yield f"StandardOutput=append:{_path(service, 'log_file', str(service.log_file))}"
    yield "StandardError=inherit"
    ledger.put(service, "log_file", "StandardOutput=append:")
    if service.log_max_bytes is not None:
        ledger.cannot(service, "log_max_bytes", "the file is not rotated: logrotate does that, with copytruncate")


def _commands(around: Surroundings, prefix: str) -> tuple[str, ...]:
    import shlex

    system, user = (shlex.quote(os.path.join(around.output, name)) for name in ("system", "user"))
    return (
        f"sudo install -m 644 {system}/* /etc/systemd/system/ && sudo systemctl daemon-reload",
        f"sudo systemctl enable --now {prefix}.target",
        f"systemctl list-dependencies {prefix}.target",
        f"journalctl -f -u '{prefix}-*'",
        f"sudo systemctl disable --now {prefix}.target",
        f"install -Dm 644 -t ~/.config/systemd/user {user}/* && systemctl --user daemon-reload",
        f"systemctl --user enable --now {prefix}.target && loginctl enable-linger",
        f"journalctl --user -f -u '{prefix}-*'",
    )


# --- quoting -------------------------------------------------------------------------------------------


def _command(service: Service, words: tuple[str, ...], env: dict[str, str]) -> str:
    """A command line. `env` looks the program up on the PATH that the service has, then becomes it."""
    program, *rest = words
    if "/" in program:
        program = os.path.normpath(os.path.join(service.cwd, program))
        if not env:
            if not re.fullmatch(r"/[^\s\"'\\%$;]*", program):  # the first word is parsed by rules of its own
                return _words(("/usr/bin/env", program, *rest))
            return _words((program, *rest))
    elif "=" in program or program.startswith("-"):
        raise UsageError(f'{service.name}: a program called "{program}" cannot be started by {TITLE}')
    return _words(("/usr/bin/env", *(f"{name}={value}" for name, value in env.items()), program, *rest))


def _words(words: Iterable[str]) -> str:
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    escaped = _percent(word).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_escaped(one) for one in escaped) + '"'


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    return named or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _path(service: Service, what: str, path: str) -> str:
    """A path as these settings take it: to the end of the line, unquoted."""
    no_line_breaks(service, what, path, TITLE)
    if path.endswith("\\"):
        raise UsageError(
            f"{service.name}: its {what} ends in a backslash, which {TITLE} takes for a continued line"
        )
    return _percent(path)


def _settable(name: str, value: str) -> bool:
    """Whether Environment= takes it: a shell's kind of name, and no control characters but these two."""
    controls = (one for one in value if one < " " or one == "\x7f")
    return name.isascii() and name.isidentifier() and all(one in "\t\n" for one in controls)


def _globless(path: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", path)
