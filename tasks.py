"""This repository's own tasks, beside those of the services in [tool.devtasks]: the example in examples/shop."""

import shlex
import sys
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

import devtasks

ROOT = Path(__file__).resolve().parent


def python(c: Context, arguments: str) -> None:
    """Run this environment's Python in the project's root. Its exit code becomes ours."""
    with c.cd(shlex.quote(str(ROOT))):
        result = c.run(
            f"{shlex.quote(sys.executable)} {arguments}", warn=True, pty=sys.stdout.isatty(), in_stream=False
        )
    if result is not None and result.exited != 0:
        raise Exit(code=result.exited)


@task(auto_shortflags=False, help={"args": "further arguments for pytest, in one string: --args '-k ports -x'"})
def test(c: Context, args: str = "") -> None:  # noqa: PT028 - a task, not a test
    """Run the test suite."""
    python(c, f"-m pytest -n auto {args}")


@task
def soak(c: Context) -> None:
    """Run at full length what the suite runs scaled down."""
    python(c, "-m pytest -n auto -m soak")


@task
def demo(_c: Context) -> None:
    """Show the point on real servers, in under a minute."""
    from examples.demo import main

    code = main()
    if code:
        raise Exit(code=code)


@task
def lint(c: Context) -> None:
    """Check style and formatting with ruff."""
    python(c, "-m ruff check .")
    python(c, "-m ruff format --check .")


@task
def types(c: Context) -> None:
    """Check types with mypy, strictly."""
    python(c, "-m mypy")


@task
def build(c: Context) -> None:
    """Build the wheel into dist/."""
    python(c, "-m build --wheel")


@task
def benchmark(c: Context) -> None:
    """Measure speed and memory, each as a ratio to a baseline of the same run."""
    python(c, "-m benchmarks")


ns = devtasks.collection(__name__)
