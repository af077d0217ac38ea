"""An activation between two products: computed with the one before it, differentiated with the one behind it."""

import os

import pytest
import torch
from torch.nn import functional as F

import spak_runtime
import spakc
from spak_runtime.function import KernelFunction
from spak_runtime.training import products, turns
from spak_runtime.training.meanings import ACTIVATIONS
from spak_runtime.training.spec import TrainingError
from tests.unit.emit.planned import ROOT
from tests.unit.training.kernels_of import artifact_of, ops_of

USES = {"linear": "matmul", "activation": "gelu", "expand": "linear_act", "contract": "act_linear"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return artifact_of(tmp_path_factory.mktemp("mlp"), "matmul", "mlp", "train")


@pytest.fixture
def ops(artifact, monkeypatch):
    return ops_of(artifact, USES, monkeypatch)


@pytest.fixture
def called(monkeypatch):
    """The kernels that were called or differentiated."""
    found = []
    call, differentiate = KernelFunction.__call__, KernelFunction.differentiate

    def recorded(self, /, *args, **kwargs):
        found.append(self.spec.name)
        return call(self, *args, **kwargs)

    def differentiated(self, *args, **kwargs):
        found.append(f"{self.spec.name}, backward")
        return differentiate(self, *args, **kwargs)

    monkeypatch.setattr(KernelFunction, "__call__", recorded)
    monkeypatch.setattr(KernelFunction, "differentiate", differentiated)
    return found


def drawn(*shape, scale=1.0):
    return (scale * torch.randn(shape)).requires_grad_()


def near(found, wanted, tolerance=0.02):
    """In the size of the whole: single elements of bfloat16 differ by more."""
    assert found.shape == wanted.shape
    assert (found.double() - wanted).norm() <= tolerance * wanted.norm()


def right(x, up, out, activation):
    """Of what products read: a derivative may jump where they round."""
    up, out = ([None if p is None else p.bfloat16().double() for p in pair] for pair in (up, out))
    return F.linear(ACTIVATIONS[activation](F.linear(x.bfloat16().double(), *up)), *out)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("width", "hidden"), [(32, 64), (20, 44), (14, 30)])
def test_one_launch_each_way_beside_products(ops, called, activation, biased, width, hidden):
    """Whatever the activation and the sizes, rows of weights that begin at no multiple of 16 bytes among them."""
    torch.manual_seed(1)
    x = drawn(3, 5, width)
    up = drawn(hidden, width, scale=width**-0.5), drawn(hidden) if biased else None
    out = drawn(width, hidden, scale=hidden**-0.5), drawn(width) if biased else None
    y = ops.mlp(x, up, out, activation)
    assert called == ["linear_act", "matmul"] and y.dtype == torch.bfloat16
    wanted = right(x, up, out, activation)
    near(y, wanted)
    parameters = [x, *(p for p in (*up, *out) if p is not None)]
    grad = torch.randn_like(y)
    del called[:]
    found = torch.autograd.grad(y, parameters, grad)
    assert sorted(called) == ["act_linear, backward", *["matmul"] * 3]
    for each, one, p in zip(
        found, torch.autograd.grad(wanted, parameters, grad.double()), parameters, strict=True
    ):
        assert each.dtype == p.dtype
        near(each, one)


def test_what_reads_the_activation_gives_its_gradient(ops):
    """Both gradients against those of the activation alone, in a place where they are far from linear."""
    torch.manual_seed(2)
    x, up, out = drawn(40, 16, scale=3.0), (drawn(24, 16), drawn(24)), (drawn(8, 24), None)
    frozen = [x.detach().requires_grad_(), *(p.detach() for p in up)]
    found = torch.autograd.grad(ops.mlp(x, up, out, "gelu").sum(), [x, *up])
    (alone,) = torch.autograd.grad(ops.mlp(frozen[0], tuple(frozen[1:]), out, "gelu").sum(), frozen[:1])
    torch.testing.assert_close(alone, found[0])
    for each, one in zip(found, torch.autograd.grad(right(x, up, out, "gelu").sum(), [x, *up]), strict=True):
        near(each, one)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("hidden", [64, 44])
def test_turns_share_gradients_of_both_weights(ops, monkeypatch, biased, hidden):
    """One product for each over the tokens of all turns, and the gradient of what the activation is computed of is
    written where that of the first weight reads it."""
    asked, copied = [], []
    multiply, put = products.multiply, turns.Use.put

    def recorded(kernel, a, b, *wanted, **out):
        asked.append((*a.shape, b.shape[1]))
        return multiply(kernel, a, b, *wanted, **out)

    def placed(self, gradient):
        if self.place().data_ptr() != gradient.data_ptr():
            copied.append(tuple(gradient.shape))
        return put(self, gradient)

    for where in (products, turns):
        monkeypatch.setattr(where, "multiply", recorded)
    monkeypatch.setattr(turns.Use, "put", placed)
    torch.manual_seed(3)
    width, rows, count = 16, 10, 3
    x = drawn(2, 5, width)
    up = drawn(hidden, width, scale=0.3), drawn(hidden) if biased else None
    out = drawn(width, hidden, scale=0.1), drawn(width) if biased else None
    with ops.one_forward():
        y = x
        for _ in ops.turns(range(count)):
            y = y + ops.mlp(y, up, out, "gelu")
    assert asked == [(rows, hidden, width)] * count, "the other half is by a kernel of its own"
    del asked[:]
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    gathered = [size for size in asked if size[1] == rows * count]
    assert sorted(gathered) == sorted([(hidden, rows * count, width), (width, rows * count, hidden)])
    assert len(asked) == count + 2, "and the gradients of x"
    assert (rows, hidden) not in copied
    wanted = x.detach().double().requires_grad_()
    z = wanted
    for _ in range(count):
        z = z + right(z, up, out, "gelu")
    parameters = [p for p in (*up, *out) if p is not None]
    grads = torch.autograd.grad((z * weight.double()).sum(), [wanted, *parameters])
    for p, one in zip([x, *parameters], grads, strict=True):
        near(p.grad, one)


