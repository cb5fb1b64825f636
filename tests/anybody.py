"""Running the program as an ordinary user, with a Python and packages that such a user can read."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toolbox import REPOSITORY

NOBODY = 65534
_PYTHON = "/usr/bin/python3"  # the suite's own may lie in a folder of root's


class Anybody:
    """An ordinary user with a folder of their own: `home`."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        self._packages = place / "packages"
        shutil.copytree(REPOSITORY / "devtasks", self._packages / "devtasks")
        for name in ("invoke", "psutil", "colorama"):
            found = importlib.util.find_spec(name)
            assert found is not None
            assert found.origin is not None
            package = Path(found.origin).parent
            for folder in (package, *package.parent.glob(f"{name}-*.dist-info")):
                shutil.copytree(folder, self._packages / folder.name)
        os.chown(self.home, NOBODY, NOBODY)

    def python(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the user's home."""
        return subprocess.run(
            [_PYTHON, *arguments],
            cwd=self.home,
            env={"PATH": os.defpath, "HOME": str(self.home), "PYTHONPATH": str(self._packages), **environ},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def devtasks(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Run `devtasks … --json`: the exit code, the object, and what went to stderr."""
        done = self.python("-m", "devtasks", *arguments, "--json")
        assert done.stdout, done
        return done.returncode, json.loads(done.stdout), done.stderr


@contextlib.contextmanager
def anybody() -> Iterator[Anybody]:
    """Skips where the suite does not run as root, or there is no Python for everybody."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    works = [_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if not os.path.exists(_PYTHON) or subprocess.run(works, check=False).returncode:
        pytest.skip(f"no {_PYTHON} of 3.11 or later")
    with tempfile.TemporaryDirectory(prefix="anybody-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Anybody(folder)
