"""The cgroup of a run: the one thing that a process cannot leave, where the machine has it to give."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from toolbox import PYTHON, Scratch, being, eventually, expect_gone, parent

from devtasks.world import cgroup

NOBODY = 65534


@pytest.fixture(autouse=True)
def _one_can_be_made() -> None:
    path = cgroup.make(f"devtasks-test-{os.getpid()}")
    if path is None:
        pytest.skip("no cgroup v2 here that may be divided")
    mover = subprocess.Popen(["sleep", "60"])
    try:
        Path(path, "cgroup.procs").write_text(str(mover.pid))
    except OSError:
        pytest.skip("a cgroup can be made here, but no process moved into it")
    finally:
        mover.kill()
        mover.wait()
        eventually(lambda: cgroup.members(path) == (), "the cgroup is empty")
        cgroup.remove(path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that another user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="devtasks-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def runner_of(pid: int) -> int:
    return parent(pid)


def escape(scratch: Scratch) -> tuple[int, int]:
    """A service whose child cleared its environment, forked twice and changed its session; both PIDs."""
    scratch.install("parent.py")
    scratch.declare({"web": {"command": [PYTHON, "parent.py", "cleared", "--port", "0"], "stop": {"timeout": 3}}})
    main = scratch.start()
    return main, scratch.stage.one("child").pid


def group(scratch: Scratch) -> dict[str, object]:
    [one] = scratch.run("show-processes")["services"]
    return dict(one)


def test_it_holds_what_nothing_else_can(scratch: Scratch) -> None:
    """Runner and main process killed, marker erased, session left: only the cgroup still knows the child."""
    main, child = map(being, escape(scratch))
    being(runner_of(main.pid)).kill()
    main.kill()
    eventually(lambda: not main.alive or None, "the main process is gone")
    shown = group(scratch)
    assert "cgroup" in str(shown["guarantee"])
    [process] = shown["processes"]  # type: ignore[misc]
    assert process["pid"] == child.pid
    assert [item["kind"] for item in process["evidence"]] == ["cgroup"]
    expect_gone([child], scratch.run("stop"))


def test_it_is_gone_after_the_run(scratch: Scratch) -> None:
    escape(scratch)
    [run] = [item["detail"] for item in evidence(scratch) if item["kind"] == "cgroup"][:1]
    assert cgroup.members(run)
    scratch.run("stop")
    eventually(lambda: not Path(run).exists() or None, "its folder is removed")


def test_force_clean_spares_who_asked_for_it(scratch: Scratch) -> None:
    """A cgroup is frozen, listed and judged, never killed as a whole."""
    script = f'DEVTASKS_KEEP=1 "{PYTHON}" -S main.py --name kept --mute & exec "{PYTHON}" -S main.py --mute'
    scratch.install("main.py")
    scratch.declare({"web": {"command": script, "shell": True}})
    main = being(scratch.start())
    kept = scratch.stage.one("kept")
    expect_gone([main], scratch.run("force-clean"))
    assert kept.alive
    assert Path(f"/proc/{kept.pid}/stat").read_text().rpartition(")")[2].split()[0] != "D", "thawed"
    kept.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can delegate a cgroup")
def test_a_delegated_cgroup_is_used_by_an_ordinary_user(scratch: Scratch, open_folder: Path) -> None:
    """What systemd gives a user: a folder whose files may be written, and the user's processes within."""
    python = "/usr/bin/python3"
    library = open_folder / "lib"
    source = Path(__file__).parent.parent / "devtasks"
    shutil.copytree(source, library / "devtasks", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("invoke", "psutil", "colorama"):
        origin = Path(__import__(name).__file__ or "").parent
        for folder in (origin, *origin.parent.glob(f"{name}-*.dist-info")):
            shutil.copytree(folder, library / folder.name)
    probe = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if not Path(python).exists() or subprocess.run(probe, check=False).returncode:
        pytest.skip("no system Python of 3.11 for another user to run")
    path = cgroup.make(f"devtasks-test-delegated-{os.getpid()}")
    assert path is not None
    for file in (path, f"{path}/cgroup.procs", f"{path}/cgroup.subtree_control"):
        os.chown(file, NOBODY, NOBODY)
    project = open_folder / "shop"
    project.mkdir()
    os.chown(project, NOBODY, NOBODY)
    (project / "devtasks.toml").write_text('[services.web]\ncommand = "sleep 300"\n')

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        def become() -> None:
            Path(path, "cgroup.procs").write_text("0")
            os.setgid(NOBODY)
            os.setuid(NOBODY)

        env = {**scratch.stage.environ, "PYTHONPATH": str(library), "HOME": "/nonexistent"}
        return subprocess.run(
            [python, "-m", "devtasks", *words],
            cwd=project,
            env=env,
            preexec_fn=become,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    try:
        started = command("start")
        assert started.returncode == 0, started.stdout + started.stderr
        shown = command("show-processes")
        assert "cgroup" in shown.stdout, shown.stdout + shown.stderr
    finally:
        stopped = command("stop")
        eventually(lambda: cgroup.members(path) == (), "all of it is gone")
        cgroup.remove(path)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the cgroups away")
def test_its_absence_changes_nothing_but_the_guarantee(scratch: Scratch) -> None:
    """In a mount namespace where no cgroup file system is mounted."""
    scratch.install("parent.py")
    scratch.declare({"web": {"command": [PYTHON, "parent.py", "cleared", "--port", "0"], "stop": {"timeout": 3}}})
    hide = "mount -t tmpfs none /sys/fs/cgroup && exec "
    words = f'"{PYTHON}" -m devtasks'
    alone = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*alone, f"{hide}true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")

    def command(verb: str) -> str:
        done = subprocess.run(
            [*alone, f"{hide}{words} {verb}"],
            cwd=scratch.root,
            env=scratch.stage.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("start")
    child = scratch.stage.one("child")
    shown = command("show-processes")
    assert "cgroup" not in shown
    assert "runner" in shown
    command("stop")
    expect_gone([child])


def evidence(scratch: Scratch) -> Iterator[dict[str, str]]:
    for process in group(scratch)["processes"]:  # type: ignore[attr-defined]
        yield from process["evidence"]
