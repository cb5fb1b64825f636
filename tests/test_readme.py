"""What the README and the documents show is what the repository holds."""

import re
import tomllib
from pathlib import Path

import pytest

from devtasks.command import options
from devtasks.command.tasks import VERBS

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md"))}


def services(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["devtasks"]["services"]


def test_links_lead_somewhere():
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert linked
    assert [link for link in linked if not (REPOSITORY / link).exists()] == []


def anchors(text):
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_of_the_documents_lead_somewhere(name):
    text = re.sub(r"^```.*?^```", "", DOCUMENTS[name], flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        assert not path or (REPOSITORY / "docs" / path).exists(), link
        if anchor:
            assert anchor in anchors(DOCUMENTS[path or name]), link


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_task_is_told_of(verb):
    assert re.search(rf"^\| `{verb}\b", README, re.MULTILINE)
    assert re.search(rf"^\| `{verb}` \|", DOCUMENTS["cli.md"], re.MULTILINE)
    assert re.search(rf"^## (.*, )?{verb}\b", DOCUMENTS["json.md"], re.MULTILINE)


def test_every_flag_is_told_of():
    told = set(re.findall(r"--([a-z-]+)", DOCUMENTS["cli.md"].partition("\n## Flags\n")[2].partition("\n## ")[0]))
    assert {options.dashed(name) for name in options.FLAGS} - told == set()


def test_the_makefile_it_shows_is_the_examples():
    shown = re.search(r"```make\n(.*?)```", README, re.DOTALL).group(1)
    lines = (REPOSITORY / "examples/shop/Makefile").read_text(encoding="utf-8").splitlines(keepends=True)
    assert shown == "".join(line for line in lines if not line.startswith("#"))


def test_the_example_runs_from_the_repository_as_from_its_own_folder():
    own = services(REPOSITORY / "examples/shop/pyproject.toml")
    for service in own.values():
        service["cwd"] = f"examples/shop/{service['cwd']}"
    assert services(REPOSITORY / "pyproject.toml") == own
