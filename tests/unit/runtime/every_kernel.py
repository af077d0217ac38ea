"""A call of every kernel of examples/kernels, for what torch asks of all of them alike: on a CPU and on a device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spakc
from spak_runtime.artifact import Artifact
from spak_runtime.function import KernelFunction

FOLDER = Path(__file__).parents[3] / "examples" / "kernels"


@dataclass(frozen=True)
class Call:
    """One call of a kernel; `wrt` are the arguments whose gradient is asked for, if the kernel has one."""

    file: str
    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    wrt: tuple[int, ...] = ()

    @property
    def kernel(self) -> KernelFunction:
        return artifact(self.file)[self.name]

    def fresh(self, requires_grad: bool = False) -> list[Any]:
        """Arguments of their own, in the same layout: a kernel may write to them."""
        made = [torch.empty_like(a).copy_(a) if isinstance(a, Tensor) else a for a in self.args]
        for i in self.wrt if requires_grad and self.kernel.spec.gradients else ():
            made[i].requires_grad_()
        return made

    def on(self, device: str) -> Call:
        return replace(self, args=tuple(a.to(device) if isinstance(a, Tensor) else a for a in self.args))

    def flat(self, arguments: list[Any]) -> tuple[Any, ...]:
        """As the operator takes them."""
        kernel = self.kernel
        return kernel._form.flatten(kernel.signature.bind(tuple(arguments), dict(self.options)))

    def run(self, arguments: list[Any]) -> tuple[Tensor, ...]:
        """Results, those written in place among them."""
        result = self.kernel(*arguments, **self.options)
        names = self.kernel.signature
        changed = tuple(arguments[names.inputs.index(name)] for name in names.inouts)
        if result is None:
            return changed
        return (*((result,) if isinstance(result, Tensor) else tuple(result)), *changed)

    def between(self) -> Callable[..., Tensor]:
        """The first result, or what is written in place, times two: a function of the tensors that can be traced."""
        kernel, options, only = self.kernel, dict(self.options), len(self.kernel.signature.outputs) == 1
        writes = not self.kernel.signature.outputs

        def function(*arguments: Any) -> Tensor:
            result = kernel(*arguments, **options)
            first: Tensor = arguments[0] if writes else result if only else result[0]
            return first * 2

        return function


@functools.cache
def artifact(file: str) -> Artifact:
    return spakc.load(FOLDER / f"{file}.spak")


def declared() -> set[str]:
    """The kernels of all files that are not the gradient of another one."""
    found = set()
    for path in FOLDER.glob("*.spak"):
        kernels = artifact(path.stem).manifest.kernels
        found |= kernels.keys() - {g.kernel for kernel in kernels.values() for g in kernel.gradients}
    return found


def assert_one_graph_computes_the_same(call: Call, backend: str, **tolerance: float) -> None:
    """Between operations of torch, forward and backward; what is written in place is read afterwards. The operator has
    the gradient that was derived; on a CPU, outside of it torch differentiates the mathematics itself."""
    torch._dynamo.reset()  # one function of the test for all kernels
    torch.manual_seed(3)
    between = call.between()
    function = torch.compile(between, fullgraph=True, backend=backend)
    plain, traced = call.fresh(True), call.fresh(True)
    wanted, found = between(*plain), function(*traced)
    torch.testing.assert_close(found, wanted, **tolerance)
    if call.kernel.spec.gradients:
        grad = torch.randn_like(wanted)
        ours = torch.autograd.grad(found, [traced[i] for i in call.wrt], grad)
        theirs = torch.autograd.grad(wanted, [plain[i] for i in call.wrt], grad)
        torch.testing.assert_close(ours, theirs, rtol=2**-6, atol=2**-6)


def every_call() -> dict[str, Call]:
    """By name, on the CPU, in the dtypes of training; sizes that no tile divides."""
    random = torch.Generator().manual_seed(3)

    def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    def half(*shape: int) -> Tensor:
        return drawn(*shape, dtype=torch.bfloat16)

    queries, keys, values = half(2, 4, 40, 64), half(2, 2, 56, 64), half(2, 2, 56, 64)
    scalars = tuple(torch.tensor(value) for value in (1e-2, 0.1, 0.5, 0.3, 0.7))
    calls = (
        Call(
            "matmul", "matmul", (half(72, 40), half(88, 40).t(), half(88)), {"activation": "gelu"}, (0, 1, 2)
        ),
        Call("fmha", "fmha", (queries, keys, values), {"causal": True}, (0, 1, 2)),
        Call(
            "fmha",
            "fmha_biased",
            (queries, keys, values, drawn(2, 4, 40, 56)),
            {"causal": False},
            (0, 1, 2, 3),
        ),
        Call("train", "rms_norm", (half(37, 96), drawn(96)), {"eps": 1e-5}, (0, 1)),
        Call("train", "layer_norm", (half(37, 96), drawn(96), drawn(96)), {"eps": 1e-5}, (0, 1, 2)),
        Call(
            "train",
            "add_layer_norm",
            (drawn(37, 96), half(37, 96), drawn(96), drawn(96), drawn(96)),
            {"eps": 1e-5},
            (0, 1, 2, 3, 4),
        ),
        Call("train", "gelu", (half(37, 96),), {}, (0,)),
        Call("train", "gelu_tanh", (half(37, 96),), {}, (0,)),
        Call("train", "swiglu", (half(37, 96), half(37, 96)), {}, (0, 1)),
        Call("train", "cross_entropy", (half(37, 100), torch.arange(37, dtype=torch.int32)), {}, (0,)),
        Call("train", "rope", (half(2, 9, 3, 64),), {"base": 1e4}, (0,)),
        Call("train", "adamw", (drawn(77), drawn(77), drawn(77).square(), drawn(77), *scalars), {}),
        Call(
            "chain", "norm_linear", (half(72, 64), drawn(64), half(64, 88)), {"activation": "silu"}, (0, 1, 2)
        ),
        Call("mlp", "linear_act", (half(72, 64), half(64, 88), half(88)), {"activation": "silu"}),
        Call("mlp", "act_linear", (half(72, 64), half(64, 88)), {"activation": "silu"}, (0,)),
    )
    return {call.name: call for call in calls}
