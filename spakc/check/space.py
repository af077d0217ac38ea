"""The tuning space of a schedule on a target: which points are lawful, and what each law cuts.

A point is a value for every knob; the first axis of every array is the problem (see `problems.py`), the
others are the knobs in the order written. Knobs at launch take part only where a law mentions them. Arrays
keep length 1 along an axis that no law mentions: a space is as large as its laws make it, not its knobs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from spakc.check.problems import Problem, bind_problem, bind_problems, problems_of
from spakc.ir.constraint import (
    Env,
    TooMany,
    Unknown,
    column,
    implication,
    lanes,
    members,
    mentions,
    names_of,
)
from spakc.ir.lanes import Lanes, Scalar, np
from spakc.ir.module import Device, Kernel, Knob, Law, Schedule
from spakc.ir.ops import Expr, RefKind
from spakc.record import record

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_POINTS = 1 << 22
"""A space in which more points than this must be told apart (fewer where there are more than eight laws)
is not enumerated; that is a diagnostic."""

MAX_KNOBS = 60

Bools: TypeAlias = "NDArray[np.bool_]"


@record
class Axis:
    """One knob and its members on this target."""

    knob: Knob
    values: tuple[Scalar, ...]

    @property
    def name(self) -> str:
        return self.knob.name

    def index(self, value: Scalar) -> int | None:
        """The position of a value, or None if the domain does not hold it."""
        for i, member in enumerate(self.values):
            if type(member) is type(value) and member == value:
                return i
        return None


@record
class Unbounded:
    """A space that is too large to be laid out, and how much of what there is."""

    what: str
    count: int


@record(eq=False)
class Cut:
    """What one law does to the space, in points: `alone` break only this law, `among` break others as well.
    `applies` counts the points at which its `when` holds, `undefined` those where it has no truth value."""

    law: Law
    alone: int
    among: int
    applies: int
    undefined: int
    reasons: frozenset[str]


@record(eq=False)
class Space:
    """`holds[i]` says where `laws[i]` holds, `lawful` where all do; both broadcast to `shape`."""

    kernel: Kernel
    schedule: Schedule
    device: Device
    axes: tuple[Axis, ...]
    launch: tuple[Axis, ...]  # knobs at launch that no law mentions: every value is lawful
    problems: tuple[Problem, ...]
    laws: tuple[Law, ...]
    env: Env  # the facts, the problems and the knobs as arrays
    holds: tuple[Bools, ...]
    cuts: tuple[Cut, ...]
    signatures: Mapping[frozenset[int], int]  # which laws are broken together -> at how many points
    lawful: Bools

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.problems), *(len(axis.values) for axis in self.axes))

    @property
    def points(self) -> int:
        return math.prod(self.shape)

    @property
    def lawful_points(self) -> int:
        return int(self.lawful.sum()) * (self.points // self.lawful.size)

    @property
    def answers(self) -> Bools:
        """For every problem, whether it has a lawful point."""
        found = self.lawful.reshape(self.lawful.shape[0], -1).any(axis=1)
        return np.broadcast_to(np.asarray(found), (len(self.problems),))

    def axis(self, knob: str) -> int | None:
        """The array axis of a knob."""
        return next((i + 1 for i, axis in enumerate(self.axes) if axis.name == knob), None)

    def index_of(self, values: Mapping[str, Scalar]) -> tuple[int, ...] | None:
        """The position of a point along the knob axes; None if a knob is missing or a value is no member."""
        found = [axis.index(values[axis.name]) if axis.name in values else None for axis in self.axes]
        return None if None in found else tuple(i for i in found if i is not None)

    def at(self, array: Bools, index: tuple[int, ...]) -> Bools:
        """The entries of `array` at one choice of knobs, one for every problem."""
        where = tuple(i if n > 1 else 0 for i, n in zip(index, array.shape[1:], strict=True))
        entries = np.moveaxis(array, 0, -1)[where]
        return np.broadcast_to(entries, (len(self.problems),))

    def bind(self, problem: Problem, values: Mapping[str, Scalar]) -> Env:
        """Everything known at one point."""
        return bind_problem(Env().facts(self.device.facts), problem).knobs(values)

    def lawful_configs(self, problem: int | None = None) -> Iterator[dict[str, Scalar]]:
        """The lawful choices of the knobs in `axes`, lazily: for one problem, or for any."""
        return (config for _, config in self.placed_configs(problem))

    def placed_configs(
        self, problem: int | None = None
    ) -> Iterator[tuple[tuple[int, ...], dict[str, Scalar]]]:
        """The same, each with its place in arrays that have the shape of `lawful` for one problem: 0 along a knob that
        no law tells apart."""
        mask = (
            self.lawful.any(axis=0)
            if problem is None
            else self.lawful[min(problem, self.lawful.shape[0] - 1)]
        )
        free = [axis for axis, n in zip(self.axes, mask.shape, strict=True) if n < len(axis.values)]
        for place in np.argwhere(mask).tolist():
            fixed = {axis.name: axis.values[i] for axis, i in zip(self.axes, place, strict=True)}
            for values in itertools.product(*(axis.values for axis in free)):
                yield tuple(place), fixed | {axis.name: v for axis, v in zip(free, values, strict=True)}


def missing_facts(law: Law, device: Device) -> frozenset[str]:
    """The facts that a law asks for and the device does not state."""
    return names_of(mentions(law.proposition, law.when), RefKind.fact) - device.facts.keys()


def build_space(
    kernel: Kernel,
    schedule: Schedule,
    device: Device,
    laws: tuple[Law, ...],
    problems_by: frozenset[Expr] | None = None,
) -> Space | Unbounded:
    """Lays out the space of `schedule` on `device` under `laws`: those that are decided by knobs, dtypes,
    compiled dims, compiled-in options and facts that the device states. A law over run-time sizes may be
    among them; it then holds where it holds for every size. `problems_by` are the mentions by which problems
    are told apart, those of `laws` by default. Pure; reports nothing."""
    seen = mentions(*(part for law in laws for part in (law.proposition, law.when)))
    in_laws = names_of(seen, RefKind.knob)
    base = Env().facts(device.facts)
    axes: list[Axis] = []
    launch: list[Axis] = []
    for knob in schedule.knobs.values():
        values = members(knob.domain, base)
        if isinstance(values, TooMany):
            return Unbounded(f"members of knob `{knob.name}`", values.count)
        assert not isinstance(values, Unknown) and values, "lowering leaves constant domains with a member"
        (launch if knob.at_launch and knob.name not in in_laws else axes).append(Axis(knob, values))
    problems = problems_of(kernel, seen if problems_by is None else problems_by)
    if isinstance(problems, TooMany):
        return Unbounded("combinations of dtypes, compiled dims and options", problems.count)
    told_apart = len(problems) * math.prod(len(a.values) for a in axes if a.name in in_laws)
    if told_apart * max(1, len(laws) // 8) > MAX_POINTS:
        return Unbounded("points that the laws tell apart", told_apart)
    rank = len(axes) + 1
    if rank > MAX_KNOBS:
        return Unbounded("knobs", rank - 1)
    env = bind_problems(base, problems, rank).knobs(
        {
            axis.name: column(axis.values).reshape([-1 if k == i + 1 else 1 for k in range(rank)])
            for i, axis in enumerate(axes)
        }
    )
    return _evaluated(kernel, schedule, device, tuple(axes), tuple(launch), problems, laws, env)


def _evaluated(
    kernel: Kernel,
    schedule: Schedule,
    device: Device,
    axes: tuple[Axis, ...],
    launch: tuple[Axis, ...],
    problems: tuple[Problem, ...],
    laws: tuple[Law, ...],
    env: Env,
) -> Space:
    rank = len(axes) + 1
    shape = (len(problems), *(len(axis.values) for axis in axes))
    results = [lanes(implication(law.proposition, law.when), env) for law in laws]
    holds = tuple(true_at(result, rank) for result in results)
    seen = np.broadcast_shapes((1,) * rank, *(h.shape for h in holds))
    lawful = np.ones(seen, dtype=bool)
    for h in holds:
        lawful = lawful & h
    scale = math.prod(shape) // math.prod(seen)
    signatures = {
        broken: count * scale
        for broken, count in _signatures([np.broadcast_to(~h, seen) for h in holds]).items()
    }
    cuts = []
    for i, (law, result) in enumerate(zip(laws, results, strict=True)):
        alone = signatures.get(frozenset((i,)), 0)
        broken = sum(count for laws_broken, count in signatures.items() if i in laws_broken)
        applies = (
            math.prod(shape) if law.when is None else _count(_possible(lanes(law.when, env), rank), shape)
        )
        undefined = _count(np.asarray(result.unknown, dtype=bool), shape) if result.some_unknown else 0
        cuts.append(Cut(law, alone, broken - alone, applies, undefined, result.reasons))
    return Space(
        kernel, schedule, device, axes, launch, problems, laws, env, holds, tuple(cuts), signatures, lawful
    )


def _count(mask: Bools, shape: tuple[int, ...]) -> int:
    return int(mask.sum()) * (math.prod(shape) // mask.size)


def _ranked(array: NDArray[np.bool_], rank: int) -> Bools:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def true_at(result: Lanes, rank: int) -> Bools:
    """Where a proposition is known to hold: a point at which a law has no truth value is not lawful."""
    known = np.asarray(result.data, dtype=bool) if result.unknown is not True else np.zeros((), dtype=bool)
    return _ranked(known & ~np.asarray(result.unknown, dtype=bool), rank)


def _possible(result: Lanes, rank: int) -> Bools:
    """Where a condition is not known to be false."""
    unknown = np.asarray(result.unknown, dtype=bool)
    data = np.asarray(result.data, dtype=bool) if result.unknown is not True else np.zeros((), dtype=bool)
    return _ranked(data | unknown, rank)


def _signatures(broken: list[Bools]) -> dict[frozenset[int], int]:
    """How often each set of laws is broken together; points that break none are left out."""
    if not broken:
        return {}
    found: dict[frozenset[int], int] = {}
    if len(broken) <= 16:
        words = np.zeros(broken[0].shape, dtype=np.int64)
        for i, mask in enumerate(broken):
            words |= mask.astype(np.int64) << i
        counts = np.bincount(words.ravel(), minlength=1)
        for word in np.flatnonzero(counts):
            found[frozenset(i for i in range(len(broken)) if int(word) >> i & 1)] = int(counts[word])
    else:
        rows = np.packbits(np.stack([mask.ravel() for mask in broken]), axis=0)
        distinct, counts = np.unique(rows, axis=1, return_counts=True)
        bits = np.unpackbits(distinct, axis=0, count=len(broken))
        for j, count in enumerate(counts):
            found[frozenset(int(i) for i in np.flatnonzero(bits[:, j]))] = int(count)
    found.pop(frozenset(), None)
    return found
