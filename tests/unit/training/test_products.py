"""The products of a training step ask a kernel for what it does fast, whatever the sizes of the model."""

import contextlib
import itertools
import os

import pytest
import torch

import spak_runtime
import spakc
from spak_runtime.training import ops as module
from spak_runtime.training import products
from spak_runtime.training.attention import heads_of
from spak_runtime.training.meanings import attention, rotate
from spak_runtime.training.ops import Ops
from spak_runtime.training.spec import TrainingError
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
    multiply = products.multiply

    def recorded(kernel, a, b, *wanted, **out):
        asked.extend((a, b, *([out["out"]] if "out" in out else [])))
        return multiply(kernel, a, b, *wanted, **out)

    monkeypatch.setattr(products, "multiply", recorded)
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
    assert len(asked) == 7
    for matrix in asked:
        assert sorted(matrix.stride())[0] == 1 and max(matrix.stride()) % 8 == 0, matrix.stride()


@pytest.mark.parametrize("shared", [True, False])
def test_a_weight_is_cast_once_a_step(artifact, monkeypatch, shared):
    """However many loops use it, and its gradients are summed as they are: in float32, without a rounding a loop."""
    asked = []
    multiply = products.multiply

    def recorded(kernel, a, b, *wanted, **out):
        asked.append((a, b))
        return multiply(kernel, a, b, *wanted, **out)

    monkeypatch.setattr(products, "multiply", recorded)
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


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Attention and rotation, and the causal option of the first."""
    out = tmp_path_factory.mktemp("heads")
    text = 'spak 1\nuse "{0}/fmha.spak"\nuse "{0}/train.spak"\ntargets h100\n'
    file = out / "heads.spak"
    file.write_text(text.format(os.path.relpath(ROOT / "examples" / "kernels", out)))
    spakc.compile_file(file, out / "artifact")
    return spak_runtime.load(out / "artifact")


@pytest.mark.parametrize("by_kernel", [True, False])
@pytest.mark.parametrize("positions", ["none", "rope", "runs"])
@pytest.mark.parametrize("groups", [None, 2])
def test_attention_where_heads_lie(heads, groups, positions, by_kernel):
    """Values and gradients are those of torch on heads that were copied one behind the other."""
    uses = {"attention": "fmha"} | ({"rotation": "rope"} if by_kernel else {})
    ops = Ops(uses, ("attention", "rotation"), heads, torch.device("cuda"))
    batch, length, count, size = 2, 5, 4, 64
    torch.manual_seed(1)
    widths = [3 * count * size] if groups is None else [count * size, 2 * groups * size]
    projected = [torch.randn(batch, length, w).bfloat16().requires_grad_() for w in widths]
    angle = torch.arange(length)[:, None] * 500.0 ** (-torch.arange(0, size, 2).float() / size)
    angle = torch.rand(batch, 1, length, size // 2) if positions == "runs" else angle
    place = None if positions == "none" else (angle.cos(), angle.sin())
    y = ops.attention(*projected, heads=count, groups=groups, place=place, base=500.0)
    q, k, v = (part.transpose(1, 2).double() for part in heads_of(tuple(projected), count, groups or count))
    if place is not None:
        q, k = (rotate(part, *(each.double() for each in place)) for part in (q, k))
    wanted = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=groups is not None
    )
    wanted = wanted.transpose(1, 2).flatten(2)
    assert y.shape == (batch, length, count * size)
    torch.testing.assert_close(y.double(), wanted, rtol=0.02, atol=0.03)
    grad = torch.randn_like(y)
    found = torch.autograd.grad(y, projected, grad)
    for a, b in zip(found, torch.autograd.grad(wanted, projected, grad.double()), strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=0.05, atol=0.05)
    rows = {row.op: row for row in ops.table()}
    assert rows["attention"].by.startswith("fmha (")
    if place is not None and by_kernel:
        assert rows["rotation"].by.startswith("rope (") == (positions == "rope")
        assert rows["rotation"].excepted == (positions == "runs")


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("softcap", [0.0, 5.0])
def test_attention_with_a_bias(heads, groups, softcap):
    """Scores get what stands in a table at the row of each query and key, and the table its gradient."""
    ops = Ops({"attention": "fmha_biased"}, ("attention",), heads, torch.device("cuda"))
    batch, length, count, size = 3, 6, 4, 16
    torch.manual_seed(2)
    widths = [3 * count * size] if groups is None else [count * size, 2 * groups * size]
    projected = [torch.randn(batch, length, w).bfloat16().requires_grad_() for w in widths]
    table = torch.randn(5, count, requires_grad=True)
    row = torch.randint(5, (batch, length, length))
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1).expand_as(row)
    bias = ops.of_scores(table, row, hidden)
    y = ops.attention(*projected, heads=count, groups=groups, bias=bias, causal=False, softcap=softcap)
    q, k, v = (part.transpose(1, 2).double() for part in heads_of(tuple(projected), count, groups or count))
    added = torch.nn.functional.embedding(row, table.double()).masked_fill(hidden[..., None], -torch.inf)
    wanted = attention(q, k, v, added.permute(0, 3, 1, 2), False, softcap).transpose(1, 2).flatten(2)
    torch.testing.assert_close(y.double(), wanted, rtol=0.02, atol=0.03)
    grad = torch.randn_like(y)
    found = torch.autograd.grad(y, [*projected, table], grad)
    for a, b in zip(found, torch.autograd.grad(wanted, [*projected, table], grad.double()), strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=0.05, atol=0.05)
    (known,) = ops.table()
    assert known.by.startswith("fmha_biased (")


@pytest.mark.parametrize("biased", [True, False])
def test_scores_that_a_kernel_does_not_have_are_torchs(heads, biased):
    ops = Ops({"attention": "fmha_biased" if biased else "fmha"}, ("attention",), heads, torch.device("cuda"))
    bias = None if biased else torch.randn(2, 2, 5, 5)
    y = ops.attention(torch.randn(2, 5, 3 * 2 * 64).bfloat16(), heads=2, bias=bias, causal=biased)
    (known,) = ops.table()
    assert y.shape == (2, 5, 128) and known.by == "torch" and known.beside and not known.excepted
    assert ("takes a bias" if biased else "takes no bias") in known.why


def test_heads_of_a_size_without_a_kernel_are_torchs(heads):
    ops = Ops(
        {"attention": "fmha", "rotation": "rope"}, ("attention", "rotation"), heads, torch.device("cuda")
    )
    x = torch.randn(2, 5, 3 * 2 * 48, dtype=torch.bfloat16)
    angle = torch.rand(5, 24)
    y = ops.attention(x, heads=2, place=(angle.cos(), angle.sin()), base=100.0)
    rows = {row.op: row for row in ops.table()}
    assert y.shape == (2, 5, 96) and rows["attention"].by == "torch" and "64 or 128" in rows["attention"].why


def test_a_kernel_that_turns_otherwise_is_refused(heads):
    with pytest.raises(TrainingError, match="gelu cannot compute rotation: no option base"):
        Ops({"rotation": "gelu"}, ("rotation",), heads, torch.device("cuda"))


def test_a_bias_is_added_by_the_product(artifact, monkeypatch):
    """And its gradient is summed in float32."""
    monkeypatch.setattr(module, "_working_dtype", lambda x: torch.bfloat16)
    ops = Ops({"linear": "matmul"}, ("linear",), artifact, torch.device("cuda"))
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(size, requires_grad=True) for size in ((40, 16), (24, 16), (24,)))
    given = []
    multiply = products.multiply

    def recorded(*args, **kwargs):
        given.append(kwargs.get("bias"))
        return multiply(*args, **kwargs)

    monkeypatch.setattr(products, "multiply", recorded)
    y = ops.linear(x, weight, bias)
    assert torch.equal(given[0], bias.bfloat16()) and y.dtype == torch.bfloat16
    right = torch.nn.functional.linear(*(each.bfloat16().double() for each in (x, weight, bias)))
    torch.testing.assert_close(y.double(), right, rtol=2.0**-8, atol=2.0**-6)
    grad = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, weight, bias), grad)
    wanted = torch.autograd.grad(right, (x, weight, bias), grad.double())
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=2.0**-6, atol=2.0**-6)
    torch.testing.assert_close(found[2], grad.float().sum(0), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("narrow", [True, False])
def test_a_norm_that_only_products_read_is_written_in_their_dtype(heads, monkeypatch, narrow):
    """It would be cast otherwise: the same bits, and the gradient comes back in that dtype."""
    monkeypatch.setattr(module, "_working_dtype", lambda x: torch.bfloat16)
    ops = Ops({"norm": "layer_norm"}, ("norm",), heads, torch.device("cuda"))
    x, weight = torch.randn(6, 32, requires_grad=True), torch.randn(32, requires_grad=True)
    y = ops.norm(x, weight, None, 1e-5, "layer", narrow=narrow)
    assert y.dtype == (torch.bfloat16 if narrow else torch.float32)
    right = torch.nn.functional.layer_norm(x, (32,), weight)
    torch.testing.assert_close(y.bfloat16(), right.bfloat16())
    grad = torch.randn_like(y)
    for ours, theirs in zip(
        torch.autograd.grad(y, (x, weight), grad),
        torch.autograd.grad(right, (x, weight), grad.float()),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
