"""DEVTASKS_ID, the marker in the environment of whatever a run starts."""

from typing import NamedTuple

from devtasks.model import Project

_PROBE = "+probe"  # no service can be called so


class Marker(NamedTuple):
    """Its parts; all empty for what is no marker. Digest and service are compared whole, any nonce counts."""

    digest: str = ""
    service: str = ""
    nonce: str | None = None


def make_marker(project: Project, service: str, nonce: str) -> str:
    """The value of DEVTASKS_ID for one run."""
    return f"{project.digest}/{service}/{nonce}"


def probe_of(service: str) -> str:
    """In a marker, the name under which a service's probe commands run: the project's, but not the service's."""
    return service + _PROBE


def is_probe(service: str) -> bool:
    """Whether it is such a name."""
    return service.endswith(_PROBE)


def split_marker(marker: str | None) -> Marker:
    """DEVTASKS_ID in its parts."""
    if marker is None:
        return _NONE
    parts = marker.split("/")
    return Marker(*parts) if len(parts) == 3 and all(parts) else _NONE


_NONE = Marker()
