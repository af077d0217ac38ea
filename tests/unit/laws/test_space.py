"""Counts, conflicts and nearest lawful values, held to brute force over every point."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spakc.check.conflict import minimum_cover, nearest_point, nearest_values, smallest_conflict
from spakc.check.problems import dtype_choices
from spakc.check.space import Space, Unbounded, build_space
from spakc.ir.constraint import evaluate, implication
from spakc.ir.module import Kernel, Law, Option
from spakc.ir.ops import Const, Expr
from spakc.ir.types import DType
from tests.clock import assert_within
from tests.unit.laws import build as b
from tests.unit.laws.build import (
    a_knob,
    device,
    dim,
    domain,
    fact,
    kernel,
    knob,
    law,
    op,
    option,
    schedule,
    sizeof,
    span_of,
    word,
)

H100 = device("h100", smem_per_block=232448)
A = b.tensor("A", DType.bf16, DType.f16)
C = b.tensor("C", DType.f32, same_as="A", role="output")


def smem(epilogue: bool = False) -> Expr:
    tiles = op(
        "mul",
        op("mul", knob("stages"), op("add", knob("tile_m"), knob("tile_n"))),
        op("mul", 64, sizeof("A")),
    )
    return (
        op("add", tiles, op("mul", op("mul", 128, knob("tile_n")), sizeof("C")))
        if epilogue
        else op("add", tiles, 1024)
    )


def pipelined(*laws: Law, **more: Any) -> Kernel:
    return kernel(
        schedule(
            "s",
            a_knob("tile_m", domain(64, 128, 192, 256)),
            a_knob("tile_n", span_of(64, 256, 8)),
            a_knob("stages", span_of(2, 8)),
            a_knob("raster", domain(1, 4, 8), at_launch=True),
            a_knob("mode", domain("cooperative", "pingpong")),
            laws=laws,
        ),
        tensors=(A, C),
        **more,
    )


def space_of(k: Kernel, dev: Any = H100) -> Space:
    s = k.schedules["s"]
    space = build_space(k, s, dev, s.laws)
    assert isinstance(space, Space)
    return space


FITS = law("fits", op("le", smem(), fact("smem_per_block")))
ROWS = law("rows", op("eq", op("mod", knob("tile_m"), 128), 0))
PAIRS = law("pairs", op("ge", knob("stages"), 4), op("eq", knob("mode"), word("pingpong")))


def brute(space: Space) -> Counter[frozenset[int]]:
    found: Counter[frozenset[int]] = Counter()
    for problem in space.problems:
        for values in itertools.product(*(axis.values for axis in space.axes)):
            env = space.bind(problem, {a.name: v for a, v in zip(space.axes, values, strict=True)})
            broken = [
                i
                for i, each in enumerate(space.laws)
                if evaluate(implication(each.proposition, each.when), env) is not True
            ]
            found[frozenset(broken)] += 1
    return found


def test_counts_are_those_of_every_point_by_hand() -> None:
    space = space_of(pipelined(FITS, ROWS, PAIRS))
    expected = brute(space)
    assert space.points == 4 * 25 * 7 * 2 == sum(expected.values())
    assert space.lawful_points == expected[frozenset()]
    assert dict(space.signatures) == {k: v for k, v in expected.items() if k}
    for i, cut in enumerate(space.cuts):
        assert cut.alone == expected[frozenset((i,))]
        assert cut.among == sum(n for broken, n in expected.items() if i in broken and len(broken) > 1)
    assert space.cuts[2].applies == space.points // 2
    assert [axis.name for axis in space.launch] == ["raster"]


def test_lawful_configs_are_the_lawful_points() -> None:
    space = space_of(pipelined(FITS, ROWS))
    configs = list(space.lawful_configs())
    assert len(configs) == space.lawful_points == len({tuple(sorted(c.items())) for c in configs})
    for values in configs[:: max(1, len(configs) // 50)]:
        env = space.bind(space.problems[0], values)
        assert all(evaluate(each.proposition, env) is True for each in space.laws)


def test_problems_are_what_the_laws_can_see() -> None:
    assert len(space_of(pipelined(FITS)).problems) == 1  # bf16 and f16 have one size
    wide = space_of(pipelined(law("fits", op("le", smem(True), fact("smem_per_block")))))
    assert sorted(str(p) for p in wide.problems) == ["A: bf16, C: bf16", "A: bf16, C: f32"]
    assert wide.points == 2 * 4 * 25 * 7 * 2
    lawful = [len(list(wide.lawful_configs(i))) for i in range(2)]
    assert lawful[0] > lawful[1] > 0 and sum(lawful) == wide.lawful_points
    assert [c["C"].value for c in dtype_choices(pipelined())] == ["bf16", "f32", "f16", "f32"]


def test_compiled_dims_and_options_are_axes_run_time_ones_are_not() -> None:
    k = pipelined(
        law("d", op("le", op("mul", dim("D"), knob("stages")), 256)),
        law("o", op("ge", knob("tile_m"), 128), op("eq", option("act"), word("gelu"))),
        dims={"D": domain(64, 128), "M": None},
        options=(Option("act", ("identity", "gelu"), None, word("identity"), span=b.at()),),
    )
    space = space_of(k)
    assert len(space.problems) == 4 and space.points == 4 * 4 * 25 * 7 * 2
    assert brute(space)[frozenset()] == space.lawful_points
    assert space.answers.all()


def test_the_space_of_the_design_in_tens_of_milliseconds() -> None:
    owners = op("where", op("eq", knob("mode"), word("cooperative")), knob("consumers"), 1)
    area = op("mul", knob("tile_m"), knob("tile_n"))
    bytes_ = op("mul", op("mul", knob("stages"), op("add", knob("tile_m"), knob("tile_n"))), 128)
    laws = (
        law("fits", op("le", bytes_, fact("smem_per_block"))),
        law("rows", op("eq", op("mod", knob("tile_m"), op("mul", 64, owners)), 0)),
        law("pairs", op("eq", knob("consumers"), 2), op("eq", knob("mode"), word("pingpong"))),
        law("accumulators", op("le", op("div", area, op("mul", 128, owners)), 208)),
        law("raster", op("le", op("mul", knob("raster"), knob("tile_m")), 2048)),
        law("split", op("or", op("eq", knob("split_k"), 1), op("eq", knob("cluster"), 1))),
        law("deep", op("ge", knob("stages"), 3), op("lt", area, 24576)),
    )
    knobs = {"tile_m": domain(64, 128, 192, 256), "tile_n": span_of(64, 256, 8), "tile_k": domain(64)}
    knobs |= {
        "stages": span_of(2, 8),
        "consumers": domain(1, 2, 3),
        "mode": domain("cooperative", "pingpong"),
    }
    knobs |= {"cluster": domain(1, 2), "raster": domain(1, 4, 8, 16), "split_k": domain(1, 2, 4, 8)}
    at_launch = ("raster", "split_k")
    k = kernel(schedule("s", *(a_knob(n, v, n in at_launch) for n, v in knobs.items()), laws=laws))
    space = space_of(k)
    assert space.points == 134_400 and 0 < space.lawful_points < space.points
    assert_within(0.5, lambda: space_of(k))


def test_a_law_that_mentions_no_knob_of_an_axis_leaves_it_free() -> None:
    space = space_of(pipelined(ROWS))
    assert space.lawful.shape == (1, 4, 1, 1, 1) and space.lawful_points == 2 * 25 * 7 * 2


def test_a_point_at_which_a_law_has_no_value_is_not_lawful() -> None:
    k = kernel(
        schedule("s", a_knob("n", domain(0, 2, 3)), laws=(law("even", op("eq", op("mod", 8, knob("n")), 0)),))
    )
    space = space_of(k)
    assert list(space.lawful_configs()) == [{"n": 2}]
    assert space.cuts[0].undefined == 1 and space.cuts[0].reasons == {"a division by zero"}


def test_spaces_that_nobody_enumerates() -> None:
    def unbounded(*knobs: Any, laws: tuple[Law, ...] = ()) -> Unbounded:
        k = kernel(schedule("s", *knobs, laws=laws))
        result = build_space(k, k.schedules["s"], H100, laws)
        assert isinstance(result, Unbounded)
        return result

    assert unbounded(a_knob("n", span_of(1, 10**12))).count == 10**12
    many = [a_knob(f"n{i}", span_of(1, 100)) for i in range(5)]
    total: Expr = Const(0)
    for k in many:
        total = op("add", total, knob(k.name))
    assert unbounded(*many, laws=(law("l", op("gt", total, 1)),)).count == 10**10
    free = kernel(schedule("s", *many))
    assert space_of(free).points == 10**10  # no law tells its points apart
    assert unbounded(*(a_knob(f"n{i}", domain(1)) for i in range(70))).what == "knobs"


def test_more_laws_than_a_word_has_bits() -> None:
    laws = tuple(law(f"l{i}", op("ne", knob("tile_n"), 64 + 8 * (i % 25))) for i in range(70))
    space = space_of(pipelined(*laws))
    assert space.lawful_points == 0 and dict(space.signatures) == {k: v for k, v in brute(space).items() if k}
    assert len(smallest_conflict(space)) == 25


# ---- empty spaces -------------------------------------------------------------------------------------


def test_smallest_conflict_and_what_each_law_reaches() -> None:
    deep = law("deep", op("ge", knob("stages"), 7))
    wide = law("wide", op("ge", op("mul", knob("tile_m"), knob("tile_n")), 32768))
    space = space_of(pipelined(ROWS, FITS, deep, PAIRS, wide))
    conflict = smallest_conflict(space)
    assert [r.law.name for r in conflict] == ["fits", "deep", "wide"]
    fits, deepest, widest = conflict
    others = brute_points(space, "deep", "wide")
    least = min(v["stages"] * (v["tile_m"] + v["tile_n"]) * 128 + 1024 for v in others)
    assert (fits.left, fits.right) == (least, 232448)
    assert fits.label == f"reaches {least} at best, and {least} <= 232448 is false"
    assert deepest.left == max(v["stages"] for v in brute_points(space, "fits", "wide")) < deepest.right == 7
    assert widest.left == max(v["tile_m"] * v["tile_n"] for v in brute_points(space, "fits", "deep"))


def brute_points(space: Space, *names: str) -> list[dict[str, Any]]:
    laws = [each for each in space.laws if each.name in names]
    points = []
    for values in itertools.product(*(axis.values for axis in space.axes)):
        point: dict[str, Any] = {a.name: v for a, v in zip(space.axes, values, strict=True)}
        if all(evaluate(each.proposition, space.bind(space.problems[0], point)) is True for each in laws):
            points.append(point)
    return points


def test_a_law_that_no_point_can_satisfy_stands_alone() -> None:
    odd = law("odd", op("and", op("ge", knob("stages"), 2), op("eq", op("mod", knob("tile_m"), 64), 1)))
    (only,) = smallest_conflict(space_of(pipelined(ROWS, odd, FITS)))
    assert (only.law.name, only.left, only.right) == ("odd", 0, 1)


def test_of_a_conjunction_the_part_that_fails_alone_is_told() -> None:
    wide = law("wide", op("and", op("ge", knob("tile_m"), 128), op("ge", knob("tile_n"), 128)))
    small = law("small", op("le", op("mul", knob("tile_m"), knob("tile_n")), 8192))
    reached = smallest_conflict(space_of(pipelined(wide, small)))[0]
    assert (reached.left, reached.right) == (64, 128)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.frozensets(st.integers(0, 6), min_size=1, max_size=4), min_size=1, max_size=10))
def test_the_cover_is_a_smallest_one(signatures: set[frozenset[int]]) -> None:
    cover = minimum_cover(signatures)
    assert all(cover & s for s in signatures)
    for size in range(len(cover)):
        assert not any(all(set(c) & s for s in signatures) for c in itertools.combinations(range(7), size))


# ---- near a point -------------------------------------------------------------------------------------


def test_nearest_lawful_values_of_one_knob() -> None:
    space = space_of(pipelined(FITS))
    big = {"tile_m": 128, "tile_n": 256, "stages": 8, "mode": "cooperative"}
    stages, *rest = nearest_values(space, big)
    assert (stages.axis.name, stages.label) == ("stages", "the largest lawful value here is 4")
    assert stages.advice(True) == "write `stages <= 4`"
    assert [n.advice(False) for n in rest] == ["lower `tile_n` to 96"]
    assert nearest_point(space, big) == big | {"stages": 4}


def test_nearest_value_of_a_word_and_of_two_sides() -> None:
    space = space_of(
        pipelined(
            law("no", op("ne", knob("mode"), word("pingpong"))), law("gap", op("ne", knob("stages"), 5))
        )
    )
    (mode,) = nearest_values(space, {"tile_m": 64, "tile_n": 64, "stages": 4, "mode": "pingpong"})
    assert mode.label == "lawful here: `cooperative`" and mode.advice(True) == "write `mode = cooperative`"
    (stages,) = nearest_values(space, {"tile_m": 64, "tile_n": 64, "stages": 5, "mode": "cooperative"})
    assert stages.label == "the nearest lawful values here are 4 and 6"
