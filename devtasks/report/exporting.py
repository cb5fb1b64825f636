"""What `export` tells: the files, what the target cannot express, and the commands that come next."""

from __future__ import annotations

from devtasks import outcomes
from devtasks.report import foreign
from devtasks.report.look import Look, Tone
from devtasks.report.words import aligned, counted, dry_note, short_path, wrapped
from devtasks.store.logs import printable

_DONE: dict[str, tuple[str, Tone]] = {
    "new": ("written", "good"),
    "outdated": ("written", "good"),
    "edited": ("replaced", "odd"),
    "foreign": ("replaced", "odd"),
}
_WANTED: dict[str, tuple[str, Tone]] = {
    "new": ("missing", "bad"),
    "outdated": ("outdated", "bad"),
    "edited": ("edited by hand", "odd"),
    "foreign": ("not written by devtasks", "odd"),
}
_ANYWAY: dict[str, tuple[str, Tone]] = {
    "unchanged": ("unchanged", "good"),
    "stale": ("no longer written: remove it", "odd"),
}


def render(report: outcomes.ExportReport, look: Look) -> list[str]:
    """Files, remarks, commands; with --check only what is not as it would be written."""
    words = _ANYWAY | (_DONE if report.written else _WANTED)
    files = [file for file in report.files if not report.check or file.state != "unchanged"]
    rows = []
    for file in files:
        word, tone = words[file.state]
        rows.append((short_path(f"{report.output}/{file.path}"), look.paint(word, tone)))
    if report.check:
        return aligned(rows) if rows else [f"{counted(len(report.files), 'file', 'files')} as it would be written"]
    out = aligned(rows)
    remarks = _remarks(report)
    if remarks:
        out += ["", f"not expressed by {report.target}, or otherwise than devtasks does it:"]
        for where, text in remarks:
            out += [f"  {where}", *wrapped("      ", foreign(text), look)]
    if report.written:
        out += ["", "next:", *(f"  {printable(line)}" for line in report.commands)]
    return [*out, *dry_note(not report.written)]


def _remarks(report: outcomes.ExportReport) -> list[tuple[str, str]]:
    """Each remark once, with the key and all services that it is about."""
    about: dict[outcomes.Exported, list[str]] = {}
    for service in report.services:
        for item in service.unmapped:
            about.setdefault(item, []).append(service.name)
    found = [(f"{item.key} ({', '.join(names)})", item.detail) for item, names in about.items()]
    return [*found, *((item.key, item.detail) for item in report.remarks)]
