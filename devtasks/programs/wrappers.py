"""Programs that run the command in their arguments, and where that command begins."""

from collections.abc import Sequence
from typing import NamedTuple

from devtasks.programs.names import word_set
from devtasks.programs.shells import Simple, assignment, services, simple_commands


class Wrapper(NamedTuple):
    """How a wrapper's command line is read up to the command.

    `values` are options that take the next word; `skip` positional words stand before the command;
    `assignments` may; `module` and `string` are options whose value is a Python module or a shell's string.
    """

    values: frozenset[str] = frozenset()
    skip: int = 0
    assignments: bool = False
    module: frozenset[str] = frozenset()
    string: frozenset[str] = frozenset()
    python: bool = False  # a command that ends in .py is a script of Python's
    dashes: bool = False  # the command stands behind `--`


_PLAIN = Wrapper()
_MODULE = Wrapper(module=word_set("-m --module"), python=True)
_UV = Wrapper(
    values=word_set(
        """
        --with --with-editable --with-requirements --python -p --env-file --directory --project --extra
        --group --only-group --no-group --package --index-url --index --default-index --extra-index-url
        -i --find-links -f --upgrade-package -P --reinstall-package --refresh-package --config-setting
        -C --link-mode --color --cache-dir --config-file --from --prerelease --resolution
        --exclude-newer --python-platform
        """
    ),
    module=word_set("-m --module"),
    python=True,
)
_PACKAGE = Wrapper(values=word_set("-p --package -w --workspace"), string=word_set("-c --call"))
_CONDA = Wrapper(values=word_set("-n --name -p --prefix --cwd"))
_DOTENV = Wrapper(values=word_set("-e -f -v -c -p -q --file -o --override"), assignments=True)
_WATCHMEDO = Wrapper(
    values=word_set(
        """
        -d --directory --directories -p --pattern --patterns -i --ignore-pattern --ignore-patterns --signal
        --kill-after --interval --debounce-interval
        """
    )
)

WRAPPERS = {
    "env": Wrapper(values=word_set("-u --unset -C --chdir"), assignments=True),
    "nohup": _PLAIN, "setsid": _PLAIN, "unbuffer": _PLAIN, "catatonit": _PLAIN, "winpty": _PLAIN,
    "rlwrap": _PLAIN,
    "entr": _PLAIN, "busybox": _PLAIN, "corepack": _PLAIN,
    "ddtrace-run": _PLAIN, "opentelemetry-instrument": _PLAIN,
    "time": Wrapper(values=word_set("-f -o --format --output")),
    "nice": Wrapper(values=word_set("-n --adjustment")),
    "ionice": Wrapper(values=word_set("-c -n -t --class --classdata")),
    "chrt": Wrapper(skip=1), "taskset": Wrapper(skip=1), "gosu": Wrapper(skip=1), "su-exec": Wrapper(skip=1),
    "stdbuf": Wrapper(values=word_set("-i -o -e --input --output --error")),
    "timeout": Wrapper(values=word_set("-k -s --kill-after --signal"), skip=1),
    "tini": Wrapper(values=word_set("-e -p")), "docker-init": Wrapper(values=word_set("-e -p")),
    "dumb-init": Wrapper(values=word_set("-r --rewrite")),
    "sudo": Wrapper(values=word_set("-u -g -h -p -C -r -t -T -U -D -R --user --group"), assignments=True),
    "doas": Wrapper(values=word_set("-u -C")),
    "runuser": Wrapper(values=word_set("-u -g -G")),
    "setpriv": Wrapper(values=word_set("--reuid --regid --groups --inh-caps --ambient-caps --pdeathsig")),
    "caffeinate": Wrapper(values=word_set("-t -w")),
    "xvfb-run": Wrapper(values=word_set("-a -n -s -e -f -p --server-args --server-num")),
    "faketime": Wrapper(skip=1),
    "cross-env": Wrapper(assignments=True),
    "dotenv": _DOTENV, "env-cmd": Wrapper(values=word_set("-f --file -e --environments -r --rc-file")),
    "npx": _PACKAGE, "pnpx": _PACKAGE, "bunx": _PACKAGE,
    "uvx": Wrapper(values=_UV.values),
    "watchexec": Wrapper(values=word_set("-e -w -i -f -s -d --exts --watch --ignore --filter --signal")),
    "ts-node-script": _PLAIN,
}  # fmt: skip

