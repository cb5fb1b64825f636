"""The Makefile: every goal becomes one call of Invoke, and a goal that only stops or looks installs nothing.

The environment is a stand-in whose `python` tells how it was called; what pip and uv do is not under test here.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")

TELL = """#!/bin/sh
case "$*" in *pip*) echo "pip $*" >>"$(dirname "$0")/../../installed";; *) echo "called: $*"; env;; esac
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def dated(path, seconds_ago):
    path.touch()
    when = time.time() - seconds_ago
    os.utime(path, (when, when))


@pytest.fixture
def bare(tmp_path):
    """A checkout without an environment, in a folder whose name needs quoting."""
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, checkout)
    return checkout


@pytest.fixture
def ready(bare):
    """A checkout with an environment in which everything is installed."""
    executable(bare / ".venv/bin/python", TELL)
    executable(bare / ".venv/bin/inv", TELL)
    dated(bare / "pyproject.toml", 100)
    dated(bare / ".venv/pyvenv.cfg", 100)
    for group in ("demo", "test", "remote", "lint", "benchmark"):
        dated(bare / f".venv/.installed-{group}", 50)
    return bare


def tools(folder, *names):
    """A PATH with the tools that the Makefile's own recipes need, and `names`: no Python, no inv, no uv."""
    folder.mkdir(exist_ok=True)
    for name in ("sh", "sed", "grep", "ls", "readlink", "touch", "dirname", "env", *names):
        (folder / name).symlink_to(shutil.which(name))
    return str(folder)


