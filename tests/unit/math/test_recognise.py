"""Matching follows the maths: not names, not the order of equations, factors or terms."""

from __future__ import annotations

import numpy as np
import pytest

from spakc.check.check import check
from spakc.diagnostics import Sink, SpakError
from spakc.diagnostics.codes import Code
from spakc.diagnostics.codes.maths import TABLE
from spakc.ir.derive import gradient_or_report
from spakc.ir.module import Kernel
from spakc.plan.problem import (
    AttentionProblem,
    ElementwiseProblem,
    Problem,
    ProductProblem,
    RowsProblem,
)
from spakc.plan.recognise import recognise
from spakc.verify.oracle import evaluate

from .files import FILES, example, kernel, module
from .meaning import as_kernel
from .numeric import random_inputs
from .show import show

SIZES = {
    "matmul": {"M": 5, "N": 4, "K": 3},
    "fmha": {"B": 2, "H": 4, "G": 2, "Sq": 5, "Sk": 4, "D": 8},
    "rms_norm": {"R": 3, "N": 5},
    "cross_entropy": {"R": 3, "V": 4},
    "rope": {"B": 2, "T": 3, "H": 2, "D": 8},
    "adamw": {"N": 6},
}


def recognised(subject: Kernel) -> Problem:
    sink = Sink()
    problem = recognise(subject, sink)
    sink.stop_if_errors()
    assert problem is not None
    return problem


def assert_same_meaning(subject: Kernel, dims: dict[str, int], **options: object) -> Problem:
    problem = recognised(subject)
    inputs = {n: np.abs(a) if n in "vc1c2" else a for n, a in random_inputs(subject, dims).items()}
    expected = evaluate(subject, inputs, options)  # type: ignore[arg-type]
    found = evaluate(as_kernel(problem, subject), inputs, options)  # type: ignore[arg-type]
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    return problem


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_recognised_as_what_it_means(name: str) -> None:
    problem = assert_same_meaning(example(name), SIZES[name])
    assert type(problem).__name__.lower().startswith(example(name).family[:4])


def test_options_of_attention_keep_their_meaning() -> None:
    assert_same_meaning(example("fmha"), SIZES["fmha"], causal=False, softcap=1.5)
    assert_same_meaning(example("fmha"), SIZES["fmha"], causal=True, window=2)


PRODUCT = """kernel {k}: product {{
  dim {M}, {N}, {K}
  input {A}: bf16 [{M}, {K}]
  input {B}: bf16 [{K}, {N}]
  input {bias}: bf16 [{bias_dim}]
  output {C}: f32 [{M}, {N}]
  math {{ {equations} }}
}}"""
PLAIN = {
    "k": "mm", "M": "M", "N": "N", "K": "K", "A": "A", "B": "B", "C": "C", "bias": "bias", "bias_dim": "N",
    "equations": "acc[m, n] = sum[k](A[m, k] * B[k, n])  C[m, n] = relu(acc[m, n] + bias[n])",
}  # fmt: skip


def product(**changes: str) -> Kernel:
    return kernel(PRODUCT.format(**(PLAIN | changes)))


def test_everything_renamed_and_reordered_is_the_same_product() -> None:
    names = {
        "k": "zork",
        "M": "Rows",
        "N": "Cols",
        "K": "Depth",
        "A": "left",
        "B": "wow",
        "C": "out",
        "bias": "g",
    }
    equations = "out[x, y] = relu(g[y] + t[x, y])  t[p, q] = sum[z](wow[z, q] * left[p, z])"
    renamed = product(**names, bias_dim="Cols", equations=equations)
    one, two = recognised(product()), recognised(renamed)
    assert isinstance(one, ProductProblem) and isinstance(two, ProductProblem)
    assert (one.left.tensor, one.right.tensor) == ("A", "B")
    assert (two.left.tensor, two.right.tensor) == ("left", "wow")
    assert show(two.outputs[0].value) == f"relu((g[{two.columns[0].name}] + t))"
    assert_same_meaning(renamed, {"Rows": 3, "Cols": 4, "Depth": 5})


