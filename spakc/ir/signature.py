"""The tensors of a kernel that was derived from another: which are passed, and whose dtype each shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from spakc.ir.inline import loads
from spakc.ir.module import Equation, Gradient, Kernel, Tensor


@dataclass(frozen=True, slots=True)
class Derived:
    """A tensor like `origin` of the kernel, under another name and in another role."""

    name: str
    role: str  # input | output
    origin: str


def derived_tensors(
    kernel: Kernel,
    math: Sequence[Equation],
    grad_names: Mapping[str, str],
    wanted: Gradient,
    saves: Sequence[str],
) -> dict[str, Tensor]:
    """The signature of a backward kernel: forward inputs that its math reads and saved outputs under their
    own names, the gradients of outputs as inputs, those of inputs as outputs."""
    read = {load.tensor for equation in math for load in loads(equation.value)}
    derived = [Derived(n, "input", n) for n, t in kernel.tensors.items() if t.role == "input" and n in read]
    derived += [Derived(name, "input", name) for name in kernel.tensors if name in saves]
    derived += [Derived(grad_names[name], "input", name) for name in wanted.outputs]
    derived += [Derived(grad_names[name], "output", name) for name in wanted.inputs]
    return retyped(kernel, derived)


def retyped(kernel: Kernel, derived: Iterable[Derived]) -> dict[str, Tensor]:
    """Declares the tensors. `same(A)` stays where A is one of them; else the first of those that shared A's
    dtype takes A's alternatives and the others become the same as it."""
    found: dict[str, Tensor] = {}
    leaders: dict[str, str] = {}
    items = list(derived)
    for item in items:
        if item.name == item.origin and kernel.tensors[item.origin].same_as is None:
            leaders.setdefault(item.origin, item.name)
    for exact in (True, False):
        for item in items:
            tensor = kernel.tensors[item.origin]
            if not exact or not (tensor.dtypes and tensor.same_as):
                leaders.setdefault(_root(kernel, item.origin), item.name)
    for item in items:
        tensor = kernel.tensors[item.origin]
        root = _root(kernel, item.origin)
        leader = leaders[root]
        own = tensor.dtypes if tensor.same_as else ()
        if leader == item.name:
            dtypes, same = (*own, *(d for d in kernel.tensors[root].dtypes if d not in own)), None
        else:
            dtypes, same = own, leader
        default = tensor.default if item.role == "input" and item.name == item.origin else None
        declared = replace(
            tensor, name=item.name, role=item.role, dtypes=dtypes, same_as=same, default=default
        )
        found[item.name] = declared
    return found


def _root(kernel: Kernel, name: str) -> str:
    """The tensor that the dtype of this one goes back to."""
    while (same := kernel.tensors[name].same_as) is not None:
        name = same
    return name
