"""Exported units under a systemd that really runs them: started, ready, restarted, given up, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from toolbox import PROGRAMS, PYTHON, Scratch, free_port

SERVER = """
import http.server, pathlib, sys
class Here(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path("answered").touch()
        super().do_GET()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Here).serve_forever()
"""
ODD = "100% $HOME ${X} \"q\" 'x' \\ \ttab\nline ;"
HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")


@pytest.fixture
def cgroups() -> Iterator[list[str]]:
    """A cgroup in each hierarchy that systemd writes to, for it to do as it likes."""
    made = []
    for hierarchy in HIERARCHIES:
        if os.path.isfile(f"{hierarchy}/cgroup.procs"):
            path = f"{hierarchy}/devtasks-test-{os.getpid()}"
            with contextlib.suppress(OSError):
                os.mkdir(path)
                made.append(path)
    yield made
    for path in made:
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def test_a_unit_runs_and_is_restarted(scratch: Scratch, cgroups: list[str]):
    if os.geteuid() != 0:
        pytest.skip("only root can make the namespaces")
    if not any(os.path.exists(path) for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")):
        pytest.skip("no systemd here")
    if not shutil.which("unshare") or not cgroups:
        pytest.skip("no namespaces, or no cgroups, to give to a systemd of its own")
    (scratch.root / "server.py").write_text(SERVER)
    port = free_port()
    scratch.declare(
        {
            "web": {
                "command": [PYTHON, "server.py", "{port}", ODD],
                "port": port,
                "env": {"ODD": ODD, "J.K": "dot"},
                "before": [["sh", "-c", 'echo "$ODD" > before']],
                "ready": {"http": "/", "timeout": 60},
                "restart": {"policy": "always", "backoff": 0.2, "max_backoff": 1},
                "limits": {"nofile": 64},
            },
            "late": {"command": ["sh", "-c", "cp answered late; exec sleep 600"], "depends_on": ["web"]},
            "crasher": {
                "command": ["sh", "-c", "echo x >> starts; sleep 0.2; exit 1"],
                "restart": {"max": 2, "window": 1, "backoff": 0.5},
            },
        },
        project="shop",
    )
    scratch.run("export", "--to", "systemd", "--output", "units")
    joined = "".join(f"echo $$ > {path}/cgroup.procs; " for path in cgroups)
    inside = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *(PYTHON, str(PROGRAMS / "under_systemd.py"), str(scratch.root / "units/user")),
        *(PYTHON, str(PROGRAMS / "live_under_systemd.py"), str(scratch.root)),
    ]
    done = subprocess.run(
        ["sh", "-c", f'{joined} exec "$@"', "sh", *inside],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    if done.returncode == 77 or "Operation not permitted" in done.stderr:
        pytest.skip(f"no systemd of one's own can be run here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["start"] == [0, ""]
    assert said["argv"][1:] == ["server.py", str(port), ODD]
    assert (said["env"]["ODD"], said["env"]["J.K"]) == (ODD, "dot")
    assert Path(scratch.root / "before").read_text() == f"{ODD}\n"
    assert said["cwd"] == str(scratch.root)
    assert [line.split()[3:5] for line in said["limits"].splitlines() if "open files" in line] == [["64", "64"]]
    assert said["answers"] is True
    assert (scratch.root / "late").exists()  # not started before web was ready
    assert said["restarted"] == ["1", "active", True]
    assert said["crasher"][0] == "failed"
    assert (scratch.root / "starts").read_text() == "x\n" * 3
    assert said["stopped"] == ["inactive", "success"]
