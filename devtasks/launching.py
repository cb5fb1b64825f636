"""Execute a service: its command line, its environment, and the runner that becomes its parent."""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from devtasks import limiting
from devtasks.config import envfile
from devtasks.errors import DevtasksError
from devtasks.model import Project, Service

if TYPE_CHECKING:
    from devtasks.sparing import Spare

_ANSWER_SECONDS = 20.0  # how long a runner may take to execute the service, on a machine that is very busy
_runners: set[int] = set()  # our children, each one's run over or not
_RUNNER = Path(__file__).with_name("runner.py")
_ROTATION = Path(__file__).parent / "store" / "logs" / "rotation.py"


class Streams(NamedTuple):
    """Descriptors for a service's output and error output, and its input: None is one that never ends."""

    output: int
    error: int
    input: int | None = None
    rotates: bool = False  # the output is the service's log, and is to be kept below `log_max_bytes`


class LaunchError(DevtasksError):
    """The program could not be executed; nothing runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A service that was executed. `runner` is None where runs have no runner (Windows).

    `lowered`: the resource limits that could not be raised so far, and what they are now; None: none was set.
    """

    pid: int
    runner: int | None
    in_cgroup: bool
    lowered: Mapping[str, int] | None = None


def tool_folders(service: Service, project: Project) -> tuple[str, ...]:
    """Where a command is looked up before PATH: the project's own environments, nearest first."""
    folders: list[Path] = []
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    for base in dict.fromkeys((service.cwd, project.root)):
        folders += [base / ".venv" / scripts, base / "venv" / scripts]
    inside = service.cwd.is_relative_to(project.root)
    for base in (service.cwd, *service.cwd.parents):
        folders.append(base / "node_modules" / ".bin")
        if base == project.root or not inside:
            break
    return tuple(str(folder) for folder in folders if folder.is_dir())


