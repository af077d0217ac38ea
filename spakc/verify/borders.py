"""Where conditions over indices change their truth: there kernels skip tiles, and take whole ones without asking."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.module import Kernel
from spakc.ir.ops import Apply, Const, Expr, RefKind
from spakc.ir.visit import references, substitute, walk
from spakc.record import record

_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))


@record
class Border:
    """A condition that compares index variables with sizes or numbers. `offset` is what it compares at the first place
    of all: that of `k <= q + Sk - Sq` is `Sq - Sk`."""

    offset: Expr
    dims: frozenset[str]
    options: frozenset[str]

    def at(self, dims: Mapping[str, int], options: Mapping[str, bool | int | float | str]) -> int | None:
        """Where it lies in a call; None where that is no whole number or depends on elements."""
        found = evaluate(self.offset, Env().dims(dims).options(options))
        return None if isinstance(found, Unknown | bool | str) or found != int(found) else int(found)


def borders_of(kernel: Kernel) -> tuple[Border, ...]:
    """Those of a kernel's mathematics, each once."""
    found: dict[str, Border] = {}
    for equation in kernel.math:
        for node in walk(equation.value):
            if not isinstance(node, Apply) or node.op not in _COMPARISONS:
                continue
            indices = references(node, RefKind.index)
            dims, options = references(node, RefKind.dim), references(node, RefKind.option)
            if indices and (dims or options):
                first = {(RefKind.index, name): Const(0) for name in indices}
                offset = substitute(Apply("sub", node.args), first)
                found.setdefault(repr(offset), Border(offset, dims, options))
    return tuple(found.values())
