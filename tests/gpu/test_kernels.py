"""Kernels compiled from the examples, on the device, against float64."""

import itertools
from pathlib import Path

import pytest
import torch

from spak_runtime.errors import NoVariantError
from spak_runtime.numerics import compare, ulp

SHAPES = [
    (1, 1, 1),
    (17, 33, 65),
    (64, 64, 64),
    (128, 256, 64),
    (127, 129, 131),
    (300, 320, 320),
    (1, 1000, 40),
]
LAYOUTS = list(itertools.product(("row", "column"), repeat=2))
ACTIVATIONS = {
    "identity": lambda x: x,
    "gelu": torch.nn.functional.gelu,
    "relu_squared": lambda x: x.relu().square(),
    "silu": torch.nn.functional.silu,
}


def matrix(rows, columns, layout, dtype, integers=False):
    shape = (rows, columns) if layout == "row" else (columns, rows)
    values = torch.randint(-4, 5, shape, device="cuda") if integers else torch.randn(shape, device="cuda")
    values = values.to(dtype)
    return values if layout == "row" else values.t()


def agrees(result, reference, terms, size):
    """Within one unit of the output and the rounding of a float32 sum of `terms` products of total size
    `size`."""
    found = compare(result, reference, ulp(reference, result.dtype) + terms * 2.0**-23 * size)
    assert found.agrees, str(found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("a_layout", "b_layout"), LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(products, shape, a_layout, b_layout, dtype):
    rows, columns, depth = shape
    a, b = matrix(rows, depth, a_layout, dtype), matrix(depth, columns, b_layout, dtype)
    reference, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    for wanted in (dtype, torch.float32):
        agrees(products.matmul(a, b, dtype=wanted), reference, depth, size)


@pytest.mark.parametrize(("a_layout", "b_layout"), LAYOUTS)
def test_products_of_integers_are_exact(products, a_layout, b_layout):
    for rows, columns, depth in SHAPES:
        a = matrix(rows, depth, a_layout, torch.bfloat16, integers=True)
        b = matrix(depth, columns, b_layout, torch.bfloat16, integers=True)
        result = products.matmul(a, b, dtype=torch.float32)
        assert torch.equal(result.double(), a.double() @ b.double())


@pytest.fixture(scope="module")
def added():
    import spakc

    return spakc.load(Path(__file__).with_name("accumulate.spak")).accumulate


@pytest.mark.parametrize(("a_layout", "b_layout"), LAYOUTS)
@pytest.mark.parametrize("schedule", ["naive", "pipelined", "warp_specialized", "as a call chooses"])
def test_products_are_added_in_place(added, schedule, a_layout, b_layout):
    """Every element once, by each of two calls; integers, so that every bit is known."""
    ids = [v.id for v in added.spec.variants if v.schedule == schedule]
    ran = 0
    for rows, columns, depth in [*SHAPES, (1000, 504, 4096)]:
        a = matrix(rows, depth, a_layout, torch.bfloat16, integers=True)
        b = matrix(depth, columns, b_layout, torch.bfloat16, integers=True)
        c = torch.randint(-9, 9, (rows, columns), device="cuda").float()
        wanted = c.double() + 2 * (a.double() @ b.double())
        call = added.only(*ids) if ids else added
        try:
            for _ in range(2):
                call(a, b, c)
        except NoVariantError:
            assert ids, "a call finds a variant"
            continue
        ran += 1
        assert torch.equal(c.double(), wanted)
    assert ran >= 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("given", [True, False])
def test_epilogues(products, activation, given):
    a, b = matrix(130, 96, "row", torch.bfloat16), matrix(96, 72, "column", torch.bfloat16)
    bias = torch.randn(72, device="cuda").bfloat16() if given else None
    inner = a.double() @ b.double() + (bias.double() if given else 0.0)
    size = a.double().abs() @ b.double().abs() + inner.abs() + 1
    size = size * (2 * inner.abs() + 2)  # the slope of the steepest activation
    result = products.matmul(a, b, bias, activation=activation)
    agrees(result, ACTIVATIONS[activation](inner), 96, size)


def test_operands_that_no_vector_fits(products):
    wide = torch.randn(200, 203, device="cuda").bfloat16()
    for a in (wide[:, 1:98], wide[3:, :97], wide.flatten()[1 : 1 + 97 * 50].view(50, 97)):
        b = torch.randn(97, 40, device="cuda").bfloat16()
        reference, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
        agrees(products.matmul(a, b), reference, 97, size)


def test_an_output_in_a_larger_buffer_leaves_its_surroundings(products):
    a, b = matrix(70, 64, "row", torch.bfloat16), matrix(64, 50, "row", torch.bfloat16)
    buffer = torch.full((72, 60), 7.0, device="cuda", dtype=torch.bfloat16)
    products.matmul(a, b, out=buffer[1:71, 5:55])
    agrees(buffer[1:71, 5:55], a.double() @ b.double(), 64, a.double().abs() @ b.double().abs())
    buffer[1:71, 5:55] = 7.0
    assert torch.equal(buffer, torch.full_like(buffer, 7.0))


def test_every_element_of_the_output_is_written(products):
    a, b = matrix(129, 72, "row", torch.bfloat16), matrix(72, 136, "row", torch.bfloat16)
    poisoned = torch.full((129, 136), torch.nan, device="cuda", dtype=torch.bfloat16)
    assert products.matmul(a, b, out=poisoned).isfinite().all()


def test_products_in_streams_graphs_and_compiled_code(products):
    a, b = matrix(256, 128, "row", torch.bfloat16), matrix(128, 192, "row", torch.bfloat16)
    expected = products.matmul(a, b)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        streamed = products.matmul(a, b)
    stream.synchronize()
    assert torch.equal(streamed, expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = products.matmul(a, b)
    graph.replay()
    assert torch.equal(captured, expected)
    compiled = torch.compile(lambda a, b: products.matmul(a, b) + 1, fullgraph=True)
    torch.testing.assert_close(compiled(a, b), expected + 1)
    inputs = (a, b, None, "identity", "")
    torch.library.opcheck(products.matmul.operator, inputs)


def test_launches_that_overlap_keep_their_order(products):
    """Each reads what the one before has written, and writes what the one before it reads; also behind and before
    kernels of torch, and in a graph."""
    sizes, rounds = [(128, 512, 512), (512, 512, 512), (64, 4096, 4096)], 40
    for m, n, k in sizes:
        w = matrix(k, n, "column", torch.bfloat16) * k**-0.5
        x = matrix(m, k, "row", torch.bfloat16)
        even, odd = x.clone(), torch.empty_like(x)

        def chain(pause, w=w, even=even, odd=odd, x=x):
            even.copy_(x)
            for number in range(rounds):
                products.matmul(even, w, out=odd)
                pause()
                products.matmul(odd, w, out=even)
                pause()
                if number % 8 == 7:
                    even.mul_(2)
            return even.clone()

        alone, together = chain(torch.cuda.synchronize), [chain(lambda: None) for _ in range(5)]
        assert alone.isfinite().all() and alone.any()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = chain(lambda: None)
        for _ in range(3):
            graph.replay()
            together.append(captured.clone())
        assert all(torch.equal(alone, each) for each in together)


def allocations(call):
    """How many times a call asks torch for memory; kernels are built before."""
    call()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    call()
    return torch.cuda.memory_stats()["allocation.all.allocated"] - before


@pytest.mark.parametrize("width", [64, 128])
def test_nothing_is_allocated_beyond_outputs_and_workspace(products, attentions, width):
    a, b = matrix(256, 128, "row", torch.bfloat16), matrix(128, 192, "row", torch.bfloat16)
    q, k, v = (torch.randn(2, 2, 96, width, device="cuda").bfloat16() for _ in range(3))
    for kernel, arguments, outputs in ((products.matmul, (a, b), 1), (attentions.fmha, (q, k, v), 2)):
        chosen = kernel.explain(*arguments).variant
        (variant,) = (each for each in kernel.spec.variants if each.id == chosen)
        assert allocations(lambda k=kernel, a=arguments: k(*a)) == outputs + len(variant.workspace)


def test_attention_backward_on_a_stream_of_its_own(attentions):
    """Under autocast, behind work that a launch on another stream would overtake; and without a graph."""
    data = [torch.randn(2, 2, 96, 64, device="cuda").bfloat16() for _ in range(4)]
    inputs = [t.clone().requires_grad_() for t in data[:3]]
    expected = torch.autograd.grad(attentions.fmha(*inputs)[0], inputs, data[3])
    late = [torch.zeros_like(t, requires_grad=True) for t in data[:3]]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.autocast("cuda", dtype=torch.float16):
        torch.cuda._sleep(50_000_000)
        with torch.no_grad():
            for empty, full in zip(late, data, strict=False):
                empty.copy_(full)
            quiet = attentions.fmha(*late)[0]
        output = attentions.fmha(*late)[0]
        found = torch.autograd.grad(output, late, data[3])
    stream.synchronize()
    assert not quiet.requires_grad and torch.equal(quiet, output)
    assert output.dtype == torch.bfloat16, "a kernel computes in the dtypes of its arguments"
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-7)


def test_only_the_chosen_kernel_runs(products):
    a, b = matrix(256, 128, "row", torch.bfloat16), matrix(128, 192, "row", torch.bfloat16)
    chosen = products.matmul.explain(a, b).variant
    entries = {
        launch.entry
        for variant in products.manifest.kernels["matmul"].variants
        if variant.id == chosen
        for launch in variant.launches
    }
    products.matmul(a, b)
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        products.matmul(a, b)
        torch.cuda.synchronize()
    ran = {event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA}
    assert {name for name in ran if "ync" not in name} == entries


# ---- rows and element-wise kernels of a training step --------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(1, 8), (33, 768), (200, 1000), (7, 4097)])
def test_rms_norm(steps, shape, dtype):
    x = torch.randn(shape, device="cuda").to(dtype).requires_grad_()
    weight = torch.randn(shape[1], device="cuda").requires_grad_()
    wide_x, wide_weight = (t.detach().double().requires_grad_() for t in (x, weight))
    rstd = (wide_x.square().mean(-1) + 1e-6).rsqrt()
    reference = wide_x * rstd[:, None] * wide_weight
    y, our_rstd = steps.rms_norm(x, weight)
    agrees(y.detach(), reference.detach(), 64, reference.detach().abs())
    agrees(our_rstd.detach(), rstd.detach(), 64, rstd.detach())
    grad = torch.randn(shape, device="cuda").to(dtype)
    ours = torch.autograd.grad(y, (x, weight), grad)
    theirs = torch.autograd.grad(reference, (wide_x, wide_weight), grad.double())
    assert (ours[0].dtype, ours[1].dtype) == (dtype, torch.float32)
    agrees(ours[0], theirs[0], 256, theirs[0].abs() + wide_weight.detach().abs() * rstd.detach()[:, None])
    agrees(ours[1], theirs[1], 256, (grad.double() * wide_x.detach()).abs().sum(0) * rstd.detach().max() + 1)


ROWS = [(1, 8), (33, 768), (200, 1000), (7, 4097)]
HALVES_TOO = [torch.bfloat16, torch.float16, torch.float32]


def slopes_agree(ours, theirs, eps, sums):
    """Gradients of elements within a few roundings of their type and of float32 in sums of so many terms."""
    for a, b in zip(ours, theirs, strict=True):
        step = eps if a.dtype != torch.float32 else 2.0**-23
        torch.testing.assert_close(
            a.double(), b, rtol=8 * step, atol=(8 * step + sums * 2.0**-20) * float(b.abs().max())
        )


@pytest.mark.parametrize("dtype", HALVES_TOO)
@pytest.mark.parametrize("shape", ROWS)
def test_layer_norm(steps, shape, dtype):
    rows, columns = shape
    x = torch.randn(rows, columns, device="cuda").to(dtype).requires_grad_()
    weight, bias = (torch.randn(columns, device="cuda", requires_grad=True) for _ in range(2))
    y, mean, rstd = steps.layer_norm(x, weight, bias, eps=1e-5)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    reference = torch.nn.functional.layer_norm(wide[0], (columns,), *wide[1:], 1e-5)
    torch.testing.assert_close(mean.double(), wide[0].mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        rstd.double(), (wide[0].var(1, correction=0) + 1e-5).rsqrt(), rtol=1e-5, atol=0
    )
    found = compare(y, reference, ulp(reference, dtype) + 2.0**-20 * (1 + reference.abs()))
    assert found.agrees, str(found)
    grad = torch.randn_like(y)
    ours = torch.autograd.grad(y, (x, weight, bias), grad)
    theirs = torch.autograd.grad(reference, wide, grad.double())
    assert [t.dtype for t in ours] == [dtype, torch.float32, torch.float32]
    slopes_agree(ours, theirs, torch.finfo(dtype).eps, 1)


@pytest.mark.parametrize("shape", [(7680, 256), (7680, 64), (200, 1000), (70, 768)])
def test_parts_of_sums_down_columns(steps, shape):
    """A caller who has memory for them gets what the last launch would add up; what nobody wants is not computed."""
    columns = shape[1]
    stream, grad_stream = (torch.randn(shape, device="cuda") for _ in range(2))
    grad = torch.randn(shape, device="cuda").bfloat16()
    weight = torch.randn(columns, device="cuda")
    mean, rstd = stream.mean(1), (stream.var(1, correction=0) + 1e-5).rsqrt()
    values = {"stream": stream, "weight": weight, "mean": mean, "rstd": rstd}
    grads, memory = {"y": grad, "stream": grad_stream}, {}

    def parts_of(name):
        def take(shape):
            memory[name] = torch.full(shape, torch.nan, device="cuda")
            return memory[name]

        return take

    more = torch.empty(shape, device="cuda", dtype=torch.bfloat16)
    whole = steps.add_layer_norm.differentiate(values, grads, {}, {"more": more})
    found = steps.add_layer_norm.differentiate(
        values,
        grads,
        {},
        {"more": torch.empty_like(more)},
        {n: parts_of(n) for n in ("shift", "weight", "bias")},
    )
    assert torch.equal(found["x"], whole["x"]) and torch.equal(found["more"], whole["more"])
    for name in ("shift", "weight", "bias"):
        assert name not in found
        summed = memory[name][:, :columns].double().sum(0)
        torch.testing.assert_close(summed, whole[name].double(), rtol=1e-5, atol=1e-3)
    unwanted = {"shift": None, "weight": parts_of("weight"), "bias": None}
    assert steps.add_layer_norm.differentiate(values, grads, {}, {}, unwanted).keys() == {"x", "more"}


@pytest.mark.parametrize("dtype", HALVES_TOO)
@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "swiglu"])
def test_elements(steps, name, shape, dtype):
    """Large and small ones, too: what an activation is far from zero."""
    inputs = [
        (4 * torch.randn(shape, device="cuda")).to(dtype).requires_grad_()
        for _ in range(1 + (name == "swiglu"))
    ]
    wide = [t.detach().double().requires_grad_() for t in inputs]
    meaning = {
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "swiglu": lambda gate, up: torch.nn.functional.silu(gate) * up,
    }[name]
    y, reference = steps[name](*inputs), meaning(*wide)
    found = compare(y, reference, ulp(reference, dtype) + 2.0**-19 * (1 + reference.abs()))
    assert found.agrees, str(found)
    grad = torch.randn_like(y)
    ours = torch.autograd.grad(y, inputs, grad)
    theirs = torch.autograd.grad(reference, wide, grad.double())
    slopes_agree(ours, theirs, torch.finfo(dtype).eps, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(5, 2), (64, 1000), (16, 50304)])
