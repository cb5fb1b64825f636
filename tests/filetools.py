"""What the tests of files share: a project by hand, an ordinary user, a disk that is full, programs in numbers."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devtasks.model import Project, Service

SOURCE = Path(__file__).parent.parent
NOBODY = 65534


def project_at(root: Path, *names: str, **overrides: Any) -> Project:
    root.mkdir(parents=True, exist_ok=True)
    state_dir = root / ".devtasks"
    services = tuple(
        Service(
            name=name,
            group=name,
            command=("true",),
            cwd=root,
            pid_file=overrides.get("pid_file", state_dir / f"{name}.pid"),
            log_file=overrides.get("log_file", state_dir / f"{name}.log"),
        )
        for name in names
    )
    return Project(
        name="shop",
        root=root,
        digest="d" * 16,
        state_dir=overrides.get("state_dir", state_dir),
        services=services,
        source="test",
    )


def as_ordinary_user(call: Callable[[], Any]) -> Any:
    """What `call` returns to a process that permissions apply to: here, or in a child that is not root."""
    if os.geteuid() != 0:
        return call()
    for name in ("sqlite3", "fcntl"):  # the child may not reach the interpreter's folder
        __import__(name)
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child only calls, it starts no thread
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = (True, call())
        except BaseException:  # noqa: BLE001
            answer = (False, traceback.format_exc())
        os.write(theirs, pickle.dumps(answer))
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        answered = pipe.read()
    os.waitpid(child, 0)
    fine, value = pickle.loads(answered)  # noqa: S301
    assert fine, value
    return value


@contextmanager
def ordinary_folder() -> Iterator[Path]:
    """A folder that the ordinary user owns and reaches (root's pytest folders are closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="devtasks-test-")).resolve()
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        for place, _, _ in os.walk(folder):
            os.chmod(place, 0o700)
        shutil.rmtree(folder)


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """A file system of so many KiB at `folder`; needs root."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small file system needs root on Linux")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k,mode=0755", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up the last byte of a small disk."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


def python(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A program in this source's Python; its standard output is a pipe."""
    options = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | {"PYTHONPATH": str(SOURCE)}} | options
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], **options)


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.005)
