"""The words after `devtasks`, checked, with service names at positions turned into --only, and an app into --app.

Invoke has no optional positions, and tells a mistake from a task by the text "No idea what": so every mistake
is found here, before its parser sees the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext

from devtasks.command import options
from devtasks.errors import UsageError
from devtasks.values import Value


def fronted(words: Sequence[str], names: Iterable[str]) -> list[str]:
    """`words` with the flags called `names`, and their values, in front: they may stand after the task, too."""
    flags = {f"--{options.dashed(name)}": options.value_name(name) for name in names}
    front: list[str] = []
    rest: list[str] = []
    pending = iter(words)
    for word in pending:
        flag, equals, _ = word.partition("=")
        if flag not in flags:
            rest.append(word)
            continue
        front.append(word)
        if flags[flag] and not equals:
            value = next(pending, None)
            if value is None:
                raise UsageError(f"{flag} needs a value")
            front.append(value)
    return [*front, *rest]


class Grammar(Value):
    """What may be typed: tasks by name with their flags, the program's own flags, and services.

    A word after a task that takes services is one of them before it is a task: a service may be called `logs`.
    Without known services (the configuration cannot be read) any word is taken for one; the task then says why.
    """

    tasks: Mapping[str, ParserContext]
    core: ParserContext
    services: Sequence[str]

    def expanded(self, words: Iterable[str]) -> list[str]:
        """`words` for Invoke's parser. Raises UsageError, with a suggestion, for what is none of them."""
        out: list[str] = []
        task: ParserContext | None = None
        awaiting: str | None = None  # a flag whose value comes next
        given: set[str] = set()
        for word in words:
            if awaiting is not None:
                awaiting = None
                out.append(word)
            elif word.startswith("-") and word != "-":
                awaiting = self._flag(word, task, given)
                out.append(word)
            elif task is not None and "only" in task.args and self._is_service(word):
                out += ["--only", word]
            elif task is not None and "app" in task.args and "--app" not in given and word not in self.tasks:
                given.add("--app")
                out += ["--app", word]
            elif word in self.tasks:
                task = self.tasks[word]
                given.clear()
                out.append(word)
            else:
                raise self._unknown(word, task)
        if awaiting is not None:
            raise UsageError(f"{awaiting} needs a value")
        return out

    def _flag(self, word: str, task: ParserContext | None, given: set[str]) -> str | None:
        """The flag, when it takes the word after it as its value."""
        flag, equals, _ = word.partition("=")
        argument = self._argument(flag, task)
        if argument is None:
            raise self._unknown_flag(flag, task)
        if not argument.takes_value or argument.optional:
            if equals:
                raise UsageError(f"{flag} takes no value")
            return None
        if flag in given and argument.kind is not list:
            raise UsageError(f"{flag} is given twice")
        given.add(flag)
        return None if equals else flag

    def _argument(self, flag: str, task: ParserContext | None) -> Argument | None:
        if task is not None and flag in task.flags:
            return task.flags[flag]  # type: ignore[no-any-return]
        if task is not None and flag in self.core.flags:
            argument = self.core.flags[flag]
            if argument.takes_value and not argument.optional:
                raise UsageError(f"{flag} goes before the task")
            return argument  # type: ignore[no-any-return]
        return None

    def _is_service(self, word: str) -> bool:
        if not self.services:
            return word not in self.tasks
        return re.sub(r"\.[0-9]+$", "", word) in self.services

    def _unknown(self, word: str, task: ParserContext | None) -> UsageError:
        from devtasks.config.suggest import closest

        takes_names = task is not None and "only" in task.args
        if task is not None and not takes_names and word in self.services:
            return UsageError(f"{task.name} takes no service names")
        near = closest(word, [*self.tasks, *(self.services if takes_names else ())])
        what = "no service or task" if takes_names else "no task"
        meant = f'; did you mean "{near}"?' if near else ""
        known = f"services: {', '.join(self.services)}; " if takes_names and self.services else ""
        return UsageError(
            f'{what} is called "{word}"{meant}',
            hint=None if near else f"{known}devtasks --help lists the tasks",
        )

    def _unknown_flag(self, flag: str, task: ParserContext | None) -> UsageError:
        from devtasks.config.suggest import closest

        if task is None:
            if any(flag in context.flags for context in self.tasks.values()):
                return UsageError(f"{flag} goes after the task: devtasks TASK {flag}")
            near, where = closest(flag, self.core.flags), "devtasks"
        else:
            near, where = closest(flag, [*task.flags, *self.core.flags]), str(task.name)
        meant = f"; did you mean {near}?" if near else ""
        helper = "devtasks --help" if task is None else f"devtasks {task.name} --help"
        return UsageError(f"{where} has no flag {flag}{meant}", hint=None if near else f"{helper} lists them")
