"""The float64 reference: conventions, indexing, rounding step by step, tolerances."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from spakc.ir.types import DType
from spakc.verify.oracle import OracleError, evaluate, evaluate_rounded
from spakc.verify.tolerance import library_errors, tolerances, ulp
from tests.clock import assert_within

from .files import example, kernel
from .numeric import random_inputs


def test_product_is_fast_and_exact() -> None:
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(shape) for shape in ((300, 320), (320, 320), 320))
    kernel, inputs, options = example("matmul"), {"A": a, "B": b, "bias": bias}, {"activation": "identity"}
    found = evaluate(kernel, inputs, options)
    assert_within(1, lambda: evaluate(kernel, inputs, options))  # a loop over elements would take a minute
    np.testing.assert_allclose(found["C"], a @ b + bias, rtol=1e-12)


def test_an_absent_optional_tensor_is_its_default() -> None:
    a, b = np.ones((2, 3)), np.ones((3, 4))
    assert np.all(evaluate(example("matmul"), {"A": a, "B": b})["C"] == 3)


def test_rows_without_keys() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 2, "G": 1, "Sq": 4, "Sk": 2, "D": 8})
    found = evaluate(subject, inputs, {"causal": True}, intermediates=True)
    assert np.all(found["O"][:, :, :2] == 0) and np.all(found["L"][:, :, :2] == -np.inf)
    assert np.all(found["P"][:, :, :2] == 0)
    assert np.all(np.isfinite(found["L"][:, :, 2:]))
    assert set(found) == {"S", "T", "M", "L", "P", "O"}


def test_attention_by_hand() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 2, "G": 1, "Sq": 3, "Sk": 3, "D": 4})
    found = evaluate(subject, inputs, {"causal": False, "scale": 0.3})
    for head in range(2):
        scores = 0.3 * inputs["Q"][0, head] @ inputs["K"][0, 0].T
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        np.testing.assert_allclose(found["O"][0, head], weights @ inputs["V"][0, 0], rtol=1e-12)
        np.testing.assert_allclose(found["L"][0, head], np.log(np.exp(scores).sum(1)), rtol=1e-12)


def test_inout_reads_the_old_value_and_new_the_new_one() -> None:
    text = """kernel k: elementwise { dim N inout p, m: f32 [N]
      math { m[i] = m[i] + 1  p[i] = p[i] + 10 * m[i] + 100 * new(m)[i] } }"""
    given = {"p": np.array([1.0]), "m": np.array([2.0])}
    found = evaluate(kernel(text), given)
    assert found == {"m": np.array([3.0]), "p": np.array([1 + 20 + 300.0])}
    assert given["m"][0] == 2


def test_integer_tensors_index_and_are_checked() -> None:
    subject = example("cross_entropy")
    logits = np.log(np.array([[1.0, 2.0, 1.0]]))
    found = evaluate(subject, {"logits": logits, "target": np.array([1], np.int32)})
    np.testing.assert_allclose(found["loss"], [math.log(2)])
    for outside in (3, -1):
        with pytest.raises(OracleError, match=f"index {outside} of an axis of size 3"):
            evaluate(subject, {"logits": logits, "target": np.array([outside], np.int32)})


def test_a_condition_may_exclude_reads_outside() -> None:
    text = """kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N]
      math { y[i] = x[i] - where(i > 0, x[i - 1], 0) } }"""
    assert list(evaluate(kernel(text), {"x": np.array([1.0, 4.0, 9.0])})["y"]) == [1, 3, 5]
    bare = text.replace("where(i > 0, x[i - 1], 0)", "x[i - 1]")
    with pytest.raises(OracleError, match="index -1"):
        evaluate(kernel(bare), {"x": np.array([1.0, 4.0])})


def test_halves_cover_the_axis() -> None:
    found = evaluate(example("rope"), {"x": np.ones((1, 2, 1, 4))})["y"][0, :, 0]
    np.testing.assert_allclose(found[0], [1, 1, 1, 1])  # position 0 turns nothing
    np.testing.assert_allclose(found[1][0], math.cos(1) - math.sin(1))
    np.testing.assert_allclose(found[1][2], math.cos(1) + math.sin(1))


def test_a_gap_is_refused() -> None:
    text = """kernel k: elementwise { dim N input x: f32 [N] output y: f32 [N + 1]
      math { y[i + 1] = x[i] } }"""
    with pytest.raises(OracleError, match="not every element"):
        evaluate(kernel(text), {"x": np.ones(3)})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum[i](x[i])", 0.0),
        ("max[i](x[i])", -math.inf),
        ("min[i](x[i])", math.inf),
        ("logsumexp[i](x[i])", -math.inf),
        ("where(every[i](x[i] > 0), 1, 0)", 1.0),
        ("where(any[i](x[i] > 0), 1, 0)", 0.0),
    ],
)
def test_reductions_over_nothing(expression: str, expected: float) -> None:
    text = f"kernel k: rows {{ dim N input x: f32 [N] output y: f32 [] math {{ y[] = {expression} }} }}"
    assert evaluate(kernel(text), {"x": np.zeros(0)})["y"] == expected


def test_wrong_inputs_are_named() -> None:
    subject = example("matmul")
    with pytest.raises(OracleError, match="B is not given"):
        evaluate(subject, {"A": np.ones((2, 3))}, dims={"N": 4})
    with pytest.raises(OracleError, match="B says K = 4, not 3"):
        evaluate(subject, {"A": np.ones((2, 3)), "B": np.ones((4, 5))})
    with pytest.raises(OracleError, match="no tensor Z"):
        evaluate(subject, {"Z": np.ones(1)})


# ---- rounding and tolerance -----------------------------------------------------------------------------


def bf16(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return values.astype(ml_dtypes.bfloat16)


def test_rounding_is_that_of_the_declared_dtype() -> None:
    rng = np.random.default_rng(1)
    a, b = bf16(rng.standard_normal((8, 64))), bf16(rng.standard_normal((64, 8)))
    exact = evaluate(example("matmul"), {"A": a, "B": b})["C"]
    full = evaluate_rounded(example("matmul"), {"A": a, "B": b}, dtypes={"C": DType.f32})["C"]
    narrow = evaluate_rounded(example("matmul"), {"A": a, "B": b})["C"]  # the dtype of A
    assert np.all(narrow == bf16(narrow).astype(np.float64))
    assert np.max(np.abs(full - exact)) < 1e-4 < np.max(np.abs(narrow - exact))


def test_computed_operands_of_a_product_are_rounded_to_the_other_operand() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 1, "G": 1, "Sq": 8, "Sk": 64, "D": 8})
    narrow = {name: bf16(array) for name, array in inputs.items()}
    exact = evaluate(subject, narrow, {"causal": False})["O"]
    stepwise = evaluate_rounded(subject, narrow, {"causal": False}, round_outputs=False)["O"]
    error = np.max(np.abs(stepwise - exact))
    assert 1e-5 < error < 1e-2  # the weights were rounded to 8 bits, the sum was not


def test_only_what_an_output_rests_on_is_evaluated() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 1, "G": 1, "Sq": 8, "Sk": 16, "D": 8})
    all_of_it = evaluate_rounded(subject, inputs, {"causal": False})
    assert evaluate_rounded(subject, inputs, {"causal": False}, only=["O"])["O"] == pytest.approx(
        all_of_it["O"]
    )
    alone = evaluate_rounded(subject, inputs, {"causal": False}, only=["L"])
    assert alone.keys() == {"L"} and np.array_equal(alone["L"], all_of_it["L"])


def test_ulp_is_the_distance_to_the_next_value() -> None:
    values = np.array([1.0, 1.5, 2.0, 3.0e-3, 1e30, 0.0])
    for dtype, kind in ((DType.f32, np.float32), (DType.f16, np.float16)):
        fitting = values[:4].astype(kind)
        expected = np.spacing(fitting).astype(np.float64)
        np.testing.assert_array_equal(ulp(fitting.astype(np.float64), dtype), expected)
    assert ulp(np.array(1.0), DType.bf16) == 2.0**-7
    assert ulp(np.array(0.0), DType.bf16) == 2.0**-133


def test_tolerance_accepts_rounding_and_rejects_mistakes() -> None:
    rng = np.random.default_rng(2)
    subject = example("matmul")
    inputs = {"A": bf16(rng.standard_normal((40, 64))), "B": bf16(rng.standard_normal((64, 24)))}
    exact = evaluate(subject, inputs)
    kinds = {"C": DType.bf16}
    allowed = tolerances(subject, exact, inputs, dtypes=kinds)["C"]
    honest = bf16(inputs["A"].astype(np.float32) @ inputs["B"].astype(np.float32))
    assert np.all(np.abs(honest.astype(np.float64) - exact["C"]) <= allowed)
    short = inputs["A"][:, :63].astype(np.float64) @ inputs["B"][:63].astype(np.float64)
    assert np.mean(np.abs(short - exact["C"]) > allowed) > 0.8


def test_no_element_has_a_vanishing_library_error_by_luck() -> None:
    rng = np.random.default_rng(3)
    subject = example("matmul")
    inputs = {"A": rng.standard_normal((40, 64)).astype(np.float32), "B": rng.standard_normal((64, 24))}
    exact = evaluate(subject, inputs)
    error = library_errors(subject, exact, inputs, dtypes={"C": DType.f32})["C"]
    assert np.all(error > 0)
