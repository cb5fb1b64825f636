"""Values: frozen, keyword-only, compared by content."""

from __future__ import annotations

import copy
import pickle

import pytest

from devtasks.model import Details, HealthProbe, ReadyProbe, RestartPolicy, StopPolicy
from devtasks.values import Value, replace


class Point(Value):
    x: int
    y: int = 0
    tags: tuple[str, ...] = ()

    @property
    def sum(self) -> int:
        return self.x + self.y


class Other(Value):
    x: int
    y: int = 0
    tags: tuple[str, ...] = ()


def test_fields_and_defaults() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point.tags, point.sum) == (1, 0, (), 1)


@pytest.mark.parametrize("given", [{}, {"y": 1}, {"x": 1, "z": 2}, {"x": 1, "sum": 2}])
def test_a_missing_or_unknown_field_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point: missing or unknown"):
        Point(**given)


def test_fields_have_names() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["x", "z", "sum"])
def test_they_are_frozen(name: str) -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError):
        setattr(point, name, 2)
    assert point == Point(x=1)


def test_they_are_compared_by_content() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Other(x=1)
    assert Point(x=1) != (1, 0, ())
    assert len({Point(x=1), Point(y=0, x=1), Point(x=2), Other(x=1)}) == 3


def test_one_that_holds_what_cannot_be_hashed_says_so() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(x=1, tags=[]))  # type: ignore[arg-type]


def test_they_are_shown_as_they_are_written() -> None:
    assert repr(Point(x=1)) == "Point(x=1, y=0, tags=())"
    assert eval(repr(Point(x=1, tags=("a",)))) == Point(x=1, tags=("a",))  # noqa: S307


def test_replace_makes_another() -> None:
    point = Point(x=1, y=2)
    assert replace(point, y=3) == Point(x=1, y=3)
    assert point == Point(x=1, y=2)
    with pytest.raises(TypeError, match="unknown"):
        replace(point, z=1)


def test_they_are_copied_and_pickled() -> None:
    details = Details(cwd="/", uid=1)
    assert copy.deepcopy(details) == details
    assert pickle.loads(pickle.dumps(details)) == details  # noqa: S301


@pytest.mark.parametrize("kind", [StopPolicy, ReadyProbe, HealthProbe, RestartPolicy, Details])
def test_defaults_are_shared_and_cannot_be_changed(kind: type[Value]) -> None:
    assert kind() == kind()
    hash(kind())
