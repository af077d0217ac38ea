"""A name that means something, and the parts of a file in which names are known."""

from __future__ import annotations

from dataclasses import dataclass, field

from spakc.source import Span
from spakc.syntax import nodes


@dataclass(eq=False, slots=True)
class Symbol:
    """`what` says in words what it is. `places` are all names in the files that mean it, `declared` those of them
    that declare it, with the statement of each. `members` may stand behind a dot, or be named as arguments."""

    name: str
    what: str
    declared: list[tuple[Span, nodes.Node]] = field(default_factory=list)
    places: list[Span] = field(default_factory=list)
    members: dict[str, Symbol] = field(default_factory=dict)
    fixed: str = ""  # why it cannot be renamed
    _noted: set[tuple[str, int]] = field(default_factory=set, repr=False)

    def stands_at(self, span: Span) -> None:
        """Notes one more place."""
        place = (span.source.name, span.start)
        if place not in self._noted:
            self._noted.add(place)
            self.places.append(span)


@dataclass(eq=False, slots=True)
class Region:
    """The names of one part of a file. `span` is the part; regions nest."""

    span: Span
    parent: Region | None
    names: dict[str, Symbol] = field(default_factory=dict)
    inherited: list[Region] = field(default_factory=list)
    inner: list[Region] = field(default_factory=list)

    def find(self, name: str) -> Symbol | None:
        region: Region | None = self
        while region is not None:
            for each in (region, *region.inherited):
                if name in each.names:
                    return each.names[name]
            region = region.parent
        return None

    def part(self, span: Span) -> Region:
        """A new region inside."""
        inner = Region(span, self)
        self.inner.append(inner)
        return inner

    def visible(self) -> dict[str, Symbol]:
        found: dict[str, Symbol] = {}
        region: Region | None = self
        while region is not None:
            for each in (region, *region.inherited):
                for name, symbol in each.names.items():
                    found.setdefault(name, symbol)
            region = region.parent
        return found
