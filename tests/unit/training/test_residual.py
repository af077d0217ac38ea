"""Sums of the residual stream wait for the norm that reads them; for all else they are tensors."""

import operator

import pytest
import torch
from torch.nn import functional as F

from spak_runtime.function import KernelFunction
from spak_runtime.training.ops import Ops
from spak_runtime.training.residual import Sum
from tests.unit.training.kernels_of import artifact_of, ops_of

USES = {"linear": "matmul", "norm": "layer_norm", "residual": "add_layer_norm"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return artifact_of(tmp_path_factory.mktemp("residual"), "matmul", "train")


@pytest.fixture
def ops(artifact, monkeypatch):
    return ops_of(artifact, USES, monkeypatch)


@pytest.fixture
def called(monkeypatch):
    """The kernels that were called."""
    found = []
    call = KernelFunction.__call__

    def recorded(self, /, *args, **kwargs):
        found.append(self.spec.name)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(KernelFunction, "__call__", recorded)
    return found


def drawn(*shape, dtype=torch.float32, scale=1.0):
    return (scale * torch.randn(shape)).to(dtype).requires_grad_()


@pytest.mark.parametrize("terms", ["more", "wide", "shift", "both", "three"])
@pytest.mark.parametrize("narrow", [True, False])
def test_a_norm_computes_the_sum_that_it_reads(ops, called, terms, narrow):
    """And its gradient adds that of the sum, and gives each term its own."""
    torch.manual_seed(5)
    x, weight, bias = drawn(2, 6, 32), drawn(32), drawn(32)
    added = {
        "more": [drawn(2, 6, 32, dtype=torch.bfloat16)],
        "wide": [drawn(2, 6, 32)],
        "shift": [drawn(32)],
        "both": [drawn(2, 6, 32, dtype=torch.bfloat16), drawn(32)],
        "three": [drawn(2, 6, 32), drawn(2, 6, 32, dtype=torch.bfloat16), drawn(32)],
    }[terms]
    with ops.one_forward():
        total = ops.sum(x, *added, False)
        y = ops.norm(total, weight, bias, 1e-5, "layer", narrow=narrow)
        stream = total * 1.0
    assert called == ["add_layer_norm"] and isinstance(total, Sum)
    assert y.dtype == (torch.bfloat16 if narrow else torch.float32) and stream.dtype == torch.float32
    exact = x.double() + sum(each.double() for each in added)
    wanted = F.layer_norm(exact, (32,), weight.double(), bias.double(), 1e-5)
    torch.testing.assert_close(stream.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y.double(), wanted, rtol=0.01, atol=0.02 if narrow else 1e-4)
    inputs, grads = [x, weight, bias, *added], [torch.randn_like(y), torch.randn_like(stream)]
    found = torch.autograd.grad([y, stream], inputs, grads)
    right = torch.autograd.grad([wanted, exact], inputs, [grad.double() for grad in grads])
    for each, of, one in zip(inputs, found, right, strict=True):
        assert of.dtype == each.dtype
        loose = each.dtype == torch.bfloat16
        torch.testing.assert_close(
            of.double(), one.double(), rtol=0.02 if loose else 1e-4, atol=0.05 if loose else 1e-3
        )
    (row,) = [row for row in ops.table() if row.op == "residual"]
    assert row.kernel == "add_layer_norm" and row.by.startswith("add_layer_norm (")


def test_the_second_norm_reads_what_the_first_computed(ops, called):
    x, more, weight = drawn(6, 32), drawn(6, 32, dtype=torch.bfloat16), drawn(32)
    with ops.one_forward():
        total = ops.sum(x, more)
        first = ops.norm(total, weight, None, 1e-5, "layer")
        second = ops.norm(total, weight, None, 1e-5, "layer")
        third = ops.sum(total, more)
    assert called == ["add_layer_norm", "layer_norm"]
    torch.testing.assert_close(first, second)
    assert third.parts[0] is total.tensor()


def test_a_sum_that_nobody_read_is_part_of_the_next(ops, called):
    x, more, shift, weight = drawn(6, 32), drawn(6, 32, dtype=torch.bfloat16), drawn(32), drawn(32)
    with ops.one_forward():
        before = ops.sum(x, more)
        total = ops.sum(before, shift)
        y = ops.norm(total, weight, None, 1e-5, "layer")
    assert called == ["add_layer_norm"] and before.is_open and not total.is_open
    torch.testing.assert_close(total.tensor(), x + more + shift)
    torch.testing.assert_close(y, F.layer_norm(x + more + shift, (32,), weight))


@pytest.mark.parametrize(
    "read",
    [
        lambda s, x: s + x,
        lambda s, x: x + s,
        lambda s, x: s - x,
        lambda s, x: x * s,
        lambda s, x: -s / 2,
        lambda s, x: s[0],
        lambda s, x: s > x,
        lambda s, x: torch.where(x > 0, s, x),
        lambda s, x: torch.cat([s, s]),
        lambda s, x: F.dropout(s, 0.0),
        lambda s, x: F.linear(s, x),
        lambda s, x: s.square().sum(-1),
        lambda s, x: s.flatten(0, 1),
        lambda s, x: torch.ones(s.shape, dtype=s.dtype),
        lambda s, x: operator.pow(s, 2),
    ],
)
def test_it_is_the_tensor_for_everything_else(ops, read):
    x, y = drawn(6, 6), drawn(6, 6)
    with ops.one_forward():
        assert torch.equal(read(ops.sum(x, y), x), read(x + y, x))


def test_where_nothing_waits(ops):
    """Outside of a training step, without a kernel for it, and for what are no rows of one width."""
    x, y = drawn(6, 32), drawn(6, 32)
    assert torch.equal(ops.sum(x, False, y), x + y)
    by_torch = Ops({}, (), None, torch.device("cpu"))
    with by_torch.one_forward():
        assert torch.equal(by_torch.sum(x, y), x + y)
    with ops.one_forward():
        assert torch.equal(ops.sum(x, drawn(6, 1)[:, :1] * 0), x)
        assert ops.sum(2, 3) == 5 and ops.sum(x, False) is not None
        assert torch.equal(ops.sum(torch.arange(3), torch.arange(3)), 2 * torch.arange(3))


def test_another_norm_than_the_kernels_is_torchs_sum(ops, called):
    """Of root mean square: the sum is torch's, an exception by its place, and the norm is whose the file says."""
    x, y, weight = drawn(6, 32), drawn(6, 32), drawn(32)
    with ops.one_forward():
        found = ops.norm(ops.sum(x, y), weight, None, 1e-6, "rms")
    torch.testing.assert_close(found, F.rms_norm(x + y, (32,), weight, 1e-6))
    assert called == []
    rows = {row.op: row for row in ops.table()}
    assert rows["residual"].beside and "add_layer_norm computes norm(kind = layer)" in rows["residual"].why


def test_turns_put_gradients_where_products_want_them(ops, called):
    """That of what a product added lies where the gradient of its weight reads it, and rows of a table are rows of its
    gradient: no turn sums a vector for itself."""
    torch.manual_seed(7)
    weight, scale, table, x = drawn(32, 32, scale=0.2), drawn(32), drawn(4, 32), drawn(2, 4, 32)

    def run(total, norm, linear, turns):
        y = x
        for turn in turns:
            z = total(y, turn)
            h = norm(z)
            y = total(z, linear(h))
        return norm(y)

    with ops.one_forward():
        y = run(
            lambda a, b: ops.sum(a, ops.row(table, b) if isinstance(b, int) else b),
            lambda z: ops.norm(z, scale, None, 1e-5, "layer", narrow=True),
            lambda h: ops.linear(h, weight),
            ops.turns(range(3)),
        )
    assert called.count("add_layer_norm") == 4 and called.count("layer_norm") == 0
    del called[:]
    y.float().square().mul(torch.arange(32.0)).sum().backward()
    assert called == ["matmul"] * 4, "three gradients of rows and one of the weight"
    w, s, t, z = (each.detach().double().requires_grad_() for each in (weight, scale, table, x))
    y = z
    for turn in range(3):
        total = y + t[turn]
        y = total + F.layer_norm(total, (32,), s) @ w.t()
    F.layer_norm(y, (32,), s).square().mul(torch.arange(32.0)).sum().backward()
    for ours, right in ((weight, w), (scale, s), (table, t), (x, z)):
        assert (ours.grad.double() - right.grad).norm() <= 0.02 * right.grad.norm()
    assert torch.equal(table.grad[3], torch.zeros(32)), "no turn read it"


def test_a_row_that_is_read_twice(ops):
    """Beyond the loops of training the last one is read again: gradients are summed."""
    table, x, scale = drawn(2, 32), drawn(6, 32), drawn(32)
    with ops.one_forward():
        found = [
            ops.norm(ops.sum(x, ops.row(table, min(turn, 1))), scale, None, 1e-5, "layer")
            for turn in ops.turns(range(4))
        ]
    torch.stack(found).square().mul(torch.arange(32.0)).sum().backward()
    t = table.detach().double().requires_grad_()
    rows = [F.layer_norm(x.double() + t[min(turn, 1)], (32,), scale.double()) for turn in range(4)]
    torch.stack(rows).square().mul(torch.arange(32.0)).sum().backward()
    torch.testing.assert_close(table.grad.double(), t.grad, rtol=1e-4, atol=1e-3)
