"""What a command imports is what it costs: neither a listing nor a status pays for what it does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import devtasks

TABLE = """
[tool.devtasks.services.backend]
command = "nobody-runs-this"
port = 1
"""
PROGRAM = """
import sys
from invoke.main import program
before = set(sys.modules)
program.run(["inv", *sys.argv[1:]], exit=False)
print("\\n", *sorted(set(sys.modules) - before), file=sys.stderr)
"""
# Of the standard library and our dependencies nothing else comes on top of what Invoke itself imports.
ALLOWED = {"__future__", "gc", "tasks", "tomllib", "encodings", "_sha2", "_sha256"}
NOT_TO_LIST = {
    *("model", "config.parsing", "config.service", "config.policies", "command.perform", "verbs", "outcomes"),
    *("world", "programs", "report", "store", "ownership"),
}
NOT_TO_LOOK = {
    *("dashboard", "dashboard.command"),
    *("starting", "stopping", "ending", "launching", "readying", "probes", "tidying", "inferring", "guarding"),
    *("command.cli", "command.completion", "config.envfile", "config.suggest", "store.locks", "ports", "shutdown"),
    *("report.acting", "report.shapes", "report.masking", "programs.bystanders", "programs.literals"),
    *("world.portable", "serving.command", "remote", "engines", "config.hosts", "config.container"),
    *(
        "recording",
        "phrases",
        "chronicle",
        "store.events",
        "report.history",
        "command.following",
        "command.moments",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil is needed")
@pytest.mark.parametrize(
    ("arguments", "not_ours"), [(["--list"], NOT_TO_LIST | NOT_TO_LOOK), (["status"], NOT_TO_LOOK)]
)
def test_a_command_imports_what_it_needs(tmp_path: Path, arguments: list[str], not_ours: set[str]):
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "tasks.py").write_text("from devtasks import ns\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith(("COV_", "DEVTASKS_"))},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = done.stderr.splitlines()[-1].split()
    ours = {name.removeprefix("devtasks.") for name in imported if name.startswith("devtasks.")}
    assert {name.replace(".", "/") for name in not_ours} <= modules()
    others = {name for name in imported if name.partition(".")[0] not in {"devtasks", *ALLOWED}}
    assert not others
    assert not sorted(ours & not_ours)


def modules() -> set[str]:
    """What there is to be imported, as paths: a name that is none of them would forbid nothing."""
    package = Path(devtasks.__file__).parent
    files = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")}
    return files | {name.removesuffix("/__init__") for name in files}
