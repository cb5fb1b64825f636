"""Where an interpreter's own options end and what it runs begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from devtasks.programs.names import word_set
from devtasks.programs.shells import SHELLS
from devtasks.values import Row, replace


class Run(Row):
    """What an interpreter runs: a script's path, a module's dotted name or a string for a shell."""

    kind: Literal["script", "module", "string"]
    name: str
    args: tuple[str, ...]


class Options(Row):
    """An interpreter's command line. Letters are of short options, which may stand together (`-uBm`).

    `values` and `letters` take a value, attached or as the next word; `code` and `code_letters` mean that
    what runs is no script; `module_letter` names a module, `script` a script, in the next word.
    """

    letters: str = ""
    values: frozenset[str] = frozenset()
    code_letters: str = ""
    code: frozenset[str] = frozenset()
    module_letter: str = ""
    script: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()
    clusters: bool = True
    before: frozenset[str] = frozenset()  # a first word that is a command of the interpreter: `deno run`
    other: frozenset[str] = frozenset()  # first words that are commands which run no script of ours


_PYTHON = Options(letters="WX", values=word_set("--check-hash-based-pycs"), code_letters="cVh?", module_letter="m")
_NODE = Options(
    letters="",
    values=word_set(
        """
        -r --require --import -C --conditions --loader --experimental-loader --env-file
        --env-file-if-exists --icu-data-dir --input-type --title --cpu-prof-dir --cpu-prof-name
        --heap-prof-dir --diagnostic-dir --redirect-warnings --trace-event-categories --inspect-port
        --debug-port --watch-path --openssl-config --es-module-specifier-resolution --dns-result-order
        --unhandled-rejections --disable-warning --test-reporter --test-name-pattern --secure-heap
        --tls-cipher-list
        """
    ),
    code=word_set("-e --eval -p --print -pe -c --check -v --version -h --help --run"),
    clusters=False,
    other=word_set("inspect debug"),
)
_TSX = replace(
    _NODE,
    values=_NODE.values | word_set("--tsconfig --include --exclude --ignore -P --project -O -T --respawn-ignore"),
    code=_NODE.code - {"-p"} | {"--run"},
    before=word_set("watch"),
    other=frozenset(),
)
_RUBY = Options(letters="IrCEFKTSx0", code_letters="e")
_PERL = Options(letters="I", code_letters="eE")
_PHP = Options(letters="cdtS", code_letters="rBRFEailmsvw", script=word_set("-f --file"), clusters=False)
_JAVA = Options(
    values=word_set(
        """
        -cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports --add-reads
        --upgrade-module-path --limit-modules --patch-module
        """
    ),
    script=word_set("-jar"),
    module=word_set("-m --module"),
    clusters=False,
)
_BUN = Options(
    values=word_set(
        """
        -r --preload --require --import -c --config --cwd --env-file --tsconfig-override --define -d -l
        """
    ),
    code=word_set("-e --eval -p --print -v --version -h --help"),
    clusters=False,
    before=word_set("run"),
    other=word_set(
        """
        test x exec install i add a remove rm update link unlink pm build init create upgrade publish
        patch info outdated repl why audit
        """
    ),
)
_DENO = Options(
    values=word_set(
        "-c --config --import-map -L --log-level --location --seed --port --host -I --node-modules-dir"
    ),
    code=word_set("-h --help -V --version"),
    clusters=False,
    before=word_set("run serve"),
    other=word_set(
        """
        task test bench eval repl install add remove cache check compile coverage doc fmt info init
        jupyter lint lsp publish types uninstall upgrade vendor x
        """
    ),
)
_SHELL = Options(letters="oO", values=word_set("--rcfile --init-file"))

INTERPRETERS = {
    "python": _PYTHON, "pypy": _PYTHON, "node": _NODE, "tsx": _TSX, "ts-node": _TSX, "ts-node-dev": _TSX,
    "ts-node-esm": _TSX, "tsnd": _TSX, "node-dev": _TSX, "vite-node": _TSX, "babel-node": _TSX, "swc-node": _TSX,
    "esr": _TSX, "jiti": _TSX, "ruby": _RUBY, "jruby": _RUBY, "perl": _PERL, "php": _PHP, "java": _JAVA,
    "bun": _BUN, "deno": _DENO,
}  # fmt: skip
_EXTENSIONS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")


def run_by(program: str, args: Sequence[str]) -> Run | None:
    """What `program`, an interpreter or a shell, runs when called with `args`.

    None: it runs code from an option or from its input, or nothing, or `program` is no interpreter.
    """
    if program in SHELLS:
        return _shell(args)
    options = INTERPRETERS.get(program)
    if options is None:
        return None
    start = 0
    if options.before or options.other:
        start = next((index for index, word in enumerate(args) if not word.startswith("-")), 0)
        first = args[start] if args else ""
        if first in options.other:
            return None
        start = start + 1 if first in options.before else 0
    run = _scan(options, args, start)
    if run is not None and program == "bun" and not _is_file(run.name):
        return None  # `bun dev` runs a script of package.json
    return run


def _is_file(name: str) -> bool:
    return name.endswith(_EXTENSIONS) or "/" in name or "\\" in name


def _scan(options: Options, args: Sequence[str], start: int) -> Run | None:
    index, end = start, len(args)
    while index < end:
        word = args[index]
        rest = index + 1
        if word == "--":
            return _run("script", args, rest)
        if word == "-":
            return None
        if not word.startswith("-"):
            return _run("script", args, index)
        if word in options.code:
            return None
        if word in options.script:
            return _run("script", args, rest)
        if word in options.module:
            return _run("module", args, rest)
        index = rest
        if word in options.values:
            index += 1
        elif options.clusters and not word.startswith("--"):
            for place, letter in enumerate(word[1:], 1):
                attached = word[place + 1 :]
                if letter in options.code_letters:
                    return None
                if letter == options.module_letter:
                    return Run("module", attached, tuple(args[rest:])) if attached else _run("module", args, rest)
                if letter in options.letters:
                    index += not attached
                    break
        elif len(word) == 2 and not options.clusters:
            if word[1] in options.code_letters:
                return None
            index += word[1] in options.letters
    return None


def _run(kind: Literal["script", "module"], args: Sequence[str], index: int) -> Run | None:
    return Run(kind, args[index], tuple(args[index + 1 :])) if index < len(args) and args[index] else None


def _shell(args: Sequence[str]) -> Run | None:
    """`-c` may stand among other letters, and other options may follow it before the string."""
    index, string = 0, False
    while index < len(args) and args[index][:1] in ("-", "+") and len(args[index]) > 1:
        word = args[index]
        index += 1
        if word == "--":
            break
        if word.startswith("--"):
            string = string or word == "--command"
            index += word in _SHELL.values
            continue
        if word.startswith("-") and "s" in word:
            return None  # commands from the input
        string = string or (word.startswith("-") and "c" in word)
        index += word[-1] in _SHELL.letters
    if index >= len(args) or args[index] == "-":
        return None
    return Run("string" if string else "script", args[index], tuple(args[index + 1 :]))
