"""Values: frozen, keyword-only, compared by content.

What `@dataclass(frozen=True, kw_only=True)` gives, without its price: a dataclass compiles code at import,
0.5 ms a class, and this program has fifty that every `inv status` would pay for (benchmarks/commands.py).
What is made by the thousand or taken apart is a NamedTuple, in a module without `from __future__ import
annotations`: typing compiles each annotation that is a string.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """Base of values: the annotations are the fields, class attributes their defaults.

    A missing or unknown field is a TypeError, and so is setting one later (AttributeError).
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}

    def __init__(self, **given: Any) -> None:
        fields = {**self._defaults, **given}
        if fields.keys() != set(self._fields):
            wrong = ", ".join(sorted(fields.keys() ^ set(self._fields)))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: values are frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"


@dataclass_transform(frozen_default=True)
class Row(Value):
    """A value whose fields may also be given by position."""

    def __init__(self, *values: Any, **given: Any) -> None:
        super().__init__(**dict(zip(self._fields, values, strict=False)), **given)


def changed(value: Value) -> tuple[str, ...]:
    """The fields of `value` that are not as they are by default, in their order."""
    return tuple(name for name in value._fields if value.__dict__[name] != value._defaults.get(name))  # noqa: SLF001


_V = TypeVar("_V", bound=Value)


def replace(value: _V, **changes: Any) -> _V:
    """`value` with some fields changed."""
    return type(value)(**{**value.__dict__, **changes})
