"""Package managers of JavaScript: which script of package.json a command line runs."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks.programs.names import word_set
from devtasks.values import Row

MANAGERS = frozenset(("npm", "pnpm", "yarn", "bun", "deno", "node"))

_FOLDER = frozenset(("--prefix", "-C", "--dir", "--cwd"))
_WORKSPACE = frozenset(("-w", "--workspace", "-F", "--filter"))
_VALUES = (
    _FOLDER
    | _WORKSPACE
    | frozenset(("--loglevel", "--reporter", "--config", "-c", "--userconfig", "--script-shell", "--color"))
)
_RUN = {
    "npm": word_set("run run-script rum urn"),
    "pnpm": word_set("run run-script"),
    "yarn": word_set("run"),
    "bun": word_set("run"),
    "deno": word_set("task"),
    "node": word_set("--run"),
}
_LIFECYCLE = {"start": "start", "test": "test", "t": "test", "tst": "test"}
_INSTALLING = word_set(
    """
    add audit ci dedupe i import info install link outdated patch publish prune rebuild remove rm unlink
    up update upgrade why
    """
)
_COMMANDS = _INSTALLING | word_set(
    """
    bin build cache config constraints create deploy dlx doctor env exec explain fetch global help init
    licenses list login logout ls node npm owner pack plugin pm repl root self-update set setup store tag
    team unplug version versions view workspaces x
    """
)
_FILES = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")


class PackageScript(Row):
    """A script of package.json, by name, with its arguments.

    `folder` is where the manager is told to go, a workspace being taken for the folder of its name.
    """

    name: str
    args: tuple[str, ...]
    folder: str | None = None


def package_script(program: str, args: Sequence[str]) -> PackageScript | None:
    """The script that `program`, a package manager, runs when called with `args`; None when it runs none.

    `npm run dev`, `pnpm dev`, `yarn run dev`, `bun dev`, `deno task dev`, `node --run dev`, `npm start`.
    """
    if program not in MANAGERS:
        return None
    folder = name = None
    run = False
    rest: list[str] = []
    index = 0
    while index < len(args):
        word = args[index]
        index += 1
        option, equals, value = word.partition("=")
        if word == "--" and name is not None:
            break
        if name is None and not run and word in _RUN[program]:
            run = True
        elif word.startswith("-") and (option in _FOLDER or option in _WORKSPACE or name is None):
            if word == "-w" and program == "pnpm":
                continue  # the workspace's root, without a value
            if not equals and option in _VALUES and index < len(args):
                value = args[index]
                index += 1
            if value and option in _FOLDER:
                folder = value
            elif value and option in _WORKSPACE:
                folder = _of_workspace(value)
        elif name is not None:
            rest.append(word)
        elif program == "yarn" and word == "workspace" and not run and index < len(args):
            folder = _of_workspace(args[index])
            index += 1
        else:
            name = _script(program, word, run=run)
            if name is None:
                return None
            if program != "npm":
                break  # the others hand all that follows to the script
    if name is None:
        return None
    rest += [word for word in args[index:] if word != "--"]
    return PackageScript(name, tuple(rest), folder)


def _of_workspace(name: str) -> str:
    return name.partition("/")[2] if name.startswith("@") else name.removeprefix("./").rstrip(".")


def installs(program: str, args: Sequence[str]) -> bool:
    """Whether `program`, a package manager, is called to change or look into what is installed."""
    first = next((word for word in args if not word.startswith("-")), "")
    return program not in ("node", "deno") and first in _INSTALLING


def _script(program: str, word: str, *, run: bool) -> str | None:
    if run:
        return None if program == "bun" and word.endswith(_FILES) else word
    if program in ("deno", "node"):
        return None
    if program == "npm":
        return _LIFECYCLE.get(word)
    if word in _COMMANDS and not (program == "bun" and word == "start"):
        return None
    return None if program == "bun" and (word.endswith(_FILES) or "/" in word) else word
