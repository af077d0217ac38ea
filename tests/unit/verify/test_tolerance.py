"""What a tolerance lets pass: sums as matrix units add them; what it does not: a term that is lost."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from spakc.ir.types import DType
from spakc.verify.arrays import Array, Named, add_on_units, add_products, contract, toward_zero
from spakc.verify.oracle import evaluate
from spakc.verify.tolerance import tolerances
from tests.unit.verify.kernels import EXAMPLES, of_file


def products(rows: int, columns: int, depth: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(depth)
    a = rng.standard_normal((rows, depth)).astype(ml_dtypes.bfloat16)
    return a, rng.standard_normal((depth, columns)).astype(ml_dtypes.bfloat16)


def on_units(a: Array, b: Array, step: int) -> Array:
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for start in range(0, a.shape[1], step):
        exact = a[:, start : start + step].astype(np.float64) @ b[start : start + step].astype(np.float64)
        total = toward_zero(total + exact)
    return total


def allowed(a: Array, b: Array) -> tuple[Array, Array]:
    tested = next(t for t in of_file(EXAMPLES / "matmul.spak")[0] if t.spec.name == "matmul")
    inputs = {"A": a, "B": b}
    right = evaluate(tested.kernel, inputs)
    return right["C"], tolerances(tested.kernel, right, inputs, dtypes={"C": DType.f32})["C"]


@pytest.mark.parametrize("step", [8, 16])
@pytest.mark.parametrize("depth", [64, 300, 1000])
def test_products_that_are_rounded_toward_zero_are_allowed(depth: int, step: int) -> None:
    a, b = products(77, 130, depth)
    right, error = allowed(a, b)
    assert (np.abs(on_units(a, b, step) - right) <= error).all()


@pytest.mark.parametrize("depth", [64, 300, 1000])
def test_a_product_that_is_lost_is_not(depth: int) -> None:
    a, b = products(77, 130, depth)
    right, error = allowed(a, b)
    wrong = np.abs(on_units(a[:, :-1], b[:-1], 16) - right) > error
    assert wrong.mean() > 0.9


def test_toward_zero_is_between_the_number_and_zero() -> None:
    exact = np.array([1 + 2**-30, -1 - 2**-30, 1 - 2**-30, -1 + 2**-30, 0.0, 3.0, np.inf, np.nan])
    found = toward_zero(exact)
    below = np.float32(1) - np.float32(2**-24)
    assert (
        found[:6].tolist() == [1.0, -1.0, below, -below, 0.0, 3.0]
        and np.isinf(found[6])
        and np.isnan(found[7])
    )


def test_sums_over_two_axes_take_every_term() -> None:
    rng = np.random.default_rng(0)
    sizes = {"i": 3, "j": 4, "k": 19, "l": 2}
    left = Named(rng.integers(-3, 4, (3, 19, 2)).astype(np.float32), ("i", "k", "l"))
    right = Named(rng.integers(-3, 4, (2, 4, 19)).astype(np.float32), ("l", "j", "k"))
    found = add_on_units([left, right], ["l", "k"], sizes, 8)
    wanted = contract([left, right], ["l", "k"], sizes)
    assert np.array_equal(found.over(["i", "j"]), wanted.over(["i", "j"]))


@pytest.mark.parametrize("sizes", [{"i": 7, "j": 5, "k": 300, "l": 9}, {"i": 130, "j": 90, "k": 40, "l": 3}])
def test_sums_in_parts_are_sums_one_by_one(sizes: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    left = Named(rng.standard_normal([sizes[a] for a in "ikl"]).astype(np.float32), ("i", "k", "l"))
    right = Named(rng.standard_normal([sizes[a] for a in "ljk"]).astype(np.float32), ("l", "j", "k"))
    found = add_products([left, right], ["l", "k"], sizes)
    wanted = np.zeros((sizes["i"], sizes["j"]), np.float32)
    for place in range(sizes["l"]):
        for other in range(sizes["k"]):
            wanted += left.array[:, None, other, place] * right.array[place, None, :, other]
    assert np.array_equal(found.over(["i", "j"]), wanted)
