"""Cases at the ends of the sizes that a file declares: certain in every run, for chance hardly ever draws them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from spakc.verify.case import Case
from spakc.verify.search import NoCase, another
from spakc.verify.sizes import End, Shapes
from spakc.verify.specialisations import Specialisation
from spakc.verify.strategies import cases, declared_ends
from spakc.verify.tested import UnderTest

INSIDE = 16
"""So many sizes are tried at an end before it is given up: a guard that asks how tensors lie may take whole vectors
only."""

Ends = Mapping[str, tuple[int, int]]
"""Of dims, the least and the largest size."""


def cases_at_ends(
    tested: UnderTest, members: Sequence[Specialisation], shapes: Shapes, most: int, seed: int
) -> list[tuple[Case, tuple[End, ...]]]:
    """Up to `most` cases, the largest sizes first, that together have every dim at both of its ends, each with the ends
    that were asked for it. As many ends a case as its work allows: the first of its ends gets all that laws and work
    leave, the dims of no end are drawn as in any case."""
    declared = declared_ends(tested, members, shapes)
    found: dict[str, tuple[Case, tuple[End, ...]]] = {}
    for largest in (True, False):
        waiting = tuple(End(name, largest) for name in declared)
        while waiting and len(found) < most:
            first, *others = waiting
            for inside in range(INSIDE):
                ends = (replace(first, inside=inside), *others)
                with contextlib.suppress(NoCase):
                    case = another(cases(tested, members, shapes, ends=ends), seed + len(found))
                    found.setdefault(repr(case.dims), (case, ends))
                    others = [e for e in others if case.dims[e.dim] != e.of(declared[e.dim])]
                    break
            waiting = tuple(others)
    return list(found.values())


def out_of_reach(declared: Ends, reached: Ends) -> tuple[str, ...]:
    """The sizes that a variant takes of those declared, and that no case had."""
    texts = []
    for name, (least, most) in declared.items():
        low, high = reached.get(name, (0, 0))
        if high < most:
            texts.append(f"{name} above {high:,}, of {least:,} to {most:,}, which `verify` asks for")
        if low > least:
            texts.append(f"{name} below {low:,}, of {least:,} to {most:,}, which `verify` asks for")
    return tuple(texts)
