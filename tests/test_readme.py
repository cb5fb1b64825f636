"""What the README shows is what the repository holds."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def services(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["devtasks"]["services"]


def test_links_lead_somewhere():
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert linked
    assert [link for link in linked if not (REPOSITORY / link).exists()] == []


def test_the_makefile_it_shows_is_the_examples():
    shown = re.search(r"```make\n(.*?)```", README, re.DOTALL).group(1)
    lines = (REPOSITORY / "examples/shop/Makefile").read_text(encoding="utf-8").splitlines(keepends=True)
    assert shown == "".join(line for line in lines if not line.startswith("#"))


def test_the_example_runs_from_the_repository_as_from_its_own_folder():
    own = services(REPOSITORY / "examples/shop/pyproject.toml")
    for service in own.values():
        service["cwd"] = f"examples/shop/{service['cwd']}"
    assert services(REPOSITORY / "pyproject.toml") == own