def test_both_halves_are_in_the_table(ops):
    ops.mlp(drawn(4, 16), (drawn(32, 16), None), (drawn(16, 32), None), "silu")
    rows = {row.op: row for row in ops.table()}
    for op in ("expand", "contract", "linear"):
        assert rows[op].kernel == USES[op] and rows[op].by.startswith(f"{USES[op]} (")
    assert "activation" not in rows


def test_without_gradients(ops):
    x, up, out = drawn(6, 16), (drawn(32, 16), drawn(32)), (drawn(16, 32), drawn(16))
    with torch.no_grad():
        y = ops.mlp(x, up, out, "gelu")
    torch.testing.assert_close(y, ops.mlp(x, up, out, "gelu").detach())


@pytest.mark.parametrize("missing", ["expand", "contract", "linear"])
def test_one_half_is_none(artifact, monkeypatch, called, missing):
    """Each by itself then, and a strict run says why."""
    uses = {op: name for op, name in USES.items() if op != missing}
    ops = ops_of(artifact, uses, monkeypatch)
    x, up, out = drawn(6, 16), (drawn(32, 16), None), (drawn(16, 32), None)
    del called[:]
    near(ops.mlp(x, up, out, "gelu"), right(x, up, out, "gelu"))
    assert called == (["gelu"] if missing == "linear" else ["matmul", "gelu", "matmul"])
    rows = {row.op: row for row in ops.table()}
    assert rows[missing].by == "torch" and rows[missing].kernel is None


KERNELS = """
spak 1
targets cpu
kernel gelu_only: product {
  dim M, N, K
  input a: bf16 | f16 [M, K]   input b: same(a) [K, N] layout row | column
  output y, h: same(a) [M, N]
  math { h[m, n] = sum[k](a[m, k] * b[k, n])   y[m, n] = gelu(h[m, n]) }
}
kernel gelu_back: chain {
  dim M, N, K
  input h: bf16 | f16 [M, K]   input b: same(h) [K, N] layout row | column
  output y: same(h) [M, N]
  math { y[m, n] = sum[k](gelu(h[m, k]) * b[k, n]) }
  gradient y wrt h
}
kernel both: chain {
  dim M, N, K
  input h: bf16 | f16 [M, K]   input b: same(h) [K, N] layout row | column
  output y: same(h) [M, N]
  math { y[m, n] = sum[k](gelu(h[m, k]) * b[k, n]) }
  gradient y wrt h, b
}
kernel swapped: product {
  dim M, N, K
  input a: bf16 | f16 [M, K]   input b: same(a) [K, N] layout row | column
  output h, y: same(a) [M, N]
  math { h[m, n] = sum[k](a[m, k] * b[k, n])   y[m, n] = gelu(h[m, n]) }
}
kernel lies: product {
  dim M, N, K
  input a: bf16 | f16 [M, K]   input b: same(a) [K, N] layout row | column
  output y, h: same(a) [M, N]
  option activation: gelu | silu = gelu
  math { h[m, n] = sum[k](a[m, k] * b[k, n])   y[m, n] = gelu(h[m, n]) }
}
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    matmul = os.path.relpath(ROOT / "examples" / "kernels" / "matmul.spak", folder)
    (folder / "others.spak").write_text(KERNELS.replace("targets", f'use "{matmul}"\ntargets'))
    spakc.compile_file(folder / "others.spak", folder / "artifact")
    return spak_runtime.load(folder / "artifact")


def test_kernels_with_one_activation(others, monkeypatch, called):
    """Another one is left to kernels of its own, an exception of a strict run."""
    uses = {"linear": "matmul", "expand": "gelu_only", "contract": "gelu_back"}
    ops = ops_of(others, uses, monkeypatch)
    given = drawn(6, 16), (drawn(32, 16), None), (drawn(16, 32), None)
    del called[:]
    near(ops.mlp(*given, "gelu"), right(*given, "gelu"))
    assert called == ["gelu_only", "matmul"]
    near(ops.mlp(*given, "silu"), right(*given, "silu"))
    biased = given[0], (given[1][0], drawn(32)), given[2]
    near(ops.mlp(*biased, "gelu"), right(*biased, "gelu"))
    assert called == ["gelu_only", *["matmul"] * 5]
    whys = {row.why for row in ops.table() if row.op in ("expand", "contract") and row.by == "torch"}
    assert whys == {
        "gelu_only computes gelu, not silu",
        "gelu_back computes gelu, not silu",
        "gelu_only adds no bias",
    }


@pytest.mark.parametrize(
    ("op", "kernel", "why"),
    [
        ("expand", "matmul", "gives an activation of a product and the product"),
        ("expand", "swapped", "computes none of"),
        ("expand", "lies", "with activation = silu computes something else than expand"),
        ("contract", "matmul", "with respect to its first input"),
        ("contract", "both", "with respect to its first input"),
    ],
)
def test_what_is_no_half(others, monkeypatch, op, kernel, why):
    with pytest.raises(TrainingError, match=why):
        ops_of(others, {"linear": "matmul", op: kernel}, monkeypatch)
