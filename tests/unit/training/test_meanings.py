"""A kernel gets an operation of a training step only where its mathematics is that operation's."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import spak_runtime
import spakc
from spak_runtime.training.meanings import ACTIVATIONS, MEANINGS
from spak_runtime.training.ops import Ops
from spak_runtime.training.optim import Optimizer
from spak_runtime.training.spec import TrainingError

KERNELS = Path(__file__).parents[3] / "examples" / "kernels"
CPU, ON_DEVICE = torch.device("cpu"), torch.device("cuda")
"""Operations that believe to be on a device ask kernels, which on a CPU are their mathematics."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    out = tmp_path_factory.mktemp("train")
    spakc.compile_file(KERNELS / "train.spak", out)
    return spak_runtime.load(out)


RIGHT = {
    ("norm", "layer_norm"): "layer",
    ("norm", "rms_norm"): "rms",
    ("residual", "add_layer_norm"): "layer",
    ("activation", "gelu"): "gelu",
    ("activation", "gelu_tanh"): "gelu_tanh",
    ("loss", "cross_entropy"): "loss",
    ("optimizer", "adamw"): "scaled",
}


EVERY = (
    "layer_norm",
    "rms_norm",
    "add_layer_norm",
    "gelu",
    "gelu_tanh",
    "swiglu",
    "cross_entropy",
    "rope",
    "adamw",
)


@pytest.mark.parametrize("op", ["norm", "residual", "activation", "loss", "optimizer"])
@pytest.mark.parametrize("kernel", EVERY)
def test_the_kernels_of_the_example(artifact, op, kernel):
    if (op, kernel) in RIGHT:
        assert MEANINGS[op](artifact[kernel]) == RIGHT[op, kernel]
        return
    with pytest.raises(TrainingError, match=re.escape(f"kernel {kernel} c")):
        Ops({op: kernel}, (op,), artifact, CPU)


ADAMW = """
kernel k: elementwise {
  dim N
  inout  w, first, second: f32 [N]
  input  g: f32 [N]
  input  rate, decay, c1, c2: f32 []
  option beta1: f32 = 0.9   option beta2: f32 = 0.95   option eps: f32 = 1e-8
  math {
    first[i] = beta1 * first[i] + (1 - beta1) * g[i]
    second[i] = beta2 * second[i] + (1 - beta2) * g[i] * g[i]
    w[i] = UPDATE
  }
}
"""
UPDATE = (
    "w[i] * (1 - rate[] * decay[]) - rate[] * (new(first)[i] / c1[]) / (sqrt(new(second)[i] / c2[]) + eps)"
)


RESIDUAL = """
kernel k: rows {
  dim R, N
  input  x: f32 [R, N]
  input  more: f32 [R, N]
  input  shift, scale: f32 [N]
  output y, stream: f32 [R, N]
  option eps: f32 = 1e-6
  math {
    stream[r, n] = x[r, n] + MORE + SHIFT
    y[r, n] = stream[r, n] * rsqrt(sum[i](stream[r, i] * stream[r, i]) / N + eps) * scale[n] + AFTER
  }
  gradient y, stream wrt x, more, shift, scale
}
"""


@pytest.mark.parametrize(
    ("more", "shift", "after"),
    [
        ("more[r, n]", "shift[n]", "0"),
        ("2 * more[r, n]", "shift[n]", "0"),
        ("more[r, n]", "shift[n] * shift[n]", "0"),
        ("more[r, n]", "shift[n]", "x[r, n]"),
    ],
)
def test_a_sum_and_the_norm_of_it(tmp_path, more, shift, after):
    """The root-mean-square norm, too; a kernel that adds something else is none."""
    text = RESIDUAL.replace("MORE", more).replace("SHIFT", shift).replace("AFTER", after)
    kernel = compiled(tmp_path, text)["k"]
    if (more, shift, after) == ("more[r, n]", "shift[n]", "0"):
        assert MEANINGS["residual"](kernel) == "rms"
        return
    with pytest.raises(TrainingError, match="computes something else than residual"):
        MEANINGS["residual"](kernel)


def compiled(folder, text):
    (folder / "k.spak").write_text("spak 1\n" + text)
    spakc.compile_file(folder / "k.spak", folder / "out")
    return spak_runtime.load(folder / "out")


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("decay[]) -", "decay[] * 1.01) -"),
        ("+ eps)", "+ 2 * eps)"),
        ("new(first)", "first"),
        (" / c2[]", ""),
        ("sqrt(new(second)[i] / c2[]) + eps", "sqrt(new(second)[i] / c2[] + eps)"),
    ],
)
def test_almost_adamw_is_refused(tmp_path, change, to):
    assert change in UPDATE
    artifact = compiled(tmp_path, ADAMW.replace("UPDATE", UPDATE.replace(change, to)))
    with pytest.raises(TrainingError, match="kernel k computes something else than adamw"):
        MEANINGS["optimizer"](artifact["k"])


