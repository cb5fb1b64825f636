"""The state folder: ours alone, ignored by git, and no link in it is followed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from filetools import NOBODY, as_ordinary_user, fill, ordinary_folder, project_at, small_disk

from devtasks.errors import DevtasksError, Refused
from devtasks.store import statedir

ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_made_private_and_ignored_by_git(tmp_path: Path) -> None:
    project = project_at(tmp_path, "backend")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    statedir.ensure(project)
    statedir.ensure(project)
    assert mode(project.state_dir) == 0o700
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, check=True)
    assert status.stdout == b""


def test_one_that_is_there_is_made_private_but_its_files_are_not_hidden_from_git(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.state_dir.mkdir(mode=0o755)
    (project.state_dir / "notes.txt").write_text("a user's")
    statedir.ensure(project)
    assert mode(project.state_dir) == 0o700
    assert not (project.state_dir / ".gitignore").exists()


def test_a_start_that_was_killed_between_folder_and_gitignore(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.state_dir.mkdir()
    statedir.ensure(project)
    assert (project.state_dir / ".gitignore").read_text() == "*\n"


def test_folders_for_pid_and_log_files_in_the_project_are_made(tmp_path: Path) -> None:
    nested = project_at(
        tmp_path,
        "backend",
        state_dir=tmp_path / "var" / "devtasks",
        pid_file=tmp_path / "var" / "devtasks" / "run" / "backend.pid",
        log_file=tmp_path / "logs" / "dev" / "backend.log",
    )
    statedir.ensure(nested)
    assert nested.services[0].pid_file.parent.is_dir()
    assert nested.services[0].log_file.parent.is_dir()
    elsewhere = project_at(tmp_path / "a", "backend", log_file=tmp_path / "elsewhere" / "backend.log")
    statedir.ensure(elsewhere)
    assert not (tmp_path / "elsewhere").exists()


def test_refused_where_it_is_a_link(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop")
    (tmp_path / "precious").mkdir()
    project.state_dir.symlink_to(tmp_path / "precious")
    with pytest.raises(Refused, match="is a symbolic link, not the folder that state_dir needs") as caught:
        statedir.ensure(project)
    assert str(project.state_dir) in str(caught.value.hint)
    assert os.listdir(tmp_path / "precious") == []
    project.state_dir.unlink()
    project.state_dir.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match="is a symbolic link"):
        statedir.ensure(project)


def test_refused_where_it_is_a_file(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.state_dir.write_text("precious")
    with pytest.raises(Refused, match=r"\.devtasks: is a file"):
        statedir.ensure(project)
    assert project.state_dir.read_text() == "precious"


@pytest.mark.parametrize("above", [".", ".."])
def test_refused_where_it_holds_the_project(tmp_path: Path, above: str) -> None:
    root = tmp_path / "shop"
    project = project_at(root, state_dir=(root / above).resolve())
    with pytest.raises(Refused, match="state_dir holds the project itself"):
        statedir.ensure(project)
    assert os.listdir(root) == []


@pytest.mark.skipif(not ROOT, reason="only root can make a stranger's folder")
def test_refused_where_it_is_somebody_elses(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    project.state_dir.mkdir()
    os.chown(project.state_dir, NOBODY, NOBODY)
    with pytest.raises(Refused, match=f"belongs to another user .uid {NOBODY}."):
        statedir.ensure(project)


@pytest.mark.skipif(not ROOT, reason="sudo in a user's project")
def test_root_leaves_nothing_in_a_users_project_that_the_user_cannot_change(tmp_path: Path) -> None:
    project = project_at(tmp_path / "shop", "backend", log_file=tmp_path / "shop" / "logs" / "backend.log")
    os.chown(project.root, NOBODY, NOBODY)
    statedir.ensure(project)
    os.close(statedir.open_nofollow(project.state_dir / "new", os.O_WRONLY | os.O_CREAT))
    below = list(project.root.rglob("*"))
    assert len(below) == 5
    assert {path.stat().st_uid for path in below} == {NOBODY}


@pytest.mark.skipif(not ROOT, reason="sudo in a user's project")
def test_root_gives_away_only_what_it_created(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    path = tmp_path / "there"
    path.write_text("root's")
    os.close(statedir.open_nofollow(path, os.O_WRONLY | os.O_CREAT))
    assert path.stat().st_uid == 0


def test_a_link_inside_is_not_followed_by_a_folder_of_a_pid_file(tmp_path: Path) -> None:
    project = project_at(tmp_path, "backend", pid_file=tmp_path / ".devtasks" / "run" / "x" / "backend.pid")
    project.state_dir.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (project.state_dir / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DevtasksError, match="run: cannot be prepared: is a symbolic link"):
        statedir.ensure(project)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_opening_for_writing_refuses_links_and_hands_nothing_on(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match="is a symbolic link"):
            statedir.open_nofollow(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    descriptor = statedir.open_nofollow(target, os.O_RDWR | os.O_CREAT)
    assert not os.get_inheritable(descriptor)
    assert os.get_blocking(descriptor)
    os.close(descriptor)
    with pytest.raises(FileExistsError):
        statedir.open_nofollow(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_opening_never_truncates(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("there")
    os.close(statedir.open_nofollow(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    assert path.read_text() == "there"


@pytest.mark.parametrize(("swapped_for", "reason"), [("link", "is a symbolic link"), ("fifo", "is a FIFO")])
def test_a_file_that_is_exchanged_after_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped_for: str, reason: str
) -> None:
    path, precious = tmp_path / "file", tmp_path / "precious"
    path.write_text("ours")
    precious.write_text("precious")
    really = statedir._check

    def look_then_swap(*arguments: object) -> None:
        really(*arguments)
        monkeypatch.undo()
        path.unlink()
        if swapped_for == "link":
            path.symlink_to(precious)
        else:
            os.mkfifo(path)

    monkeypatch.setattr(statedir, "_check", look_then_swap)
    with pytest.raises(OSError, match=r"symbolic link|FIFO") as caught:
        os.close(statedir.open_nofollow(path, os.O_RDONLY))
    assert statedir.explain(caught.value) == reason


def test_a_fifo_does_not_hang_whoever_opens_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError, match="is a FIFO"):
            statedir.open_nofollow(tmp_path / "fifo", flags)


def test_a_read_only_project() -> None:
    with ordinary_folder() as folder:
        project = project_at(folder)
        folder.chmod(0o555)

        def ensure() -> tuple[str, str | None]:
            with pytest.raises(DevtasksError) as caught:
                statedir.ensure(project)
            return caught.value.message, caught.value.hint

        message, hint = as_ordinary_user(ensure)
        assert message == f"{project.state_dir}: cannot be prepared: permission denied"
        assert hint is not None


def test_a_read_only_file_system(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        project = project_at(disk / "shop")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(DevtasksError, match="read-only file system") as caught:
            statedir.ensure(project)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("the file system is read-only")


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16) as disk:
        project = project_at(disk / "shop")
        fill(disk)
        with pytest.raises(DevtasksError, match="no space left on device"):
            statedir.ensure(project)
