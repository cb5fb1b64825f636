"""From a service's command to everything by which the same service may have been started by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devtasks.model import Service
from devtasks.programs import task_runner
from devtasks.programs.likeness import Target
from devtasks.programs.managers import package_script
from devtasks.programs.names import components
from devtasks.programs.shells import services, simple_commands
from devtasks.programs.unwrapping import layers
from devtasks.programs.workload import Workload, workload
from devtasks.values import replace

_DEEPEST = 4  # scripts that run scripts
_MOST = 64
_BESIDE = frozenset(("concurrently", "conc"))
_BY_NAME = frozenset(("run-p", "run-s", "npm-run-all", "npm-run-all2"))


def targets(service: Service) -> tuple[Target, ...]:
    """What the service's command does, and what the scripts of package.json do that it runs.

    Reads package.json in the folder the command runs in; one that cannot be read adds nothing.
    """
    found = _Found(frozenset(service.ports))
    if service.shell:
        for command in services(simple_commands(service.command[0] if service.command else "")):
            found.add(command.words, _folder(service.cwd, command.folder), "command", 0)
    else:
        found.add(service.command, service.cwd, "command", 0)
    return tuple(found.targets[:_MOST])


def package_scripts(folder: Path) -> Mapping[str, str]:
    """The scripts in the package.json of `folder`; none where it is missing, too large or damaged."""
    import json

    from devtasks.config.textfile import read_bytes

    try:
        content = json.loads(read_bytes(folder / "package.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    scripts = content.get("scripts") if isinstance(content, dict) else None
    if not isinstance(scripts, dict):
        return {}
    return {name: script for name, script in scripts.items() if isinstance(script, str)}


class _Found:
    def __init__(self, ports: frozenset[int]) -> None:
        self.ports = ports
        self.targets: list[Target] = []

    def add(self, words: tuple[str, ...], folder: Path, source: str, depth: int) -> None:
        found = layers(words)
        if not found or task_runner(words) or len(self.targets) >= _MOST:
            return
        last = found[-1]
        if last.folder:
            folder = _folder(folder, last.folder)
        if last.program in _BESIDE or last.program in _BY_NAME:
            self._several(last.program, last.args, folder, source, depth)
        work = workload(last)
        if work is None:
            return
        if work.folder and work.kind == "task":
            folder = _folder(folder, work.folder)
        ports = self.ports | work.ports
        label = f"{' '.join([last.program, *last.args])[:80]} (derived from {source})"
        target = Target(work, components(str(folder)), ports, label)
        self.targets.append(target)
        if work.kind == "program" and work.name == "next" and not work.words:
            self.targets.append(replace(target, work=Workload("program", "next-server")))
        if work.kind == "task":
            script = package_script(last.program, last.args)
            self._script(work.name, script.args if script else (), folder, depth, ports)

    def _several(self, program: str, args: tuple[str, ...], folder: Path, source: str, depth: int) -> None:
        """Tools that run several commands, or scripts by name, beside each other."""
        if depth >= _DEEPEST:
            return
        for word in args:
            if word.startswith("-"):
                continue
            if program in _BY_NAME or word.startswith("npm:"):
                self.add(("npm", "run", word.removeprefix("npm:")), folder, source, depth + 1)
            elif " " in word or len(args) == 1:
                self._string(word, (), folder, source, depth + 1)

    def _script(self, name: str, extra: tuple[str, ...], folder: Path, depth: int, ports: frozenset[int]) -> None:
        script = package_scripts(folder).get(name) if depth < _DEEPEST else None
        if script is None:
            return
        before, self.ports = self.ports, ports
        self._string(script, extra, folder, "package.json", depth + 1)
        self.ports = before

    def _string(self, text: str, extra: tuple[str, ...], folder: Path, source: str, depth: int) -> None:
        commands = services(simple_commands(text))
        for index, command in enumerate(commands):
            words = command.words + extra if index == len(commands) - 1 else command.words
            self.add(words, _folder(folder, command.folder), source, depth)


def _folder(start: Path, name: str | None) -> Path:
    """Where a command runs that was told to go to `name`, by the names alone: links are not followed."""
    if not name or "$" in name:
        return start
    parts = list((start / name).parts)
    while ".." in parts:
        place = parts.index("..")
        del parts[max(place - 1, 1) : place + 1]
    return Path(*parts)