def test_names_of_tensors_say_nothing(tmp_path):
    artifact = compiled(tmp_path, ADAMW.replace("UPDATE", UPDATE))
    assert MEANINGS["optimizer"](artifact["k"]) == "adamw"


def test_a_gradient_may_be_scaled_as_it_is_read(tmp_path):
    scaled = ADAMW.replace("c1, c2: f32", "c1, c2, scale: f32").replace("g[i]", "(scale[] * g[i])")
    assert MEANINGS["optimizer"](compiled(tmp_path, scaled.replace("UPDATE", UPDATE))["k"]) == "scaled"
    wrong = scaled.replace("* (scale[] * g[i])\n    second", "* (scale[] * scale[] * g[i])\n    second")
    with pytest.raises(TrainingError, match="kernel k computes something else than adamw"):
        MEANINGS["optimizer"](compiled(tmp_path, wrong.replace("UPDATE", UPDATE))["k"])


def test_an_optimizer_needs_its_options(tmp_path):
    text = ADAMW.replace("UPDATE", UPDATE).replace("eps", "epsilon")
    with pytest.raises(TrainingError, match="no option eps"):
        MEANINGS["optimizer"](compiled(tmp_path, text)["k"])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_recognised(tmp_path, name):
    text = f"""
    kernel k: elementwise {{
      dim R, N
      input  x: f32 [R, N]
      output y: f32 [R, N]
      math {{ y[r, n] = {name}(x[r, n]) }}
    }}"""
    assert MEANINGS["activation"](compiled(tmp_path, text)["k"]) == name


# ---- the same numbers as torch ----------------------------------------------------------------------


@pytest.fixture
def ops(artifact):
    uses = {"norm": "layer_norm", "activation": "gelu", "loss": "cross_entropy", "optimizer": "adamw"}
    return Ops(uses, tuple(uses), artifact, ON_DEVICE)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_without_a_scale_or_shift(ops, weight, bias):
    x = torch.randn(2, 3, 16, requires_grad=True)
    parts = [torch.randn(16, requires_grad=True) if learned else None for learned in (weight, bias)]
    wanted = torch.nn.functional.layer_norm(x, (16,), *parts, 1e-4)
    found = ops.norm(x, *parts, 1e-4, "layer")
    torch.testing.assert_close(found, wanted)
    inputs = [x, *(part for part in parts if part is not None)]
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_what_a_kernel_does_not_cover_is_torchs(ops):
    x = torch.randn(4, 16)
    torch.testing.assert_close(
        ops.norm(x, None, None, 1e-6, "rms"), torch.nn.functional.rms_norm(x, (16,), eps=1e-6)
    )
    torch.testing.assert_close(ops.activation(x, "silu"), torch.nn.functional.silu(x))
    rows = {row.op: row for row in ops.table() if row.by == "torch"}
    assert rows["norm"].beside and rows["norm"].why == "layer_norm computes norm(kind = layer)"
    assert rows["activation"].beside and rows["activation"].why == "gelu computes gelu, not silu"


def test_a_loss(ops):
    logits, targets = torch.randn(7, 11, requires_grad=True), torch.randint(11, (7,))
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    found = ops.loss(logits, targets)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(y.sum(), [logits]) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("limit", [None, 0.4])
def test_an_optimizer_by_its_kernel(ops, limit):
    """Forty steps with a decay that changes, every second one of a gradient that may be clipped, in the state of a
    checkpoint as torch would have it."""
    found = []
    for using in (ops, Ops({}, (), None, ON_DEVICE), Ops({}, (), None, CPU)):
        source = torch.Generator().manual_seed(5)
        weights = [nn.Parameter(torch.randn(shape, generator=source)) for shape in ((4, 3), (7,))]
        spec = {
            "name": "adamw",
            "betas": (0.9, 0.97),
            "weight_decay": {"first": 0.1, "second": 0.5, "from": 0.5},
        }
        lr = {"name": "cosine", "peak": 1e-2, "warmup": 5}
        optimizer = Optimizer(weights, weights[:1], spec, lr, using)
        optimizer.prepare(0, 40)
        for step in range(40):
            for weight in weights:
                weight.grad = torch.sin(weight.detach() + step)
            if limit is not None and step % 2:
                length = torch.cat([weight.grad.flatten() for weight in weights]).norm()
                torch.testing.assert_close(optimizer.clip(weights, limit), length)
            optimizer.step(step, 40)
        found.append((weights, [optimizer.adamw.state[weight] for weight in weights]))
    for others in found[1:]:
        torch.testing.assert_close(found[0], others, rtol=1e-5, atol=1e-6)
    assert next(row for row in ops.table() if row.op == "optimizer").by.startswith("adamw (")
