"""The demonstration, whole: without npm, so that it needs no network, and interrupted."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the demonstration kills with -9")


@pytest.fixture
def environ(tmp_path):
    """Programs that the demonstration and the services need, without npm; temporary folders of its own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "ps", "grep", "env", "uname"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "ENVIRONMENT", "CI")}
    with tempfile.TemporaryDirectory() as short:  # pytest's own folders have names wider than a terminal
        yield kept | {"PATH": str(tools), "TMPDIR": short}


def demo(environ):
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", "demo"],
        cwd=REPOSITORY,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def left(environ):
    """What the demonstration left in its temporary folder."""
    return os.listdir(environ["TMPDIR"])


@pytest.mark.parametrize("colour", [False, True])
def test_every_proof_holds_and_nothing_is_left(environ, colour):
    # A surrounding production must not forbid the demonstration anything, nor colour spoil its width.
    with demo(environ | {"ENVIRONMENT": "production"} | ({"FORCE_COLOR": "1"} if colour else {})) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert bool(COLOUR.search(output)) == colour
    lines = COLOUR.sub("", output).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert "npm is not installed" in output
    assert sum(line.startswith("     ok ") for line in lines) == 6
    assert len([line for line in lines if line.startswith("     MISSES ")]) == 1
    assert left(environ) == []


@pytest.mark.parametrize(
    ("moment", "sent", "code"),
    [
        ("1. ", "INT", 130),
        ("$ devtasks start", "HUP", 129),
        ("$ devtasks start", "INT", 130),
        ("3. ", "TERM", 143),
        ("3. ", "INT", 130),
        ("$ devtasks force-clean", "TERM", 143),
    ],
)
def test_interrupted_it_leaves_nothing(environ, moment, sent, code):
    with demo(environ) as process:
        heard = ""
        deadline = time.monotonic() + 60
        while moment not in heard:
            assert time.monotonic() < deadline
            line = process.stdout.readline()
            assert line, heard
            heard += line
        process.send_signal(signal.Signals[f"SIG{sent}"])
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == code, heard + rest
    assert "Interrupted. Everything it started is gone" in rest
    assert left(environ) == []
