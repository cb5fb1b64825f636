"""Stops what your project started: all of it, and nothing else.

In a `tasks.py`: `from devtasks import ns`, or `ns = devtasks.collection(__name__)` at its end where it has tasks
of its own. Importing this package alone imports neither Invoke nor anything else of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtasks.version import __version__

if TYPE_CHECKING:
    from invoke.collection import Collection

    from devtasks.command.adoption import collection

    ns: Collection

__all__ = ["__version__", "collection", "ns"]


def __getattr__(name: str) -> Any:
    """`ns` is built for whoever asks: the collection of the importing file's folder."""
    if name not in ("collection", "ns"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from devtasks.command import bytecode

    with bytecode.cached():
        from devtasks.command import adoption

    return adoption.collection if name == "collection" else adoption.imported()
