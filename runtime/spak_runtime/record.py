"""Declaring values that never change, without paying for it at every start.

A frozen dataclass of the standard library compiles six functions for itself, two of them only to refuse changes, and
fills its fields through `object.__setattr__`; of a hundred and fifty such classes a `spakc check` would spend a fifth
of its time. Here the type checker does the refusing: to it a `record` is a frozen dataclass. All records share how
they compare, and one gets its constructor when its first value is made: most commands make values of half of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
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
    """With `eq` its values are equal, and hash alike, where their fields are (those with `compare`), else every one is
    itself alone. An `__eq__`, `__hash__` or `__repr__` of the class's own stays. `fields` and `replace` of
    `dataclasses` take it."""

    def declare(cls: type[T]) -> type[T]:
        own = frozenset(cls.__dict__)
        cls.__doc__ = cls.__doc__ or cls.__name__  # else a text is made of a signature, which takes longest
        declared = dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        shared: dict[str, Any] = {"__init__": _first(declared), "__repr__": _repr}
        if eq:
            shared |= _comparing(tuple(f.name for f in fields(declared) if f.compare))  # type: ignore[arg-type]
        for name in shared.keys() - own:
            setattr(declared, name, shared[name])
        return declared

    return declare if cls is None else declare(cls)


def _first(cls: type[Any]) -> Callable[..., None]:
    """A constructor that makes the one it stands for."""

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        cls.__init__ = made = _constructor(cls)
        made(self, *args, **named)

    return __init__


def _constructor(cls: type[Any]) -> Callable[..., None]:
    """What `dataclass` would write: a parameter for every field, then what the class does at its `__post_init__`."""
    names: dict[str, Any] = {"MISSING": MISSING}
    positional, named, body = ["self"], ["*"], []
    for f in fields(cls):
        default, value = "", f.name
        if f.default is not MISSING:
            names[f"default_{f.name}"] = f.default
            default = f"=default_{f.name}"
        elif f.default_factory is not MISSING:
            names[f"make_{f.name}"] = f.default_factory
            default, value = "=MISSING", f"make_{f.name}() if {f.name} is MISSING else {f.name}"
        (named if f.kw_only else positional).append(f.name + default)
        body.append(f" self.{f.name} = {value}\n")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()\n")
    parameters = ", ".join([*positional, *(named if len(named) > 1 else ())])
    exec(f"def __init__({parameters}):\n{''.join(body) or ' pass'}", names)
    made: Callable[..., None] = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _comparing(names: tuple[str, ...]) -> dict[str, Any]:
    """`__eq__` and `__hash__` of values that are equal where these attributes are."""
    values: Callable[[Any], Any]
    if len(names) > 1:
        values = attrgetter(*names)
    else:

        def values(value: Any) -> Any:
            return tuple([getattr(value, name) for name in names])

    def __eq__(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _repr(self: Any) -> str:
    said = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr)
    return f"{type(self).__qualname__}({said})"
