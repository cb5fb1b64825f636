"""The `devtasks` command: the same tasks without a tasks.py, with service names as positions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.program import Program

from devtasks.command import completion, options, tasks, usage
from devtasks.command.edge import guarded
from devtasks.command.positions import Grammar, fronted
from devtasks.command.tasks import VerbTask
from devtasks.config import loading
from devtasks.errors import UsageError
from devtasks.report.output import Output
from devtasks.version import __version__

NAME = "devtasks"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line (default: the process's own) and exit with one of the documented codes."""
    words = list(sys.argv if argv is None else argv)[1:]
    output = Output(json="--json" in words)
    sys.exit(guarded(lambda: _run(words, output), output))


def _run(words: list[str], output: Output) -> int:
    if words[:1] == ["--complete"]:
        return _complete(words[3:], output)
    try:
        Devtasks(output.lines).run([NAME, *words])
    except Exit as ending:
        return int(ending.code)
    return 0


def _complete(words: list[str], output: Output) -> int:
    """Answer a shell: `words` are those after the program's name, up to the cursor."""
    folder = folder_for(completion.root_of(words))
    services = loading.service_names(folder)
    found = completion.candidates(words, list(tasks.tasks(folder, services)), services)
    output.lines([f"{word}\t{meaning}" for word, meaning in found])
    return 0


def folder_for(root: str | None) -> Path:
    """That of the project around `root` (None: the current folder); where there is no project, that folder itself.

    Raises UsageError when `root` is no folder.
    """
    if root is not None and not Path(root).is_dir():
        raise UsageError(f'--root: there is no folder "{root}"')
    start = Path.cwd() if root is None else Path(root)
    return loading.find_root(start) or start


class Devtasks(Program):
    """Invoke's program with our tasks for one folder, without what makes sense for plain Invoke only.

    `show` prints lines. Mistakes are raised as UsageError, and the end of a run as Invoke's Exit.
    """

    collection: Collection

    def __init__(self, show: Callable[[Sequence[str]], None]) -> None:
        super().__init__(version=__version__, name=NAME, binary=NAME, namespace=Collection(NAME))
        self.show = show
        self.services: tuple[str, ...] = ()

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002, ARG002 - Invoke's names
        self.config = Config(lazy=True)
        try:
            self.parse_core(argv)
            self.parse_collection()
            self.parse_tasks()
        except ParseError as error:
            # Of all mistakes this one alone is left to Invoke: a flag before the task, at the end of the line.
            raise UsageError(f"{argv[-1] if argv else NAME} needs a value") from error
        self.parse_cleanup()
        if self.args.hosts.value is not None:
            self._abroad()
            return
        # A task that is typed twice is meant twice: devtasks stop start stop.
        self.config.load_overrides({"tasks": {"dedupe": False}, "run": {"dry": bool(self.args.dry.value)}})
        self.execute()

    def _abroad(self) -> None:
        """Call the tasks on other hosts, one after the other, up to the first that fails."""
        from devtasks.remote.perform import perform

        abroad = {name: self.args[options.dashed(name)].value for name in options.ABROAD}
        for call in self.tasks:
            task: VerbTask = self.collection[call.name]
            code = perform(
                task.verb.name,
                folder_for(self.args.root.value),
                task.service,
                call.as_kwargs,
                abroad=abroad,
                dry=bool(self.args.dry.value),
            )
            if code:
                raise Exit(code=code)

    def core_args(self) -> list[Argument]:
        return [
            Argument(names=("root", "C")),
            Argument(names=("dry", "R"), kind=bool, default=False),
            Argument(names=("list", "l"), kind=bool, default=False),
            Argument(names=("help", "h"), optional=True),
            Argument(names=("version", "V"), kind=bool, default=False),
            Argument(names=("print-completion-script",)),
            *options.arguments(options.ABROAD),
            Argument(names=("tethered",), kind=bool, default=False),
        ]

    def parse_core(self, argv: list[str] | None) -> None:
        self.normalize_argv(argv)
        self.argv = [self.argv[0], *fronted(self.argv[1:], options.ABROAD)]
        self.parse_core_args()
        if self.args.tethered.value:
            from devtasks.command import tether

            tether.tie()
        alone = next((name for name in options.ABROAD if self.args[options.dashed(name)].value), None)
        if alone is not None and self.args.hosts.value is None:
            raise UsageError(f"--{options.dashed(alone)} is for other hosts, and --hosts names none")
        if self.core.remainder:
            raise UsageError("nothing may follow --")
        if self.args.version.value:
            self.show([f"{NAME} {__version__}"])
            raise Exit(code=0)
        shell = self.args["print-completion-script"].value
        if shell is not None:
            self.show(completion.script(shell).splitlines())
            raise Exit(code=0)

    def parse_collection(self) -> None:
        folder = folder_for(self.args.root.value)
        self.services = loading.service_names(folder)
        self.collection = Collection(NAME)
        for task in tasks.tasks(folder, self.services):
            self.collection.add_task(task)

    def parse_tasks(self) -> None:
        grammar = Grammar(
            tasks={str(context.name): context for context in self.collection.to_contexts()},
            core=self.initial_context,
            # Those of another host are not known here: it checks them itself.
            services=self.services if self.args.hosts.value is None else (),
        )
        self.core.unparsed[:] = grammar.expanded(self.core.unparsed)
        super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Show what was asked for instead of running tasks; the overview when nothing was."""
        asked = self.args.help.value
        if isinstance(asked, str):
            if asked not in self.collection.tasks:
                from devtasks.config.suggest import did_you_mean

                raise UsageError(f'no task is called "{asked}"{did_you_mean(asked, self.collection.tasks)}')
            self.show(usage.of_task(self.collection.tasks[asked]))
        elif self.args.list.value:
            self.show(usage.listing(self.collection.tasks.values()))
        elif asked or not self.tasks:
            self.show(usage.overview(self.services))
        else:
            return
        raise Exit(code=0)
