"""How a `tasks.py` gets our tasks: for its own folder, beside its own tasks or alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

from invoke.collection import Collection

from devtasks.command import bytecode

with bytecode.cached():
    from devtasks.command import tasks
    from devtasks.config.loading import service_names

NAME = "dev"  # of the collection, where it is added to another one without a name


def collection(module: str | None = None, *, root: str | os.PathLike[str] | None = None) -> Collection:
    """Our tasks for the services of the caller's folder, or of `root`.

    With `module` (`__name__`, at the end of a tasks.py) they come together with what Invoke would find in
    that module by itself: its `ns`, or else its tasks. Where names are equal, the module's own wins. Never
    raises for what is wrong in a configuration: our tasks say it when they are called.
    """
    folder = Path(os.path.abspath(root)) if root is not None else _folder(_caller())
    found = Collection(NAME) if module is None else Collection.from_module(sys.modules[module])
    for task in tasks.tasks(folder, service_names(folder)):
        if task.name not in found.tasks and task.name not in found.collections:
            found.add_task(task)
    return found


def imported() -> Collection | None:
    """What `from devtasks import ns` gives: the collection for the file that holds the import.

    Python first asks whether the name exists, from within its import machinery, and then for its value: only
    the second question is answered.
    """
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001
    if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        return None
    return collection()


def _caller() -> FrameType | None:
    """The nearest frame that is neither ours nor the import machinery's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and (
        str(frame.f_globals.get("__name__")).partition(".")[0] == "devtasks"
        or frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        frame = frame.f_back
    return frame


def _folder(frame: FrameType | None) -> Path:
    """The folder that holds the frame's file or its outermost package (`tasks/__init__.py`); else the current one.

    Links are not followed: a `tasks.py` that is a link to a shared one belongs where the link is.
    """
    file = frame.f_globals.get("__file__") if frame is not None else None
    if frame is None or not isinstance(file, str):
        return Path.cwd()
    folder = Path(os.path.abspath(file)).parent
    package = frame.f_globals.get("__package__")
    for _ in package.split(".") if isinstance(package, str) and package else ():
        folder = folder.parent
    return folder
