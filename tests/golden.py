"""The exports of the projects below tests/exports, as one text each: what `expected.txt` there holds.

python tests/golden.py        writes them again; look at the difference before you commit it
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from devtasks.config.parsing import Address, parse
from devtasks.errors import UsageError
from devtasks.export import images
from devtasks.export.command import CONTAINERS, EVERYWHERE, TARGETS, make
from devtasks.export.plan import Ledger, Surroundings, groups
from devtasks.export.writing import Page
from devtasks.inferring.tree import Tree
from devtasks.model import Project

EXPORTS = Path(__file__).parent / "exports"
NAMES = tuple(sorted(path.parent.name for path in EXPORTS.glob("*/devtasks.toml")))
ROOT = Path("/srv/app")  # where each of them is said to be


def project(name: str, target: str) -> Project:
    """The project as `target` gets it: where its services bind is the containers' affair."""
    table = tomllib.loads((EXPORTS / name / "devtasks.toml").read_text())

    def parsed(addresses: dict[str, Address]) -> Project:
        return parse(table, root=ROOT, source="devtasks.toml", project_name=None, environ={}, addresses=addresses)

    declared = parsed({})
    if target not in CONTAINERS:
        return declared
    bound = [group for group, members in groups(declared).items() if members[0].ports]
    return parsed({group: Address(host=EVERYWHERE) for group in bound})


def exported(name: str, target: str) -> tuple[tuple[Page, ...], Ledger, tuple[str, ...]]:
    made = project(name, target)
    tree = Tree(EXPORTS / name)
    firsts = {group: members[0] for group, members in groups(made).items()}
    folders = {
        group: one.cwd.relative_to(ROOT).as_posix().removeprefix(".") if one.cwd.is_relative_to(ROOT) else ""
        for group, one in firsts.items()
    }
    around = Surroundings(
        output=ROOT / ("deploy" if target not in ("compose", "dockerfile", "procfile") else ""),
        user="shop",
        tools=dict.fromkeys(firsts, (f"{ROOT}/.venv/bin",)),
        builds={group: images.look(tree, one, folders[group]) for group, one in firsts.items()},
        hosts={group: members[0].host for group, members in groups(project(name, "systemd")).items()},
    )
    return make(made, target, around)


def lines(name: str) -> Iterator[str]:
    for target in TARGETS:
        try:
            pages, _, commands = exported(name, target)
        except UsageError as error:
            yield f"===== {target}: {error.message}\n"
            continue
        for page in pages:
            yield f"===== {target}: {page.path}\n{page.content.decode()}"
        yield f"===== {target}: commands\n"
        yield from (f"{line}\n" for line in commands)


if __name__ == "__main__":
    for one in sys.argv[1:] or NAMES:
        (EXPORTS / one / "expected.txt").write_text("".join(lines(one)))
