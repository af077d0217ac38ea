"""The tensors of a kernel that was derived from another: which are passed, and whose dtype each shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from spakc.ir.inline import loads
from spakc.ir.module import Equation, Gradient, Kernel, Tensor
from spakc.ir.ops import Ref, RefKind
from spakc.ir.visit import references
from spakc.record import record


@record
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
    read |= _for_sizes(kernel, math, wanted, read | set(saves))
    derived = [Derived(n, "input", n) for n, t in kernel.tensors.items() if t.role == "input" and n in read]
    derived += [Derived(name, "input", name) for name in kernel.tensors if name in saves]
    derived += [Derived(grad_names[name], "input", name) for name in wanted.outputs]
    derived += [Derived(grad_names[name], "output", name) for name in wanted.inputs]
    return retyped(kernel, derived)


def _for_sizes(kernel: Kernel, math: Sequence[Equation], wanted: Gradient, read: set[str]) -> set[str]:
    """Forward inputs that are passed only because no other tensor shows the size of a dim."""

    def shown(names: Iterable[str]) -> set[str]:
        sizes = (size for name in names if name in kernel.tensors for size in kernel.tensors[name].shape)
        return {size.name for size in sizes if isinstance(size, Ref)}

    known = shown((*read, *wanted.outputs))
    missing = used_dims(kernel, math, wanted.inputs) - known
    found: set[str] = set()
    for name, tensor in kernel.tensors.items():
        if tensor.role == "input" and missing & shown((name,)):
            found.add(name)
            missing -= shown((name,))
    return found


def used_dims(kernel: Kernel, math: Sequence[Equation], tensors: Iterable[str]) -> set[str]:
    """Dims that the math, the shapes of these tensors or the defaults of options mention."""
    exprs = [e.value for e in math] + [index for e in math for index in e.indices]
    exprs += [size for name in tensors for size in kernel.tensors[name].shape]
    exprs += [option.default for option in kernel.options.values()]
    return {dim for expr in exprs for dim in references(expr, RefKind.dim)}


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