def make(checkout, *arguments, path=None, cwd=None):
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [MAKE, *arguments],
        cwd=cwd or checkout,
        env=environ | ({"PATH": path} if path else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def calls(done):
    return [line for line in done.stdout.splitlines() if line.startswith("called:")]


@pytest.mark.parametrize("jobs", [(), ("-j8",)])
@pytest.mark.parametrize("goals", [("stop",), ("stop", "start"), ("start", "stop"), ("restart", "status", "test")])
def test_all_goals_are_one_call_in_their_order(ready, goals, jobs):
    done = make(ready, *jobs, *goals)
    assert calls(done) == [f"called: -m invoke {' '.join(goals)}"], done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("goal", ["test", "docs", "start", "Makefile", "pyproject.toml"])
def test_a_folder_or_file_named_like_a_goal_does_not_hide_it(ready, goal):
    if not (ready / goal).exists():
        (ready / goal).mkdir()
    assert calls(make(ready, goal)) == [f"called: -m invoke {goal}"]


def test_flags_go_into_args_and_follow_the_last_goal(ready):
    done = make(ready, "stop", "logs", "ARGS=--lines '2 0'")
    assert calls(done) == ["called: -m invoke stop logs --lines 2 0"]


def test_services_inherit_nothing_of_make(ready):
    inherited = make(ready, "-j8", "start", "ARGS=--only backend").stdout.splitlines()
    assert not [line for line in inherited if line.startswith(("MAKE", "MFLAGS", "ARGS="))]


def test_it_works_from_another_folder(ready, tmp_path):
    assert calls(make(ready, "-C", str(ready), "status", cwd=tmp_path)) == ["called: -m invoke status"]


def test_without_a_goal_it_lists_the_goals(bare):
    done = make(bare)
    assert done.returncode == 0
    for goal in ("start", "stop", "restart", "force-clean-backend", "show-processes", "test", "demo"):
        assert goal in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_dry_run_does_nothing(bare):
    done = make(bare, "-n", "test")
    assert done.returncode == 0
    assert "-m invoke test" in done.stdout
    assert not (bare / ".venv").exists()


def test_a_failing_task_fails_make(ready):
    executable(ready / ".venv/bin/python", "#!/bin/sh\nexit 3\n")
    assert make(ready, "stop").returncode == 2


def test_what_a_goal_needs_is_installed_once_when_the_project_changes(ready):
    dated(ready / "pyproject.toml", 10)
    path = tools(ready.parent / "tools")
    assert make(ready, "test", path=path).returncode == 0
    installed = (ready / "installed").read_text()
    assert "--group test" in installed
    assert "--group lint" not in installed
    assert make(ready, "test", path=path).returncode == 0
    assert (ready / "installed").read_text() == installed


TEARDOWN = [
    "stop",
    "stop-backend",
    "stop-frontend",
    "force-clean",
    "force-clean-backend",
    "force-clean-frontend",
    "clean",
    "status",
    "show-processes",
]


@pytest.mark.parametrize("goals", [*[[goal] for goal in TEARDOWN], TEARDOWN])
def test_a_teardown_never_makes_an_environment(bare, goals):
    done = make(bare, *goals, path=tools(bare.parent / "tools"))
    assert done.returncode == 0, done.stderr
    assert "No environment" in done.stdout
    assert sorted(os.listdir(bare)) == ["Makefile", "pyproject.toml"]


def test_a_teardown_never_installs_into_an_outdated_environment(ready):
    (ready / ".venv/.installed-demo").unlink()
    assert calls(make(ready, "stop")) == ["called: -m invoke stop"]
    assert not (ready / "installed").exists()


def test_a_teardown_uses_an_inv_on_path(bare):
    path = tools(bare.parent / "tools")
    executable(bare.parent / "tools/inv", TELL)
    assert calls(make(bare, "stop", "clean", path=path)) == ["called: stop clean"]


def test_an_inv_on_path_that_cannot_load_the_tasks_is_not_used(bare):
    path = tools(bare.parent / "tools")
    executable(bare.parent / "tools/inv", "#!/bin/sh\nexit 1\n")
    done = make(bare, "stop", path=path)
    assert done.returncode == 0
    assert "No environment" in done.stdout


def test_a_teardown_says_so_when_the_environment_was_deleted_under_a_pid_file(bare):
    (bare / ".devtasks").mkdir()
    (bare / ".devtasks/backend.pid").write_text("4711\n")
    done = make(bare, "stop", path=tools(bare.parent / "tools"))
    assert done.returncode == 2
    assert "make venv && make stop" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_teardown_says_so_when_the_environment_was_deleted_under_a_service(bare):
    with subprocess.Popen(
        [shutil.which("cat")], cwd=bare, env={"DEVTASKS_ID": "digest/backend/nonce"}, stdin=subprocess.PIPE
    ) as service:
        done = make(bare, "stop", path=tools(bare.parent / "tools"))
        service.stdin.close()
        service.wait(10)
    assert done.returncode == 2
    assert "make venv && make stop" in done.stderr


def test_a_python_without_ensurepip_is_named_with_the_remedy(bare):
    path = tools(bare.parent / "tools")
    executable(bare.parent / "tools/python3", '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\n')
    done = make(bare, "test", path=path)
    assert done.returncode == 2
    assert "ensurepip is missing from python3." in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_a_python_that_is_too_old_is_a_clear_message(bare):
    path = tools(bare.parent / "tools")
    executable(bare.parent / "tools/python3", "#!/bin/sh\nexit 1\n")
    done = make(bare, "demo", path=path)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert "PYTHON=" in done.stderr


def test_an_environment_whose_python_went_away_is_made_again(ready):
    path = tools(ready.parent / "tools")
    (ready / ".venv/bin/python").unlink()
    (ready / ".venv/bin/python").symlink_to(ready.parent / "gone")
    executable(ready.parent / "tell", TELL)
    making = f'rm -f .venv/bin/python; cp "{ready.parent}/tell" .venv/bin/python; touch .venv/pyvenv.cfg'
    executable(ready.parent / "tools/python3", f'#!/bin/sh\ncase "$*" in "-m venv"*) {making};; esac\n')
    for name in ("rm", "cp"):
        (ready.parent / "tools" / name).symlink_to(shutil.which(name))
    done = make(ready, "start", path=path)
    assert calls(done) == ["called: -m invoke start"], done.stderr
    assert "--group demo" in (ready / "installed").read_text()
