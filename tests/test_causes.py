"""Why a service ended, as its last words, its exit code and the machine tell."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from filetools import project_at
from toolbox import eventually

from devtasks import launching
from devtasks.causes import Facts, explain, report, worker_dead
from devtasks.monitoring.happening import Happening
from devtasks.monitoring.hooks import run
from devtasks.store import exits
from devtasks.values import replace

WORDS = [
    ("OSError: [Errno 98] Address already in use", "address-in-use"),
    ("Error: listen EADDRINUSE: address already in use :::3000", "address-in-use"),
    ("error while attempting to bind on address ('127.0.0.1', 8000): address already in use", "address-in-use"),
    ("Error: That port is already in use.", "address-in-use"),
    ("ModuleNotFoundError: No module named 'fastapi'", "missing-module"),
    ("/usr/bin/python3: No module named uvicorn", "missing-module"),
    ("Error: Cannot find module 'express'", "missing-module"),
    ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'vite' imported from /x/y.js", "missing-module"),
    ('ERROR:    Error loading ASGI app. Could not import module "main".', "missing-module"),
    ("ImportError: cannot import name 'x' from 'y'", "import-error"),
    ("SyntaxError: The requested module './a.js' does not provide an export named 'b'", "import-error"),
    ("SyntaxError: invalid syntax", "syntax-error"),
    ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", "permission"),
    ("Error: EACCES: permission denied, open '/x'", "permission"),
    ("MemoryError", "no-memory"),
    ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "no-memory"),
    ("terminate called after throwing an instance of 'std::bad_alloc'", "no-memory"),
    ("OSError: [Errno 28] No space left on device", "no-disk"),
    ("Error: ENOSPC: System limit for number of file watchers reached, watch '/x'", "no-watchers"),
    ("OSError: [Errno 24] Too many open files", "no-descriptors"),
    ("sh: 1: vite: not found", "missing-program"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kind"), WORDS)
def test_what_programs_say(line: str, kind: str):
    cause = explain(1, ["starting", line, "bye"], Facts())
    assert cause is not None
    assert cause.kind == kind


def test_an_address_in_use_names_the_port_and_who_has_it():
    facts = Facts(ports=(3000, 3001), holders=("PID 12 (node other.js)",))
    cause = explain(1, ["Error: listen EADDRINUSE: address already in use :::3001"], facts)
    assert cause is not None
    assert cause.text == "port 3001 is in use, by PID 12 (node other.js)"


@pytest.mark.parametrize("code", [-9, 137])
def test_what_the_kernel_kills(code: int):
    certain = explain(code, [], Facts(oom_kills=1))
    assert certain is not None
    assert "probably" not in certain.text
    likely = explain(code, [], Facts())
    assert likely is not None
    assert likely.text.startswith("probably killed for memory")
    elsewhere = explain(code, [], Facts(oom_kills=0, oom_kills_anywhere=1))
    assert elsewhere is not None
    assert elsewhere.text.startswith("probably killed for memory: the kernel")
    none = explain(code, [], Facts(oom_kills_anywhere=0))
    assert none is not None
    assert (none.kind, "probably" in none.text) == ("killed", False)
    for counted in (None, 0):
        assert explain(code, [], Facts(asked=True, oom_kills_anywhere=counted)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_a_runner_tells_what_the_kernel_killed_in_the_cgroup(tmp_path: Path):
    project = project_at(tmp_path / "project", "web")
    exits.folder(project).mkdir(parents=True)
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    (cgroup / "cgroup.procs").touch()
    (cgroup / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 2\noom_kill 2\noom_group_kill 0\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        launched = launching.launch(
            project.services[0],
            "/bin/true",
            label="project/web",
            env={"DEVTASKS_ID": "0/web/0"},
            streams=launching.Streams(nowhere, nowhere),
            exit_file=exits.folder(project) / ("0" * 16),
            cgroup=str(cgroup),
        )
    finally:
        os.close(nowhere)
    eventually(lambda: bool(exits.read(project)), "the end is written down")
    (end,) = exits.read(project)
    assert (end.pid, end.status, end.oom_kills) == (launched.pid, 0, 2)
    os.waitpid(launched.runner or 0, 0)


def test_nothing_is_made_up():
    assert explain(1, ["all is well", "in use: nothing"], Facts(disk_free_bytes=1 << 40)) is None
    assert explain(None, [], Facts()) is None
    full = explain(1, [], Facts(disk_free_bytes=0))
    assert full is not None
    assert "probably" in full.text


def test_a_report_has_signal_lifetime_cause_and_last_words():
    cause = explain(-11, ["MemoryError"], Facts())
    lines = report(-11, 3.25, ["MemoryError"], cause)
    assert lines == (
        "was ended by SIGSEGV after 3.25s",
        "cause: no memory was left: MemoryError",
        "  | MemoryError",
    )
    assert report(None, None, (), None) == ("ended, and nobody saw how",)
    assert "8000" in worker_dead(8000, listening=False).text


HAPPENED = Happening(kind="failure", service="web", at=1.5, pid=7, exit_code=3, detail="a\nb", report=("x", "y"))


def test_a_hook_is_told_and_its_end_is_only_reported(tmp_path: Path):
    told = "json.dumps([dict(os.environ), sys.stdin.read()])"
    program = f"import os, sys, json; open('told', 'w').write({told}); sys.exit(4)"
    project = replace(project_at(tmp_path, "web"), on_event=(sys.executable, "-S", "-c", program))
    assert run(project, HAPPENED) == 4
    environ, line = json.loads((tmp_path / "told").read_text())
    assert environ["DEVTASKS_EVENT"] == "failure"
    assert environ["DEVTASKS_EVENT_EXIT_CODE"] == "3"
    assert line.endswith("\n")
    assert json.loads(line)["report"] == ["x", "y"]


def test_a_hook_that_hangs_is_ended(tmp_path: Path):
    project = replace(project_at(tmp_path, "web"), on_event=("sleep", "60"))
    assert run(project, HAPPENED, seconds=0.2) is None
    with pytest.raises(OSError, match="no-such-program"):
        run(replace(project, on_event=("no-such-program",)), HAPPENED)
