"""`init`: what it writes says what was inferred, and leaves everything else as it was."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtasks.config import loading
from devtasks.config import parsing as config
from devtasks.errors import ConfigError, UsageError
from devtasks.inferring import infer, init

LAYOUTS = sorted(folder for folder in (Path(__file__).parent / "layouts").iterdir() if folder.is_dir())
PYPROJECT = b'# mine\r\n[project]\r\nname = "sh\xc3\xb6p"\r\n\r\n[tool.ruff]\r\nline-length=100'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "Procfile").write_text("web: ./serve \"a b\" 'c\\d' $PORT\nworker: ./work\n")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("package", [True, False])
def test_what_is_written_is_what_was_inferred(layout: Path, package: bool, tmp_path: Path) -> None:
    for file in layout.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and file.name != "pyproject.toml":
            copy = tmp_path / file.relative_to(layout)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    if package:
        (tmp_path / "pyproject.toml").write_bytes(PYPROJECT)
    inferred = infer(tmp_path)
    proposed = init.propose(tmp_path)
    path = init.write(tmp_path, environ={})
    assert path.name == ("pyproject.toml" if package else "devtasks.toml")
    content = path.read_bytes()
    assert content.replace(b"\r\n", b"\n").endswith(proposed.encode())
    table = tomllib.loads(content.decode())
    table = table["tool"]["devtasks"] if package else table
    assert table == inferred.table

    def parsed(table: dict[str, Any]) -> object:
        return config.parse(table, root=tmp_path, source="x", project_name=None, environ={})

    assert parsed(table) == parsed(inferred.table)
    assert loading.load(tmp_path, {}).source == path.name
    for _, reason in inferred.reasons:
        assert f"# {reason}" in proposed


def test_the_rest_of_the_file_and_its_mode_stay(root: Path) -> None:
    path = root / "pyproject.toml"
    path.write_bytes(PYPROJECT)
    path.chmod(0o640)
    init.write(root, environ={})
    content = path.read_bytes()
    assert content.startswith(PYPROJECT)
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(root)) == ["Procfile", "pyproject.toml"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pyproject.toml", "[tool.devtasks]\n"),
        ("pyproject.toml", 'tool.devtasks.project = "x"\n'),
        ("pyproject.toml", "[project\n"),
        ("pyproject.toml", "tool = { ruff = {} }\n"),
        ("pyproject.toml", "tool = 5\n"),
        ("devtasks.toml", ""),
    ],
)
def test_a_file_that_cannot_be_extended_is_left_alone(root: Path, name: str, content: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(UsageError, match=name):
        init.write(root, environ={})
    assert (root / name).read_text() == content
    assert sorted(os.listdir(root)) == ["Procfile", name]


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "broken link", "binary"])
def test_a_pyproject_that_is_no_text_file_is_left_alone(root: Path, kind: str) -> None:
    path = root / "pyproject.toml"
    other = root.parent / "other.toml"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            other.write_bytes(PYPROJECT)
            path.symlink_to(other)
        case "broken link":
            path.symlink_to(other)
        case "binary":
            path.write_bytes(b"\xff\xfe\0")
    before = path.lstat()
    for attempt in (lambda: init.write(root, environ={}), lambda: init.propose(root)):
        with pytest.raises(UsageError, match=r"pyproject\.toml"):
            attempt()
    assert path.lstat().st_ino == before.st_ino
    assert not other.exists() or other.read_bytes() == PYPROJECT


@pytest.mark.parametrize("package", [True, False])
def test_nothing_to_write_down(tmp_path: Path, package: bool) -> None:
    (tmp_path / "Procfile").write_text("no process\n")
    if package:
        (tmp_path / "pyproject.toml").write_bytes(PYPROJECT)
    with pytest.raises(UsageError) as raised:
        init.write(tmp_path, environ={})
    assert raised.value.exit_code == 2
    assert "Procfile line 1" in raised.value.message
    assert raised.value.hint is not None
    minimal = raised.value.hint.partition(": ")[2].replace(" with ", "\n").replace(" and ", "\n")
    table = tomllib.loads(minimal)
    assert ("tool" in table) == package
    table = table["tool"]["devtasks"] if package else table
    project = config.parse(table, root=tmp_path, source="x", project_name=None, environ={})
    assert [service.name for service in project.services] == ["backend"]
    assert "devtasks.toml" not in os.listdir(tmp_path)


def test_nothing_is_written_that_the_environment_forbids(root: Path) -> None:
    with pytest.raises(ConfigError):
        init.write(root, environ={"DEVTASKS_WEB_PORT": "many"})
    assert os.listdir(root) == ["Procfile"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(root: Path) -> None:
    root.chmod(0o555)
    try:
        with pytest.raises(UsageError, match="cannot be written"):
            init.write(root, environ={})
    finally:
        root.chmod(0o755)


def test_a_file_left_by_a_killed_init_is_in_nobodys_way(root: Path) -> None:
    (root / f".devtasks.toml.{os.getpid()}.new").write_text("half")
    assert init.write(root, environ={}).name == "devtasks.toml"
    assert sorted(os.listdir(root)) == ["Procfile", "devtasks.toml"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_rendered_as_toml(text: str) -> None:
    assert tomllib.loads(f"a = {init._value({text or 'x': text})}") == {"a": {text or "x": text}}
