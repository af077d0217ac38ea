"""What a known call costs the host, without a device: CPU tensors take the way of CUDA tensors, and a function of the C
library stands for the driver's launch.

    python -m tests.unit.runtime.bench_call [--windows 4000]

Prints nanoseconds: of calls of the examples' products and attention as on an H100, of the launch alone, of torch's
allocation of an output. The least over windows of 40 calls, so that a busy machine tells the same as a quiet one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch._C._dynamo.guards import _empty_strided_cpu

import spakc
from spak_runtime import args as arguments
from spak_runtime import function, kernel, known, plan, tensor_map
from spak_runtime.choose import Target
from spak_runtime.function import KernelFunction
from spak_runtime.plan import CudaPlan

EXAMPLES = Path(__file__).parents[3] / "examples" / "kernels"
FACTS = {"arch": "sm_90a", "smem_per_block": 232_448, "smem_per_sm": 233_472, "sms": 132, "l2": 50 << 20}
H100 = Target("NVIDIA H100", ("sm_90a", "sm_90"), FACTS)
ALIGNMENT = 64
"""What torch's memory on a CPU begins at multiples of."""


@functools.cache
def encoded(_address: int, _layout: object) -> bytes:
    return bytes(128)


def stand_in() -> Callable[..., int]:
    """Four addresses in, 0 out, unless the first two are the same."""
    call = ctypes.CDLL(None).pthread_equal
    call.argtypes = [ctypes.c_void_p] * 4
    return call  # type: ignore[no-any-return]


class Entries:
    """Stands for a Loader."""

    def function(self, *_: Any) -> int:
        return 1


def plan_of(self: KernelFunction, call: arguments.Arguments, resolved: arguments.Resolved) -> CudaPlan:
    key = function._argument_key(call)
    if key not in self._plans:
        on_device = dataclasses.replace(resolved, device=torch.device("cpu", 0))
        choice = self._chooser.choose(H100, resolved.environment, same_bits=False)
        loader: Any = Entries()
        self._plans[key] = CudaPlan(self.signature, on_device, choice, self._shared.sources, loader)
    return self._plans[key]


@contextlib.contextmanager
def pretended() -> Iterator[None]:
    """All that asks a device asks the C library, by functions that cost about as little."""
    with contextlib.ExitStack() as stack:
        for owner, name, stands in (
            (torch.Tensor, "get_device", lambda _: 0),
            (function, "_is_on_cpu", lambda _: False),
            (KernelFunction, "_plan", plan_of),
            (plan, "_allocator", lambda _: _empty_strided_cpu),
            (plan, "current_stream", abs),
            (kernel, "_launcher", functools.cache(stand_in)),
            (tensor_map, "encode", encoded),
            (arguments, "MAX_ALIGNMENT", ALIGNMENT),
            (known, "MAX_ALIGNMENT", ALIGNMENT),
        ):
            stack.enter_context(patch.object(owner, name, stands))
        stack.enter_context(patch.object(torch._C, "_cuda_getDevice", int, create=True))
        yield


def a_tensor(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    memory = torch.zeros(math.prod(shape) * dtype.itemsize + 256, dtype=torch.uint8)
    first = -memory.data_ptr() % 256
    return memory[first : first + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)


class Nothing(torch.autograd.Function):
    """What torch alone takes for a function of three tensors, there and back."""

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*tensors)
        return tensors[0].detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return (grad,) * len(ctx.saved_tensors)


def subjects() -> dict[str, Callable[[], object]]:
    matmul, fmha = spakc.load(EXAMPLES / "matmul.spak").matmul, spakc.load(EXAMPLES / "fmha.spak").fmha
    a, b, out = a_tensor(256, 256), a_tensor(256, 256).t(), a_tensor(256, 256)
    q, k, v, grad = (a_tensor(1, 1, 128, 64) for _ in range(4))  # small: large memory is mapped, page by page
    recorded = [t.detach().requires_grad_() for t in (q, k, v)]
    sets = itertools.cycle([(a_tensor(256, 256), a_tensor(256, 256).t()) for _ in range(12)])
    flat = matmul._form.flatten(matmul.signature.bind((a, b), {}))
    launch = stand_in()

    def both() -> None:
        torch.autograd.grad(fmha(*recorded).O, recorded, grad)

    def nothing() -> None:
        torch.autograd.grad(Nothing.apply(*recorded), recorded, grad)

    return {
        "launch": lambda: launch(64, 1, 64, None),
        "allocation": lambda: _empty_strided_cpu((256, 256), (256, 1), torch.bfloat16),
        "matmul(a, b)": lambda: matmul(a, b),
        "matmul(a, b), 12 sets in turns": lambda: matmul(*next(sets)),
        "matmul(a, b, out=c)": lambda: matmul(a, b, out=out),
        "fmha(q, k, v)": lambda: fmha(q, k, v),
        "fmha(q, k, v, causal=False)": lambda: fmha(q, k, v, causal=False),
        "fmha, recorded": lambda: fmha(*recorded),
        "fmha, there and back": both,
        "an empty Function, both ways": nothing,
        "registered operator": lambda: matmul.operator(*flat),
    }


def least(call: Callable[[], object], windows: int, calls: int = 40) -> float:
    """Nanoseconds of one call."""
    found = math.inf
    for _ in range(windows):
        begin = time.perf_counter_ns()
        for _ in range(calls):
            call()
        found = min(found, time.perf_counter_ns() - begin)
    return found / calls


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=4000)
    windows = parser.parse_args(given).windows
    with pretended():
        for name, call in subjects().items():
            least(call, 50)
            print(f"{name:32s} {least(call, windows):7.0f} ns", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
