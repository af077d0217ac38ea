"""Kernels called with CPU tensors: names, checks, outputs, gradients, and what torch sees."""

import subprocess
import sys

import pytest
import torch

from spak_runtime import errors
from spak_runtime.args import layout_of, strides_of


def reference(x, gate=None, mode="plain", factor=1.0):
    v = x.double() * (1.0 if gate is None else gate.double())
    return (v * v if mode == "squared" else v) * factor


@pytest.fixture
def x():
    return torch.randn(5, 16)


@pytest.fixture
def gate():
    return torch.randn(16)


# ---- results -------------------------------------------------------------------------------------------


def test_positions_names_and_options(hand, x, gate):
    expected = reference(x, gate, "squared", 0.25).float()
    torch.testing.assert_close(hand.affine(x, gate, mode="squared", factor=0.25), expected)
    torch.testing.assert_close(hand.affine(gate=gate, x=x, factor=0.25, mode="squared"), expected)
    torch.testing.assert_close(hand["affine"](x, gate=gate, mode="squared", factor=0.25), expected)


def test_an_absent_tensor_is_its_default(hand, x):
    torch.testing.assert_close(hand.affine(x), x)
    torch.testing.assert_close(hand.affine(x, None), x)


def test_outputs_take_the_dtype_and_layout_asked_for(hand, x):
    half = x.bfloat16()
    assert hand.affine(half).dtype == torch.bfloat16
    wide = hand.affine(half, dtype=torch.float32)
    assert wide.dtype == torch.float32
    assert torch.equal(wide, half.float())
    assert hand.affine(half, dtype={"y": "f32"}).dtype == torch.float32
    assert hand.affine(x, layout="column").stride() == (1, 5)
    assert hand.affine(x).stride() == (16, 1)
    torch.testing.assert_close(hand.affine(x, layout="column"), x)


@pytest.mark.parametrize("give", ["out", "tuple", "dict", "name"])
def test_provided_outputs_are_written(hand, x, give):
    y = torch.full((5, 16), torch.nan)
    ways = {"out": {"out": y}, "tuple": {"out": (y,)}, "dict": {"out": {"y": y}}, "name": {"y": y}}
    assert hand.affine(x, **ways[give]) is y
    torch.testing.assert_close(y, x)


def test_several_outputs_come_as_a_named_tuple(hand):
    x = torch.randn(3, 32)
    result = hand.moments(x)
    assert result._fields == ("total", "squares")
    torch.testing.assert_close(result.total, x.sum(-1))
    torch.testing.assert_close(result.squares, (x * x).sum(-1))


def test_a_default_may_follow_from_sizes(hand):
    x = torch.randn(5, 12)
    torch.testing.assert_close(hand.mean(x), x.mean(-1))
    torch.testing.assert_close(hand.mean(x, scale=2.0), x.sum(-1) * 2)


def test_an_inout_is_written_in_place(hand):
    p, g = torch.ones(7), torch.arange(7.0)
    version = p._version
    assert hand.update(p, g, rate=2.0) is None
    torch.testing.assert_close(p, 1 + 2 * torch.arange(7.0))
    assert p._version > version


def test_an_output_never_aliases_an_input(hand, x):
    y = hand.affine(x)
    y.zero_()
    assert x.abs().sum() > 0


def test_any_lawful_strides_give_the_same(hand, gate):
    wide = torch.randn(16, 10)
    for x in (wide.t(), wide.t()[:5], torch.randn(5, 32)[:, :16], torch.randn(1, 16), torch.randn(16, 1).t()):
        torch.testing.assert_close(hand.affine(x, gate), reference(x, gate).float())
    for rows in (0, 1):
        x = torch.randn(rows, 16)
        assert hand.affine(x).shape == (rows, 16)


def test_it_says_that_torch_computes(hand, x):
    explanation = hand.affine.explain(x)
    assert explanation.variant is None
    assert str(explanation) == BY_TORCH


BY_TORCH = "affine on cpu: computed by torch: CPU tensors, the file's mathematics in torch operations"


@pytest.mark.parametrize("asked", ["1", "0", None])
def test_every_new_call_explains_itself_where_asked(hand, x, capfd, monkeypatch, asked):
    """Once for a shape of call, on stderr, also where the call needs a gradient or is an operator's."""
    monkeypatch.delenv("SPAK_EXPLAIN", raising=False)
    if asked is not None:
        monkeypatch.setenv("SPAK_EXPLAIN", asked)
    kernel = hand.affine.only("each/any")  # one that has not been called before
    said = BY_TORCH + "\n" if asked == "1" else ""
    for call in (x, x[:1], x[:, :8]):
        for _ in range(2):
            kernel(call)
            assert capfd.readouterr() == ("", said if _ == 0 else "")
    hand.affine(torch.randn(3, 24, requires_grad=True))
    assert capfd.readouterr().err == said
    hand.affine.operator(*hand.affine._form.flatten(hand.affine.signature.bind((torch.randn(3, 40),), {})))
    assert capfd.readouterr().err == said


