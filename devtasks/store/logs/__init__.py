"""Log files: opened for a service, rotated, read from their end or as they grow, merged, made fit to be shown.

A service appends to its file itself, and nothing stands in between: it is rotated at start, and where the file
system can, while it is written (`rotation`). Whoever reads counts positions from the first byte ever written.
"""

from devtasks.store.logs.files import files, stale_logs
from devtasks.store.logs.opening import end_of, open_log
from devtasks.store.logs.reader import LogWatch, since
from devtasks.store.logs.rotation import can_rotate
from devtasks.store.logs.tail import tail
from devtasks.store.logs.text import printable

__all__ = [
    "LogWatch",
    "can_rotate",
    "end_of",
    "files",
    "open_log",
    "printable",
    "since",
    "stale_logs",
    "tail",
]
