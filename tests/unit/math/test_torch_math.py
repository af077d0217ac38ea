"""The emitted mathematics: the oracle's values, and by autograd the symbolic derivative's gradients."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from spakc.emit.torch_math import math_source
from spakc.ir.derive import gradient
from spakc.ir.module import Kernel
from spakc.verify.oracle import evaluate

from .files import FILES, example, kernel
from .numeric import Arrays, derived, random_inputs
from .test_derive import MATHS, SMALL, of, wanted
from .test_recognise import SIZES


def forward(subject: Kernel) -> Callable[..., dict[str, torch.Tensor]]:
    """The `forward` of the emitted file, as an importer would get it."""
    space: dict[str, Any] = {}
    exec(compile(math_source(subject), "math.py", "exec"), space)
    return space["forward"]  # type: ignore[no-any-return]


def tensors(inputs: Arrays, grad: bool = False) -> dict[str, torch.Tensor]:
    found = {}
    for name, array in inputs.items():
        floats = array.dtype.kind == "f"
        tensor = torch.tensor(array, dtype=torch.float32 if floats else torch.int32)
        found[name] = tensor.requires_grad_(grad and floats)
    return found


def positive(inputs: Arrays) -> Arrays:
    return {name: np.abs(a) if name in ("v", "c1", "c2") else a for name, a in inputs.items()}


def assert_same(subject: Kernel, dims: dict[str, int], options: dict[str, Any] | None = None) -> None:
    options = options or {}
    inputs = positive(random_inputs(subject, dims))
    expected = evaluate(subject, inputs, options)
    found = forward(subject)(**tensors(inputs), **options)
    assert list(found) == [n for n, t in subject.tensors.items() if t.role != "input"]
    for name, value in expected.items():
        assert tuple(found[name].shape) == value.shape
        np.testing.assert_allclose(found[name].double().numpy(), value, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("name", FILES)
def test_examples_compute_what_the_oracle_computes(name: str) -> None:
    assert_same(example(name), SIZES[name])


@pytest.mark.parametrize("activation", ["identity", "gelu", "relu_squared", "silu"])
def test_options_choose_the_activation(activation: str) -> None:
    assert_same(example("matmul"), SIZES["matmul"], {"activation": activation})


@pytest.mark.parametrize("options", [{"causal": False}, {"softcap": 1.5, "window": 2}, {"scale": 0.1}])
def test_options_of_attention(options: dict[str, Any]) -> None:
    assert_same(example("fmha"), SIZES["fmha"], options)


@pytest.mark.parametrize("name", MATHS)
def test_small_maths(name: str) -> None:
    assert_same(of(name), {dim: SMALL[dim] for dim in of(name).dims})


GRADIENTS = ["matmul", "fmha", "rms_norm", "cross_entropy", "rope", *MATHS]


@pytest.mark.parametrize("name", GRADIENTS)
def test_autograd_and_the_symbolic_derivative_agree(name: str) -> None:
    subject = of(name) if name in MATHS else example(name)
    dims = {dim: SMALL[dim] for dim in subject.dims} if name in MATHS else SIZES[name]
    request = wanted(subject)
    inputs = random_inputs(subject, dims)
    values = tensors(inputs, grad=True)
    outputs = forward(subject)(**values)
    rng = np.random.default_rng(5)
    seeds = {n: rng.standard_normal(outputs[n].shape) for n in request.outputs}
    loss = sum(((outputs[n] * torch.tensor(seed)).sum() for n, seed in seeds.items()), torch.zeros(()))
    loss.backward()  # type: ignore[no-untyped-call]
    expected = derived(subject, request, inputs, seeds, {})
    for n in request.inputs:
        found = values[n].grad
        assert found is not None
        np.testing.assert_allclose(found.numpy(), expected[n], rtol=2e-4, atol=2e-5, err_msg=n)


@pytest.mark.parametrize("name", GRADIENTS)
def test_backward_kernels_have_mathematics_too(name: str) -> None:
    subject = of(name) if name in MATHS else example(name)
    dims = {dim: SMALL[dim] for dim in subject.dims} if name in MATHS else SIZES[name]
    backward = gradient(subject, wanted(subject)).kernel
    assert_same(backward, {dim: size for dim, size in dims.items() if dim in backward.dims})


def test_masked_rows_give_zeros_and_no_nan_in_the_backward() -> None:
    subject = example("fmha")
    inputs = random_inputs(subject, {"B": 1, "H": 2, "G": 1, "Sq": 4, "Sk": 2, "D": 8})
    values = tensors(inputs, grad=True)
    out = forward(subject)(**values, causal=True)["O"]
    assert torch.all(out[:, :, :2] == 0)
    out.sum().backward()  # type: ignore[no-untyped-call]
    for value in values.values():
        assert value.grad is not None and torch.all(torch.isfinite(value.grad))


def test_narrow_inputs_are_computed_in_float32() -> None:
    inputs = tensors(random_inputs(example("matmul"), SIZES["matmul"]))
    narrow = {name: value.bfloat16() for name, value in inputs.items()}
    assert forward(example("matmul"))(**narrow)["C"].dtype == torch.float32


def test_every_statement_cites_its_line_and_loops_over_nothing() -> None:
    for name in FILES:
        source = math_source(example(name))
        tree = ast.parse(source)
        assert not any(isinstance(node, (ast.For, ast.While, ast.ListComp)) for node in ast.walk(tree))
        for equation in example(name).math:
            cite = f"# {equation.span.source.name}:{equation.span.line}"
            assert any(cite in line for line in source.splitlines()), cite
        assert source == math_source(example(name))


def test_names_that_python_reserves_stay_names() -> None:
    text = """kernel k: rows {
      dim lambda, N
      input max: f32 [lambda, N]
      input F: bf16 [N]
      input class: int32 [lambda]
      output torch: f32 [lambda, N]
      output functional: f32 [N]
      option softmax: gelu | silu = silu
      option given: f32 = rsqrt(N)
      math {
        at_r[r] = sum[n](max[r, n] * F[n])
        torch[r, n] = softmax(max[r, n] - at_r[r]) + given + max[r, class[r]]
        functional[n] = 1
      }
    }"""
    assert_same(kernel(text), {"lambda": 3, "N": 4})
    assert_same(kernel(text), {"lambda": 3, "N": 4}, {"softmax": "gelu", "given": 2.0})
