"""The symbolic derivative against central differences of the float64 oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spakc.ir.derive import gradient
from spakc.ir.module import Gradient, Kernel
from spakc.ir.specialise import specialise
from spakc.plan.problem import ChainProblem, ProductProblem, RowsProblem
from spakc.plan.split import split
from spakc.verify.oracle import evaluate

from .files import example, kernel
from .meaning import as_kernel
from .numeric import derived, differences, random_inputs
from .show import show


def wanted(subject: Kernel) -> Gradient:
    """What the file asks for; of the product, which asks for nothing, everything."""
    return (
        subject.gradients[0] if subject.gradients else Gradient(("C",), ("A", "B", "bias"), span=subject.span)
    )


def assert_derivative(subject: Kernel, dims: dict[str, int], options: dict[str, Any], seed: int = 0) -> None:
    request = wanted(subject)
    inputs = random_inputs(subject, dims, seed)
    outputs = evaluate(subject, inputs, options)
    rng = np.random.default_rng(seed + 1)
    seeds = {name: rng.standard_normal(outputs[name].shape) for name in request.outputs}
    found = derived(subject, request, inputs, seeds, options)
    expected = differences(subject, request, inputs, seeds, options)
    for name in request.inputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("activation", ["identity", "gelu", "relu_squared", "silu"])
def test_product(activation: str) -> None:
    assert_derivative(example("matmul"), {"M": 3, "N": 4, "K": 5}, {"activation": activation})


@pytest.mark.parametrize(
    "options", [{}, {"causal": False, "softcap": 2.0}, {"window": 2, "softcap": 1.5, "scale": 0.7}]
)
def test_attention(options: dict[str, Any]) -> None:
    assert_derivative(example("fmha"), {"B": 1, "H": 4, "G": 2, "Sq": 3, "Sk": 4, "D": 3}, options)


def test_attention_row_without_keys_has_gradient_zero() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 1, "G": 1, "Sq": 4, "Sk": 2, "D": 3})
    seeds = {"O": np.ones((1, 1, 4, 3))}
    found = derived(subject, wanted(subject), inputs, seeds, {"causal": True})
    assert np.all(found["Q"][0, 0, :2] == 0) and np.all(np.isfinite(found["K"]))
    assert np.any(found["V"] != 0)


def test_rows_and_elementwise() -> None:
    assert_derivative(example("rms_norm"), {"R": 3, "N": 5}, {})
    assert_derivative(example("cross_entropy"), {"R": 3, "V": 2}, {})
    assert_derivative(example("rope"), {"B": 2, "T": 3, "H": 1, "D": 6}, {})


MATHS = {
    "layer norm": (
        "dim R, N input x: f32 [R, N] input w, b: f32 [N] output y: f32 [R, N]",
        "mean[r] = sum[n](x[r, n]) / N  c[r, n] = x[r, n] - mean[r]"
        "  y[r, n] = c[r, n] * rsqrt(sum[j](c[r, j] * c[r, j]) / N + 0.1) * w[n] + b[n]",
        "gradient y wrt x, w, b",
    ),
    "softmax": (
        "dim R, N input x: f32 [R, N] output y: f32 [R, N]",
        "y[r, n] = softmax[n](2 * x[r, n])",
        "gradient y wrt x",
    ),
    "extremes": (
        "dim R, N input x: f32 [R, N] output y: f32 [R] output z: f32 [N]",
        "y[r] = max[n](x[r, n]) * min[n](x[r, n])  z[n] = max[r](x[r, n])",
        "gradient y, z wrt x",
    ),
    "gather": (
        "dim V, N, T input e: f32 [V, N] input i: int32 [T] output y: f32 [T, N]",
        "y[t, n] = e[i[t], n] * e[i[t], n]",
        "gradient y wrt e",
    ),
    "gated product": (
        "dim M, N, K input a: f32 [M, K] input b: f32 [N, K] input g: f32 [M] output c: f32 [M, N]",
        "c[m, n] = tanh(sum[k](a[m, k] * b[n, k])) * g[m]",
        "gradient c wrt a, b, g",
    ),
    "broadcast": (
        "dim M, N input a: f32 [M] input b: f32 [N] output c: f32 [M, N]",
        "c[m, n] = a[m] * exp(b[n]) + sqrt(2 + a[m] * a[m])",
        "gradient c wrt a, b",
    ),
    "halves": (
        "dim D in {6} input x: f32 [D] input s: f32 [D // 2] output y: f32 [D // 2]",
        "y[i] = x[i] * silu(x[i + D // 2]) * s[i]",
        "gradient y wrt x, s",
    ),
    "halves and whole": (
        "dim R, D in {6} input x: f32 [R, D] output y: f32 [R, D // 2] output z: f32 [R, D]",
        "y[r, i] = x[r, i] * x[r, i + D // 2]  z[r, d] = x[r, d] * x[r, d]",
        "gradient y, z wrt x",
    ),
    "unused index": (
        "dim M, N input a: f32 [M, N] input b: f32 [N] output c: f32 [M]",
        "c[m] = sum[n](a[m, 0] * a[m, 0] + b[n])",
        "gradient c wrt a",
    ),
    "functions": (
        "dim N input x: f32 [N] output y: f32 [N]",
        "y[i] = gelu_tanh(x[i]) + log(1 + x[i] * x[i]) / (2 + cos(x[i]))"
        " + erf(x[i]) * pow(2 + sin(x[i]), 1.5)"
        " + exp2(x[i]) * log2(3 + abs(x[i])) + min(x[i], 0.3) * max(x[i], -0.2) + sigmoid(x[i]) * relu(x[i])",
        "gradient y wrt x",
    ),
    "saved and unsaved outputs": (
        "dim R, N input x: f32 [R, N] output y: bf16 [R, N] output s: f32 [R]",
        "y[r, n] = exp(x[r, n] / 3)  s[r] = sum[n](y[r, n] * y[r, n])",
        "gradient s, y wrt x",
    ),
}  # fmt: skip


def of(name: str) -> Kernel:
    declarations, math, request = MATHS[name]
    return kernel(f"kernel k: rows {{ {declarations} math {{ {math} }} {request} }}")


SMALL = {"R": 3, "N": 4, "V": 2, "T": 5, "M": 3, "K": 2, "D": 6}


@pytest.mark.parametrize("name", MATHS)
def test_small_maths(name: str) -> None:
    assert_derivative(of(name), {dim: SMALL[dim] for dim in of(name).dims}, {})


def test_the_norm_reads_its_saved_factor_and_recomputes_nothing() -> None:
    derivation = gradient(example("rms_norm"), wanted(example("rms_norm")))
    assert derivation.saves == ("rstd",)
    lines = {show(e.left): show(e.value) for e in derivation.kernel.math}
    assert lines["grad_weight[n]"] == "sum[r]((grad_y[r, n] * (x[r, n] * rstd[r])))"
    assert set(derivation.kernel.tensors) == {"x", "weight", "rstd", "grad_y", "grad_x", "grad_weight"}


def test_dtypes_of_gradients_follow_the_tensors() -> None:
    tensors = gradient(example("matmul"), wanted(example("matmul"))).kernel.tensors
    assert tensors["grad_A"].same_as == "A" and tensors["grad_C"].same_as == "A"
    rope = gradient(example("rope"), wanted(example("rope"))).kernel.tensors
    assert [d.value for d in rope["grad_y"].dtypes] == ["bf16", "f32"]  # x itself is not passed
    assert rope["grad_x"].same_as == "grad_y" and "x" not in rope


# ---- launches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["matmul", "rms_norm", "cross_entropy", "rope", *MATHS])
def test_a_backward_kernel_is_a_chain_of_the_same_meaning(name: str) -> None:
    subject = of(name) if name in MATHS else example(name)
    derivation = gradient(subject, wanted(subject))
    chain = split(derivation.kernel)
    dims = {dim: 6 if dim in ("D", "H") else size for size, dim in enumerate(subject.dims, 3)}
    inputs = random_inputs(derivation.kernel, dims, bound=3)
    expected = evaluate(derivation.kernel, inputs, {})
    found = evaluate(as_kernel(chain, derivation.kernel), inputs, {})
    for tensor, value in expected.items():
        np.testing.assert_allclose(found[tensor], value, rtol=1e-10, atol=1e-12, err_msg=tensor)


def test_the_backward_of_a_product_is_two_products_and_a_column_sum() -> None:
    derivation = gradient(example("matmul"), wanted(example("matmul")))
    chain = split(derivation.kernel)
    assert isinstance(chain, ChainProblem)
    assert [type(stage) for stage in chain.stages] == [ProductProblem] * 3 + [RowsProblem]
    assert chain.carried == (("d_acc",), (), (), ())


def test_without_an_activation_nothing_of_the_forward_is_computed_again() -> None:
    plain = specialise(example("matmul"), {"activation": "identity"})
    derivation = gradient(plain, wanted(plain))
    assert [show(e.value) for e in derivation.kernel.math] == [
        "sum[n]((grad_C[m, n] * B[k, n]))",
        "sum[m]((grad_C[m, n] * A[m, k]))",
        "sum[m](grad_C[m, n])",
    ]
    chain = split(derivation.kernel)
    assert isinstance(chain, ChainProblem) and chain.carried == ((), (), ())
