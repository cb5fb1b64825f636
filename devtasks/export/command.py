"""The verb `export`: what is asked for, what it needs to know of the disk, and what is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from devtasks.config import loading
from devtasks.errors import Refused, UsageError
from devtasks.export import images, writing
from devtasks.export.plan import Ledger, Surroundings, groups, slug
from devtasks.inferring.tree import Tree
from devtasks.launching import tool_folders
from devtasks.model import Project
from devtasks.outcomes import Exported, ExportedFile, ExportedService, ExportReport
from devtasks.values import replace

if TYPE_CHECKING:
    from devtasks.command.options import Flags

TARGETS = ("systemd", "dockerfile", "compose", "kubernetes", "launchd", "procfile")
CONTAINERS = ("dockerfile", "compose", "kubernetes")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container, and nowhere else


def export(project: Project, names: tuple[str, ...], flags: Flags, environ: Mapping[str, str]) -> ExportReport:
    """Write `project`, or only the services in `names`, as files for `flags.to`.

    With `flags.check` or `flags.dry_run` nothing is written. Raises UsageError for a target or a folder that
    cannot be meant and for a service that cannot be exported, Refused where a file was edited by hand (unless
    `flags.force`), DevtasksError when writing fails.
    """
    target = _target(flags.to)
    chosen = _chosen(project, names)
    hosts = {group: members[0].host for group, members in groups(chosen).items()}
    if target in CONTAINERS:
        bound = [group for group, members in groups(chosen).items() if members[0].ports]
        inside = loading.with_address(project, bound, host=EVERYWHERE, environ=environ)
        chosen = replace(chosen, services=_chosen(inside, names).services)
    output = Path(os.path.abspath(flags.output or project.root / _module(target).FOLDER))
    if os.path.lexists(output) and not output.is_dir():
        raise UsageError(f"{output} is not a folder", hint="name another one with --output")
    pages, ledger, commands = make(chosen, target, _surroundings(chosen, output, hosts))
    states = {page.path: writing.state(output / page.path, page.content) for page in pages}
    leftover = writing.stale(output, pages, target=target, project=slug(project.name)) if not names else ()
    if not flags.check and not flags.dry_run:
        _refuse_edited(output, states, force=flags.force)
        writing.write(output, [page for page in pages if states[page.path] != "unchanged"])
    return ExportReport(
        target=target,
        output=str(output),
        written=not flags.check and not flags.dry_run,
        check=flags.check,
        files=(
            *(ExportedFile(path=path, state=state) for path, state in states.items()),
            *(ExportedFile(path=path, state="stale") for path in leftover),
        ),
        services=tuple(_told(group, ledger) for group in groups(chosen)),
        remarks=tuple(Exported(remark.key, remark.text) for remark in ledger.remarks if remark.service is None),
        commands=commands,
    )


def make(
    project: Project, target: str, around: Surroundings
) -> tuple[tuple[writing.Page, ...], Ledger, tuple[str, ...]]:
    """What `target` makes of `project`: the files with their headers, the account of every key, and the commands.

    Nothing outside the arguments is looked at. Raises UsageError for a service that the target cannot hold.
    """
    module = _module(target)
    ledger = Ledger()
    rest = _without_containers(project, ledger)
    files, commands = module.export(rest, around, ledger)
    ledger.settle(rest, module.TITLE)
    return writing.pages(files, ledger, target=target, project=slug(project.name)), ledger, commands


def _without_containers(project: Project, ledger: Ledger) -> Project:
    """The services that are processes: a container is run by its engine already. Raises where none is left."""
    inside = {service.group for service in project.services if service.contained}
    if not inside:
        return project
    kept = []
    for service in project.services:
        if service.contained:
            key = "container" if service.container else "compose"
            ledger.cannot(service, key, "not exported: it is a container already, and its engine runs it")
            continue
        if inside.intersection(service.depends_on):
            names = ", ".join(name for name in service.depends_on if name in inside)
            ledger.cannot(service, "depends_on", f"{names} is not exported, and has to be there first")
        kept.append(replace(service, depends_on=tuple(name for name in service.depends_on if name not in inside)))
    if not kept:
        raise UsageError(f"nothing can be exported: {', '.join(sorted(inside))} is a container already")
    return replace(project, services=tuple(kept))


def _module(target: str) -> ModuleType:
    return import_module(f"devtasks.export.{target}")


def _target(name: str | None) -> str:
    if name in TARGETS:
        return name
    if name is None:
        hint = f"TARGET is one of {', '.join(TARGETS)}"
        raise UsageError("export needs to know for what: --to TARGET", hint=hint)
    from devtasks.config.suggest import did_you_mean

    raise UsageError(f"there is no export to {name[:80]!r}{did_you_mean(name, TARGETS)}")


def _chosen(project: Project, names: tuple[str, ...]) -> Project:
    wanted = set(names)
    if not wanted:
        return project
    kept = tuple(one for one in project.services if one.group in wanted or one.name in wanted)
    return replace(project, services=kept)


def _surroundings(project: Project, output: Path, hosts: Mapping[str, str]) -> Surroundings:
    tree = Tree(project.root)
    firsts = {group: members[0] for group, members in groups(project).items()}
    return Surroundings(
        output=output,
        user=_owner(project.root),
        tools={group: tool_folders(one, project) for group, one in firsts.items()},
        builds={group: images.look(tree, one, _folder(project, one.cwd)) for group, one in firsts.items()},
        hosts=hosts,
    )


def _folder(project: Project, cwd: Path) -> str:
    """The working folder relative to the root; the root itself for one outside it."""
    relative = cwd.relative_to(project.root).as_posix() if cwd.is_relative_to(project.root) else "."
    return "" if relative == "." else relative


def _owner(folder: Path) -> str:
    """Whose the project is: a name, or a number where there is none."""
    uid = os.stat(folder).st_uid
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def _refuse_edited(output: Path, states: Mapping[str, writing.State], *, force: bool) -> None:
    for path, state in states.items():
        if state in ("edited", "foreign") and not force:
            why = "was changed by hand" if state == "edited" else "was not written by devtasks"
            raise Refused(
                f"{output / path} {why}; nothing was written",
                hint="keep it, write elsewhere with --output, or replace it with --force",
            )


def _told(group: str, ledger: Ledger) -> ExportedService:
    return ExportedService(
        name=group,
        mapped=tuple(Exported(key, where) for key, where in ledger.mapped.get(group, {}).items()),
        unmapped=tuple(Exported(note.key, note.text) for note in ledger.remarks if note.service == group),
    )
