"""The runtime on a device, with the hand-written artifact: launches, streams, threads, graphs, gradients,
tracing."""

import threading
import time

import pytest
import torch

import spak_runtime
from spak_runtime import errors
from spak_runtime.numerics import compare, ulp
from spak_runtime.nvrtc import BuildRequest, compile_cubin
from tests.unit.runtime import hand_artifact

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def reference(x, gate=None, mode="plain", factor=1.0):
    v = x.double() * (1.0 if gate is None else gate.double())
    return (v * v if mode == "squared" else v) * factor


def close(result, expected):
    """Within a few roundings of float32 and one of the result's type."""
    found = compare(result, expected, ulp(expected, result.dtype) + 2.0**-21 * expected.abs())
    assert found.agrees, str(found)


def close_sum(result, terms):
    """A float32 sum over the last axis of `terms`, in any order."""
    wide = terms.double()
    torch.testing.assert_close(
        result.double(), wide.sum(-1), rtol=0, atol=float(wide.abs().sum(-1).max()) * 2**-19
    )


def randn(*shape, dtype=torch.float32):
    return torch.randn(*shape, device="cuda", dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [16, 13, 1])
@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize("mode", ["plain", "squared"])
@pytest.mark.parametrize("given", [True, False])
def test_values(hand, dtype, columns, layout, mode, given):
    x = randn(70, columns, dtype=dtype) if layout == "row" else randn(columns, 70, dtype=dtype).t()
    gate = randn(columns, dtype=dtype) if given else None
    expected = reference(x, gate, mode, 0.5)
    for options in ({}, {"dtype": torch.float32}, {"layout": "column"}):
        close(hand.affine(x, gate, mode=mode, factor=0.5, **options), expected)
        close(hand.affine(x, gate, mode=mode, factor=0.5, **options), expected)  # by the remembered plan


def test_options_are_not_confused_with_each_other(hand):
    x = randn(3, 16)
    for factor in (0.0, -0.0, 1.0, 2, 3.5):
        y = hand.affine(x, factor=factor)
        assert torch.equal(y, x * factor)
        assert torch.equal(torch.signbit(y), torch.signbit(x * factor))


def test_explanations_name_the_variant_and_what_was_passed_over(hand):
    assert hand.affine.explain(randn(4, 16)).variant == "each/even"
    explanation = hand.affine.explain(randn(4, 13))
    assert explanation.variant == "each/any"
    assert "even_rows: N % 8 == 0 is false" in explanation.rejected[0]
    assert torch.cuda.get_device_name() in str(explanation)


def test_a_new_call_explains_itself_where_asked(hand, monkeypatch, capfd):
    monkeypatch.setenv("SPAK_EXPLAIN", "1")
    kernel = hand.affine.only("each/even", "each/any")
    for _ in range(2):
        kernel(randn(7, 13))
    head, rejected = capfd.readouterr().err.splitlines()
    assert torch.cuda.get_device_name() in head and "variant each/any" in head
    assert rejected.startswith("  not each/even: even_rows: N % 8 == 0 is false")


def test_misaligned_and_sliced_tensors(hand):
    wide = randn(9, 33)
    for x in (
        wide[:, 1:17],
        wide[1:, :16],
        wide.flatten()[1 : 1 + 8 * 16].view(8, 16),
        wide[:1, :16],
        wide[:, 3:4],
    ):
        close(hand.affine(x), x.double())


def test_outputs_and_inouts(hand):
    x, y = randn(5, 32), torch.full((5, 32), torch.nan, device="cuda")
    assert hand.affine(x, out=y) is y
    assert torch.equal(x, y)
    total, squares = hand.moments(x)
    close_sum(total, x)
    close_sum(squares, x.square())
    torch.testing.assert_close(hand.mean(x), x.mean(1))
    torch.testing.assert_close(hand.mean(x, scale=1.0), x.sum(1), rtol=0, atol=1e-4)
    p, g = randn(1000), randn(1000)
    expected = p + 0.25 * g
    assert hand.update(p, g, rate=0.25) is None
    torch.testing.assert_close(p, expected)


def test_empty_tensors(hand):
    assert hand.affine(randn(0, 16)).shape == (0, 16)
    assert hand.affine(randn(4, 0)).shape == (4, 0)


def test_errors_come_before_any_launch(hand):
    with pytest.raises(errors.DeviceError, match="x is on cuda:0, gate is on cpu"):
        hand.affine(randn(4, 16), torch.zeros(16))
    with pytest.raises(errors.DimError):
        hand.moments(randn(4, 48))


def test_nothing_is_allocated_beyond_outputs(hand):
    x = randn(512, 512)
    hand.affine(x)
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    y = hand.affine(x)
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before + 1
    assert y.untyped_storage().nbytes() == 4 * 512 * 512


# ---- streams, threads, graphs --------------------------------------------------------------------------


