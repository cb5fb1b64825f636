"""What a verb tells, for people or for programs: `text` and `shapes` render the values of `outcomes.py`."""

from __future__ import annotations

from devtasks.store.logs import printable

__all__ = ["foreign"]


def foreign(text: str) -> str:
    """What another program wrote or is called, safe to show: control characters written out, secrets masked."""
    from devtasks.report.masking import masked

    return masked(printable(text))
