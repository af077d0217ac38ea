"""What calls cost the host: products and attention of the examples, beside the raw launch of the same kernels.

    python -m tests.gpu.bench_host [OUT.json] [--rounds 31] [--calls 100]

All subjects in turns in one process, each round after the device is idle, in a drawn order; medians with quartiles, in
microseconds for the calling thread. Sizes are so small that the device is always ahead. `beyond` is what a call costs
more than the launches it makes, each by the driver's function with a block that is ready.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import spakc
from spak_runtime import quick
from spak_runtime.function import KernelFunction
from spak_runtime.kernel import current_stream

EXAMPLES = Path(__file__).parents[2] / "examples" / "kernels"
Call = Callable[[], object]

ALIVE: list[object] = []
"""What launches by the driver alone read: nothing else would hold it."""


def raw_launch(kernel: KernelFunction, *args: Any, **kwargs: Any) -> Call:
    """The launches of a call, by the driver alone."""
    call = kernel.signature.bind(args, kwargs)
    plan = kernel._plan(call, kernel.signature.resolve(call))
    outputs = plan.run([call.inputs.get(name, call.outputs.get(name)) for name in kernel.signature.specs])
    slots = {name: slot for slot, name in enumerate(kernel.signature.specs)}
    pointers = plan.addresses.copy()
    for name, tensor in (*call.inputs.items(), *zip(kernel.signature.outputs, outputs, strict=True)):
        pointers[slots[name]] = 0 if tensor is None else tensor.data_ptr()
    space = torch.empty(1 << 26, dtype=torch.uint8, device="cuda")
    for slot, _, _ in plan._spaces:
        pointers[slot] = space.data_ptr()
    blocks = []
    for launch in plan._launches:
        launch.run(pointers, current_stream(0), 0)
        blocks.append(launch._pool.pop())  # nobody else fills it
    ALIVE.append((blocks, outputs, space))
    if len(blocks) == 1:
        alone: Call = blocks[0].launch
        return alone

    def all_of_them() -> None:
        for block in blocks:
            block.launch()

    return all_of_them


def in_python(kernel: KernelFunction, *args: Any) -> Call:
    """The same call, without quick.c."""
    with patch.object(quick, "maker", lambda: None):
        other = kernel.only(*(variant.id for variant in kernel.spec.variants))
        other(*args)
    return lambda: other(*args)


def captured(call: Call) -> Call:
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()
    return lambda: (graph.replay(), kept)[0]


class Nothing(torch.autograd.Function):
    """What torch alone takes for a function of three tensors with two outputs, there and back."""

    @staticmethod
    def forward(ctx: Any, rule: object, q: Any, k: Any, v: Any, o: Any, l: Any) -> Any:  # noqa: E741
        ctx.save_for_backward(q, k, v)
        ctx.set_materialize_grads(False)
        o, l = o.detach(), l.detach()  # noqa: E741
        ctx.mark_non_differentiable(l)
        return o, l

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        ctx.saved_tensors  # noqa: B018
        return None, grad, grad, grad, None, None


def products() -> dict[str, Call]:
    matmul = spakc.load(EXAMPLES / "matmul.spak").matmul

    def matrix() -> torch.Tensor:
        return torch.randn(256, 256, device="cuda", dtype=torch.bfloat16)

    a, b, out = matrix(), matrix().t(), matrix()
    sets = itertools.cycle([(matrix(), matrix().t()) for _ in range(12)])
    raw = raw_launch(matmul, a, b)
    flat = matmul._form.flatten(matmul.signature.bind((a, b), {}))
    empty = torch._C._dynamo.guards._empty_strided_cuda
    return {
        "raw launch": raw,
        "allocation": lambda: empty((256, 256), (256, 1), torch.bfloat16),
        "m.matmul(a, b)": lambda: matmul(a, b),
        "m.matmul(a, b), 12 sets in turns": lambda: matmul(*next(sets)),
        "m.matmul(a, b), without C": in_python(matmul, a, b),
        "m.matmul(a, b, out=c)": lambda: matmul(a, b, out=out),
        "registered operator": lambda: matmul.operator(*flat),
        "graph of one call": captured(lambda: matmul(a, b, out=out)),
        "torch.mm(a, b)": lambda: torch.mm(a, b),
        "torch.mm(a, b, out=c)": lambda: torch.mm(a, b, out=out),
    }


def attention() -> dict[str, Call]:
    fmha = spakc.load(EXAMPLES / "fmha.spak").fmha
    gradient = fmha._derivatives[0].kernel
    assert isinstance(gradient, KernelFunction)
    q, k, v, grad = (torch.randn(1, 2, 256, 64, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    wanted = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    o, logs = fmha(q, k, v)
    flat = fmha._form.flatten(fmha.signature.bind((q, k, v), {}))
    inputs = dict(zip(("Q", "K", "V", "L", "grad_O", "O"), (q, k, v, logs, grad, o), strict=True))
    attend = torch.nn.functional.scaled_dot_product_attention

    def nothing() -> object:
        return torch.autograd.grad(Nothing.apply(0, *wanted, o, logs)[0], wanted, grad)

    return {
        "raw launch, forward": raw_launch(fmha, q, k, v),
        "raw launches, gradient": raw_launch(gradient, **inputs),
        "m.fmha(q, k, v)": lambda: fmha(q, k, v),
        "m.fmha(q, k, v, causal=False)": lambda: fmha(q, k, v, causal=False),
        "m.fmha(q, k, v), without C": in_python(fmha, q, k, v),
        "m.fmha(q, k, v), recorded": lambda: fmha(*wanted),
        "gradient kernel, eager": lambda: gradient(**inputs),
        "there and back": lambda: torch.autograd.grad(fmha(*wanted).O, wanted, grad),
        "there and back, an empty Function": nothing,
        "registered operator": lambda: fmha.operator(*flat),
        "graph of one call": captured(lambda: fmha(q, k, v)),
        "torch": lambda: attend(q, k, v, is_causal=True),
        "torch, there and back": lambda: torch.autograd.grad(attend(*wanted, is_causal=True), wanted, grad),
    }


def in_turns(subjects: dict[str, Call], rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds of a call, by round; the device is idle when one begins."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for round_ in range(rounds + 2):
        for name in random.sample(list(subjects), len(subjects)):
            call = subjects[name]
            for _ in range(3):
                call()
            torch.cuda.synchronize()
            begin = time.perf_counter_ns()
            for _ in range(calls):
                call()
            if round_ >= 2:
                found[name].append((time.perf_counter_ns() - begin) / calls / 1e3)
            torch.cuda.synchronize()
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=100)
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    random.seed(0)
    where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{where}, calls by {'C' if quick.maker() else 'Python'}", flush=True)
    record: dict[str, Any] = {"device": where}
    for title, subjects in (("products", products()), ("attention", attention())):
        found = in_turns(subjects, given.rounds, given.calls)
        launch = statistics.median(next(iter(found.values())))
        for name, times in found.items():
            low, middle, high = statistics.quantiles(times, n=4)
            print(
                f"{title:10s} {name:36s} {middle:7.2f} us ({low:.2f} - {high:.2f}, least {min(times):.2f})"
                f" beyond {middle - launch:6.2f}",
                flush=True,
            )
        record[title] = found
    if given.out is not None:
        given.out.write_text(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
