"""Matches maths against the family `rows`: reductions along one group of indices for every point of another,
then element-wise outputs per row or per element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replace_fields

from spakc.ir.inline import free_indices, reductions, replace
from spakc.ir.lift import expand_softmax
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import factors_of, mul, simplify
from spakc.ir.visit import references, walk
from spakc.plan.common_factor import without_common_factors
from spakc.plan.mismatch import Mismatch, Output, outputs_of
from spakc.plan.naming import ValueNames, rename_output
from spakc.plan.problem import Local, RowsProblem, Store

CONDITIONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "member"))
ROW_REDUCTIONS = ("sum", "max", "min", "logsumexp")


def match_rows(kernel: Kernel) -> RowsProblem:
    """Needs checked shapes. Raises Mismatch at the first node that does not fit."""
    outputs = [_expanded(output) for output in outputs_of(kernel)]
    lead = next((output for output in outputs if reductions(output.value)), None)
    if lead is None:
        raise Mismatch(
            "SPAK408",
            "a kernel of rows reduces along its rows, and nothing here is reduced",
            outputs[0].equation.span,
            "sum[n](…), max[n](…), logsumexp[n](…) or softmax[n](…), or the family elementwise",
        )
    kept = _kept(lead)
    # The file's name for the elements of a row, if the output has one; else the name under the sum.
    along = tuple(name for name in lead.variables if name not in kept)
    reduced = along or reductions(lead.value)[0].axes
    steps = _Steps(kernel, kept)
    rows: list[Store] = []
    elements: list[Store] = []
    for output in outputs:
        aligned = _aligned(lead, kept, reduced, output)
        value = steps.lower(aligned.value)
        store = Store(output.equation.target, aligned.indices, value, output.equation.span)
        (rows if set(aligned.variables) == set(kept) else elements).append(store)
    return RowsProblem(
        kernel.name,
        lead.ranges(kept),
        lead.ranges(reduced),
        tuple(steps.found),
        tuple(rows),
        tuple(elements),
        kernel.accumulate,
        _runs_along(steps.found, elements, set(kept), set(reduced)),
    )


def _expanded(output: Output) -> Output:
    value = simplify(expand_softmax(output.value))
    return replace_fields(output, value=value, equation=replace_fields(output.equation, value=value))


def _kept(output: Output) -> tuple[str, ...]:
    """The variables on the left that some reduction of the value depends on."""
    free = {name for node in reductions(output.value) for name in free_indices(node)}
    return tuple(name for name in output.variables if name in free)


def _aligned(lead: Output, kept: Sequence[str], reduced: Sequence[str], output: Output) -> Output:
    """`output` over the index names of the lead. Raises Mismatch if its rows are others."""
    mine = _kept(output)
    if not reductions(output.value):
        mine = output.variables[: len(kept)]
    rest = tuple(name for name in output.variables if name not in mine)
    first = reductions(lead.value)[0]
    row = [lead.extents[name] for name in kept]
    along = [lead.extents[axis] for axis in first.axes]
    lead_span = first.span or lead.equation.span
    for node in reductions(output.value):
        span = node.span or output.equation.span
        if node.op not in ROW_REDUCTIONS:
            raise Mismatch(
                "SPAK409", f"{node.op} is not computed along rows", span, " or ".join(ROW_REDUCTIONS)
            )
        if [output.extents[axis] for axis in node.axes] != along or set(free_indices(node)) - set(mine):
            raise Mismatch(
                "SPAK409",
                f"this {node.op} does not run along the same indices as the first reduction",
                span,
                f"a reduction along the same axes, for every {', '.join(kept) or 'kernel'}",
                [(lead_span, "the first reduction")],
            )
    if [output.extents[name] for name in mine] != row or (
        rest and [output.extents[name] for name in rest] != along
    ):
        wanted = f"[{', '.join(kept)}] or [{', '.join((*kept, *reduced))}]"
        raise Mismatch(
            "SPAK410",
            f"{output.equation.target} is neither one value a row nor one an element",
            output.equation.span,
            f"an output indexed by {wanted}, in any order",
            [(lead_span, "rows are what this reduction runs along")],
        )
    free = dict(zip((*mine, *rest), (*kept, *(reduced if rest else ())), strict=True))
    return rename_output(output, free, reduced)


class _Steps:
    """Lifts reductions, and whatever varies only by row and needs one, out of the values."""

    def __init__(self, kernel: Kernel, kept: Sequence[str]) -> None:
        self.kept = set(kept)
        self.names = ValueNames(kernel)
        self.found: list[Local] = []
        self.known: dict[Expr, Local] = {}

    def lower(self, value: Expr) -> Expr:
        """The value over the steps found so far (and those that it adds)."""

        def change(node: Expr) -> Expr | None:
            if isinstance(node, (Ref, Load)) or not reductions(node):
                return None
            if isinstance(node, Apply) and node.op in CONDITIONS:
                return None  # cheap where it is used, and no number that a step could hold
            return self.step(node).ref if set(free_indices(node)) <= self.kept else None

        return without_common_factors(simplify(replace(value, change)))

    def step(self, node: Expr) -> Local:
        if node not in self.known:
            if isinstance(node, Reduce):
                value: Expr = Reduce(node.op, node.axes, self.lower(node.body), span=node.span)
                scaled = _scaled(value)
                if scaled is not None:
                    self.known[node] = self.step(scaled)
                    return self.known[node]
            else:
                value = self._parts(node)
            local = Local(
                self.names.name(node, "row" if not isinstance(node, Reduce) else node.op), value, node.span
            )
            self.known[node] = local
            self.found.append(local)
        return self.known[node]

    def _parts(self, node: Expr) -> Expr:
        """A row's scalar over the reductions in it, each a step of its own."""
        return simplify(replace(node, lambda n: self.step(n).ref if isinstance(n, Reduce) else None))


def _runs_along(steps: Sequence[Local], elements: Sequence[Store], kept: set[str], reduced: set[str]) -> bool:
    """Whether the tensors that vary within a row have a reduced index, not a kept one, in their last axis.
    The tensor with most axes decides."""
    values = [*(step.value for step in steps), *(store.value for store in elements)]
    loads = [n for value in values for n in walk(value) if isinstance(n, Load) and n.indices]
    both = [load for load in loads if set(free_indices(load)) & reduced and set(free_indices(load)) & kept]
    if not both:
        return True
    widest = max(both, key=lambda load: len(load.indices))
    ordered = [name for index in widest.indices for name in free_indices(index)]
    return ordered[-1] in reduced


def _scaled(value: Expr) -> Expr | None:
    """A sum of products some of whose factors are steps of the row, as those factors times a sum, which then waits
    for none of them. None if there is no such factor."""
    if not isinstance(value, Reduce) or value.op != "sum":
        return None
    factors = factors_of(value.body)
    outside = [
        f for f in factors if references(f, RefKind.local) and not set(free_indices(f)) & set(value.axes)
    ]
    inside = [f for f in factors if f not in outside]
    if not outside or not inside:
        return None
    bare = Reduce("sum", value.axes, mul(*inside), span=value.span)
    return mul(*outside, bare, span=value.span)
