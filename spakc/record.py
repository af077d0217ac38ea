"""Declaring values that never change, without paying for it at every start.

A frozen dataclass of the standard library compiles six functions for itself, two of them only to refuse changes, and
fills its fields through `object.__setattr__`; of a hundred and fifty such classes a `spakc check` would spend a fifth
of its time. Here the type checker does the refusing: to it a `record` is a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, eq: bool = True, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(
    cls: type[T] | None = None, /, *, eq: bool = True, kw_only: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """A dataclass with slots. With `eq` its values are equal, and hash alike, where their fields are (those with
    `compare`), else every one is itself alone. An `__eq__`, `__hash__` or `__repr__` of the class's own stays.
    `fields` and `replace` of `dataclasses` take it."""

    def declare(cls: type[T]) -> type[T]:
        own = cls.__dict__
        cls.__doc__ = (
            cls.__doc__ or cls.__name__
        )  # else the text would be made of a signature, which takes longest
        if "__repr__" not in own:
            cls.__repr__ = _repr  # type: ignore[method-assign]
        hashes = eq and "__hash__" not in own
        return dataclass(slots=True, repr=False, eq=eq, unsafe_hash=hashes, kw_only=kw_only)(cls)

    return declare if cls is None else declare(cls)


def _repr(self: Any) -> str:
    said = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({said})"
