"""Where conditions over indices change their truth: there kernels skip tiles, and take whole ones without asking."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from spakc.ir.constraint import Env, evaluate, lanes, residual
from spakc.ir.constraint import Unknown as NotKnown
from spakc.ir.extents import evaluate_size, normal_math
from spakc.ir.lanes import Array, np
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Expr, RefKind
from spakc.ir.visit import loads, references, walk
from spakc.record import record
from spakc.verify.case import Value

_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))

TILE = 16
"""The least knob that may be the side of a tile."""

PART = 64
"""Rows that a warpgroup computes: larger tiles are often theirs together, and each asks for its own part."""

Unknown = tuple[RefKind, str]
"""A dim or an option."""

_LONE = {
    "lt": {True: (-1, True), False: (0, False)},
    "le": {True: (0, True), False: (1, False)},
    "gt": {True: (1, False), False: (0, True)},
    "ge": {True: (0, False), False: (-1, True)},
}
"""The difference of an element for which alone in its tile a comparison is true, or false, and whether it is the least
there or the greatest."""


@record
class Lone:
    """A tile in which one element, at a corner, is unlike all others. `tile` are the sides by index variable, `counts`
    whether that one counts or the others do; then it is a whole one."""

    tile: Mapping[str, int]
    counts: bool


@record
class Border:
    """A condition that compares index variables with sizes or numbers. `difference` is its left side less its right
    one: of `k <= q + Sk - Sq` it is `k - (q + Sk - Sq)`. `extents` are those of the index variables."""

    op: str
    difference: Expr
    extents: Mapping[str, Expr]
    dims: frozenset[str]
    options: frozenset[str]

    def at(self, dims: Mapping[str, int], options: Mapping[str, Value]) -> int | None:
        """The difference at the first place of all; None where that is no whole number or depends on elements."""
        return self._at(Env().dims(dims).options(options), dict.fromkeys(self.extents, 0))

    def alone(
        self, unknown: Unknown, dims: Mapping[str, int], options: Mapping[str, Value], wanted: Lone
    ) -> list[int]:
        """The numbers for the unknown that leave one element of a tile alone, ascending: in tiles beyond which others
        count like it, if there are any. `dims` say how far tiles lie, an unknown one at its largest."""
        linear = self._linear(unknown, dims, options)
        if linear is None:
            return []
        lone, least = _LONE[self.op][wanted.counts]
        of_dim = unknown[0] is RefKind.dim
        found: dict[bool, set[int]] = {True: set(), False: set()}
        largest = {name: evaluate_size(extent, dims) for name, extent in self.extents.items()}
        for firsts in itertools.product(*(range(0, largest[n], side) for n, side in wanted.tile.items())):
            number, goes_on, sizes = lone - linear.base, True, largest
            for (name, side), first in zip(wanted.tile.items(), firsts, strict=True):
                end = first + side if of_dim else min(first + side, largest[name])
                at_last = (linear.slopes[name] < 0) == least
                number -= linear.slopes[name] * (end - 1 if at_last else first)
                goes_on = goes_on and (end < largest[name] if at_last else first > 0)
            number *= linear.step
            if of_dim:
                known = {**dims, unknown[1]: number}
                sizes = {name: evaluate_size(extent, known) for name, extent in self.extents.items()}
            ends = zip(firsts, wanted.tile.items(), strict=True)
            if all(f + side <= sizes[n] for f, (n, side) in ends) or (wanted.counts and not of_dim):
                found[goes_on].add(number)
        return sorted(found[True] if found[True] and wanted.counts else found[True] | found[False])

    def _linear(
        self, unknown: Unknown, dims: Mapping[str, int], options: Mapping[str, Value]
    ) -> _Linear | None:
        """The difference as a sum of multiples of the index variables and of the unknown, that by 1 or -1; None where
        it is no such sum."""
        env, zero = Env().dims(dims).options(options).bind({unknown: 0}), dict.fromkeys(self.extents, 0)
        base, one = self._at(env, zero), self._at(env.bind({unknown: 1}), zero)
        further = {name: self._at(env, {**zero, name: 1}) for name in self.extents}
        far = self._at(env.bind({unknown: 5}), dict.fromkeys(self.extents, 7))
        if self.op not in _LONE or base is None or one is None or far is None:
            return None
        slopes = {name: at - base for name, at in further.items() if at is not None}
        step = one - base
        if len(slopes) < len(further) or abs(step) != 1 or far != base + 7 * sum(slopes.values()) + 5 * step:
            return None
        return _Linear(base, slopes, step)

    def _at(self, env: Env, places: Mapping[str, int]) -> int | None:
        """A whole number."""
        found = evaluate(
            self.difference, env.bind({(RefKind.index, n): place for n, place in places.items()})
        )
        return None if isinstance(found, NotKnown | bool | str) or found != int(found) else int(found)


@record
class _Linear:
    base: int
    slopes: Mapping[str, int]
    step: int


@record
class Mask:
    """A condition over two index variables and nothing that is read, with the extents of these."""

    condition: Expr
    extents: Mapping[str, Expr]

    def truth(self, dims: Mapping[str, int], options: Mapping[str, Value]) -> Array | None:
        """Of every pair of indices; None where it is not known."""
        sizes = [evaluate_size(extent, dims) for extent in self.extents.values()]
        places = np.ix_(*(np.arange(size) for size in sizes))
        env = Env().dims(dims).options(options)
        indices = {(RefKind.index, name): place for name, place in zip(self.extents, places, strict=True)}
        found = lanes(self.condition, env.bind(indices))
        if found.some_unknown:
            return None
        truth = np.asarray(found.data)
        return np.broadcast_to(truth, sizes) if truth.dtype == np.bool_ else None


@record
class Corner:
    """A tile, or the part of one that there is, with one element unlike all others, at a corner: whether that one
    `counts`, whether it is the `last` in each direction, and whether, if it counts, the next one out of the tile does
    as well."""

    tile: tuple[int, int]
    whole: bool
    counts: bool
    last: tuple[bool, bool]
    goes_on: tuple[bool, bool]


_LAST = ((False, False), (False, True), (True, False), (True, True))


def corners_of(truth: Array, sides: Sequence[int]) -> Iterator[Corner]:
    """Those of a mask's truth under tiles of these sides. One that counts alone has others beyond its tile that do, so
    that the tile is not taken for want of any other; one that does not is in a whole tile, for no other is taken so."""
    for m, n in itertools.product(sides, repeat=2):
        rows, columns = np.arange(0, truth.shape[0], m), np.arange(0, truth.shape[1], n)
        counted = np.add.reduceat(np.add.reduceat(truth, rows, 0, np.int64), columns, 1)
        for counts, number in ((True, 1), (False, m * n - 1)):
            for row, column in np.argwhere(counted == number):
                yield from _in_tile(truth, (m, n), (int(row) * m, int(column) * n), counts)


def _in_tile(truth: Array, tile: tuple[int, int], first: tuple[int, int], counts: bool) -> Iterator[Corner]:
    """The corner where the one element lies that `counts`, or does not, if it is one."""
    ends = (min(first[0] + tile[0], truth.shape[0]), min(first[1] + tile[1], truth.shape[1]))
    whole = ends == (first[0] + tile[0], first[1] + tile[1])
    for last in _LAST:
        place = (ends[0] - 1 if last[0] else first[0], ends[1] - 1 if last[1] else first[1])
        goes_on = _goes_on(truth, place, last)
        if truth[place] == counts and (any(goes_on) if counts else whole):
            yield Corner(tile, whole, counts, last, goes_on if counts else (False, False))


def _goes_on(truth: Array, place: tuple[int, int], last: tuple[bool, bool]) -> tuple[bool, bool]:
    """Whether the next elements out of the tile count, in each direction."""
    (i, j), (m, n) = place, truth.shape
    row, column = i + (1 if last[0] else -1), j + (1 if last[1] else -1)
    return 0 <= row < m and bool(truth[row, j]), 0 <= column < n and bool(truth[i, column])


def tiles_of(config: Mapping[str, Value]) -> tuple[int, ...]:
    """The knobs that may be the side of a tile."""
    return tuple(sorted({n for n in config.values() if type(n) is int and n >= TILE}))


def sides_of(config: Mapping[str, Value]) -> tuple[int, ...]:
    """The same, and that of the parts that they may have."""
    tiles = tiles_of(config)
    return tuple(sorted({*tiles, *(PART for n in tiles if n > PART and n % PART == 0)}))


def borders_of(kernel: Kernel, known: Mapping[str, Value] | None = None) -> tuple[Border, ...]:
    """Those of a kernel's mathematics, each once; of those options that are `known`, what they leave."""
    found: dict[str, Border] = {}
    for value, variables in _equations(kernel):
        for node in walk(residual(value, Env().options(known)) if known else value):
            if not isinstance(node, Apply) or node.op not in _COMPARISONS:
                continue
            dims, options = references(node, RefKind.dim), references(node, RefKind.option)
            extents = _extents(node, variables)
            if extents and (dims or options):
                difference = Apply("sub", node.args)
                found.setdefault(
                    f"{node.op} {difference!r}", Border(node.op, difference, extents, dims, options)
                )
    return tuple(found.values())


def masks_of(kernel: Kernel) -> tuple[Mask, ...]:
    """The conditions by which a kernel's mathematics chooses, of two indices and nothing that is read, each once."""
    found: dict[str, Mask] = {}
    for value, variables in _equations(kernel):
        for node in walk(value):
            if not isinstance(node, Apply) or node.op != "where":
                continue
            condition = node.args[0]
            extents = _extents(condition, variables)
            if len(extents) == 2 and not any(loads(condition)):
                found.setdefault(repr(condition), Mask(condition, extents))
    return tuple(found.values())


def _equations(kernel: Kernel) -> Iterator[tuple[Expr, Mapping[str, Expr]]]:
    """What each is equal to, and the extents of its index variables."""
    normal, extents = normal_math(kernel)
    return ((e.value, variables) for e, variables in zip(normal.math, extents.variables, strict=True))


def _extents(expr: Expr, variables: Mapping[str, Expr]) -> dict[str, Expr]:
    """Those of the index variables in an expression; none where one of them is not known."""
    names = sorted(references(expr, RefKind.index))
    return {name: variables[name] for name in names} if variables.keys() >= set(names) else {}