def test_cross_entropy(steps, shape, dtype):
    logits = (4 * torch.randn(shape, device="cuda")).to(dtype).requires_grad_()
    target = torch.randint(shape[1], shape[:1], device="cuda", dtype=torch.int32)
    wide = logits.detach().double().requires_grad_()
    reference = torch.nn.functional.cross_entropy(wide, target.long(), reduction="none")
    loss, lse = steps.cross_entropy(logits, target)
    assert (loss.dtype, lse.dtype) == (torch.float32, torch.float32)
    agrees(lse.detach(), wide.detach().logsumexp(1), 256, wide.detach().logsumexp(1).abs() + 1)
    agrees(loss.detach(), reference.detach(), 256, reference.detach() + 1)
    (ours,) = torch.autograd.grad(loss.mean(), logits)
    (theirs,) = torch.autograd.grad(reference.mean(), wide)
    assert ours.dtype == dtype
    agrees(ours, theirs, 256, theirs.abs() + 1 / shape[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [64, 128])
def test_rope(steps, width, dtype):
    x = torch.randn(2, 37, 3, width, device="cuda").to(dtype).requires_grad_()
    half = width // 2
    angle = torch.outer(
        torch.arange(37, device="cuda").double(),
        10_000.0 ** (-2.0 * torch.arange(half, device="cuda").double() / width),
    )[None, :, None, :]

    def rotate(x, angle):
        a, b = x[..., :half], x[..., half:]
        turned = (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos())
        return torch.cat(turned, -1)

    y = steps.rope(x)
    agrees(y.detach(), rotate(x.detach().double(), angle), 512, torch.tensor(4.0, device="cuda"))
    grad = torch.randn_like(x)
    (ours,) = torch.autograd.grad(y, x, grad)
    agrees(ours, rotate(grad.double(), -angle), 512, torch.tensor(4.0, device="cuda"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1, 1000, 65_537])
def test_adamw(steps, size, dtype):
    p, m, v = (torch.randn(size, device="cuda") for _ in range(3))
    v = v.square()
    g = torch.randn(size, device="cuda").to(dtype)
    lr, decay, c1, c2, scale = (torch.tensor(x, device="cuda") for x in (1e-2, 0.1, 0.1, 0.05, 0.7))
    wide = [t.double() for t in (p, m, v, g, lr, decay, c1, c2, scale)]
    steps.adamw(p, m, v, g, lr, decay, c1, c2, scale)
    p0, m0, v0, g0, *scalars = wide
    rate, shrink, first, second, scaled = (float(s) for s in scalars)
    g0 = scaled * g0
    m1, v1 = 0.9 * m0 + 0.1 * g0, 0.95 * v0 + 0.05 * g0.square()
    p1 = p0 * (1 - rate * shrink) - rate * (m1 / first) / ((v1 / second).sqrt() + 1e-8)
    for ours, theirs, before in ((m, m1, m0), (v, v1, v0), (p, p1, p0)):
        agrees(ours, theirs, 16, theirs.abs() + before.abs() + 0.1)


# ---- attention -----------------------------------------------------------------------------------------


def attention(q, k, v, causal, softcap=0.0, window=0):
    """Output and logsumexp in the dtype of the arguments; a row without keys gives zeros and -inf."""
    share, queries, keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    behind = (
        torch.arange(queries, device=q.device)[:, None] + keys - queries - torch.arange(keys, device=q.device)
    )
    seen = torch.ones_like(behind, dtype=torch.bool)
    seen &= (behind >= 0) if causal else seen
    seen &= (behind < window) if window else seen
    empty = ~seen.any(-1, keepdim=True)
    weights = torch.softmax(scores.masked_fill(~seen, -torch.inf).masked_fill(empty, 0.0), -1)
    sums = torch.logsumexp(scores.masked_fill(~seen, -torch.inf).masked_fill(empty, 0.0), -1)
    return weights.masked_fill(empty, 0.0) @ v, sums.masked_fill(empty[:, 0], -torch.inf)


CASES = [
    # batch, heads, groups, queries, keys, width, options
    (2, 4, 4, 64, 64, 64, {}),
    (1, 4, 2, 100, 100, 64, {}),
    (1, 4, 1, 37, 90, 128, {"causal": False}),
    (2, 2, 2, 96, 40, 64, {}),  # the first rows see no key
    (1, 2, 2, 130, 130, 64, {"window": 17}),
    (1, 2, 2, 65, 65, 64, {"softcap": 5.0}),
    (1, 1, 1, 1, 257, 128, {}),
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", CASES)
def test_attention(attentions, case, dtype):
    batch, heads, groups, queries, keys, width, options = case
    q = torch.randn(batch, heads, queries, width, device="cuda").to(dtype).requires_grad_()
    k, v = (
        torch.randn(batch, groups, keys, width, device="cuda").to(dtype).requires_grad_() for _ in range(2)
    )
    wide = [t.detach().double().requires_grad_() for t in (q, k, v)]
    reference, sums = attention(*wide, **({"causal": True} | options))
    output, our_sums = attentions.fmha(q, k, v, **options)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(output.double(), reference, rtol=2 * step, atol=4 * step)
    torch.testing.assert_close(our_sums.double(), sums, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(output)
    ours = torch.autograd.grad(output, (q, k, v), grad)
    theirs = torch.autograd.grad(reference, wide, grad.double())
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == dtype
        # Weights and their gradients are rounded to the type on the way: errors of the size of the largest
        # terms.
        torch.testing.assert_close(
            a.double(), b, rtol=4 * step, atol=8 * step * max(1.0, float(b.abs().max()))
        )


@pytest.mark.parametrize("case", CASES)
def test_attention_by_tma_and_mma(attentions, case):
    """What calls on sm_120a take, each alone; it runs on sm_90a, too."""
    if torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("not run: needs TMA")
    batch, heads, groups, queries, keys, width, options = case
    q = torch.randn(batch, heads, queries, width, device="cuda").bfloat16()
    k, v = (torch.randn(batch, groups, keys, width, device="cuda").bfloat16() for _ in range(2))
    reference, sums = attention(q.double(), k.double(), v.double(), **({"causal": True} | options))
    chosen = [variant.id for variant in attentions.fmha.spec.variants if variant.schedule == "v3_tma"]
    assert chosen
    for name in chosen:
        output, our_sums = attentions.fmha.only(name)(q, k, v, **options)
        torch.testing.assert_close(output.double(), reference, rtol=2**-7, atol=2**-6)
        torch.testing.assert_close(our_sums.double(), sums, rtol=1e-4, atol=1e-4)
        assert torch.equal(attentions.fmha.only(name)(q, k, v, **options)[0], output)


@pytest.mark.parametrize(("a_layout", "b_layout"), LAYOUTS)
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float32])
def test_every_variant_for_hopper(products, a_layout, b_layout, wanted):
    """Each alone: several tiles a block, ragged in all sizes, twice to the same bits."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("not run: needs sm_90a")
    rows, columns, depth = 2100, 1928, 328
    a = (
        matrix(rows, depth, a_layout, torch.bfloat16)
        if a_layout == "row"
        else (matrix(2104, depth, a_layout, torch.bfloat16)[:rows])
    )
    b = matrix(depth, columns, b_layout, torch.bfloat16)
    reference, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    asked = 0
    for variant in products.matmul.spec.variants:
        if variant.schedule != "warp_specialized":
            continue
        alone = products.matmul.only(variant.id)
        try:
            result = alone(a, b, dtype=wanted)
        except NoVariantError:
            assert wanted is torch.float32 and any("smem" in guard.law for guard in variant.guards)
            continue
        asked += 1
        agrees(result, reference, depth, size)
        assert torch.equal(alone(a, b, dtype=wanted), result)
    assert asked >= 2


@pytest.mark.parametrize(
    "shape", [(1024, 256, 30_720), (200, 64, 30_720), (384, 1536, 16_384), (14, 256, 46_080)]
)
def test_sums_in_parts(products, shape):
    """Gradients of weights: exact, by two launches, twice to the same bits; each variant alone."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("not run: needs sm_90a")
    rows, columns, depth = shape
    a = matrix(-(-rows // 8) * 8, depth, "column", torch.bfloat16, integers=True)[:rows]
    b = matrix(depth, columns, "row", torch.bfloat16, integers=True)
    reference = a.double() @ b.double()
    assert products.matmul.explain(a, b, dtype=torch.float32).variant.startswith("in_parts")
    assert torch.equal(products.matmul(a, b, dtype=torch.float32).double(), reference)
    real = matrix(-(-rows // 8) * 8, depth, "column", torch.bfloat16)[:rows], torch.randn_like(b)
    size = real[0].double().abs() @ real[1].double().abs()
    asked = [variant for variant in products.matmul.spec.variants if variant.schedule == "in_parts"]
    assert asked
    for variant in asked:
        alone = products.matmul.only(variant.id)
        for wanted in (torch.bfloat16, torch.float32):
            found = alone(*real, dtype=wanted)
            agrees(found, real[0].double() @ real[1].double(), depth, size)
            assert torch.equal(alone(*real, dtype=wanted), found)


def test_large_products_on_hopper_are_warp_specialized(products):
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("not run: needs sm_90a")
    a, b = matrix(4096, 4096, "row", torch.bfloat16), matrix(4096, 4096, "column", torch.bfloat16)
    chosen = products.matmul.explain(a, b)
    assert chosen.variant.startswith("warp_specialized") and "estimated" in chosen.reason
    assert any("cost model" in why for why in chosen.rejected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize(
    "shape", [(64, 128, 256), (200, 304, 248), (1, 8, 8), (8192, 1024, 256), (515, 768, 768)]
)
def test_a_norm_and_its_product_on_chip(chains, shape, layout, dtype):
    """Forward and backward against float64, rows rounded as the tensor cores take them."""
    rows, columns, depth = shape
    x = matrix(rows, depth, "row", dtype).requires_grad_()
    w = matrix(depth, columns, layout, dtype).detach().requires_grad_()
    gain = torch.randn(depth, device="cuda", requires_grad=True)
    y, rstd = chains.norm_linear(x, gain, w, activation="gelu")
    exact = [t.detach().double().requires_grad_() for t in (x, gain, w)]
    scale = torch.rsqrt(exact[0].square().mean(1) + 1e-6)
    h = exact[0] * scale[:, None] * exact[1]
    right = torch.nn.functional.gelu(h @ exact[2])
    assert compare(rstd, scale, 8 * ulp(scale, torch.float32)).agrees
    eps = torch.finfo(dtype).eps
    found = compare(y, right, ulp(right, dtype) + 2 * eps * (h.abs() @ exact[2].abs()))
    assert found.agrees, str(found)
    grad = matrix(rows, columns, "row", dtype)
    ours = torch.autograd.grad(y, (x, gain, w), grad)
    theirs = torch.autograd.grad(right, exact, grad.double())
    for a, b in zip(ours, theirs, strict=True):
        assert (a.double() - b).norm() <= 4 * eps * b.norm()


def test_every_way_through_a_chain(chains):
    x, w = matrix(1000, 248, "row", torch.bfloat16), matrix(248, 512, "row", torch.bfloat16)
    gain = torch.randn(248, device="cuda")
    scale = torch.rsqrt(x.double().square().mean(1, keepdim=True) + 1e-6)
    h = (x.double() * scale * gain).to(torch.bfloat16).double()
    right, size = h @ w.double(), h.abs() @ w.double().abs()
    tried = set()
    for variant in chains.norm_linear.spec.variants:
        if "sm_90a" in variant.archs:
            y = chains.norm_linear.only(variant.id)(x, gain, w)[0]
            assert compare(y, right, ulp(right, torch.bfloat16) + 2.0**-8 * size).agrees, variant.id
            tried.add(variant.schedule)
    assert tried >= {"panel", "unfused_warp_specialized", "unfused_pipelined", "unfused_tiled"}