def test_a_call_runs_on_the_current_stream(hand):
    x = torch.zeros(64, 64, device="cuda")
    hand.affine(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # some 30 ms: a launch on another stream would overtake
        x.fill_(3)
        y = hand.affine(x)
    early = hand.affine(torch.ones(64, 64, device="cuda"))
    stream.synchronize()
    assert torch.equal(y, torch.full_like(y, 3))
    assert torch.equal(early, torch.ones_like(early))


def test_threads_of_their_own(hand):
    failures = []

    def work(seed):
        try:
            x = torch.full((64, 64), float(seed), device="cuda")
            assert all(torch.equal(hand.affine(x, factor=2.0), x * 2) for _ in range(300))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_new_thread_that_only_launches(hand):
    x, y, results = randn(8, 16), torch.empty(8, 16, device="cuda"), []
    hand.affine(x, out=y)
    y.zero_()
    thread = threading.Thread(target=lambda: results.append(hand.affine(x, out=y)))
    thread.start()
    thread.join()
    torch.cuda.synchronize()
    assert results and torch.equal(y, x)


def test_a_captured_graph_replays_on_new_values(hand):
    x, gate, p = randn(64, 32), randn(32), torch.zeros(32, device="cuda")
    hand.affine.prepare(x, gate)
    hand.moments.prepare(x)
    hand.update.prepare(p, gate)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = hand.affine(x, gate)
        result = hand.moments(y)
        hand.update(p, gate, rate=1.0)
        hand.update(p, gate, rate=1.0)
    for _ in range(3):
        x.copy_(randn(64, 32))
        p.zero_()
        graph.replay()
        close(y, reference(x, gate))
        close_sum(result.total, y)
        assert torch.equal(p, gate + gate)


def test_a_cold_kernel_is_refused_during_capture(tmp_path):
    header = hand_artifact.HEADER + "// cold\n"
    cold = spak_runtime.load(hand_artifact.write(tmp_path, files={"include/spak/hand.cuh": header}))
    x = randn(4, 16)
    with (
        pytest.raises(errors.CaptureError, match="affine is not loaded"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        cold.affine(x)
    assert torch.equal(cold.affine(x), x)


# ---- gradients and tracing -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", [True, False])
def test_gradients(hand, dtype, given):
    x = randn(40, 24, dtype=dtype).requires_grad_()
    gate = randn(24, dtype=dtype).requires_grad_() if given else None
    wanted = (x, gate) if given else (x,)
    for weight in (randn(40, 24, dtype=dtype), None):  # None: an expanded gradient
        y = hand.affine(x, gate, mode="squared", factor=0.5)
        ours = torch.autograd.grad(y.sum() if weight is None else (y * weight).sum(), wanted)
        z = reference(x, gate, "squared", 0.5)
        theirs = torch.autograd.grad(z.sum() if weight is None else (z * weight.double()).sum(), wanted)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(
                a.double(), b.double(), rtol=2**-6 if dtype.itemsize == 2 else 1e-5, atol=1e-3
            )


def test_a_gradient_that_nobody_declared_is_refused(hand):
    x = randn(4, 32).requires_grad_()
    with pytest.raises(errors.GradientError):
        hand.moments(x)
    with torch.no_grad():
        hand.moments(x)


def test_opcheck(hand):
    x, gate = randn(5, 16), randn(16)
    torch.library.opcheck(hand.affine.operator, (x, gate, "squared", 2.0, "", ""))
    torch.library.opcheck(hand.affine.operator, (x.bfloat16(), None, "plain", 1.0, "f32", "column"))
    torch.library.opcheck(hand.moments.operator, (randn(3, 32),))
    torch.library.opcheck(hand.update.operator, (randn(3), randn(3), 0.5))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(hand, backend, dynamic):
    def model(x, gate):
        y = hand.affine(x * 2, gate, mode="squared", factor=0.5, layout="column")
        return hand.affine(y.relu()).sum(0)

    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=dynamic)
    x, gate = randn(40, 24).requires_grad_(), randn(24).requires_grad_()
    weight = randn(24)
    torch.testing.assert_close(compiled(x, gate), model(x, gate))
    ours = torch.autograd.grad((compiled(x, gate) * weight).sum(), (x, gate))
    theirs = torch.autograd.grad((model(x, gate) * weight).sum(), (x, gate))
    torch.testing.assert_close(ours, theirs)


def test_compiled_in_place(hand):
    def model(p, g):
        hand.update(p, g, rate=0.25)
        return p * 2

    p, g = torch.ones(600, device="cuda"), randn(600)
    expected = p + 0.25 * g
    doubled = torch.compile(model, fullgraph=True)(p, g)
    torch.testing.assert_close(p, expected)
    torch.testing.assert_close(doubled, expected * 2)


def test_the_host_cost_of_a_call(hand):
    """A loose bound: a call that misses its plan, or looks at its arguments twice, costs several times as
    much."""
    x, y = randn(8, 16), torch.empty(8, 16, device="cuda")
    for _ in range(100):
        hand.affine(x, out=y)
    torch.cuda.synchronize()
    rounds = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            hand.affine(x, out=y)
        rounds.append((time.perf_counter() - start) / 100)
        torch.cuda.synchronize()
    cost = sorted(rounds)[10] * 1e6
    print(f"host cost of a call: {cost:.1f} us")
    assert cost < 40


def test_what_the_driver_has_kept_is_told_again():
    """NVRTC asks the cache of the driver first, and what comes from there has no log."""
    arch = "sm_{}{}".format(*torch.cuda.get_device_capability())
    source = f'extern "C" __global__ void k(float* x) {{ x[threadIdx.x] *= {time.time_ns() % 10**6}.5f; }}'
    first, again = (compile_cubin(BuildRequest("k.cu", source, {}, (), arch)) for _ in range(2))
    assert first.entries["k"].registers > 0 and again.log == first.log