def test_a_gate_over_rows_replaces_the_bias_over_columns() -> None:
    gated = product(bias="gate", bias_dim="M", equations="C[m, n] = sum[k](A[m, k] * B[k, n]) * gate[m]")
    problem = assert_same_meaning(gated, {"M": 3, "N": 4, "K": 5})
    assert isinstance(problem, ProductProblem)
    assert show(problem.outputs[0].value) == "(accumulator * gate[m])"


@pytest.mark.parametrize(
    "equation",
    [
        "C[m, n] = 2 * sum[k](A[m, k] * B[k, n])",
        "C[m, n] = sum[k](2 * A[m, k] * B[k, n])",
        "C[m, n] = sum[k](B[k, n] * (A[m, k] * 2))",
        "C[m, n] = sum[k](A[m, k] * B[k, n] / 0.5)",
        "C[m, n] = -sum[k](-2 * f32(B[k, n]) * f32(A[m, k]))",
    ],
)
def test_constant_factors_leave_the_sum(equation: str) -> None:
    problem = assert_same_meaning(product(equations=equation), {"M": 3, "N": 4, "K": 5})
    assert isinstance(problem, ProductProblem)
    assert (problem.left.tensor, problem.right.tensor) == ("A", "B")


def test_factors_of_rows_leave_the_sum() -> None:
    scaled = product(bias_dim="M", equations="C[m, n] = sum[k](bias[m] * A[m, k] * B[k, n]) + 1")
    problem = assert_same_meaning(scaled, {"M": 3, "N": 4, "K": 5})
    assert isinstance(problem, ProductProblem)
    assert show(problem.outputs[0].value) == "((bias[m] * accumulator) + 1)"


def test_operands_are_free_to_be_transposed() -> None:
    text = """kernel t: product { dim M, N, K input a: f32 [K, M] input b: f32 [N, K] output c: f32 [N, M]
      math { c[n, m] = sum[k](a[k, m] * b[n, k]) } }"""
    problem = assert_same_meaning(kernel(text), {"M": 3, "N": 4, "K": 5})
    assert isinstance(problem, ProductProblem)
    assert (problem.left.tensor, problem.rows[0].name, problem.columns[0].name) == ("b", "n", "m")
    assert (problem.left.axis_of("k"), problem.right.axis_of("k")) == (1, 0)


def test_batches_broadcast_and_several_outputs_share_a_sum() -> None:
    text = """kernel t: product { dim B, M, N, K
      input a: f32 [B, M, K] input w: f32 [K, N] input r: f32 [B, M, N]
      output c: f32 [B, M, N] output d: f32 [N, M, B]
      math { c[b, m, n] = sum[k](a[b, m, k] * w[k, n]) + r[b, m, n]
             d[i, j, l] = exp(sum[q](a[l, j, q] * w[q, i])) } }"""
    problem = assert_same_meaning(kernel(text), {"B": 2, "M": 3, "N": 4, "K": 5})
    assert isinstance(problem, ProductProblem)
    assert [r.name for r in problem.rows] == ["b", "m"]
    assert [show(i) for i in problem.outputs[1].indices] == ["n", "m", "b"]


ATTENTION = """kernel a: attention {{
  dim B, H, S, T, D
  input q: bf16 [B, H, S, D]
  input k, v: bf16 [B, H, T, D]
  input slope: f32 [H]
  output o: bf16 [B, H, S, D]
  math {{
    s[b, h, i, j] = sum[d](q[b, h, i, d] * k[b, h, j, d])
    o[b, h, i, d] = sum[j](softmax[j]({logit}) * v[b, h, j, d])
  }}
}}"""
SHAPE = {"B": 1, "H": 2, "S": 4, "T": 3, "D": 4}


@pytest.mark.parametrize(
    "logit",
    [
        "where(j <= i, 0.5 * s[b, h, i, j], -inf)",
        "where(j > i, -inf, s[b, h, i, j] / 2)",
        "where(not (j > i), s[b, h, i, j] * 0.5, -inf)",
        "0.5 * s[b, h, i, j] + where(j <= i, 0, -inf)",
    ],
)
def test_a_mask_may_be_written_in_any_way(logit: str) -> None:
    problem = assert_same_meaning(kernel(ATTENTION.format(logit=logit)), SHAPE)
    assert isinstance(problem, AttentionProblem)
    assert problem.mask is not None and show(problem.mask) in ("(j <= i)", "not((j > i))")


