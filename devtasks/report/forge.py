"""Groups and errors in the syntax of the CI that runs us, and lines that could be taken for it made harmless.

GitHub: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
GitLab: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from devtasks.report.look import Look


def grouped(title: str, lines: Sequence[str], look: Look) -> list[str]:
    """`lines` below `title`; under a CI that can fold them, as a group."""
    if look.forge == "github":
        return [f"::group::{_data(title.strip())}", *lines, "::endgroup::"]
    if look.forge == "gitlab":
        name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "devtasks"
        now = int(time.time())
        return [
            f"\x1b[0Ksection_start:{now}:{name}\r\x1b[0K{title}",
            *lines,
            f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K",
        ]
    return [title, *lines]


def error(message: str, look: Look) -> str:
    """The line that says what failed; under GitHub an annotation."""
    if look.forge == "github":
        return f"::error title=devtasks::{_data(message)}"
    return look.paint(f"error: {message}", "bad")


def quoted(line: str, look: Look) -> str:
    """A line of another program. GitHub obeys `::` at the beginning of a line and `##[` anywhere."""
    if look.forge == "github":
        line = line.replace("##[", "# #[")
    return f"  | {line}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
