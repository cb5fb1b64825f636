"""The page's files: those that lie in `static/` when the server starts, of known types, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.responses import Response

from devtasks.dashboard.problems import Problem

FOLDER = Path(__file__).with_name("static")

TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}


class Files:
    """Looks a path up in a table: nothing of a request is ever made into a path."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = sorted(path for path in folder.rglob("*") if path.suffix in TYPES and path.is_file())
        self._files = {f"/static/{path.relative_to(folder).as_posix()}": path for path in found}
        if (folder / "index.html").is_file():
            self._files["/"] = folder / "index.html"

    def get(self, path: str) -> Response:
        file = self._files.get(path)
        if file is None:
            raise Problem("unknown", f"there is no {path[:200]}")
        return Response(
            file.read_bytes(), headers={"content-type": TYPES[file.suffix], "cache-control": "no-cache"}
        )
