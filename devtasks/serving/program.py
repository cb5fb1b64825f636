"""The program that serves: whose uvicorn, its command line, and whether the app can be imported at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from devtasks.errors import DevtasksError
from devtasks.launching import tool_folders
from devtasks.model import Project
from devtasks.serving.target import Target

GRACE_SECONDS = 5.0  # from the signal to KILL
_MARGIN_SECONDS = 1.0  # of that, for the app's own shutdown: uvicorn cuts open requests off before
_CONSOLE = Path(__file__).with_name("console.py")
_HAS_UVICORN = "import sys; from importlib.util import find_spec; sys.exit(find_spec('uvicorn') is None)"
_IMPORT = """
import sys
from uvicorn.importer import ImportFromStringError, import_from_string
sys.path[:0] = sys.argv[2:]
try:
    import_from_string(sys.argv[1])
except ImportFromStringError as error:
    sys.exit(f"ERROR:    Error loading ASGI app. {error}")
"""


def interpreter(target: Target, project: Project, env: Mapping[str, str]) -> str:
    """The project's own Python, if it has uvicorn, else ours. Raises DevtasksError when neither has."""
    name = "python.exe" if sys.platform == "win32" else "python"
    own = (os.path.join(folder, name) for folder in tool_folders(target.service, project))
    for python in (*filter(os.path.isfile, own), sys.executable):
        if _run(python, _HAS_UVICORN, (), target, env).returncode == 0:
            return python
    raise DevtasksError("serve needs uvicorn, which is not installed: pip install 'devtasks[serve]'")


def command(
    target: Target, python: str, *, reload: bool, workers: int | None, grace_seconds: float
) -> tuple[str, ...]:
    """The command line of the server. Open requests get `grace_seconds`, less what the app's shutdown needs."""
    program = (str(_CONSOLE),) if sys.platform == "win32" else ("-m", "uvicorn")
    grace = max(0, round(grace_seconds - _MARGIN_SECONDS))
    return (
        *(python, *program, target.app or "", *target.options),
        *("--host", target.service.host, "--port", str(target.port)),
        *("--timeout-graceful-shutdown", str(grace)),
        *(("--reload",) if reload else ()),
        *(("--workers", str(workers)) if workers is not None else ()),
    )


def check_import(target: Target, python: str, env: Mapping[str, str]) -> None:
    """Import the app once, in a process of its own. Raises DevtasksError, with what Python said on our stderr."""
    folders = [word for word in target.options if not word.startswith("--")]
    done = _run(python, _IMPORT, (target.app or "", *folders), target, env)
    if done.returncode != 0:
        with open(2, "wb", closefd=False) as error:
            error.write(done.stdout + done.stderr)
        raise DevtasksError(f"{target.app} cannot be imported in {target.service.cwd}: nothing was touched")


def _run(
    python: str, code: str, arguments: tuple[str, ...], target: Target, env: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [python, "-c", code, *arguments],
            cwd=target.service.cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise DevtasksError(f"{python} cannot be executed: {error.strerror}") from None
