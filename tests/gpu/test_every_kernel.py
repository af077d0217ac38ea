"""What torch asks of an operator, of every kernel of examples/kernels, on a device. Every call is ragged, in the dtypes
of training, forward and backward."""

import pytest
import torch

from tests.unit.runtime.every_kernel import assert_one_graph_computes_the_same, every_call

CALLS = every_call()
EXACT = {
    "cross_entropy",
    "rms_norm",
    "layer_norm",
    "gelu",
    "gelu_tanh",
    "swiglu",
    "rope",
    "adamw",
    "matmul",
}
"""Kernels whose sums have an order of their own: the same call gives the same bits."""

each = pytest.mark.parametrize("name", CALLS)


def call_of(name):
    return CALLS[name].on("cuda")


def same(name, found, wanted):
    if name in EXACT:
        return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    return all(torch.allclose(a, b, rtol=2**-6, atol=2**-6) for a, b in zip(found, wanted, strict=True))


def outputs_and_gradients(call, arguments, grad):
    """Everything that a call and its way back give."""
    results = call.run(arguments)
    if not call.kernel.spec.gradients:
        return results
    return (*results, *torch.autograd.grad(results[0], [arguments[i] for i in call.wrt], grad))


def gradient_of(call):
    """A gradient of the first result."""
    return torch.randn_like(call.run(call.fresh())[0])


@each
def test_opcheck(name):
    call = call_of(name)
    torch.library.opcheck(call.kernel.operator, call.flat(call.fresh(requires_grad=True)))


@each
def test_compiled_in_one_graph(name):
    assert_one_graph_computes_the_same(call_of(name), "inductor", rtol=2**-6, atol=2**-6)


@each
def test_captured_in_a_graph(name):
    """Forward and backward; a replay reads what its tensors hold then."""
    call = call_of(name)
    grad = gradient_of(call)
    first, second = call.fresh(True), call.fresh(True)
    with torch.no_grad():
        for tensor in (
            t for t in second if isinstance(t, torch.Tensor) and t.is_floating_point() and t.dim()
        ):
            tensor.mul_(0.75)
    captured = call.fresh(True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        outputs_and_gradients(call, call.fresh(True), grad)  # builds the kernels, of the gradient, too
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = outputs_and_gradients(call, captured, grad)
    for arguments in (first, second):
        wanted = outputs_and_gradients(
            call,
            [
                t.detach().clone().requires_grad_(t.requires_grad) if isinstance(t, torch.Tensor) else t
                for t in arguments
            ],
            grad,
        )
        with torch.no_grad():
            for into, given in zip(captured, arguments, strict=True):
                if isinstance(into, torch.Tensor):
                    into.copy_(given)
        graph.replay()
        torch.cuda.synchronize()
        assert same(name, results, wanted)


@each
def test_on_a_stream_of_its_own_under_autocast(name):
    """Behind work that a launch on another stream would overtake."""
    call = call_of(name)
    grad = gradient_of(call)
    wanted = outputs_and_gradients(call, call.fresh(True), grad)
    data, late = call.fresh(), call.fresh(True)
    with torch.no_grad():
        for tensor in late:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.zero_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.autocast("cuda", dtype=torch.float16):
        torch.cuda._sleep(50_000_000)
        with torch.no_grad():
            for empty, full in zip(late, data, strict=True):
                if isinstance(empty, torch.Tensor):
                    empty.copy_(full)
        found = outputs_and_gradients(call, late, grad)
    stream.synchronize()
    assert [each.dtype for each in found] == [each.dtype for each in wanted]
    assert same(name, found, wanted)


@each
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients(name, off):
    call = call_of(name)
    wanted = call.run(call.fresh())
    arguments = call.fresh(True)
    with off():
        found = call.run(arguments)
    assert not any(result.requires_grad for result in found[: len(call.kernel.signature.outputs)])
    assert same(name, found, wanted)


def allocations(work):
    """How many times a call asks torch for memory."""
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    work()
    return torch.cuda.memory_stats()["allocation.all.allocated"] - before


@each
def test_nothing_is_allocated_beyond_outputs_and_workspace(name):
    """Forward, and the gradient's kernel by itself."""
    call = call_of(name)
    kernel, arguments = call.kernel, call.fresh()

    def expected(called, *args, **options):
        chosen = called.explain(*args, **options).variant
        (variant,) = (each for each in called.spec.variants if each.id == chosen)
        return len(called.signature.outputs) + len(variant.workspace)

    call.run(arguments)
    assert allocations(lambda: kernel(*arguments, **call.options)) == expected(
        kernel, *arguments, **call.options
    )
    for derivative in kernel._derivatives:
        results = call.run(arguments)
        values = dict(zip(kernel.signature.inputs, arguments, strict=False))
        values |= dict(zip(kernel.signature.outputs, results, strict=False))
        values |= {
            f"grad_{output}": torch.randn_like(result)
            for output, result in zip(kernel.signature.outputs, results, strict=False)
        }
        back = derivative.kernel
        given = {name: values[name] for name in back.signature.inputs if values.get(name) is not None}
        options = {name: value for name, value in call.options.items() if name in back.signature.options}
        back(**given, **options)
        assert allocations(lambda b=back, g=given, o=options: b(**g, **o)) == expected(
            back, **given, **options
        )