# ---- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda k: k.affine(), errors.CallError, "the tensor x is missing"),
        (
            lambda k: k.affine(Z(5, 16), Z(16), Z(16)),
            errors.CallError,
            r"takes 2 tensors \(x, gate\), 3 were",
        ),
        (lambda k: k.affine(Z(5, 16), x=Z(5, 16)), errors.CallError, "x is given twice"),
        (
            lambda k: k.affine(Z(5, 16), bias=Z(16)),
            errors.CallError,
            "no argument 'bias'; it has x, gate, y, mode",
        ),
        (lambda k: k.affine([[1.0]]), errors.CallError, "x must be a tensor, not list"),
        (lambda k: k.affine(Z(5, 16), out=3), errors.CallError, "output y must be a tensor, not int"),
        (lambda k: k.affine(Z(5, 16), out=(Z(1), Z(1))), errors.CallError, "has 1 outputs, `out` gives 2"),
        (lambda k: k.affine(Z(5, 16), out={"z": Z(1)}), errors.CallError, "no output 'z'; it has y"),
        (lambda k: k.affine(Z(5, 16), out=Z(5, 16), y=Z(5, 16)), errors.CallError, "output y is given twice"),
        (lambda k: k.moments(Z(3, 32), out=Z(3)), errors.CallError, "`out` must be a tuple or a dict"),
        (lambda k: k.update(None, Z(3)), errors.CallError, "the tensor p is missing"),
        (lambda k: k.affine(Z(5, 16).double()), errors.DTypeError, "x is f64, expected bf16, f16 or f32"),
        (lambda k: k.affine(Z(5, 16), Z(16).half()), errors.DTypeError, "gate is f16, expected f32 as x"),
        (lambda k: k.affine(Z(5, 16), dtype=torch.float16), errors.DTypeError, "y is f16, expected f32"),
        (
            lambda k: k.affine(Z(5, 16), dtype="float"),
            errors.DTypeError,
            "'float' is no element type; they are bf16",
        ),
        (lambda k: k.affine(Z(5, 16), dtype=[]), errors.DTypeError, "is no element type"),
        (lambda k: k.affine(Z(5, 16), out=Z(5, 16).half()), errors.DTypeError, "y is f16, expected f32"),
        (lambda k: k.affine(Z(5, 16).cfloat()), errors.DTypeError, "x is complex64"),
        (
            lambda k: k.affine(Z(5, 16, 2)),
            errors.ShapeError,
            r"x has 3 axes \[5, 16, 2\], expected 2: \[R, N\]",
        ),
        (
            lambda k: k.affine(Z(5, 16), Z(8)),
            errors.ShapeError,
            r"N is 16 in x \[5, 16\] = \[R, N\] but 8 in gate \[8\] = \[N\]",
        ),
        (
            lambda k: k.affine(Z(5, 16), out=Z(5, 8)),
            errors.ShapeError,
            r"N is 16 in x .* but 8 in y \[5, 8\]",
        ),
        (
            lambda k: k.affine(Z(5, 32)[:, ::2]),
            errors.StrideError,
            r"strides \[32, 2\], expected stride 1 on the last",
        ),
        (lambda k: k.moments(Z(32, 3).t()), errors.StrideError, r"x \[3, 32\] has strides \[1, 3\]"),
        (
            lambda k: k.affine(Z(5, 16), layout="diagonal"),
            errors.StrideError,
            "y can be row or column, not 'diagonal'",
        ),
        (
            lambda k: k.affine(Z(5, 16), out=Z(1, 16).expand(5, 16)),
            errors.StrideError,
            "elements share memory",
        ),
        (lambda k: k.affine(misaligned(5, 16)), errors.AlignmentError, "x begins at an address .* 4-byte"),
        (
            lambda k: k.affine(Z(5, 16), mode="cubed"),
            errors.OptionError,
            "mode is plain or squared, not 'cubed'",
        ),
        (lambda k: k.affine(Z(5, 16), mode=1), errors.OptionError, "not 1"),
        (
            lambda k: k.affine(Z(5, 16), factor="big"),
            errors.OptionError,
            "factor is a number of type f32, not 'big'",
        ),
        (lambda k: k.affine(Z(5, 16), factor=True), errors.OptionError, "not True"),
        (
            lambda k: k.moments(Z(3, 48)),
            errors.DimError,
            r"N is 48 in x \[3, 48\] = \[R, N\]; .* for 32 or 64",
        ),
        (
            lambda k: k.affine(Z(5, 16, device="meta"), Z(16)),
            errors.DeviceError,
            "x is on meta, gate is on cpu",
        ),
        (lambda k: k.cube, errors.UnknownKernelError, "no kernel 'cube'; it has affine, affine_gradient"),
    ],
)
def test_a_wrong_call_is_told_clearly(hand, call, error, says):
    with pytest.raises(error, match=says) as caught:
        call(hand)
    assert str(caught.value).startswith(error.code)