def test_score_modifications_are_expressions_of_the_dot_product() -> None:
    alibi = kernel(ATTENTION.format(logit="s[b, h, i, j] * 0.5 - slope[h] * (i - j)"))
    problem = assert_same_meaning(alibi, SHAPE)
    assert isinstance(problem, AttentionProblem)
    assert problem.mask is None and problem.scale is None
    assert show(problem.score) == "((0.5 * s) - (slope[h] * (i - j)))"
    scaled = recognised(kernel(ATTENTION.format(logit="s[b, h, i, j] / 4")))
    assert isinstance(scaled, AttentionProblem)
    assert scaled.scale is not None and show(scaled.scale) == "0.25"


ROWS = "kernel r: rows {{ dim R, N input x: f32 [R, N] input w: f32 [N] {out} math {{ {math} }} }}"


@pytest.mark.parametrize(
    ("out", "math"),
    [
        ("output y: f32 [R, N]", "y[r, n] = softmax[n](x[r, n])"),
        ("output y: f32 [N, R]", "y[n, r] = x[r, n] - max[j](x[r, j])"),
        (
            "output y: f32 [R, N] output mean: f32 [R] output rstd: f32 [R]",
            "mean[r] = sum[n](x[r, n]) / N  c[r, n] = x[r, n] - mean[r]"
            "  rstd[r] = rsqrt(sum[n](c[r, n] * c[r, n]) / N + 1e-5)  y[r, n] = c[r, n] * rstd[r] * w[n]",
        ),
        ("output g: f32 [N]", "g[n] = sum[r](x[r, n] * x[r, n])"),
        ("output t: f32 []", "t[] = sum[r, n](x[r, n] * w[n])"),
        ("output y: f32 [R, N]", "y[a, b] = x[a, b] * where(sum[n](x[a, n]) > 0, w[b], 1)"),
    ],
)
def test_reductions_along_rows(out: str, math: str) -> None:
    problem = assert_same_meaning(kernel(ROWS.format(out=out, math=math)), {"R": 3, "N": 5})
    assert isinstance(problem, RowsProblem)


def test_the_orientation_of_rows_follows_the_memory() -> None:
    along = recognised(kernel(ROWS.format(out="output s: f32 [R]", math="s[r] = sum[n](x[r, n])")))
    across = recognised(kernel(ROWS.format(out="output s: f32 [N]", math="s[n] = sum[r](x[r, n])")))
    assert isinstance(along, RowsProblem) and isinstance(across, RowsProblem)
    assert along.reduced_is_contiguous and not across.reduced_is_contiguous


def test_elementwise_shares_what_several_outputs_need() -> None:
    text = """kernel e: elementwise { dim N, M input x: f32 [N, M] output y: f32 [N, M] output z: f32 [M, N]
      math { s[i, j] = sigmoid(x[i, j])  y[i, j] = s[i, j] * x[i, j]  z[b, a] = 1 - s[a, b] } }"""
    problem = assert_same_meaning(kernel(text), {"N": 3, "M": 4})
    assert isinstance(problem, ElementwiseProblem)
    assert [local.name for local in problem.locals] == ["s"]


@pytest.mark.parametrize("code", TABLE, ids=[code.id for code in TABLE])
def test_a_code_is_earned_by_its_example_and_not_by_the_repair(code: Code) -> None:
    assert _codes(code.wrong) == [code.id]
    assert _codes(code.right) == []


def _codes(text: str) -> list[str]:
    sink = Sink()
    try:
        lowered = module(text)
        check(lowered, sink)
        for subject in lowered.kernels.values():
            recognise(subject, sink)
            for wanted in subject.gradients:
                gradient_or_report(subject, wanted, sink)
    except SpakError as error:
        return [d.code for d in error.diagnostics]
    return [d.code for d in sink.diagnostics]
