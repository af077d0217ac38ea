"""What is drawn: lawful, allowed by the guards, and where kernels break."""

from __future__ import annotations

import itertools

import pytest

from spakc.verify.search import some
from spakc.verify.sizes import COMFORTABLE, WORK, Shapes, quick_work
from spakc.verify.specialisations import Specialisation, pool
from spakc.verify.strategies import allows, cases
from spakc.verify.tested import UnderTest
from tests.unit.verify.kernels import example, of_text


def choices(made: Specialisation) -> dict[str, object]:
    dtypes = {f"dtype {name}": dtype for name, dtype in made.dtypes.items()}
    present = {f"without {name}": True for name in made.absent}
    return {**dtypes, **made.layouts, **made.options, **made.dims, **present, "contract": made.contract}


def test_every_pair_of_choices_is_in_some_specialisation() -> None:
    members = pool(example("matmul", "matmul", "pipelined"))
    for a, b in itertools.product(("gelu", "identity", "silu", "relu_squared"), ("row", "column")):
        assert any(m.options["activation"] == a and m.layouts["A"] == b for m in members), (a, b)
    for a, b in itertools.product((True, False), ((), ("bias",))):
        assert any(m.contract is a and m.absent == b for m in members), (a, b)
    every = {(m.dtypes["A"], m.dtypes["C"], m.options["activation"]) for m in members}
    assert len(every) == 16 and len(members) < 24, "all pairs of four and four, and few more"
    first = members[0]
    assert first.options["activation"] == "identity" and first.absent == ()
    assert len({tuple(sorted(choices(m).items(), key=str)) for m in members}) == len(members)


@pytest.mark.parametrize(
    ("name", "kernel", "schedule"),
    [
        ("matmul", "matmul", "pipelined"),
        ("fmha", "fmha", None),
        ("train", "rope", None),
        ("train", "adamw", None),
    ],
)
def test_cases_are_lawful(name: str, kernel: str, schedule: str | None) -> None:
    tested = example(name, kernel, schedule)
    found = drawn(tested, 40)
    assert len(found) > 20
    for case in found:
        assert allows(tested, case)
        assert case.dims.keys() == tested.kernel.dims.keys()
    if kernel == "fmha":
        assert all(case.dims["H"] % case.dims["G"] == 0 and case.dims["D"] in (64, 128) for case in found)
        assert any(case.dims["H"] > case.dims["G"] > 1 for case in found)
    if kernel == "matmul":
        assert all(1 <= case.dims["M"] <= 300 and 8 <= case.dims["K"] <= 640 for case in found)
        assert any(case.dims["K"] % 8 for case in found), "ragged depths"
        assert any(case.dims["M"] > 64 for case in found)
        assert any(case.pads for case in found) and any(not case.pads for case in found)


def test_sizes_at_the_edges_of_tiles_are_frequent() -> None:
    tested = example("matmul", "matmul", "naive")
    near = {n + d for n in (8, 16, 32, 64, 128) for d in (-1, 0, 1)} | {1}
    sizes = [size for case in drawn(tested, 60) for size in case.dims.values()]
    assert sum(size in near for size in sizes) > len(sizes) / 6
    assert {1} < set(sizes)


LINEAR = """spak 1
use std.devices
targets h100
kernel linear: product {
  dim    M, N, K
  input  x: bf16 | f16 [M, K]  layout row | column
  input  w: same(x)    [K, N]  layout row | column
  output y: same(x) | f32 [M, N]
  math { y[m, n] = sum[k](x[m, k] * w[k, n]) }
  accumulate f32
  gradient y wrt x, w
  schedule naive { knob block in {8} }
  verify { tolerance ulp(y)  values integers  shapes M in 1..100, N in 1..100, K in 1..100  cases 8 }
}
"""


def test_every_variant_of_a_gradient_has_cases() -> None:
    """Also one that takes none of the sizes that the file gives, and says so: its parts have a depth of their own."""
    variants = [t for t in of_text(LINEAR)[0] if t.derived is not None]
    assert len(variants) > 8
    beyond = []
    for tested in variants:
        shapes = Shapes(tested)
        found = some(cases(tested, pool(tested), shapes), 4, 0)
        assert len(found) == 4 and all(allows(tested, case) for case in found)
        large = [case for case in found if any(size > 100 for size in case.dims.values())]
        assert bool(large) == bool(shapes.beyond)
        beyond += sorted(shapes.beyond)
    assert set(beyond) == {"M", "N"}


def test_the_same_seed_draws_the_same_cases() -> None:
    tested = example("matmul", "matmul", "naive")
    assert drawn(tested, 10, 3) == drawn(tested, 10, 3) != drawn(tested, 10, 4)


def test_plain_cases_are_comfortable() -> None:
    tested = example("matmul", "matmul", "pipelined")
    for case in some(cases(tested, pool(tested), Shapes(tested), plain=True), 10, 0):
        assert all(size in COMFORTABLE for size in case.dims.values()) and case.values == "normal"


def drawn(tested: UnderTest, count: int, seed: int = 0) -> list[object]:
    return some(cases(tested, pool(tested), Shapes(tested)), count, seed)


def test_each_product_of_a_kernel_is_paid_for() -> None:
    assert quick_work(example("matmul", "matmul").kernel) == WORK, "one product"
    assert quick_work(example("fmha", "fmha").kernel) == WORK // 2, "scores and weighted sums"
    assert quick_work(example("train", "layer_norm").kernel) == WORK, "nothing is larger than a tensor"
