"""Are two command lines two spellings of the same work?"""

from __future__ import annotations

from devtasks.programs.arguments import words_agree
from devtasks.programs.names import components
from devtasks.programs.workload import FOUND_BY, PYTHON_ENDINGS, Workload
from devtasks.values import Row


class Target(Row):
    """A workload of a service: it runs in `folder`, whose parts these are, on one of `ports` if any is told."""

    work: Workload
    folder: tuple[str, ...]
    ports: frozenset[int]
    label: str  # for people


def agree(target: Target, other: Workload) -> bool:
    """Whether `other`, found in the process table, is the same work as the target's.

    A port, a telling option or a folder that both give must agree; what only one gives does not count.
    """
    work = target.work
    if other.ports and target.ports and not other.ports <= target.ports:
        return False
    if not _names_agree(work.names, other.names) or not _folder_agrees(target, other):
        return False
    if work.kind == "app" or (other.kind == "app" and work.ending in PYTHON_ENDINGS):
        return _apps_agree(target, other)
    if "task" in (work.kind, other.kind):
        same = work.kind == other.kind and work.name == other.name
    elif work.ending and other.ending:
        same = work.ending == other.ending and _is_file(target, other)
    else:
        same = work.name == other.name and not (work.kind == "script" or other.kind == "script")
    return same and words_agree(work.words, other.words)


def beside(target: Target, folder: tuple[str, ...]) -> bool:
    """Whether `folder` is neither the target's nor above or below it."""
    shared = min(len(folder), len(target.folder))
    return folder[:shared] != target.folder[:shared]


def _apps_agree(target: Target, other: Workload) -> bool:
    work = target.work
    if work.attribute and other.attribute and work.attribute != other.attribute:
        return False
    looked_for = work.found_by or other.found_by
    if looked_for and work.name == other.name and (work.found_by == other.found_by or work.name == "flask"):
        return True
    told = other if work.found_by else work
    if not told.path or told.ending not in PYTHON_ENDINGS or not words_agree(work.words, other.words):
        return False  # an app has no words
    if looked_for:
        return told.path[-1] in looked_for
    if not other.path or other.ending not in PYTHON_ENDINGS:
        return False
    if work.kind != "app":
        return _is_file(target, other)
    if other.absolute:
        inside = other.path[: len(target.folder)] == target.folder
        return other.path == _whole(target) or (inside and _ends(other.path, work.path))
    path = _without_ups(other.path)
    return bool(path) and (_ends(_whole(target), path) or _ends(path, work.path))


def _is_file(target: Target, other: Workload) -> bool:
    if other.absolute:
        return other.path == _whole(target)
    path = _without_ups(other.path)
    return bool(path) and _ends(_whole(target), path)


def _whole(target: Target) -> tuple[str, ...]:
    work = target.work
    if work.absolute:
        return work.path
    parts = list(target.folder)
    for part in work.path:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return tuple(parts)


def _without_ups(path: tuple[str, ...]) -> tuple[str, ...]:
    ups = next((index for index, part in enumerate(path) if part != ".."), len(path))
    return path[ups:]


def _ends(whole: tuple[str, ...], tail: tuple[str, ...]) -> bool:
    return whole[len(whole) - len(tail) :] == tail if len(tail) <= len(whole) else False


def _names_agree(one: frozenset[tuple[str, str]], other: frozenset[tuple[str, str]]) -> bool:
    here, there = dict(one), dict(other)
    return all(there.get(option, value) == value for option, value in here.items())


def _folder_agrees(target: Target, other: Workload) -> bool:
    """A manager told to go to another folder, or a shell that went there, runs another service."""
    if other.folder is None or target.work.folder == other.folder or "$" in other.folder:
        return True
    parts = components(other.folder)
    if other.folder.startswith("/"):
        return parts == target.folder
    return _ends(target.folder, _without_ups(parts))


def needles(target: Target) -> frozenset[str]:
    """Words of which at least one is in every command line that agrees, in any case of letters."""
    work = target.work
    if work.kind == "app" or (work.kind in ("script", "module") and work.ending in PYTHON_ENDINGS):
        last = work.path[-1:] if work.path else ()
        servers = {name for name, modules in FOUND_BY.items() if work.found_by or not last or last[0] in modules}
        servers |= {work.name} if work.name in FOUND_BY else set()
        return frozenset([*last, *work.found_by, *servers])
    if work.kind == "script":
        return frozenset(work.path[-1:])
    return frozenset([{"next-server": "next", "php -S": "php"}.get(work.name, work.name)])