def environment(
    service: Service, project: Project, marker: str, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of a service: the caller's, `env_file`, `env`, and what a run needs, later ones win.

    Raises UsageError when `env_file` cannot be read.
    """
    inherited = {
        key: value
        for key, value in base.items()
        if not key.startswith("DEVTASKS_") and key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    # SPT_NOENV keeps setproctitle from overwriting the environment, and so the marker, with its title
    made = {**inherited, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1"}
    if service.env_file is not None:
        made |= envfile.read(service.env_file)
    made |= service.env
    own = tool_folders(service, project)
    made["PATH"] = os.pathsep.join([*own, made.get("PATH", os.defpath)])
    return made | {"DEVTASKS_ID": marker}


def words(service: Service) -> tuple[str, ...]:
    """The argument vector that runs the command."""
    return ("/bin/sh", "-c", service.command[0]) if service.shell else service.command


def find_program(name: str, service: Service, env: Mapping[str, str]) -> str:
    """The file that `name` means for a service. Raises LaunchError, with the remedy, when there is none."""
    if not service.cwd.is_dir():
        raise LaunchError(
            f"{service.name}: folder {service.cwd} does not exist",
            hint=f"create it, or correct services.{service.group}.cwd",
        )
    if os.path.dirname(name):
        path = os.path.join(service.cwd, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        problem = "cannot be executed" if os.path.exists(path) else "does not exist"
        raise LaunchError(f"{service.name}: {path} {problem}", hint=f"check services.{service.group}.command")
    found = shutil.which(name, path=env["PATH"])
    if found is None:
        raise LaunchError(f"{service.name}: command not found: {name}", hint=_install_hint(name, service))
    return os.path.join(service.cwd, found)


def _install_hint(name: str, service: Service) -> str:
    if (service.cwd / "package.json").is_file() and not (service.cwd / "node_modules").is_dir():
        return f"{service.cwd} has no node_modules: run npm install (or your package manager's) there"
    if name in ("npm", "pnpm", "yarn", "node", "npx", "bun"):
        return f"install {name} and make sure that it is on PATH"
    return f"install it in the project's .venv or on PATH, or correct services.{service.group}.command"


def launch(
    service: Service,
    program: str,
    *,
    label: str,
    env: Mapping[str, str],
    streams: Streams,
    exit_file: Path,
    cgroup: str | None,
    spare: Spare | None = None,
) -> Launched:
    """Execute the command, whose `program` was found, under a runner; return once it was executed.

    `spare`: a runner that waits already. `streams` stay the caller's to close, and are above 2. Raises
    LaunchError when nothing could be executed. When this process is killed meanwhile, the run goes on or never
    begins; its marker tells the next command.
    """
    argv = words(service)
    if sys.platform == "win32":
        return _launch_without_runner(service, program, argv, env, streams)
    source, held = _service_input(service) if streams.input is None else (os.dup(streams.input), [])
    task = {
        "program": os.fsencode(program),
        "argv": [os.fsencode(word) for word in argv],
        "env": {os.fsencode(key): os.fsencode(value) for key, value in env.items()},
        "cwd": os.fsencode(service.cwd),
        "output": streams.output,
        "error": streams.error,
        "input": source,
        "hold": held,
        "cgroup": os.fsencode(cgroup) if cgroup else None,
        "limits": [(name.upper(), value) for name, value in limiting.resources(service.limits)],
        "log": _log(service) if streams.rotates else None,
        "exit": os.fsencode(exit_file),
    }
    try:
        descriptors = [streams.output, streams.error, source, *held]
        if spare is not None:
            answer = spare.run(task, label, env["DEVTASKS_ID"], descriptors, _ANSWER_SECONDS)
            if answer is not None:
                _runners.add(spare.pid)
                return _understood(service, spare.pid, answer)
        return _through_runner(service, marshal.dumps(task), label, env["DEVTASKS_ID"], descriptors)
    finally:
        for descriptor in (source, *held):
            os.close(descriptor)


def _through_runner(
    service: Service, task: bytes, label: str, marker: str, descriptors: Sequence[int]
) -> Launched:
    become_subreaper = None
    if sys.platform == "linux":
        from devtasks.world.pidfd import subreaper

        become_subreaper = subreaper()
    runner = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_RUNNER), label],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**libraries(), "DEVTASKS_ID": marker, "DEVTASKS_RUNNER": "1"},
        pass_fds=descriptors,
        start_new_session=True,
        preexec_fn=become_subreaper,  # noqa: PLW1509 - prctl takes no lock that another thread may hold
    )
    runner.returncode = 0  # nobody waits for it: it outlives this command, and that is no mistake
    with contextlib.closing(runner.stdin), contextlib.closing(runner.stdout):  # type: ignore[type-var]
        with contextlib.suppress(BrokenPipeError):
            runner.stdin.write(task)  # type: ignore[union-attr]
            runner.stdin.close()  # type: ignore[union-attr]
        ready, _, _ = select.select([runner.stdout], [], [], _ANSWER_SECONDS)  # type: ignore[type-var]
        line = runner.stdout.readline() if ready else b"silent"  # type: ignore[union-attr]
    _runners.add(runner.pid)
    return _understood(service, runner.pid, line)


def reap() -> None:
    """Let go of runners of ours that have ended. For who lives long: otherwise they stay zombies until he ends."""
    for pid in tuple(_runners):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:
            ended = pid
        if ended:
            _runners.discard(pid)


def _understood(service: Service, runner: int, line: bytes) -> Launched:
    """What a runner answered. Raises LaunchError for anything but a service that was executed."""
    answer = line.split()
    if line == b"silent":  # stopped, or starved: the run's marker tells what becomes of it
        raise LaunchError(f"{service.name}: its runner (PID {runner}) does not answer")
    if len(answer) >= 3 and answer[0] == b"ok":
        lowered = (word.decode().lower().partition("=") for word in answer[3:])
        return Launched(
            pid=int(answer[1]),
            runner=runner,
            in_cgroup=answer[2] == b"1",
            lowered={name: int(value) for name, _, value in lowered},
        )
    with contextlib.suppress(ChildProcessError):
        os.waitpid(runner, 0)
    if len(answer) == 3 and answer[0] == b"no":
        place = service.cwd if answer[2] == b"cwd" else service.command[0]
        raise LaunchError(f"{service.name}: cannot execute {place}: {os.strerror(int(answer[1]))}")
    raise LaunchError(f"{service.name}: its runner ended before the service was executed")


def _log(service: Service) -> tuple[str, str, int | None, str]:
    return str(service.log_file.parent), service.log_file.name, service.log_max_bytes, str(_ROTATION)


def libraries() -> dict[str, str]:
    """Where this Python's own libraries are: some builds (GitHub's setup-python) do not start without."""
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def _service_input(service: Service) -> tuple[int, list[int]]:
    """A descriptor for standard input, and what the runner must hold so that it never reports its end."""
    if service.stdin == "null":
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), []
    reading, writing = os.pipe()
    if sys.platform != "linux":
        return reading, [writing]
    # Opened for both, the service itself keeps the pipe from ending, whatever becomes of its runner
    both = os.open(f"/proc/self/fd/{reading}", os.O_RDWR | os.O_CLOEXEC)
    os.close(reading)
    os.close(writing)
    return both, []


def _launch_without_runner(
    service: Service, program: str, argv: Sequence[str], env: Mapping[str, str], streams: Streams
) -> Launched:
    """Windows: a process group of its own (CTRL_BREAK reaches it), and nobody to tell how it ended.

    With our own streams it shares our console, too: Ctrl-Break needs that.
    """
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    if streams.input is None:
        flags |= getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            cwd=service.cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL if streams.input is None else streams.input,
            stdout=streams.output,
            stderr=streams.error,
            creationflags=flags,
        )
    except OSError as error:
        raise LaunchError(f"{service.name}: cannot execute {program}: {error.strerror}") from None
    process.returncode = 0
    return Launched(pid=process.pid, runner=None, in_cgroup=False)
