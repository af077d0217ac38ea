"""The products of a training step ask a kernel for what it does fast, whatever the sizes of the model."""

import contextlib
import itertools

import pytest
import torch

import spak_runtime
import spakc
from spak_runtime.training import ops as module
from spak_runtime.training.ops import Ops
from tests.unit.emit.planned import ROOT


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    out = tmp_path_factory.mktemp("matmul")
    spakc.compile_file(ROOT / "examples" / "kernels" / "matmul.spak", out)
    return spak_runtime.load(out)


@pytest.mark.parametrize(("width", "out"), [(64, 14), (30, 64), (64, 32)])
def test_rows_begin_where_wide_copies_may(artifact, monkeypatch, width, out):
    """A vocabulary of 14, say, whose gradient would be multiplied without tensor cores."""
    asked = []
    multiply = module._multiply

    def recorded(kernel, a, b, *wanted):
        asked.extend((a, b))
        return multiply(kernel, a, b, *wanted)

    monkeypatch.setattr(module, "_multiply", recorded)
    ops = Ops({"linear": "matmul"}, ("linear",), artifact, torch.device("cuda"))  # asks kernels, on the host
    x = torch.randn(5, 7, width, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(out, width, dtype=torch.bfloat16, requires_grad=True)
    y = ops.linear(x, weight)
    right = x.double() @ weight.double().t()
    torch.testing.assert_close(y.double(), right, rtol=2.0**-8, atol=0.05)
    grad = torch.randn(5, 7, out, dtype=torch.bfloat16)
    found = torch.autograd.grad(y, (x, weight), grad)
    wanted = torch.autograd.grad(right, (x, weight), grad.double())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=2.0**-6, atol=0.1)
    assert len(asked) == 6
    for matrix in asked:
        assert sorted(matrix.stride())[0] == 1 and max(matrix.stride()) % 8 == 0, matrix.stride()


@pytest.mark.parametrize("shared", [True, False])
def test_a_weight_is_cast_once_a_step(artifact, monkeypatch, shared):
    """However many loops use it, and its gradients are summed as they are: in float32, without a rounding a loop."""
    asked = []
    multiply = module._multiply

    def recorded(kernel, a, b, *wanted):
        asked.append((a, b, *wanted))
        return multiply(kernel, a, b, *wanted)

    monkeypatch.setattr(module, "_multiply", recorded)
    monkeypatch.setattr(module, "_working_dtype", lambda x: torch.bfloat16)
    ops = Ops({"linear": "matmul"}, ("linear",), artifact, torch.device("cuda"))
    torch.manual_seed(0)
    weight = torch.randn(16, 16, requires_grad=True)
    x, loops = torch.randn(64, 16), 24
    with ops.one_forward() if shared else contextlib.nullcontext():
        states = [x]
        for _ in range(loops):
            states.append(ops.linear(states[-1].detach() / 4, weight))
    casts = {b.data_ptr() for _, b in asked}
    assert len(casts) == (1 if shared else loops)
    torch.stack(states[1:]).float().square().sum().backward()
    assert weight.grad.dtype == torch.float32
    wanted = torch.zeros(16, 16, dtype=torch.float64)
    for state, y in itertools.pairwise(states):
        grad = (2 * y.detach().float()).to(torch.bfloat16).double()
        wanted += grad.t() @ (state.detach() / 4).to(torch.bfloat16).double()
    torch.testing.assert_close(weight.grad.double(), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_what_a_step_makes_once():
    """By its source, and only while one forward runs: weights change between steps."""
    ops = Ops({}, (), None, torch.device("cpu"))
    made = []

    def make(source):
        return ops.once(source, lambda: made.append(1) or source[0] * 2)

    a, b = torch.ones(3), torch.ones(3)
    with ops.one_forward():
        first = make((a,))
        assert make((a,)) is first and make((a, b)) is not first and make((b,)) is not first
        assert len(made) == 3
    a += 1
    with ops.one_forward():
        assert torch.equal(make((a,)), 2 * a)
    assert torch.equal(make((a,)), 2 * a) and make((a,)) is not make((a,))


def test_a_step_that_fails_leaves_nothing_behind():
    ops = Ops({}, (), None, torch.device("cpu"))
    with pytest.raises(ValueError, match="stop"), ops.one_forward():
        ops.once((torch.ones(1),), lambda: torch.ones(1))
        raise ValueError("stop")
    assert ops._made is None