def Z(*shape, **kwargs):
    return torch.zeros(*shape, **kwargs)


def misaligned(rows, columns):
    raw = torch.zeros(rows * columns * 4 + 1, dtype=torch.uint8)
    return torch.frombuffer(raw.numpy()[1:].data, dtype=torch.float32).view(rows, columns)


# ---- layouts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "layouts", "expected"),
    [
        ((4, 8), (8, 1), ("row", "column"), "row"),
        ((4, 8), (1, 4), ("row", "column"), "column"),
        ((4, 8), (16, 1), ("row",), "row"),
        ((4, 8), (1, 4), ("row",), None),
        ((4, 8), (16, 2), ("row", "column"), None),
        ((4, 1), (1, 1), ("row", "column"), "column"),  # a column of four, whatever the second stride says
        ((4, 1), (1, 1), ("row",), "row"),
        ((1, 8), (1, 1), ("row", "column"), "row"),
        ((1, 1), (7, 9), ("row", "column"), "row"),
        ((4, 1), (3, 9), ("row", "column"), "row"),
        ((0, 8), (1, 3), ("row",), "row"),
        ((8,), (1,), ("row", "column"), "row"),
        ((8,), (2,), ("row", "column"), None),
        ((), (), ("row",), "row"),
        ((2, 4, 8), (99, 1, 4), ("row", "column"), "column"),
    ],
)
def test_the_layout_of_strides(shape, strides, layouts, expected):
    assert layout_of(shape, strides, layouts) == expected


@pytest.mark.parametrize("shape", [(), (3,), (3, 5), (2, 3, 5)])
def test_strides_of_a_layout(shape):
    assert strides_of(shape, "row") == torch.empty(shape).stride()
    if len(shape) >= 2:
        swapped = (*shape[:-2], shape[-1], shape[-2])
        assert strides_of(shape, "column") == torch.empty(swapped).transpose(-1, -2).stride()


# ---- gradients -----------------------------------------------------------------------------------------


def gradients(result, *inputs):
    return torch.autograd.grad((result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum(), inputs)


def test_torch_differentiates_the_mathematics(hand, x, gate):
    x.requires_grad_()
    gate.requires_grad_()
    ours = gradients(hand.affine(x, gate, mode="squared", factor=3.0), x, gate)
    theirs = gradients(reference(x, gate, "squared", 3.0).float(), x, gate)
    torch.testing.assert_close(ours, theirs)


def test_the_gradient_kernel_agrees_with_torch(hand, x, gate):
    """The autograd Function, which CUDA tensors and compiled code take, over the CPU form of the gradient
    kernel."""
    x.requires_grad_()
    gate.requires_grad_()
    kernel = hand.affine
    flat = kernel._form.flatten(kernel.signature.bind((x, gate), {"mode": "squared", "factor": 3.0}))
    ours = gradients(kernel._differentiable(*flat)[0], x, gate)
    theirs = gradients(reference(x, gate, "squared", 3.0).float(), x, gate)
    torch.testing.assert_close(ours, theirs)


def test_an_expanded_gradient_is_laid_out(hand, x):
    x.requires_grad_()
    kernel = hand.affine
    flat = kernel._form.flatten(kernel.signature.bind((x,), {}))
    (grad,) = torch.autograd.grad(kernel._differentiable(*flat)[0].sum(), x)
    torch.testing.assert_close(grad, torch.ones_like(x))


def test_a_second_derivative_is_refused(hand, x):
    x.requires_grad_()
    kernel = hand.affine
    flat = kernel._form.flatten(kernel.signature.bind((x,), {"mode": "squared"}))
    with pytest.raises(errors.GradientError, match="without create_graph"):
        torch.autograd.grad(kernel._differentiable(*flat)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda k: k.moments(G(3, 32)),
            r"moments has no gradient with respect to x.*`gradient total, squares wrt x`",
        ),
        (lambda k: k.update(G(3), Z(3)), "update writes p in place, and p requires a gradient"),
        (lambda k: k.update(Z(3), G(3)), "no gradient with respect to g"),
        (lambda k: k.affine(G(5, 16), out=Z(5, 16)), "outputs that the caller provides"),
    ],
)
def test_a_gradient_that_nobody_declared_is_refused(hand, call, says):
    with pytest.raises(errors.GradientError, match=says):
        call(hand)
    with torch.no_grad():
        call(hand)


