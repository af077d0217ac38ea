"""The sizes of a case.

They come from the `shapes` of the file's `verify` and satisfy the kernel's laws; most of them lie where
kernels break: 1, primes, one more or less than a tile, a power of two, or another size of the call. The ends of what
the file declares are not left to chance: `spakc/verify/ends.py` asks for them.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from spak_runtime.emulator.call import facts_of_device
from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import Environment, Evaluator, compile_expression
from spak_runtime.expressions import names_of as names_in
from spakc.check.verdict import means_of_law
from spakc.ir.constraint import (
    Env,
    TooMany,
    Unknown,
    evaluate,
    implication,
    members,
    mentions,
    names_of,
    rows,
)
from spakc.ir.extents import evaluate_size, normal_math
from spakc.ir.module import Kernel, Law
from spakc.ir.ops import Expr, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.visit import references
from spakc.record import record
from spakc.verify.borders import TILE, Border, Lone, borders_of, sides_of, tiles_of
from spakc.verify.case import Value
from spakc.verify.specialisations import shapes_of
from spakc.verify.tested import UnderTest

LARGEST = 64
"""A dim about which the file's `verify` says nothing has every size up to here; beyond it, those beside tiles and
powers of two, for a kernel's constants may be larger than this."""

WORK = 4_000_000
"""Of a case: points of its largest equation, ELEMENT for each element of a tensor and THREAD for each thread of its
launches. What the emulator computes in a fraction of a second."""
ELEMENT = 16
THREAD = 128

SHARE = 4
"""A dim at its end may take so many times the work of a case; other dims beside it (and further ends) come to no more
than one part in so many."""

COMFORTABLE = range(8, 49)
"""Sizes of a plain case: large enough for every term to matter, small enough to be quick."""

EQUAL = 64
"""The size of every dim where equations of a kernel are compared."""


def _points(extents: Iterable[Expr], dims: Mapping[str, int]) -> int:
    """How many an equation or a tensor with these extents has; an empty one counts as one."""
    return math.prod(max(1, evaluate_size(extent, dims)) for extent in extents)


def quick_work(kernel: Kernel) -> int:
    """The work of a case of which many are tried: WORK, less where several equations are products as large as the
    largest, since each of them costs the emulator and the reference as much."""
    _, extents = normal_math(kernel)
    sizes = dict.fromkeys(kernel.dims, EQUAL)
    elements = max((_points(tensor.shape, sizes) for tensor in kernel.tensors.values()), default=1)
    products = [n for v in extents.variables if (n := _points(v.values(), sizes)) > elements]
    return WORK * max(products) // sum(products) if products else WORK


@record
class End:
    """The largest or the smallest size of a dim, or one so many further inside."""

    dim: str
    largest: bool
    inside: int = 0

    def of(self, sizes: Sequence[int]) -> int:
        ordered = sorted(set(sizes), reverse=self.largest)
        return ordered[min(self.inside, len(ordered) - 1)]


@record
class Corner:
    """A border and the tile at whose corner it is to pass."""

    border: Border
    lone: Lone

    def near(self, dim: str, sizes: Sequence[int], first: bool) -> list[int]:
        """The sizes of a dim that have room for its side of the tile: of the first one little more, for others need
        theirs."""
        along = [name for name, extent in self.border.extents.items() if extent == Ref(dim, RefKind.dim)]
        side = max((self.lone.tile[name] for name in along), default=0)
        return [n for n in sizes if side < n and (not first or not along or n <= side + TILE)]


