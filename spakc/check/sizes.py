"""Statements about sizes, tried on many sizes at once: a counterexample refutes, its absence proves nothing.

A kernel's dims take values of their domains, or small and larger sizes where they have none; the kernel's
laws about dims alone decide which combinations are legal. What cannot be compared symbolically is compared
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from spakc.ir.constraint import Env, TooMany, Unknown, implication, lanes, members, mentions
from spakc.ir.lanes import np
from spakc.ir.module import Kernel
from spakc.ir.ops import Domain, Expr, Ref, RefKind
from spakc.record import record

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ints: TypeAlias = "NDArray[np.int64]"
Bools: TypeAlias = "NDArray[np.bool_]"

_RUN_TIME = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16, 24, 32, 48, 64, 96, 128)
_TRIED = 2048
_KEPT = 192
_GRID = 1 << 15
"""The most points that one question is asked at."""
_MOST_VARIABLES = 15


@record
class Sizes:
    """Legal combinations of dims, one a row; `columns[dim]` has the value of that dim in every row."""

    columns: Mapping[str, Ints]
    count: int

    def first(self, bad: Bools, dims: Sequence[str]) -> tuple[int, str] | None:
        """The row with the smallest sizes among those marked, and how to say it: "N = 1, D = 64"."""
        rows = np.flatnonzero(bad)
        if not rows.size:
            return None
        named = [name for name in self.columns if name in dims]
        weight = sum((self.columns[name][rows] for name in named), np.zeros(rows.size, np.int64))
        row = int(rows[int(np.argmin(weight))])
        return row, ", ".join(f"{name} = {self.columns[name][row]}" for name in named)

    def values(self, size: Expr) -> Ints | None:
        """The values of an expression over dims in every row; None where it has no value in some row."""
        result = lanes(size, Env({(RefKind.dim, name): column for name, column in self.columns.items()}))
        if result.some_unknown:
            return None
        return np.broadcast_to(np.asarray(result.data), (self.count,))


def sizes_of(kernel: Kernel) -> Sizes:
    """Up to a few hundred legal combinations, the same ones every time; none if the laws leave none of those
    tried."""
    rows = np.arange(_TRIED, dtype=np.uint64)
    columns: dict[str, Ints] = {}
    for position, (name, dim) in enumerate(kernel.dims.items()):
        pool = np.array(_pool(dim.domain), dtype=np.int64)
        columns[name] = pool[_scatter(rows, position, len(pool))]
    legal = np.ones(_TRIED, dtype=bool)
    env = Env({(RefKind.dim, name): column for name, column in columns.items()})
    for law in kernel.laws:
        proposition = implication(law.proposition, law.when)
        known = mentions(proposition)
        if known and all(isinstance(part, Ref) and part.kind is RefKind.dim for part in known):
            truth = lanes(proposition, env)
            legal &= np.asarray(truth.data, dtype=bool) & ~np.asarray(truth.unknown)
    half = _TRIED // 2
    small, mixed = np.flatnonzero(legal[:half]), half + np.flatnonzero(legal[half:])
    chosen = np.concatenate([small[: _KEPT // 2], mixed[: _KEPT // 2]])
    return Sizes({name: column[chosen] for name, column in columns.items()}, len(chosen))


def _pool(domain: Domain | None) -> Sequence[int]:
    if domain is None:
        return _RUN_TIME
    values = members(domain, Env())
    if isinstance(values, (TooMany, Unknown)):
        return _RUN_TIME
    integers = [value for value in values if isinstance(value, int)]
    return integers if len(integers) <= 64 else [*integers[:32], *integers[-32:]]


def _scatter(rows: NDArray[np.uint64], position: int, count: int) -> NDArray[np.int64]:
    """Where each row looks into a pool. The first half counts through the small values of a few dims, so that
    the smallest counterexample is likely among them; the second half is mixed."""
    counted = rows // np.uint64(4 ** (position % 5)) + rows * np.uint64(position // 5)
    counted %= np.uint64(min(count, 4))
    mixed = (rows + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(position * 0x632BE59BD9B4E019 % 2**64)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return np.where(rows < _TRIED // 2, counted, mixed % np.uint64(count)).astype(np.int64)


@record
class Escape:
    """An access that leaves its axis: at which sizes, and what the index is there (None: it has no value)."""

    sizes: str
    index: int | None
    last: int


def find_escape(
    sizes: Sizes, index: Expr, size: Expr, extents: Mapping[str, Expr], variables: Sequence[str]
) -> Escape | None:
    """Sizes at which an index expression is below zero or not below the size of its axis, for some values of
    its index variables within their extents; or at which it has no value. None when none was found."""
    limits = [sizes.values(extents[name]) for name in variables]
    axis = sizes.values(size)
    if axis is None or sizes.count == 0 or any(limit is None for limit in limits):
        return None
    if len(variables) > _MOST_VARIABLES:
        return None
    tried = (
        8 if len(variables) <= 5 else 2
    )  # values of each variable: the first six and the last two, or the ends
    count = max(1, min(sizes.count, _GRID // tried ** len(variables)))
    shape = (count,) + (1,) * len(variables)
    env: dict[tuple[RefKind, str], Any] = {
        (RefKind.dim, name): column[:count].reshape(shape) for name, column in sizes.columns.items()
    }
    inside = np.ones(shape, dtype=bool)
    for position, (name, limit) in enumerate(zip(variables, limits, strict=True)):
        assert limit is not None
        ends = limit[:count, None]
        if tried == 8:
            values = np.concatenate([np.broadcast_to(np.arange(6), (count, 6)), ends - 1, ends - 2], axis=1)
        else:
            values = np.concatenate([np.zeros_like(ends), ends - 1], axis=1)
        where = [count] + [1] * len(variables)
        where[position + 1] = tried
        values = values.reshape(where)
        inside = inside & (values >= 0) & (values < ends.reshape(shape))
        env[RefKind.index, name] = values
    found = lanes(index, Env(env))
    divides = any("division by zero" in reason for reason in found.reasons)
    if np.asarray(found.data).dtype.kind not in "iO" or (found.some_unknown and not divides):
        return None  # no integer, or nothing to compute with: that is reported for what it is
    ends = axis[:count].reshape(shape)
    unknown = np.broadcast_to(np.asarray(found.unknown), inside.shape)
    data = np.broadcast_to(np.asarray(found.data), inside.shape)
    rows: Bools = np.asarray(inside & (unknown | (data < 0) | (data >= ends))).reshape(count, -1)
    dims = [
        *mentioned_dims(index),
        *mentioned_dims(size),
        *(d for e in extents.values() for d in mentioned_dims(e)),
    ]
    smallest = Sizes({name: column[:count] for name, column in sizes.columns.items()}, count).first(
        np.asarray(rows.any(1)), dims
    )
    if smallest is None:
        return None
    row, text = smallest
    point = int(np.flatnonzero(rows[row])[0])
    value = None if unknown.reshape(count, -1)[row, point] else int(data.reshape(count, -1)[row, point])
    return Escape(text, value, int(axis[row]) - 1)


def mentioned_dims(expr: Expr) -> list[str]:
    """The dims that an expression depends on."""
    return sorted(part.name for part in mentions(expr) if isinstance(part, Ref) and part.kind is RefKind.dim)