def G(*shape):
    return torch.zeros(*shape, requires_grad=True)


def test_autocast_changes_nothing(hand, x, gate):
    """A kernel computes in the dtypes of its arguments, forward and backward, whatever is on around it."""
    x.requires_grad_()
    outside = hand.affine(x, gate, mode="squared", factor=3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x.T).dtype == torch.bfloat16, "torch's own products are cast"
        inside = hand.affine(x, gate, mode="squared", factor=3.0)
        (grad,) = gradients(inside, x)
    assert inside.dtype == grad.dtype == torch.float32
    assert torch.equal(inside, outside) and torch.equal(grad, gradients(outside, x)[0])


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients(hand, x, gate, off):
    expected = hand.affine(x, gate)
    x.requires_grad_()
    with off():
        result = hand.affine(x, gate)
    assert not result.requires_grad and torch.equal(result, expected)


# ---- torch's tracers -----------------------------------------------------------------------------------


def test_opcheck(hand, x, gate):
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(hand.affine.operator, (x, gate, "squared", 2.0, "", ""), test_utils=checks)
    torch.library.opcheck(hand.affine.operator, (x, None, "plain", 1.0, "f32", "column"), test_utils=checks)
    torch.library.opcheck(hand.moments.operator, (torch.randn(3, 32),), test_utils=checks)
    torch.library.opcheck(hand.update.operator, (torch.randn(3), torch.randn(3), 0.5), test_utils=checks)


def test_the_operator_itself_has_the_gradient(hand, x, gate):
    wrt = [x.clone().requires_grad_(), gate.clone().requires_grad_()]
    torch.library.opcheck(hand.affine.operator, (*wrt, "squared", 2.0, "", ""))
    own = torch.autograd.grad(hand.affine(*wrt, mode="squared", factor=2.0).sum(), wrt)
    raw = torch.autograd.grad(hand.affine.operator(*wrt, "squared", 2.0, "", "").sum(), wrt)
    torch.testing.assert_close(raw, own)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(hand, x, gate, dynamic):
    def model(x, gate):
        y = hand.affine(x * 2, gate, mode="squared", factor=0.5, layout="column")
        return hand.affine(y.relu()).sum(0)

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    x.requires_grad_()
    gate.requires_grad_()
    torch.testing.assert_close(compiled(x, gate), model(x, gate))
    torch.testing.assert_close(gradients(compiled(x, gate), x, gate), gradients(model(x, gate), x, gate))


def test_compiled_in_place_and_named_outputs(hand):
    def model(p, g, x):
        hand.update(p, g, rate=0.25)
        result = hand.moments(x)
        return result.total + result.squares, p * 2

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    p, g, x = torch.ones(6), torch.arange(6.0), torch.randn(4, 64)
    expected = p + 0.25 * g
    total, doubled = compiled(p, g, x)
    torch.testing.assert_close(p, expected)
    torch.testing.assert_close(doubled, expected * 2)
    torch.testing.assert_close(total, x.sum(-1) + (x * x).sum(-1))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_with_a_default_that_follows_from_sizes(hand, dynamic):
    compiled = torch.compile(lambda x: hand.mean(x * 2), fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for columns in (12, 20):
        x = torch.randn(5, columns)
        torch.testing.assert_close(compiled(x), x.mean(-1) * 2)


def test_fake_tensors_flow_through(hand):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        y = hand.affine(torch.empty(5, 16, dtype=torch.bfloat16), layout="column")
    assert (y.shape, y.stride(), y.dtype) == ((5, 16), (1, 5), torch.bfloat16)


def test_an_op_refuses_disagreeing_shapes_while_traced(hand):
    compiled = torch.compile(lambda x, gate: hand.affine(x, gate), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="disagrees with the others"):
        compiled(torch.zeros(5, 16), torch.zeros(8))


# ---- the package ---------------------------------------------------------------------------------------


def test_loading_imports_neither_torch_nor_cuda(hand):
    code = f"""
import sys, spak_runtime
artifact = spak_runtime.load({str(hand.root)!r})
assert artifact.kernels == ("affine", "affine_gradient", "mean", "moments", "update"), artifact.kernels
assert "affine" in dir(artifact)
loaded = {{"torch", "numpy", "spakc"}} & set(sys.modules) | {{m for m in sys.modules if m.startswith("cuda")}}
assert not loaded, loaded
import torch
assert torch.equal(artifact.affine(torch.ones(2, 8)), torch.ones(2, 8))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
