"""Which project a folder belongs to: the innermost root above it, by component, on real paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import FakeWorld

from devtasks.model import Details
from devtasks.ownership import Places


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """work/shop is ours; beside and inside it are projects of others."""
    for folder in (
        "shop/src/deep",
        "shop/vendor/lib/src",
        "shop/worktrees/feature/src",
        "shop/nested/src",
        "shop/packages/api/src",
        "shop/empty.git",
        "shop2",
        "shop-old/src",
        "sho",
        "apart/here/src",
        "apart/here/other/src",
        "apart/hereafter",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shop/vendor/lib/.git").mkdir()
    (tmp_path / "shop/worktrees/feature/.git").write_text("gitdir: elsewhere\n")
    (tmp_path / "shop/nested/devtasks.toml").write_text("")
    (tmp_path / "shop/packages/api/pyproject.toml").write_text('[project]\nname = "api"\n')
    (tmp_path / "apart/here/other/pyproject.toml").write_text("[tool.devtasks]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "inside"),
    [
        ("shop", True),
        ("shop/", True),
        ("shop/src/deep", True),
        ("shop/src/gone (deleted)", True),
        ("shop/packages/api/src", True),  # a package's bare pyproject.toml is no root
        ("shop/empty.git", True),
        ("shop/src/../src", True),
        ("shop/vendor/lib", False),
        ("shop/vendor/lib/src", False),
        ("shop/worktrees/feature/src", False),
        ("shop/nested/src", False),
        ("shop/..", False),
        ("shop/../shop2", False),
        ("shop2", False),
        ("shop-old/src", False),
        ("sho", False),
        (".", False),
    ],
)
def test_inside_the_root(tree: Path, folder: str, inside: bool) -> None:
    assert Places(tree / "shop").inside(f"{tree}/{folder}") is inside


@pytest.mark.parametrize(
    ("folder", "inside"),
    [
        ("apart/here", True),
        ("apart/here/src", True),
        ("apart/here/other/src", False),
        ("apart/hereafter", False),
        ("apart", False),
        ("shop/src", True),
    ],
)
def test_inside_a_configured_folder_outside_the_root(tree: Path, folder: str, inside: bool) -> None:
    assert Places(tree / "shop", [tree / "apart/here"]).inside(f"{tree}/{folder}") is inside


def test_a_configured_folder_with_a_repository_of_its_own_is_ours(tree: Path) -> None:
    places = Places(tree / "shop", [tree / "shop/vendor/lib"])
    assert places.inside(f"{tree}/shop/vendor/lib/src")
    (tree / "shop/vendor/lib/src/.git").mkdir()
    assert not Places(tree / "shop", [tree / "shop/vendor/lib"]).inside(f"{tree}/shop/vendor/lib/src")


def test_a_configured_folder_is_taken_by_its_real_path(tree: Path) -> None:
    (tree / "link").symlink_to("apart/here")
    assert Places(tree / "shop", [tree / "link"]).inside(f"{tree}/apart/here/src")


@pytest.mark.parametrize("folder", ["/", "home", "home/.."])
def test_a_configured_folder_that_holds_everything_proves_nothing(
    tree: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "home/mail").mkdir(parents=True)
    monkeypatch.setenv("HOME", f"{tree}/home")
    places = Places(tree / "shop", [tree / folder])
    assert not places.inside(f"{tree}/home/mail")
    assert places.inside(f"{tree}/shop/src")


@pytest.mark.parametrize("path", ["", "shop", "./shop", "(unreachable)/shop", "socket:[1]"])
def test_what_is_no_absolute_path_belongs_to_nobody(tree: Path, path: str) -> None:
    assert Places(tree / "shop").owner(path) is None


def test_a_pyproject_that_cannot_be_read_is_no_root(tree: Path) -> None:
    os.mkfifo(tree / "shop/src/pyproject.toml")  # opening it would wait for a writer
    (tree / "shop/src/deep/pyproject.toml").mkdir()
    assert Places(tree / "shop").inside(f"{tree}/shop/src/deep")


# --- where a process is ------------------------------------------------------------------------------


def holds(places: Places, command: str, *, cwd: str | None, exe: str | None = "/usr/bin/python3") -> bool | None:
    one = FakeWorld().add(command)
    return places.holds(one.row, Details(cwd=cwd, exe=exe))


def test_the_working_folder_decides_where_it_is_anybodys(tree: Path) -> None:
    places = Places(tree / "shop")
    assert holds(places, "python main.py", cwd=f"{tree}/shop/src") is True
    assert holds(places, f"python {tree}/shop/src/main.py", cwd=f"{tree}/shop/nested") is False


def test_else_the_executable_or_the_script(tree: Path) -> None:
    places = Places(tree / "shop")
    assert holds(places, "server", cwd="/", exe=f"{tree}/shop/bin/server") is True
    assert holds(places, f"python {tree}/shop/src/main.py", cwd="/") is True
    assert holds(places, f"python {tree}/shop2/main.py", cwd="/") is False
    assert holds(places, f"python other.py {tree}/shop/src/main.py", cwd="/") is False


def test_a_script_is_where_its_real_path_is(tree: Path) -> None:
    (tree / "shop/tools").symlink_to(tree / "shop2")
    (tree / "alias").symlink_to(tree / "shop")
    places = Places(tree / "shop")
    assert holds(places, f"python {tree}/shop/tools/main.py", cwd="/") is False
    assert holds(places, f"python {tree}/shop/tools/../main.py", cwd="/") is False
    assert holds(places, f"python {tree}/alias/src/main.py", cwd="/") is True


def test_what_cannot_be_read_cannot_be_told(tree: Path) -> None:
    places = Places(tree / "shop")
    assert holds(places, "python main.py", cwd=None, exe=None) is None
    assert holds(places, "python main.py", cwd=None, exe=f"{tree}/shop/.venv/bin/python") is True
    assert holds(places, f"python {tree}/shop/src/main.py", cwd=None, exe=None) is True


# --- roots that prove nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "proves"),
    [
        ("home/me/shop", True),
        ("home/me", False),
        ("home", False),
        (".", False),
        ("/", False),
        ("home/melissa", True),
        ("home/m", True),
    ],
)
def test_the_home_folder_and_what_is_above_it(
    tmp_path: Path, root: str, proves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/home/me")
    assert Places(tmp_path / root).proves_something is proves


def test_the_home_folder_by_its_real_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "link").symlink_to("me")
    monkeypatch.setenv("HOME", f"{tmp_path}/link")
    assert not Places(tmp_path / "me").proves_something


def test_the_home_folder_of_whoever_the_root_belongs_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo make stop` has root's home folder, and the project is still somebody's whole home."""
    import pwd

    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if not home.is_dir() or home.stat().st_uid != os.getuid():
        pytest.skip("this user has no home folder")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not Places(home.resolve()).proves_something