class Shapes:
    """The sizes that a case may have, dim by dim. `stays`: how many blocks there are depends on the device. `beyond`
    are the dims that got sizes outside of the file's `verify`, since the variant takes none inside."""

    def __init__(self, tested: UnderTest, work: int = WORK) -> None:
        self.kernel = tested.kernel
        self.work = work
        self.free = tuple(name for name, dim in tested.kernel.dims.items() if dim.domain is None)
        self.beyond: set[str] = set()
        self.defaulted = tuple(name for name in self.free if not _names_it(tested, name))
        self._domains = {name: _domain(tested, name) for name in self.free}
        self._tuples = [(names, d) for names, d in shapes_of(tested) if len(names) > 1]
        self._edges, self._steps = _edges(tested), _steps(tested)
        self._tiles, self._sides = tiles_of(tested.variant.config), sides_of(tested.variant.config)
        self._source = tested.source
        self.borders = borders_of(tested.source)
        self._passing: dict[tuple[str, tuple[tuple[str, int], ...]], list[Mapping[str, int]]] = {}
        self._left: dict[tuple[tuple[str, Value], ...], tuple[Border, ...]] = {}
        self._laws = [
            (implication(law.proposition, law.when), frozenset(_dims_of(law)))
            for law in tested.laws
            if means_of_law(law, tested.source) in (Means.guard, Means.proof)
        ]
        guards = zip(tested.guards, tested.variant.guards, strict=True)
        self._guards = [(holds, names_in(g.condition, "dim")) for (_, holds), g in guards]
        _, extents = normal_math(tested.kernel)
        self._extents = [tuple(variables.values()) for variables in extents.variables]
        self._config = tested.variant.config
        grids = [size for launch in tested.variant.launches for size in launch.grid]
        self.stays = any("sms" in names_in(size, "fact") for size in grids)
        self._launches = [
            [compile_expression(each, launch.entry) for each in (*launch.grid, launch.threads)]
            for launch in tested.variant.launches
        ]

    def cost(self, dims: Mapping[str, int]) -> int:
        """How much work a case is; dims that it does not say are 1."""
        full = {name: dims.get(name, 1) for name in self.kernel.dims}
        largest = max((_points(extents, full) for extents in self._extents), default=1)
        elements = sum(_points(tensor.shape, full) for tensor in self.kernel.tensors.values())
        return largest + ELEMENT * elements + THREAD * self._threads(full)

    def _threads(self, dims: Mapping[str, int]) -> int:
        """How many threads the launches have, where dims and knobs alone say so."""
        known = Environment(dims, self._config, facts=facts_of_device())
        try:
            return sum(math.prod(int(size(known)) for size in sizes) for sizes in self._launches)
        except ExpressionError:
            return 0

    def declared(self, env: Env, known: Environment) -> dict[str, tuple[int, int]]:
        """From where to where the file asks for sizes of a dim, of those that the variant takes."""
        found: dict[str, tuple[int, int]] = {}
        for names, domain in self._tuples:
            table = _tuples(domain, env)
            for place, name in enumerate(names if table else ()):
                sizes = [row[place] for row in table]
                found[name] = (min(sizes), max(sizes))
        for name in self.free:
            if self._domains[name] is not None:
                sizes = self._sizes(name, env, known)
                found[name] = (sizes[0], sizes[-1])
        return {name: ends for name, ends in found.items() if name in self.free and name not in self.beyond}

    def draw(
        self,
        draw: Any,
        env: Env,
        known: Environment,
        plain: bool,
        ends: Sequence[End] = (),
        corner: Corner | None = None,
    ) -> dict[str, int]:
        """A size for every dim. `known` is what guards may ask of the specialisation, its compiled dims among it.
        Dims of `ends` come first, each at its end as far as laws and work allow after those before it, and those of a
        border that is to pass a `corner`."""
        dims = dict(known.dims)
        for names, domain in self._tuples:
            if all(name in self.free for name in names):
                table = _at_ends(_tuples(domain, env), names, ends)
                dims |= dict(zip(names, draw(st.sampled_from(table)), strict=True))
        sizes = {name: self._sizes(name, env, known) for name in self.free}
        least = {name: found[0] for name, found in sizes.items()}
        turn = 0 if plain else draw(st.integers(0, max(0, len(self.free) - 1)))
        wanted = {end.dim: end for end in reversed(ends)}
        first = [*dict.fromkeys(end.dim for end in ends)]
        passing: Mapping[str, int] = {}
        if corner is not None:
            first = draw(st.permutations(sorted(corner.border.dims & set(self.free))))
            tables = self._at_corner(corner, env, known)
            passing = draw(st.sampled_from(tables)) if tables else {}
        for name in (*first, *self.free[turn:], *self.free[:turn]):
            if name in dims:
                continue
            now = replace(known, dims=dims)
            work = self.work
            if ends:
                work = work * SHARE if name == ends[0].dim else work // SHARE
            lawful: Sequence[int] = self._lawful(name, env, now, least, work)
            if not lawful:
                reject()
            if plain:
                lawful = self._comfortable(name, lawful, env, now)
            if name in wanted and (name == ends[0].dim or wanted[name].of(sizes[name]) in lawful):
                lawful = [wanted[name].of(lawful)]
            if name in passing:
                lawful = [n for n in lawful if n == passing[name]]
                if not lawful:
                    reject()
            elif corner is not None and name in corner.border.dims:
                lawful = corner.near(name, lawful, name == first[0]) or lawful
            dims[name] = draw(st.sampled_from(lawful) if plain else self._among(name, lawful, dims))
        return {name: dims[name] for name in self.kernel.dims}

    def _comfortable(self, name: str, lawful: Sequence[int], env: Env, known: Environment) -> Sequence[int]:
        """Those of the lawful sizes for a plain case, which leave a size to every dim that a guard ties to this one."""
        tied = {other: self._sizes(other, env, known) for other in self.free if other not in known.dims}

        def leaves_some(size: int) -> bool:
            dims = {**known.dims, name: size}
            return all(
                any(_may_hold(guards, known, {**dims, other: n}) for n in sizes)
                for other, sizes in tied.items()
                if (guards := [holds for holds, of in self._guards if of == {name, other}])
            )

        fitting = [n for n in lawful if leaves_some(n)]
        return [n for n in fitting if n in COMFORTABLE] or fitting[-1:] or lawful[-1:]

    def _among(self, name: str, lawful: Sequence[int], dims: Mapping[str, int]) -> st.SearchStrategy[int]:
        """Beside the others of its border where it has one, else beside any size."""
        tied = {other for border in self.borders if name in border.dims for other in border.dims}
        others = [size for other, size in dims.items() if other in tied] or list(dims.values())
        beside = {size + step for size in others for step in self._steps}
        some = (
            [n for n in lawful if n in self._edges],
            [n for n in lawful if n in beside],
            [n for n in lawful if any(n % tile == 0 for tile in self._tiles)],
            lawful,
        )
        return st.one_of(*(st.sampled_from(sizes) for sizes in some if sizes))

    def at_border(self, option: str, dims: Mapping[str, int], options: Mapping[str, Value]) -> list[int]:
        """Values of a whole number at which a border lies beside a tile, or begins there."""
        places = [b.at(dims, {**options, option: 0}) for b in self.borders if option in b.options]
        wanted = {
            sign * place + step
            for place in places
            if place is not None
            for sign in (1, -1)
            for step in self._steps
        }
        return sorted(n for n in wanted | self._steps if n > 0)

    def corner(self, draw: Any, options: Mapping[str, Value]) -> Corner | None:
        """A border and a tile at whose corner it is to pass, if there is one that these options leave."""
        known = tuple(sorted(options.items()))
        if known not in self._left:
            self._left[known] = borders_of(self._source, options)
        if not self._left[known] or not self._sides:
            return None
        border = draw(st.sampled_from(self._left[known]))
        tile = {name: draw(st.sampled_from(self._sides)) for name in border.extents}
        return Corner(border, Lone(tile, draw(st.booleans())))

    def _at_corner(self, corner: Corner, env: Env, known: Environment) -> list[Mapping[str, int]]:
        """Sizes of the two dims of a border without options at which it passes the corner."""
        border, dims = corner.border, tuple(sorted(corner.border.dims))
        key = (repr(corner), tuple(known.dims.items()))
        asked = {name for extent in border.extents.values() for name in references(extent, RefKind.dim)}
        if border.options or len(dims) != 2 or not asked | {*dims} <= {*dims} & {*self.free}:
            return []
        if key not in self._passing:
            sizes = {name: self._sizes(name, env, known) for name in dims}
            self._passing[key] = [
                both
                for fixed, solved in (dims, dims[::-1])
                for size in corner.near(fixed, sizes[fixed], True)
                for other in border.alone(
                    (RefKind.dim, solved), {fixed: size, solved: sizes[solved][-1]}, {}, corner.lone
                )
                if other in sizes[solved]
                and self.cost({**known.dims, **(both := {fixed: size, solved: other})}) <= self.work
            ]
        return self._passing[key]

    def _lawful(
        self, name: str, env: Env, known: Environment, least: Mapping[str, int], work: int
    ) -> list[int]:
        """The sizes of a dim that leave the case lawful and its work small enough, ascending. The dims that are not yet
        known will have at least the sizes of `least`."""
        dims = known.dims
        sizes = self._sizes(name, env, known)
        fits = bisect.bisect_right(sizes, work, key=lambda n: self.cost({**least, **dims, name: n}))
        asked = [p for p, of in self._laws if name in of and of <= {*dims, name}]
        guards = [holds for holds, of in self._guards if {name} < of <= {*dims, name}]

        def lawful(size: int) -> bool:
            sized = {**dims, name: size}
            by_law = all(evaluate(p, env.dims(sized)) is not False for p in asked)
            return by_law and _may_hold(guards, known, sized)

        return [n for n in sizes[: max(1, fits)] if lawful(n)]

    def _sizes(self, name: str, env: Env, known: Environment) -> list[int]:
        """The sizes of a dim that the variant takes, ascending: of those that the file asks for, or of the usual ones
        where it asks for none, or for none that the variant takes: what only larger calls may use is tried by larger
        calls."""
        alone = [holds for holds, of in self._guards if of == {name}]

        def taken(sizes: Iterable[int]) -> list[int]:
            return [n for n in sorted(sizes) if _may_hold(alone, known, {**known.dims, name: n})]

        domain = self._domains[name]
        values = members(domain, env.dims(known.dims)) if domain is not None else None
        if values is not None and not isinstance(values, TooMany | Unknown):
            asked = taken(int(value) for value in values)
            if asked:
                return asked
            self.beyond.add(name)
        return taken({*range(1, LARGEST + 1), *self._edges}) or [1]


