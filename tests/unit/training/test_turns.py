"""What turns of a loop share: one gradient of a weight, one sum of a scale's gradients, memory written in place."""

import gc
import itertools
import weakref

import pytest
import torch
from torch.nn import functional as F

from spak_runtime.function import KernelFunction
from spak_runtime.training import ops as module
from spak_runtime.training import products, turns
from spak_runtime.training.ops import Ops
from tests.unit.training.kernels_of import artifact_of, ops_of

USES = {"linear": "matmul", "attention": "fmha", "norm": "layer_norm", "activation": "gelu"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return artifact_of(tmp_path_factory.mktemp("turns"), "matmul", "fmha", "train")


@pytest.fixture
def ops(artifact, monkeypatch):
    return ops_of(artifact, USES, monkeypatch)


@pytest.fixture
def asked(monkeypatch):
    """The products that a kernel was asked for, as sizes (M, K, N)."""
    found = []
    multiply = products.multiply

    def recorded(kernel, a, b, *wanted, **out):
        found.append((*a.shape, b.shape[1]))
        return multiply(kernel, a, b, *wanted, **out)

    for where in (products, turns):
        monkeypatch.setattr(where, "multiply", recorded)
    return found


@pytest.fixture
def copied(monkeypatch):
    """How many gradients were copied to their places."""
    found = []
    put = turns.Use.put

    def recorded(self, gradient):
        there = self.place().data_ptr() == gradient.data_ptr()
        found.extend([] if there else [tuple(gradient.shape)])
        return put(self, gradient)

    monkeypatch.setattr(turns.Use, "put", recorded)
    return found


def drawn(*shape, scale=1.0):
    return (scale * torch.randn(shape)).requires_grad_()


class Block:
    """One block of a model with weights of its own, by `ops` or in float64 by torch."""

    def __init__(self, width, heads):
        torch.manual_seed(3)
        sizes = {"scale": (width,), "qkv": (3 * width, width), "out": (width, width)}
        sizes |= {"up": (2 * width, width), "shift": (2 * width,), "down": (width, 2 * width)}
        self.heads = heads
        self.parameters = {name: drawn(*size, scale=size[-1] ** -0.5) for name, size in sizes.items()}

    def by(self, ops, x):
        p = self.parameters
        y = ops.norm(x, p["scale"], None, 1e-5, "layer", narrow=True)
        y = ops.attention(ops.linear(y, p["qkv"]), heads=self.heads)
        h = x + ops.linear(y, p["out"])
        y = ops.norm(h, p["scale"], None, 1e-5, "layer", narrow=True)
        y = ops.activation(ops.linear(y, p["up"], p["shift"]), "gelu")
        return h + ops.linear(y, p["down"])

    def right(self, x):
        p = {name: each.double() for name, each in self.parameters.items()}
        y = F.layer_norm(x, x.shape[-1:], p["scale"]) @ p["qkv"].t()
        q, k, v = y.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        h = x + y @ p["out"].t()
        y = F.gelu(F.layer_norm(h, x.shape[-1:], p["scale"]) @ p["up"].t() + p["shift"])
        return h + y @ p["down"].t()


def near(found, wanted, tolerance=0.02):
    """In the size of the whole: single elements of bfloat16 differ by more."""
    assert found.dtype == torch.float32 and found.shape == wanted.shape
    assert (found.double() - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("count", [1, 4])
def test_a_weight_has_one_gradient(ops, asked, copied, count):
    """A product over the tokens of all turns, of what lies where it was written."""
    width, batch, length = 128, 2, 8
    block, x = Block(width, 2), drawn(batch, length, width)
    with ops.one_forward():
        y = x
        for _ in ops.turns(range(1, count + 1)):
            y = block.by(ops, y)
    forward = len(asked)
    assert forward == 4 * count
    loss = y.square().sum()
    loss.backward()
    tokens = batch * length
    weights = [size for size in asked[forward:] if size[1] == tokens * count]
    assert sorted(weights) == sorted(
        (*p.shape[:1], tokens * count, *p.shape[1:]) for n, p in block.parameters.items() if p.dim() == 2
    )
    assert len(asked) == forward + 4 * count + 4
    residual = [(tokens, width)] * (2 * count)
    assert copied == (residual if count > 1 else []), "a gradient of the residual stream is cast to its place"
    found = {name: each.grad for name, each in block.parameters.items()}
    wanted = x.detach().double().requires_grad_()
    z = wanted
    for _ in range(count):
        z = block.right(z)
    grads = torch.autograd.grad(z.square().sum(), [wanted, *block.parameters.values()])
    near(x.grad, grads[0])
    for gradient, right in zip(found.values(), grads[1:], strict=True):
        near(gradient, right.double())


def test_gradients_of_a_scale_are_summed_once(ops, monkeypatch):
    """In the order of the turns, whatever the number of uses in one."""
    sums = []
    total = torch.Tensor.sum

    def recorded(self, *args, **kwargs):
        sums.append(tuple(self.shape))
        return total(self, *args, **kwargs)

    block, x = Block(128, 2), drawn(2, 8, 128)
    with ops.one_forward():
        y = x
        for _ in ops.turns(range(3)):
            y = block.by(ops, y)
    loss = y.square().sum()
    monkeypatch.setattr(torch.Tensor, "sum", recorded)
    loss.backward()
    scales, shifts = (6, 128), (3 * 16, 256)
    assert sums.count(scales) == sums.count(shifts) == 1
    assert not any(size in sums for size in ((16, 128), (16, 256))), "no turn sums its own"


@pytest.fixture
def left_in_parts(monkeypatch):
    """Kernels leave sums of some of their calls in three parts, where the caller has memory for them; by call."""
    calls, which = [], set()
    whole = KernelFunction.differentiate

    def differentiate(self, values, grads, options, out=None, parts=None):
        found = whole(self, values, grads, options, out)
        added = [name for name, each in found.items() if each.dim() == 1 and name in (parts or {})]
        if len(calls) in which and added:
            for name in added:
                gradient = found.pop(name)
                if parts[name] is not None:
                    width = len(gradient)
                    memory = parts[name]((3, -(-width // 8) * 8))
                    memory.fill_(torch.nan)
                    memory[:, :width] = torch.stack([gradient * share for share in (0.25, 0.5, 0.25)])
                    gradient.fill_(0 if (out or {}).get(name) is gradient else torch.nan)
        calls.extend([self.spec.name] if added else [])
        return found

    monkeypatch.setattr(KernelFunction, "differentiate", differentiate)
    return calls, which


@pytest.mark.parametrize("which", [range(8), (1, 2, 5), ()])
def test_sums_of_all_turns_are_one(artifact, left_in_parts, monkeypatch, which):
    """Of parts that kernels leave, of what they add up themselves, or of both: gradients of a scale, of rows of a table
    that a sum adds, and of a row that is read twice."""
    ops = ops_of(artifact, {"norm": "layer_norm", "residual": "add_layer_norm"}, monkeypatch)
    calls, left_in_parts = left_in_parts
    left_in_parts |= set(which)
    table, scale, shift, x = drawn(5, 30), drawn(30), drawn(30), drawn(2, 4, 30)
    rows = (0, 1, 2, 4)
    with ops.one_forward():
        y = x
        for turn in ops.turns(rows):
            y = y + ops.norm(ops.sum(y, ops.row(table, turn)), scale, shift, 1e-5, "layer")
            y = y + ops.norm(y, scale, shift, 1e-5, "layer")
    (y * torch.arange(30.0)).sum().backward()
    assert len(calls) == 8
    given = [each.detach().double().requires_grad_() for each in (table, scale, shift, x)]
    t, w, b, z = given
    for turn in rows:
        z = z + F.layer_norm(z + t[turn], (30,), w, b)
        z = z + F.layer_norm(z, (30,), w, b)
    (z * torch.arange(30.0)).sum().backward()
    for found, wanted in zip((table, scale, shift, x), given, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted.grad, rtol=1e-3, atol=1e-3)


def test_turns_leave_nothing_behind(ops, monkeypatch):
    """Neither a stack nor what gathers it outlives its step: nothing waits for a collection of cycles."""
    kept = []
    begin = turns.Stack.take

    def recorded(self):
        kept.append(weakref.ref(self.whole))
        return begin(self)

    monkeypatch.setattr(turns.Stack, "take", recorded)
    block, x = Block(128, 2), drawn(2, 8, 128)
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            with ops.one_forward():
                y = x
                for _ in ops.turns(range(3)):
                    y = block.by(ops, y)
            y.square().sum().backward()
            assert ops._turns is None
        del y
        assert kept and all(each() is None for each in kept)
    finally:
        gc.enable()


@pytest.mark.parametrize("reached", [(0, 1, 2, 3), (3,), (0, 2), ()])
def test_only_turns_that_reach_the_loss_count(ops, asked, reached):
    """What the others hold is memory that nobody wrote."""
    weight, xs = drawn(16, 32), [drawn(8, 32) for _ in range(4)]
    with ops.one_forward():
        ys = [ops.linear(xs[turn], weight) for turn in ops.turns(range(4))]
    grads = [torch.randn_like(y) for y in ys]
    loss = sum(((ys[i] * grads[i]).sum() for i in reached), (0 * weight.float()).sum())
    del asked[:]
    loss.backward()
    runs = sum(turn - 1 not in reached for turn in reached)
    assert len([size for size in asked if size[0] == 16]) == runs
    wanted = sum(
        (grads[i].double().t() @ xs[i].detach().bfloat16().double() for i in reached),
        torch.zeros(16, 32).double(),
    )
    torch.testing.assert_close(weight.grad.double(), wanted, rtol=1e-5, atol=1e-5)


def test_several_readers_of_a_product(ops, copied):
    """Their gradients are summed before they go to the place that the first of them was told."""
    weight, x = drawn(16, 32, scale=0.2), drawn(8, 32)
    read = []
    with ops.one_forward():
        for _ in ops.turns(range(2)):
            y = ops.linear(x, weight)
            read.append(ops.activation(y, "gelu").float() + ops.activation(y, "gelu").float() * 2 + y.float())
    torch.stack(read).square().sum().backward()
    assert copied == [(8, 16)] * 2
    w = weight.detach().double().requires_grad_()
    y = x.detach().double() @ w.t()
    (2 * (3 * F.gelu(y) + y).square().sum()).backward()
    near(weight.grad, w.grad)


def test_a_weight_that_meets_the_same_rows_twice(ops, asked):
    """In one turn: the second product has a gradient of its own."""
    weight, scale, x = drawn(32, 32, scale=0.2), drawn(32), drawn(8, 32)
    total = 0.0
    with ops.one_forward():
        for _ in ops.turns(range(3)):
            y = ops.norm(x, scale, None, 1e-5, "layer", narrow=True)
            total = total + ops.linear(y, weight).float() + 2 * ops.linear(y, weight).float()
    forward = len(asked)
    total.square().sum().backward()
    assert [size[1] for size in asked[forward:] if size == (32, size[1], 32)].count(24) == 1
    w, s = weight.detach().double().requires_grad_(), scale.detach().double().requires_grad_()
    (9 * F.layer_norm(x.detach().double(), (32,), s) @ w.t()).square().sum().backward()
    near(weight.grad, w.grad)
    near(scale.grad, s.grad)


def test_rows_begin_where_wide_copies_may(ops, monkeypatch):
    """Of 30 elements, too: what a norm gives is copied to rows of 32, as it is outside of a loop."""
    read = []
    multiply = products.multiply

    def recorded(kernel, a, b, *wanted, **out):
        read.extend((a, b))
        return multiply(kernel, a, b, *wanted, **out)

    for where in (products, turns):
        monkeypatch.setattr(where, "multiply", recorded)
    weight, scale, x = drawn(14, 30, scale=0.2), drawn(30), drawn(8, 30)
    total = 0.0
    with ops.one_forward():
        for _ in ops.turns(range(3)):
            total = total + ops.linear(ops.norm(x, scale, None, 1e-5, "layer", narrow=True), weight).float()
    total.square().sum().backward()
    assert len(read) == 2 * (3 + 3 + 1)
    assert all(min(each.stride()) == 1 and max(each.stride()) % 8 == 0 for each in read)
    w, s = weight.detach().double().requires_grad_(), scale.detach().double().requires_grad_()
    (3 * F.layer_norm(x.detach().double(), (30,), s) @ w.t()).square().sum().backward()
    near(weight.grad, w.grad)
    near(scale.grad, s.grad)


def test_turns_of_different_sizes(ops):
    """A turn with fewer rows has a stack of its own."""
    weight, xs = drawn(16, 32), [drawn(rows, 32) for rows in (8, 4, 8, 4)]
    with ops.one_forward():
        ys = [ops.linear(xs[turn], weight) for turn in ops.turns(range(4))]
    sum(y.float().square().sum() for y in ys).backward()
    wanted = sum(
        2 * y.detach().double().t() @ x.detach().bfloat16().double() for x, y in zip(xs, ys, strict=True)
    )
    near(weight.grad, wanted)


def test_the_loss_writes_its_gradient_in_place(artifact, monkeypatch, copied):
    """Of 14 logits, whose rows lie 16 elements apart."""
    monkeypatch.setattr(module, "_working_dtype", lambda x: torch.bfloat16)
    uses = {"linear": "matmul", "loss": "cross_entropy"}
    ops = Ops(uses, tuple(uses), artifact, torch.device("cuda"))
    weight, xs = drawn(14, 32, scale=0.2), [drawn(2, 4, 32) for _ in range(3)]
    targets = torch.arange(8)
    with ops.one_forward():
        losses = [ops.loss(ops.linear(xs[turn], weight), targets) for turn in ops.turns(range(3))]
    torch.cat(losses).sum().backward()
    assert copied == []
    w = weight.detach().double().requires_grad_()
    sum(
        F.cross_entropy(x.detach().double().flatten(0, 1) @ w.t(), targets, reduction="sum") for x in xs
    ).backward()
    near(weight.grad, w.grad)


def test_nothing_is_shared_outside_of_a_step(ops):
    """Nor where nothing is differentiated, nor in a loop of one turn."""
    seen = [ops._turns for _ in ops.turns(range(3))]
    with ops.one_forward():
        seen += [ops._turns for _ in ops.turns(range(1))]
        with torch.no_grad():
            seen += [ops._turns for _ in ops.turns(range(3))]
        for _ in ops.turns(range(2)):
            outer = ops._turns
            for _ in ops.turns(range(2)):
                assert ops._turns is not outer and ops._turns is not None
            assert ops._turns is outer and outer is not None
    assert not any(seen) and ops._turns is None
    assert list(itertools.islice(ops.turns(range(5, 8)), 9)) == [5, 6, 7]
