"""What a path on a command line is called: `/opt/python3.11` is python, `vite/bin/vite.js` is vite."""

from __future__ import annotations

from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


TASK_RUNNERS = word_set("devtasks fab gmake go-task inv invoke just make nox rake remake task")

_VERSIONED = frozenset(("python", "pypy", "node", "ruby", "jruby", "perl", "php", "java", "gunicorn", "pip"))
_SOURCE = word_set(".py .pyw .js .jsx .mjs .cjs .ts .tsx .mts .cts .rb .pl .php .sh .bash .zsh .fish .jar")
_RUNNABLE = (".exe", ".cmd", ".bat", ".com", ".ps1")
_SPELLINGS = {"nodejs": "node", "pythonw": "python", "python-dbg": "python", "py": "python"}
_MANAGERS = {
    "npm-cli": "npm", "npx-cli": "npx", "npm": "npm", "npx": "npx", "pnpm": "pnpm", "pnpx": "pnpx", "yarn": "yarn",
    "corepack": "corepack",
}  # fmt: skip
_STARTERS = frozenset(("cli", "index", "bin", "main", "start", "app", "run", "server", "dev"))
_FILES_OF_TOOLS = {"next": {"start-server": "next-server"}}


def components(path: str) -> tuple[str, ...]:
    """The parts of a path, of either kind of slash, without empty ones and dots."""
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def base_name(path: str) -> str:
    """The last part of a path, as it is written."""
    return path.rstrip("/").rpartition("/")[2].rpartition("\\")[2]


def extension(name: str) -> str:
    """`.py`, `.js` … where `name` is a file with source in it, else nothing."""
    ending = name[name.rfind(".") :] if "." in name else ""
    return ending if ending in _SOURCE else ""


@lru_cache(maxsize=1024)
def program_name(path: str) -> str:
    """A program's name: lower case, without folder, `.exe` and version."""
    name = base_name(path).lstrip("-") if not path.endswith(":") else base_name(path.rstrip(":"))
    if name.isascii():  # other letters could become ASCII ones
        name = name.lower()
    if name.endswith(_RUNNABLE):
        name = name[:-4]
    plain = name.removesuffix("t").rstrip("0123456789.").rstrip("-")  # python3.13t
    if plain in _VERSIONED and any(map(str.isdigit, name[len(plain) :])):
        name = plain
    return _SPELLINGS.get(name, name)


@lru_cache(maxsize=1024)
def script_name(path: str) -> str:
    """What a script is: the tool whose file it is where it belongs to an installed package, else its base name.

    `node_modules/vite/bin/vite.js` is vite, `npm-cli.js` npm, `site-packages/uvicorn/__main__.py` uvicorn,
    `.venv/bin/uvicorn` uvicorn, `src/main.py` main.py.
    """
    name = program_name(path)
    ending = extension(name)
    if not ending:
        return name
    stem = name[: -len(ending)]
    if stem in _MANAGERS:
        return _MANAGERS[stem]
    if stem.endswith("-script") and ending in (".py", ".pyw"):
        return stem.removesuffix("-script")
    parts = components(path)
    if stem.startswith("yarn-") and "releases" in parts:
        return "yarn"
    if name == "__main__.py":
        return parts[-2] if len(parts) > 1 else name
    if "node_modules" in parts[:-1]:
        return _packaged(parts[len(parts) - parts[::-1].index("node_modules") :], stem)
    return name


def _packaged(parts: tuple[str, ...], stem: str) -> str:
    """`parts` are below node_modules: `vite/bin/vite.js`, `@angular/cli/bin/ng.js`, `.bin/vite.cmd`."""
    package = parts[1] if parts[0].startswith("@") and len(parts) > 2 else parts[0]
    if package == ".bin":
        return stem
    if stem in _FILES_OF_TOOLS.get(package, {}):
        return _FILES_OF_TOOLS[package][stem]
    return package.removesuffix("-cli") if stem in _STARTERS else stem
