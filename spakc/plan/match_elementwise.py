"""Matches maths against the family `elementwise`: every output over one space of points, nothing reduced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields

from spakc.ir.inline import fresh, instance, replace, substitute
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import simplify
from spakc.ir.visit import walk
from spakc.plan.mismatch import Mismatch, Output, inlining_table, outputs_of, plain_names
from spakc.plan.naming import rename_output, taken_names
from spakc.plan.problem import ElementwiseProblem, Local, Store


def match_elementwise(kernel: Kernel) -> ElementwiseProblem:
    """Needs checked shapes. Raises Mismatch at the first node that does not fit."""
    outputs = outputs_of(kernel)
    for output in outputs:
        _no_reduction(output)
    first = outputs[0]
    names = Namer(kernel)
    stores: list[Store] = []
    for output in outputs:
        aligned = _aligned(first, output)
        mapping = dict(zip(output.variables, (Ref(n, RefKind.index) for n in aligned.variables), strict=True))
        value = names.lower(substitute(output.written.value, mapping))
        stores.append(Store(output.equation.target, aligned.indices, value, output.equation.span))
    stores = [names.shared(store) for store in stores]
    locals_, inlined = _inline_single_uses(names.locals, stores)
    return ElementwiseProblem(kernel.name, first.ranges(first.variables), locals_, inlined)


def _no_reduction(output: Output) -> None:
    for node in walk(output.value):
        if isinstance(node, Reduce):
            raise Mismatch(
                "SPAK406",
                f"an element-wise kernel reduces nothing; this is {node.op} over {', '.join(node.axes)}",
                node.span or output.equation.span,
                "an expression of single elements, or the family rows",
            )


def _aligned(first: Output, other: Output) -> Output:
    """`other` over the index variables of the first output. Raises Mismatch if its points are others."""
    renaming: dict[str, str] = {}
    for name in sorted(other.variables, key=lambda n: n not in first.variables):
        free = [n for n in first.variables if n not in renaming.values()]
        fitting = [n for n in free if first.extents[n] == other.extents[name]]
        if not fitting:
            break
        renaming[name] = name if name in fitting else fitting[0]
    if len(renaming) == len(first.variables) == len(other.variables):
        return rename_output(other, renaming, ())
    raise Mismatch(
        "SPAK407",
        f"{other.equation.target} does not range over the points of {first.equation.target}",
        other.equation.span,
        "outputs of one space: equally many index variables of equal sizes",
        [(first.equation.span, "the points of the kernel are those of this output")],
    )


class Namer:
    """Lowers values over intermediates to values over locals, one local for each intermediate at its
    indices."""

    def __init__(self, kernel: Kernel) -> None:
        self.table = inlining_table(kernel)
        self.tensors = kernel.tensors.keys()
        self.taken = taken_names(kernel)
        self.locals: list[Local] = []
        self.known: dict[tuple[str, tuple[Expr, ...]], Local] = {}

    def lower(self, value: Expr) -> Expr:
        def change(node: Expr) -> Expr | None:
            if not isinstance(node, Load):
                return None
            equation = self.table.get(f"new {node.tensor}" if node.new else node.tensor)
            if equation is None or plain_names(node.indices) is None:
                return None if equation is None else self.lower(instance(equation, node.indices))
            return self.local(node, equation).ref

        return simplify(replace(value, change))

    def shared(self, store: Store) -> Store:
        """A store of what a local already holds stores the local."""
        for name in (store.tensor, f"new {store.tensor}"):
            local = self.known.get((name, store.indices))
            if local is not None:
                return replace_fields(store, value=local.ref)
        return store

    def local(self, node: Load, equation: Equation) -> Local:
        key = (f"new {node.tensor}" if node.new else node.tensor, node.indices)
        if key not in self.known:
            value = self.lower(instance(equation, node.indices))
            used = {local.name for local in self.locals}
            name = node.tensor
            if name in used or node.new or name in self.tensors:
                name = fresh(f"{name}_new" if node.new else f"{name}_value", self.taken | used)
            self.known[key] = Local(name, value, equation.span)
            self.locals.append(self.known[key])
        return self.known[key]


def _inline_single_uses(
    locals_: Sequence[Local], stores: Sequence[Store]
) -> tuple[tuple[Local, ...], tuple[Store, ...]]:
    """Keeps only locals that are read more than once, or that are just what an output stores."""
    uses: dict[str, int] = {}
    for expr in (*(x.value for x in locals_), *(s.value for s in stores)):
        for node in walk(expr):
            if isinstance(node, Ref) and node.kind is RefKind.local:
                uses[node.name] = uses.get(node.name, 0) + 1
    gone: dict[str, Expr] = {}
    kept: list[Local] = []
    for local in locals_:
        value = simplify(_fill(local.value, gone))
        if uses.get(local.name, 0) > 1:
            kept.append(replace_fields(local, value=value))
        else:
            gone[local.name] = value
    return tuple(kept), tuple(replace_fields(s, value=simplify(_fill(s.value, gone))) for s in stores)


def _fill(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    def change(node: Expr) -> Expr | None:
        return values.get(node.name) if isinstance(node, Ref) and node.kind is RefKind.local else None

    return replace(expr, change)