SUBCOMMANDS = {
    ("uv", "run"): _UV, ("poetry", "run"): _PLAIN, ("pipenv", "run"): _PLAIN, ("rye", "run"): _PLAIN,
    ("pdm", "run"): Wrapper(values=word_set("-p --project -s --site-packages")),
    ("hatch", "run"): _PLAIN, ("pixi", "run"): Wrapper(values=word_set("-e --environment --manifest-path")),
    ("conda", "run"): _CONDA, ("mamba", "run"): _CONDA, ("micromamba", "run"): _CONDA,
    ("coverage", "run"): Wrapper(
        values=word_set("--rcfile --source --include --omit --data-file --context --concurrency"),
        module=word_set("-m --module"), python=True,
    ),
    ("hupper", ""): _MODULE,
    ("npm", "exec"): _PACKAGE, ("npm", "x"): _PACKAGE, ("pnpm", "exec"): _PACKAGE, ("pnpm", "dlx"): _PACKAGE,
    ("yarn", "exec"): _PACKAGE, ("yarn", "dlx"): _PACKAGE, ("bun", "x"): _PACKAGE, ("bun", "exec"): _PACKAGE,
    ("bundle", "exec"): _PLAIN, ("direnv", "exec"): Wrapper(skip=1), ("mise", "exec"): Wrapper(dashes=True),
    ("mise", "x"): Wrapper(dashes=True), ("asdf", "exec"): _PLAIN, ("pyenv", "exec"): _PLAIN,
    ("rbenv", "exec"): _PLAIN, ("volta", "run"): Wrapper(values=word_set("--node --npm --yarn --pnpm")),
    ("doppler", "run"): Wrapper(dashes=True), ("infisical", "run"): Wrapper(dashes=True),
    ("op", "run"): Wrapper(dashes=True), ("dotenvx", "run"): Wrapper(values=_DOTENV.values),
    ("dotenv", "run"): _PLAIN, ("watchmedo", "auto-restart"): _WATCHMEDO,
    ("newrelic-admin", "run-program"): _PLAIN, ("nix", "develop"): Wrapper(dashes=True),
}  # fmt: skip

_PROGRAMS_WITH_SUBCOMMANDS = frozenset(program for program, _ in SUBCOMMANDS)


def wrapped(program: str, args: Sequence[str]) -> tuple[str, ...] | None:
    """The command that the wrapper `program` runs when called with `args`; None where it is no wrapper.

    `python -m MODULE` stands for a module. A shell's string gives its command where it has only one.
    """
    if program == "nodemon":
        return _nodemon(args)
    if program == "watchfiles":
        first = next((word for word in args if not word.startswith("-")), "")
        return only_command(first)
    if program == "cmd":
        place = next((index for index, word in enumerate(args) if word.lower() in ("/c", "/k")), None)
        return only_command(" ".join(args[place + 1 :])) if place is not None else None
    start, wrapper = 0, WRAPPERS.get(program)
    if program in _PROGRAMS_WITH_SUBCOMMANDS:
        place = next((index for index, word in enumerate(args) if not word.startswith("-")), -1)
        found = SUBCOMMANDS.get((program, args[place])) if place >= 0 else None
        if found is not None:
            start, wrapper = place + 1, found
    if wrapper is None:
        return None
    return _command(wrapper, args, start)


def only_command(text: str) -> tuple[str, ...] | None:
    """The one simple command in a shell's string, None where there are none or several."""
    command = only_simple(text)
    return command.words if command else None


def only_simple(text: str) -> Simple | None:
    """The same with the folder it is run in."""
    commands = simple_commands(text)
    return commands[0] if len(commands) == 1 and len(services(commands)) == 1 else None


def _command(wrapper: Wrapper, args: Sequence[str], start: int) -> tuple[str, ...] | None:
    index, skip, end = start, wrapper.skip, len(args)
    if wrapper.dashes:
        return tuple(args[args.index("--") + 1 :]) if "--" in args else None
    while index < end:
        word = args[index]
        if word == "--":
            index += 1
            break
        if word.startswith("-") and len(word) > 1:
            if word in wrapper.module:
                return ("python", "-m", *args[index + 1 :])
            if word in wrapper.string:
                return only_command(args[index + 1]) if index + 1 < end else None
            index += 2 if word in wrapper.values else 1
        elif wrapper.assignments and assignment(word):
            index += 1
        elif skip:
            skip -= 1
            index += 1
        else:
            break
    if index >= end or not args[index]:
        return None
    if wrapper.python and args[index].endswith(".py"):
        return ("python", *args[index:])
    return tuple(args[index:])


def _nodemon(args: Sequence[str]) -> tuple[str, ...] | None:
    """`nodemon server.js` runs node, `nodemon --exec "python -u" main.py` what it says."""
    values = word_set("-w --watch -e --ext -i --ignore -d --delay --config -s --signal -C --cwd")
    runner: tuple[str, ...] = ("node",)
    index = 0
    while index < len(args) and args[index].startswith("-"):
        word = args[index]
        index += 1
        if word in ("-x", "--exec") and index < len(args):
            found = only_command(args[index])
            if found is None:
                return None
            runner = found
            index += 1
        elif word in values:
            index += 1
        elif word == "--":
            break
    rest = tuple(args[index:])
    if runner == ("node",) and not rest:
        return None
    return runner + rest
