"""The files of an export on disk: what is written, what is left alone, and what is said when nothing can be."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toolbox import Scratch

from devtasks.errors import DevtasksError, UsageError
from devtasks.export import writing
from devtasks.export.writing import Page

SERVICES = {"web": {"command": "python -m http.server 8000", "port": 8000}, "job": {"command": "sleep 60"}}


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.declare(SERVICES)
    return scratch


def export(shop: Scratch, *words: str, to: str = "procfile", expect: int = 0) -> dict[str, Any]:
    return shop.run("export", "--to", to, "--output", "out", *words, expect=expect)


def states(report: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["state"] for file in report["files"]}


def test_once_written_and_then_unchanged(shop: Scratch):
    first = export(shop, to="systemd")
    assert set(states(first).values()) == {"new"}
    assert (first["ok"], first["written"]) == (True, True)
    made = {path: path.stat() for path in (shop.root / "out").rglob("*") if path.is_file()}
    assert len(made) == len(first["files"]) == 6
    assert {stat.S_IMODE(one.st_mode) & 0o111 for one in made.values()} == {0}
    assert set(states(export(shop, to="systemd")).values()) == {"unchanged"}
    assert {path: path.stat().st_ino for path in made} == {path: one.st_ino for path, one in made.items()}
    export(shop, "--check", to="systemd")


def test_a_check_tells_what_differs_and_writes_nothing(shop: Scratch):
    assert states(export(shop, "--check", expect=1)) == {"Procfile": "new"}
    assert not (shop.root / "out").exists()
    export(shop)
    shop.declare({**SERVICES, "more": {"command": "sleep 61"}})
    assert states(export(shop, "--check", expect=1)) == {"Procfile": "outdated"}
    assert "more" not in (shop.root / "out/Procfile").read_text()
    assert states(export(shop)) == {"Procfile": "outdated"}
    assert "more: sleep 61" in (shop.root / "out/Procfile").read_text()


def test_what_was_edited_is_replaced_by_force_alone(shop: Scratch):
    export(shop)
    file = shop.root / "out/Procfile"
    file.chmod(0o640)
    written = file.read_text()
    file.write_text(written + "mine: sleep 1\n")
    refused = export(shop, expect=3)
    assert "was changed by hand; nothing was written" in refused["error"]["message"]
    assert "--force" in refused["error"]["hint"]
    assert states(export(shop, "--check", expect=1)) == {"Procfile": "edited"}
    assert file.read_text().endswith("mine: sleep 1\n")
    export(shop, "--force")
    assert file.read_text() == written
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_of_somebody_else_is_left_alone_and_the_others_too(shop: Scratch):
    (shop.root / "out").mkdir()
    (shop.root / "out/stack.yaml").write_text("services: {}\n")
    assert "was not written by devtasks" in export(shop, to="compose", expect=3)["error"]["message"]
    assert os.listdir(shop.root / "out") == ["stack.yaml"]
    export(shop, "--force", to="compose")
    assert sorted(os.listdir(shop.root / "out")) == ["compose.yaml", "stack.yaml"]


def test_what_is_left_over_is_named_and_stays(shop: Scratch):
    export(shop, to="kubernetes")
    shop.declare({"web": SERVICES["web"]})
    report = export(shop, "--check", to="kubernetes", expect=1)
    assert states(report) == {"shop-web.yaml": "unchanged", "shop-job.yaml": "stale"}
    export(shop, to="kubernetes")
    assert (shop.root / "out/shop-job.yaml").exists()
    assert (
        "shop-job.yaml  no longer written: remove it"
        in shop.raw("export", "--to", "kubernetes", "--output", "out").stdout
    )


def test_one_service_alone(shop: Scratch):
    report = export(shop, "--only", "job")
    assert [service["name"] for service in report["services"]] == ["job"]
    assert "web" not in (shop.root / "out/Procfile").read_text().partition("\n\n")[2]
    missing = export(shop, "--only", "jbo", expect=2)
    assert 'did you mean "job"' in missing["error"]["message"]


def test_a_dry_run_writes_nothing(shop: Scratch):
    done = shop.raw("export", "--to", "compose", "--dry-run")
    assert done.returncode == 0
    assert "missing" in done.stdout
    assert "dry run" in done.stdout
    assert not (shop.root / "compose.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "export needs to know for what: --to TARGET"),
        (("--to", "sytemd"), "there is no export to 'sytemd'; did you mean \"systemd\"?"),
        (("--to", "helm"), "there is no export to 'helm'"),
        (("--to", "procfile", "--output", "devtasks.toml"), "is not a folder"),
        (("--to", "procfile", "--output", "devtasks.toml/below"), "cannot be written"),
        (("--to", "systemd", "--output", "taken"), "taken/user: cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_one_line(shop: Scratch, words: tuple[str, ...], said: str):
    (shop.root / "taken").mkdir()
    (shop.root / "taken/user").write_text("a file where a folder is needed")
    done = shop.raw("export", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert sorted(os.listdir(shop.root)) == ["devtasks.toml", "taken", "tasks.py"]
    assert os.listdir(shop.root / "taken") == ["user"]


def test_a_service_that_cannot_be_exported_is_named(shop: Scratch, tmp_path: Path):
    shop.declare({**SERVICES, "far": {"command": "sleep 1", "cwd": str(tmp_path)}})
    said = export(shop, to="compose", expect=2)["error"]
    assert "far: its folder" in said["message"]
    assert "--only" in said["hint"]
    shop.declare({**SERVICES, "lines": {"command": ["sh", "-c", "a\nb"]}})
    assert "lines: its command" in export(shop, expect=2)["error"]["message"]
    shop.declare({"worker": {"command": "sleep 1", "instances": 2}, "worker-1": {"command": "sleep 2"}})
    assert 'both be called "worker-1"' in export(shop, expect=2)["error"]["message"]
    assert not (shop.root / "out").exists()


def test_what_is_a_container_already_stays_one(shop: Scratch):
    shop.declare(
        {**SERVICES, "db": {"container": "db", "port": 5432}, "api": {"command": "x", "depends_on": ["db"]}}
    )
    for target in ("systemd", "dockerfile", "compose", "kubernetes", "launchd", "procfile"):
        report = export(shop, "--dry-run", to=target)
        told = {one["name"]: {row["key"]: row["reason"] for row in one["unmapped"]} for one in report["services"]}
        assert "its engine runs it" in told["db"]["container"]
        assert not any("db" in file["path"] for file in report["files"])
        assert "depends_on" in told["api"]
    shop.declare({"db": {"container": "db"}})
    assert "nothing can be exported" in export(shop, expect=2)["error"]["message"]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written to, not even by root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_folder_is_one_line(shop: Scratch, read_only: Path):
    for place in (read_only, read_only / "below"):
        done = shop.raw("export", "--to", "procfile", "--output", str(place))
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def pages(*paths: str) -> list[Page]:
    return [Page(path=path, content=path.encode()) for path in paths]


def test_all_are_written_or_none(tmp_path: Path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "full").write_text("")
    with pytest.raises(UsageError):
        writing.write(tmp_path, pages("a/1", "b/2", "b/c"))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["b", "b/c", "b/c/full"]


def test_the_disk_being_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "1").write_text("old")
    real = writing._beside

    def full(path: Path, content: bytes) -> Path:
        if path.name == "2":
            raise OSError(28, "No space left on device", str(path))
        return real(path, content)

    monkeypatch.setattr(writing, "_beside", full)
    with pytest.raises(DevtasksError, match="no space left on device; nothing was changed"):
        writing.write(tmp_path, pages("1", "2"))
    assert os.listdir(tmp_path) == ["1"]
    assert (tmp_path / "1").read_text() == "old"


def test_the_digest_is_of_all_that_follows(tmp_path: Path, shop: Scratch):
    for target, name in (("launchd", "shop.web.plist"), ("dockerfile", "Dockerfile")):
        export(shop, to=target)
        file = shop.root / "out" / name
        good = file.read_bytes()
        for place in (len(good) - 2, good.index(b"Not expressed") + 2):
            file.write_bytes(good[:place] + b"!" + good[place:])
            assert "was changed by hand" in export(shop, to=target, expect=3)["error"]["message"]
        file.write_bytes(good)
        export(shop, to=target)


EXAMPLE = Path(__file__).parent.parent / "examples" / "shop"


@pytest.mark.parametrize("target", ["dockerfile", "systemd"])
def test_the_example_passes_the_linters(target: str, scratch: Scratch, tmp_path: Path):
    where = os.environ.get("PATH", "") + os.pathsep + os.path.dirname(sys.executable)
    name = {"dockerfile": "hadolint", "systemd": "systemd-analyze"}[target]
    tool = shutil.which(name, path=where)
    if tool is None:
        pytest.skip(f"no {name} here")
    if target == "systemd" and getpass.getuser() == "nobody":
        pytest.skip("systemd warns of services of this user")
    out = tmp_path / "out"
    scratch.run("-C", str(EXAMPLE), "export", "--to", target, "--output", str(out))
    if target == "systemd":
        words = [tool, "--man=no", "verify", *map(str, sorted(out.glob("system/*")))]
    else:
        assert "requirements.txt" in (out / "Dockerfile").read_text()
        words = [tool, str(out / "Dockerfile")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
