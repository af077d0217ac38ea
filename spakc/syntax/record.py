"""A record of named fields that costs nothing to declare.

A frozen dataclass gets half a dozen compiled functions of its own; a hundred of them take 50 ms at every start of
`spakc`. Type checkers see the classes below as frozen dataclasses; at run time they share one of each function.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """Subclasses annotate their fields; with `class X(Record, kw_only=True)` those are given by name only and take
    no part in equality. Fields are inherited, in order. A record is immutable."""

    _fields: ClassVar[tuple[str, ...]] = ()  # those that count for equality, in order
    _aside: ClassVar[tuple[str, ...]] = ()  # given by name only
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        own = tuple(name for name in inspect.get_annotations(cls) if name not in cls._fields)
        if kw_only:
            cls._aside += own
        else:
            cls._fields += own
        cls._defaults = cls._defaults | {name: cls.__dict__[name] for name in own if name in cls.__dict__}
        cls.__match_args__ = cls._fields  # type: ignore[attr-defined,misc]

    def __init__(self, *args: Any, **named: Any) -> None:
        values = self.__dict__
        values.update(self._defaults)
        values.update(zip(self._fields, args, strict=False))
        values.update(named)
        if len(args) > len(self._fields) or len(values) != len(self._fields) + len(self._aside):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields + self._aside)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def said(self) -> tuple[Any, ...]:
        """The values of the fields that count for equality."""
        return tuple(map(self.__dict__.__getitem__, self._fields))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.said() == other.said()

    def __hash__(self) -> int:
        return hash((type(self), self.said()))

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({said})"
