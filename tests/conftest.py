"""Fixtures for tests with real processes, and the guard that finds what a test leaves running."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests import `toolbox`

from toolbox import WARM, Being, Scratch, Stage, end, marked

SUITE = f"SUITE_RUN={uuid.uuid4().hex}"  # one per worker


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: many tests wait for most of their time, so there are some more workers than processors."""
    return len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at one elaborate scene stays on one worker, so that the scene is set once."""
    for item in items:
        fixtures = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - no public way tells the scope
        if any(found[-1].scope == "module" for found in fixtures.values()):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_configure(config: pytest.Config) -> None:
    name, _, value = SUITE.partition("=")
    os.environ[name] = value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After each module, whatever a test started and did not end is ended, and the last test fails for it.

    Not after each test: a module's own fixtures may keep processes. The stage checks itself when it is closed.
    """
    yield
    if (nextitem is None or nextitem.path != item.path) and (left := leaked()):
        end(leaked)
        pytest.fail(f"this module left running: {left}", pytrace=False)


def leaked() -> list[Being]:
    """Live processes that inherited this worker's environment."""
    # The standard library keeps one until the interpreter ends, and so do we.
    spared = ("multiprocessing.resource_tracker", "programs/warm.py")
    return [
        one for one in marked(SUITE) if one.pid != os.getpid() and not any(name in one.name for name in spared)
    ]


def pytest_unconfigure() -> None:
    WARM.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def scratch(stage: Stage, tmp_path: Path) -> Scratch:
    return Scratch(stage, tmp_path / "shop")


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage for one elaborate scene that many tests look at."""
    stage = Stage(tmp_path_factory.mktemp("scene"))
    try:
        yield stage
    finally:
        stage.close()
