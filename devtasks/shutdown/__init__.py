"""Graceful shutdown for a process that runs many things: listeners, child processes, timers, a database.

`budget` is how long a step may take, `steps` carries one out, `listeners` and `children` are what is tracked,
`registry` tells the project's state of them, `graceful` is the face.
"""

from devtasks.shutdown.graceful import GracefulShutdown
from devtasks.shutdown.steps import Action

__all__ = ["Action", "GracefulShutdown"]
