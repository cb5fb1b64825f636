"""Keep our own modules compiled: Invoke forbids Python to cache what is imported after it has started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cached() -> Iterator[None]:
    """Within it, imports cache their bytecode, unless the user forbade it (-B, PYTHONDONTWRITEBYTECODE)."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
