"""The verification of one variant, and of the mathematics that it is held to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from spakc.verify.case import Case
from spakc.verify.ends import cases_at_ends, out_of_reach
from spakc.verify.examine import Counters, Run, examine, examine_derivative
from spakc.verify.failure import Failure
from spakc.verify.oracle import OracleError
from spakc.verify.search import ROUND, SHRINK_SECONDS, Found, NoCase, search, some
from spakc.verify.sizes import LARGEST, WORK, Shapes, quick_work
from spakc.verify.specialisations import Specialisation, pool
from spakc.verify.strategies import cases, declared_ends
from spakc.verify.tested import UnderTest
from spakc.verify.tripwires import Prepared, Tripwire, prepare, spring

PLAIN_CASES = 12
"""Cases on which tripwires are tried."""

DIFFERENCES = 8
"""Cases on which a derivative is compared with differences."""

MOST_WORK = 500 * WORK
"""Of any case: with more, its reference alone takes minutes and gigabytes, and a kernel that is right as long as one
that never ends. Only a file whose smallest call is larger has such cases."""


@dataclass(frozen=True)
class VariantOutcome:
    """`cases` were right before one failed, if any did; `why_not` says why there was no case at all, `left_out`
    that the variant is not for the machine at hand, which is no fault of it. `seen` are the counters of cases that
    were right, where the machine counts; `sizes` the least and the largest of each run-time dim in such cases."""

    tested: UnderTest
    cases: int = 0
    pool: tuple[Specialisation, ...] = ()
    failure: Failure | None = None
    seen: list[tuple[Case, Counters]] = field(default_factory=list)
    why_not: str = ""
    not_covered: tuple[str, ...] = ()
    left_out: str = ""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.failure is None and self.cases > 0


@dataclass(frozen=True)
class MathOutcome:
    """Of a kernel's mathematics, whoever computes it: the tripwires of its check, its derivative by
    differences."""

    tested: UnderTest
    prepared: Sequence[Prepared] = ()
    tripwires: Sequence[Tripwire] = ()
    differences: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def rejected(self) -> dict[str, bool]:
        """The tripwires that could be tried."""
        return {wire.name: wire.rejected for wire in self.tripwires if wire.rejected is not None}


def verify_variant(
    tested: UnderTest,
    run: Run,
    count: int,
    seed: int,
    shrink_seconds: float = SHRINK_SECONDS,
    fresh: bool = False,
) -> VariantOutcome:
    """Tries `count` cases of a variant, always the same for a seed. Those at the ends of declared sizes come last: what
    fails in any case is seen sooner in a small one. `fresh`: each once more on other inputs of the same sizes, so that
    nothing that was kept from a call before can be right."""
    members = pool(tested)
    if not members:
        return VariantOutcome(tested, why_not="no dtypes, layouts and options that its guards allow")
    shapes = Shapes(tested, quick_work(tested.kernel))
    seen: list[tuple[Case, Counters]] = []
    fine: list[Case] = []

    def check(case: Case) -> Failure | None:
        try:
            failure = examine(tested, case, run, lambda c, n: seen.append((c, n)))
            if failure is None and fresh:
                failure = examine(tested, replace(case, data=case.data + 1, again=False), run)
            if failure is None:
                fine.append(case)
            return failure
        except OracleError as error:
            return Failure("SPAK805", tested.name, (str(error),), (), case)

    at_ends = [
        each for each in cases_at_ends(tested, members, shapes, count, seed) if is_possible(each[0], shapes)
    ]
    every = cases(tested, members, shapes)
    drawn = every.filter(lambda case: is_possible(case, shapes))
    try:
        found = search(drawn, check, count - len(at_ends), seed, shrink_seconds)
    except NoCase:
        if not at_ends:
            return VariantOutcome(tested, why_not=_why_no_case(every, shapes, seed))
        found = Found(0, None)
    for case, ends in at_ends:
        if found.failure is None:
            failure = check(case)
            if failure is not None:
                like = (drawn, cases(tested, members, shapes, ends=ends))
                failure = _simplest(like, check, failure, seed, shrink_seconds)
            found = Found(found.cases + (failure is None), failure)
    sizes = _extremes(fine, shapes)
    return VariantOutcome(
        tested,
        found.cases,
        members,
        found.failure,
        seen,
        not_covered=_not_covered(tested, members, shapes, sizes),
        sizes=sizes,
    )


def is_possible(case: Case, shapes: Shapes) -> bool:
    """Whether it is small enough to be tried at all."""
    return shapes.cost(case.dims) <= MOST_WORK


def _why_no_case(every: st.SearchStrategy[Case], shapes: Shapes, seed: int) -> str:
    try:
        (large,) = some(every, 1, seed)
    except NoCase:
        return "the laws, the shapes and its guards leave no case"
    return f"a call has {shapes.cost(large.dims):,} points at least; a case has {MOST_WORK:,} at most"


def _simplest(
    like: Iterable[st.SearchStrategy[Case]],
    check: Callable[[Case], Failure | None],
    failure: Failure,
    seed: int,
    shrink_seconds: float,
) -> Failure:
    """The failure of a simpler case than the one that failed: of any, else of one at the same ends."""
    for strategy in like:
        with contextlib.suppress(NoCase):
            found = search(strategy, check, ROUND, seed, shrink_seconds)
            if found.failure is not None:
                return found.failure
    return failure


def _extremes(fine: Sequence[Case], shapes: Shapes) -> dict[str, tuple[int, int]]:
    """Of each run-time dim the least and the largest size in cases that were right."""
    table = {name: [case.dims[name] for case in fine] for name in shapes.free}
    return {name: (min(sizes), max(sizes)) for name, sizes in table.items() if sizes}


def left_out(tested: UnderTest, archs: Sequence[str]) -> VariantOutcome | None:
    """The outcome of a variant that a device with these architectures cannot run; None for any other."""
    if set(archs) & set(tested.variant.archs):
        return None
    needs = f"needs {' or '.join(tested.variant.archs)}"
    return VariantOutcome(
        tested, left_out=needs, not_covered=(f"{tested.variant.id}, which {needs}: the device is {archs[0]}",)
    )


def _not_covered(
    tested: UnderTest,
    members: Sequence[Specialisation],
    shapes: Shapes,
    sizes: Mapping[str, tuple[int, int]],
) -> tuple[str, ...]:
    """What the cases leave out."""
    found = [f"calls of more than {shapes.work:,} points, but at the ends of the sizes that `verify` gives"]
    left = out_of_reach(declared_ends(tested, members, shapes), sizes)
    found += [f"{each} ({tested.variant.id})" for each in left]
    if tested.verification is None:
        found.append(
            "a tolerance of the file's own: there is no `verify`, so 2 * library_error + ulp is allowed"
        )
    if shapes.defaulted:
        edges = "but for sizes beside tiles and powers of two"
        found.append(f"{', '.join(shapes.defaulted)} beyond {LARGEST}, {edges}: `verify` gives no range")
    if shapes.beyond:
        names = ", ".join(sorted(shapes.beyond))
        found.append(
            f"{names} as `verify` gives it: {tested.variant.id} takes larger calls only, which were tried"
        )
    return tuple(found)


def verify_math(tested: UnderTest, seed: int) -> MathOutcome:
    """Springs the tripwires, and compares a derivative with differences; runs no kernel."""
    members = pool(tested)
    if not members:
        return MathOutcome(tested)
    shapes = Shapes(tested)
    possible = cases(tested, members, shapes, plain=True).filter(lambda case: is_possible(case, shapes))
    try:
        plain = some(possible, PLAIN_CASES, seed)
    except NoCase:
        return MathOutcome(tested)
    prepared = prepare(tested, plain)
    wires = spring(tested, prepared)
    failures = [
        Failure("SPAK807", tested.name, (f"the check accepts what is wrong: {wire.name}",))
        for wire in wires
        if wire.rejected is False
    ]
    compared = [each.case for each in prepared[:DIFFERENCES]] if tested.derived is not None else []
    failures += [f for case in compared if (f := examine_derivative(tested, case)) is not None][:1]
    return MathOutcome(tested, prepared, wires, len(compared), tuple(failures))
