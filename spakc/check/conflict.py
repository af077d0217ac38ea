"""Why a space is empty, and what is lawful near a point that is not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from spakc.check.space import Axis, Bools, Space, true_at
from spakc.ir.constraint import SYMBOLS, comparison_of, conjuncts, lanes, scalar, show
from spakc.ir.lanes import Array, Scalar, np
from spakc.ir.module import Law
from spakc.ir.ops import Apply
from spakc.record import record

MAX_SEARCH = 200_000
"""Steps of the exact search for a smallest conflict; beyond them a greedy cover stands in."""


@record
class Reach:
    """The best that the left side of a law reaches over the points that satisfy the other laws of a conflict,
    with the right side there. `comparison` is the part of the law that this is about; without a comparison in
    the law, only the law is known."""

    law: Law
    comparison: Apply | None = None
    left: Scalar | None = None
    right: Scalar | None = None

    @property
    def label(self) -> str:
        """What to say at the law."""
        if self.comparison is None or self.left is None or self.right is None:
            return "holds at no point that satisfies the others"
        symbol = SYMBOLS[self.comparison.op]
        return (
            f"reaches {show(self.left)} at best, and {show(self.left)} {symbol} {show(self.right)} is false"
        )


@record
class Nearest:
    """The lawful values of one knob when the others stay: next to the present value, below and above."""

    axis: Axis
    present: Scalar
    below: Scalar | None
    above: Scalar | None
    others: tuple[Scalar, ...]  # lawful words, where there is no below and above

    @property
    def label(self) -> str:
        """What to say at the value."""
        if self.others:
            return f"lawful here: {', '.join(f'`{show(v)}`' for v in self.others)}"
        if self.below is not None and self.above is not None:
            return f"the nearest lawful values here are {show(self.below)} and {show(self.above)}"
        if self.below is not None:
            return f"the largest lawful value here is {show(self.below)}"
        return f"the smallest lawful value here is {show(self.above if self.above is not None else '')}"

    def advice(self, first: bool) -> str:
        """What to write instead; `first` in full, an alternative in few words."""
        name = self.axis.name
        if self.others:
            return f"write `{name} = {show(self.others[0])}`"
        if self.below is not None and self.above is None:
            value = show(self.below)
            return f"write `{name} <= {value}`" if first else f"lower `{name}` to {value}"
        if self.above is not None and self.below is None:
            value = show(self.above)
            return f"write `{name} >= {value}`" if first else f"raise `{name}` to {value}"
        return f"write `{name} = {show(self.below if self.below is not None else '')}`"

    @property
    def distance(self) -> float:
        """How far the nearest lawful value is, as a ratio where both are positive."""
        if self.others:
            return 1.0
        return min(_distance(self.present, v) for v in (self.below, self.above) if v is not None)


def _distance(a: Scalar, b: Scalar) -> float:
    if isinstance(a, str) or isinstance(b, str):
        return 1.0
    x, y = _clamped(a), _clamped(b)
    return abs(math.log2(x / y)) if x > 0 and y > 0 else abs(x - y)


def _clamped(value: bool | int | float) -> float:
    """As a float; integers beyond its range become its ends."""
    return float(min(max(value, -1e308), 1e308))


# ---- an empty space -----------------------------------------------------------------------------------


def smallest_conflict(space: Space) -> tuple[Reach, ...]:
    """The fewest laws that together leave no point: a minimum cover of the violation signatures. In file
    order; empty where the space is not empty."""
    if space.lawful.any():
        return ()
    chosen = sorted(minimum_cover(space.signatures.keys()))
    return tuple(_reach(space, i, [j for j in chosen if j != i]) for i in chosen)


def minimum_cover(signatures: Iterable[frozenset[int]]) -> frozenset[int]:
    """A smallest set that meets every signature: exact, by iterative deepening, while that is affordable.

    Deterministic: of several smallest ones, the first in the order of the laws."""
    minimal: list[frozenset[int]] = []
    for signature in sorted(signatures, key=lambda s: (len(s), sorted(s))):
        if not any(kept <= signature for kept in minimal):
            minimal.append(signature)
    steps = 0

    def search(chosen: frozenset[int], depth: int) -> frozenset[int] | None:
        nonlocal steps
        steps += 1
        open_ = next((s for s in minimal if not s & chosen), None)
        if open_ is None:
            return chosen
        if depth == 0 or steps > MAX_SEARCH:
            return None
        for law in sorted(open_):
            found = search(chosen | {law}, depth - 1)
            if found is not None:
                return found
        return None

    for size in range(len(minimal) + 1):
        found = search(frozenset(), size)
        if found is not None:
            return found
        if steps > MAX_SEARCH:
            break
    return _greedy_cover(minimal)


def _greedy_cover(minimal: list[frozenset[int]]) -> frozenset[int]:
    rest, chosen = list(minimal), frozenset[int]()
    while rest:
        laws = sorted(frozenset().union(*rest))
        best = max(laws, key=lambda law: sum(law in s for s in rest))
        chosen |= {best}
        rest = [s for s in rest if best not in s]
    return chosen


def _reach(space: Space, law: int, others: list[int]) -> Reach:
    region = np.ones(space.lawful.shape, dtype=bool)
    for other in others:
        region = region & space.holds[other]
    return best_reachable(space, space.laws[law], region)


def best_reachable(space: Space, law: Law, region: Bools) -> Reach:
    """How near the law comes to holding within `region`: its comparison is that part of its proposition that
    fails most often there."""
    if law.when is not None:
        when = lanes(law.when, space.env)
        if when.unknown is not True:
            region = region & np.asarray(when.data, dtype=bool) & ~np.asarray(when.unknown, dtype=bool)
    best: tuple[int, Reach] | None = None
    parts = conjuncts(law.proposition)
    for part in parts:
        comparison = comparison_of(part)
        others = region
        for other in parts:
            if other is not part:
                others = others & true_at(lanes(other, space.env), region.ndim)
        for within in (others, region):  # where this part alone fails, if it ever does
            reached = _extreme(space, comparison, within) if comparison is not None else None
            if reached is not None:
                break
        if reached is not None and (best is None or reached[0] > best[0]):
            best = reached[0], Reach(law, comparison, *reached[1:])
    return best[1] if best is not None else Reach(law)


def _extreme(space: Space, comparison: Apply, region: Bools) -> tuple[int, Scalar, Scalar] | None:
    """At how many points of `region` a comparison fails, and both sides where it is nearest to holding; None
    if it fails nowhere or compares no numbers."""
    left, right, truth = (lanes(e, space.env) for e in (*comparison.args, comparison))
    if any(side.unknown is True for side in (left, right, truth)):
        return None
    failing = region & ~np.asarray(truth.unknown) & ~np.asarray(truth.data, dtype=bool)
    a, b, failing = np.broadcast_arrays(left.data, right.data, failing)
    if a.dtype.kind in "Ub" or not failing.any():
        return None
    gap = np.abs(_floats(a) - _floats(b))
    where = np.unravel_index(int(np.argmin(np.where(failing, gap, np.inf))), gap.shape)
    return int(failing.sum()), scalar(a[where]), scalar(b[where])


def _floats(array: Array) -> Array:
    if array.dtype.kind == "O":
        return np.array([_clamped(v) for v in array.ravel().tolist()], dtype=np.float64).reshape(array.shape)
    return array.astype(np.float64)


# ---- near a point -------------------------------------------------------------------------------------


def nearest_values(space: Space, values: Mapping[str, Scalar]) -> tuple[Nearest, ...]:
    """For every knob that alone can make the point lawful (for some problem): its nearest lawful values. The
    nearest knob comes first."""
    index = space.index_of(values)
    if index is None:
        return ()
    mask: Bools = np.asarray(space.lawful.any(axis=0))
    found = []
    for position, axis in enumerate(space.axes):
        if mask.shape[position] == 1 and len(axis.values) > 1:
            continue  # no law mentions it
        where = tuple(i if n > 1 else 0 for i, n in zip(index, mask.shape, strict=True))
        line = np.moveaxis(mask, position, -1)[where[:position] + where[position + 1 :]]
        lawful = [value for value, ok in zip(axis.values, line, strict=True) if ok]
        nearest = _nearest(axis, axis.values[index[position]], lawful)
        if nearest is not None:
            found.append(nearest)
    return tuple(sorted(found, key=lambda n: n.distance))


def _nearest(axis: Axis, present: Scalar, lawful: list[Scalar]) -> Nearest | None:
    if not lawful:
        return None
    if isinstance(present, (str, bool)) or any(isinstance(v, (str, bool)) for v in lawful):
        return Nearest(axis, present, None, None, tuple(lawful))
    below = [v for v in lawful if not isinstance(v, str) and v < present]
    above = [v for v in lawful if not isinstance(v, str) and v > present]
    return Nearest(axis, present, max(below, default=None), min(above, default=None), ())


def nearest_point(space: Space, values: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
    """The lawful point that changes the fewest knobs, and those the least; None if no point is lawful."""
    mask = space.lawful.any(axis=0)
    if not mask.any():
        return None
    changed = np.zeros(mask.shape)
    moved = np.zeros(mask.shape)
    for position, (axis, n) in enumerate(zip(space.axes, mask.shape, strict=True)):
        present = values.get(axis.name)
        if n == 1 or present is None:
            continue
        steps = [
            0.0 if axis.index(present) == i else _distance(present, v) for i, v in enumerate(axis.values)
        ]
        shape = [-1 if p == position else 1 for p in range(mask.ndim)]
        moved = moved + np.array(steps).reshape(shape)
        changed = changed + np.array([axis.index(present) != i for i in range(len(axis.values))]).reshape(
            shape
        )
    cost = np.where(mask, changed * 1e6 + moved, np.inf)
    where = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return {
        axis.name: axis.values[int(i)] if n > 1 else values.get(axis.name, axis.values[0])
        for axis, i, n in zip(space.axes, where, mask.shape, strict=True)
    }