def _may_hold(guards: Sequence[Evaluator], known: Environment, dims: Mapping[str, int]) -> bool:
    if not guards:
        return True
    environment = replace(known, dims=dims)
    for holds in guards:
        try:
            if not holds(environment):
                return False
        except ExpressionError:
            continue  # it asks for strides, too
    return True


def _names_it(tested: UnderTest, dim: str) -> bool:
    return any(dim in names for names, _ in shapes_of(tested))


def _domain(tested: UnderTest, dim: str) -> Expr | None:
    return next((domain for names, domain in shapes_of(tested) if names == (dim,)), None)


def _tuples(domain: Expr, env: Env) -> list[tuple[int, ...]]:
    found = rows(domain, env)
    return [tuple(map(int, row)) for row in found] if isinstance(found, tuple) else []


def _at_ends(
    table: list[tuple[int, ...]], names: Sequence[str], ends: Sequence[End]
) -> list[tuple[int, ...]]:
    """The rows at the ends that are asked for, as far as one row can be at all of them."""
    for end in ends:
        if end.dim in names:
            place = names.index(end.dim)
            size = end.of([row[place] for row in table])
            table = [row for row in table if row[place] == size]
    return table


def _dims_of(law: Law) -> frozenset[str]:
    return names_of(mentions(law.proposition, law.when), RefKind.dim)


def _knobs(tested: UnderTest) -> list[int]:
    return [v for v in tested.variant.config.values() if isinstance(v, int) and not isinstance(v, bool)]


def _steps(tested: UnderTest) -> frozenset[int]:
    """From one dim to another whose difference a kernel may depend on (where a mask begins): none, a tile, and the
    neighbours of these, either way."""
    return frozenset(
        sign * n + d
        for n in (0, *_knobs(tested))
        if n == 0 or n > 8
        for sign in (1, -1)
        for d in range(-2, 3)
    )


def _edges(tested: UnderTest) -> frozenset[int]:
    """1, primes, and the neighbours of tiles, of tiles that fill a ring of stages, and of powers of two."""
    knobs = _knobs(tested)
    rings = {stages * tile for stages in knobs if 1 < stages <= 8 for tile in knobs if 8 < tile <= 256}
    units = {*(n for n in knobs if n > 1), *rings, *(2**i for i in range(3, 13))}
    near = {n + d for unit in units for n in (unit, 2 * unit) for d in (-1, 0, 1)}
    primes = {n for n in range(2, 400) if all(n % d for d in range(2, math.isqrt(n) + 1))}
    return frozenset(near | primes | {1})
