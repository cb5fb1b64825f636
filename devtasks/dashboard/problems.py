"""What goes wrong, as a problem (RFC 9457): the command line's words, and an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from devtasks.errors import ConfigError, DevtasksError, Refused, UsageError
from devtasks.report import foreign

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:devtasks:"

# kind: status, title
KINDS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "malformed": (400, "The request cannot be understood"),
        "unauthorized": (401, "A token is needed"),
        "host": (403, "Not called by a name of this dashboard"),
        "origin": (403, "Not sent by this dashboard's page"),
        "header": (403, "A header is missing"),
        "unknown": (404, "There is no such thing"),
        "method": (405, "Not this method"),
        "busy": (409, "An action is under way"),
        "refused": (409, "Refused"),
        "too-large": (413, "Too large"),
        "media-type": (415, "Not JSON"),
        "usage": (422, "Wrong usage or configuration"),
        "head-too-large": (431, "Too large"),
        "failed": (500, "Failed"),
        "too-many": (503, "Too many at once"),
    }
)


class Problem(Exception):
    """A request ends with this instead of an answer."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.detail = detail
        self.hint = hint
        self.headers = headers
        self.more = more

    def shape(self) -> dict[str, Any]:
        """The JSON object."""
        kind = "too-large" if self.kind == "head-too-large" else self.kind
        return {
            "type": f"{PREFIX}{kind}",
            "title": self.title,
            "status": self.status,
            "detail": foreign(self.detail),
            "hint": None if self.hint is None else foreign(self.hint),
            **self.more,
        }


def of(error: DevtasksError) -> Problem:
    """The problem that says what the command line would have said."""
    kind = "refused" if isinstance(error, Refused) else "failed"
    more: dict[str, Any] = {"exit_code": error.exit_code}
    if isinstance(error, UsageError | ConfigError):
        kind = "usage"
    if isinstance(error, ConfigError):
        more["problems"] = [foreign(problem) for problem in error.problems]
    return Problem(kind, error.message, hint=error.hint, more=more)
