"""Names while matching: outputs brought to common index variables, on-chip values named as in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields

from spakc.ir.inline import fresh, index_name, inline, reductions, replace, same_up_to_indices, substitute
from spakc.ir.lift import expand_softmax
from spakc.ir.module import Kernel
from spakc.ir.ops import Expr, Reduce, Ref, RefKind
from spakc.ir.simplify import simplify
from spakc.plan.mismatch import Output, inlining_table


def rename_output(output: Output, free: Mapping[str, str], axes: Sequence[str]) -> Output:
    """The same output under other names: `free` for variables on the left (others stay if they can), `axes`
    for those of every reduction, by position."""
    mapping: dict[str, Expr] = {}
    taken = set(free.values())
    for name in output.variables:
        new = free.get(name) or fresh(name, taken)
        taken.add(new)
        mapping[name] = Ref(new, RefKind.index)
    equation = output.equation
    indices = tuple(substitute(index, mapping) for index in equation.indices)
    value = simplify(_rename_axes(substitute(output.value, mapping), axes))
    extents = dict(output.extents)
    for node in reductions(output.value):
        extents.update(zip(axes, (output.extents[axis] for axis in node.axes), strict=False))
    extents.update({index_name(ref) or name: output.extents[name] for name, ref in mapping.items()})
    return Output(replace_fields(equation, indices=indices, value=value), output.written, value, extents)


def _rename_axes(expr: Expr, axes: Sequence[str]) -> Expr:
    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Reduce) or node.op == "softmax" or len(node.axes) != len(axes):
            return None
        pairs = {a: Ref(b, RefKind.index) for a, b in zip(node.axes, axes, strict=True) if a != b}
        body = substitute(_rename_axes(node.body, axes), pairs)
        return Reduce(node.op, tuple(axes), body, span=node.span)

    return replace(expr, change)


class ValueNames:
    """Names for on-chip values: the file's where an intermediate is defined as just that value."""

    def __init__(self, kernel: Kernel) -> None:
        table = inlining_table(kernel)
        self.tensors = kernel.tensors.keys()
        self.taken = taken_names(kernel)
        self.known = [
            (target, simplify(expand_softmax(inline(equation.value, table))))
            for target, equation in table.items()
            if not target.startswith("new ")
        ]

    def name(self, value: Expr, default: str) -> str:
        """A name that no earlier call gave. The name of an intermediate may be given, a tensor's never."""
        for target, known in self.known:
            if same_up_to_indices(known, value) is not None:
                if target not in self.tensors:
                    self.known.remove((target, known))
                    return target
                default = f"{target}_value"
                break
        name = fresh(default, self.taken)
        self.taken.add(name)
        return name


def taken_names(kernel: Kernel) -> set[str]:
    """Every name that the kernel gives to something."""
    targets = {equation.target for equation in kernel.math}
    return targets | kernel.tensors.keys() | kernel.dims.keys() | kernel.options.keys()
