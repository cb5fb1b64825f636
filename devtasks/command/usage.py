"""What `devtasks` says about itself: the overview by topic, the list of tasks, and a task's flags."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from textwrap import wrap

from devtasks.command import options
from devtasks.command.tasks import VERBS, VerbTask


def typed(name: str) -> str:
    """A flag as it is typed, with the word that stands for its value."""
    value = options.value_name(name)
    return f"--{options.dashed(name)}{f' {value}' if value else ''}"


CORE_FLAGS = (
    ("-C, --root DIR", "Work as if started in DIR."),
    ("-R, --dry", "The same as --dry-run after each task."),
    ("-l, --list", "List all tasks, those of each service too."),
    ("-h, --help [TASK]", "Show this, or what a task does and takes."),
    ("-V, --version", "Show the version."),
    ("--print-completion-script SHELL", "Print the completion for bash, zsh or fish."),
)
ABROAD_FLAGS = tuple((typed(name), options.help_text(name)) for name in options.ABROAD)


def overview(services: Sequence[str]) -> list[str]:
    """The help of the program; `services` are the project's."""
    lines = ["Usage: devtasks TASK [SERVICE ...] [FLAG ...] [TASK ...]"]
    for topic in dict.fromkeys(verb.topic for verb in VERBS):
        lines += ["", f"{topic}:", *_columns([(verb.name, verb.help) for verb in VERBS if verb.topic == topic])]
    each = ", ".join(f"{verb.name}-NAME" for verb in VERBS if verb.one is not None)
    named = ", ".join(services) if services else "none here yet; devtasks init shows how to name them"
    lines += ["", *_paragraph(f"For one service NAME: {each}."), *_paragraph(f"Services: {named}.")]
    lines += ["", "Before the task:", *_columns(CORE_FLAGS)]
    lines += ["", "On other hosts, before or after the task:", *_columns(ABROAD_FLAGS)]
    return [*lines, "", "devtasks TASK --help shows the flags of a task."]


def listing(tasks: Iterable[VerbTask]) -> list[str]:
    """Every task with what it does."""
    return _columns([(task.name, meaning(task)) for task in tasks])


def of_task(task: VerbTask) -> list[str]:
    """What one task does and takes."""
    names = " [SERVICE ...]" if "only" in task.flags else " [APP]" if "app" in task.flags else ""
    flags = [(typed(name), flag_meaning(task, name)) for name in task.flags]
    return [
        f"Usage: devtasks {task.name}{names} [FLAG ...]",
        "",
        *_paragraph(task.__doc__ or ""),
        "",
        *_columns(flags),
    ]


def meaning(task: VerbTask) -> str:
    return (task.__doc__ or "").partition("\n")[0]


def flag_meaning(task: VerbTask, name: str) -> str:
    return task.verb.helps.get(name, options.help_text(name))


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = min(max((len(left) for left, _ in rows), default=0), 32)
    room = max(_width() - width - 4, 30)
    lines = []
    for left, right in rows:
        first, *more = wrap(right, room) or [""]
        lines += [f"  {left:<{width}}  {first}".rstrip(), *(f"  {'':<{width}}  {line}" for line in more)]
    return lines


def _paragraph(text: str) -> list[str]:
    return wrap(text, _width(), break_on_hyphens=False)


def _width() -> int:
    return min(max(shutil.get_terminal_size((80, 24)).columns, 60), 100)
