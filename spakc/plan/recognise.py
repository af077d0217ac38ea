"""Maths → problem: matches a kernel's equations against the family that its author asserts.

Intermediates are inlined first and expressions brought to normal form, so names, the order of equations, the
order of factors and terms, constant factors and the side of a `where` do not matter. Softmax is not
re-derived from exp. What does not fit is reported at the first node that does not, with the form expected
there.
"""

from __future__ import annotations

from collections.abc import Callable

from spakc.diagnostics.sink import Sink
from spakc.ir.module import Kernel
from spakc.plan.fuse import fused
from spakc.plan.in_place import in_place
from spakc.plan.match_attention import match_attention
from spakc.plan.match_elementwise import match_elementwise
from spakc.plan.match_product import match_product
from spakc.plan.match_rows import match_rows
from spakc.plan.mismatch import Mismatch
from spakc.plan.problem import ChainProblem, Problem
from spakc.plan.split import as_chain

FAMILIES: dict[str, Callable[[Kernel], Problem]] = {
    "product": match_product,
    "attention": match_attention,
    "rows": match_rows,
    "elementwise": match_elementwise,
    "chain": as_chain,
}


def recognise(kernel: Kernel, sink: Sink) -> Problem | None:
    """The kernel as a problem of its family, or None with one diagnostic (SPAK401 to SPAK419) in the sink. A
    chain of several stages that no template joins on chip is a warning (SPAK416).

    Needs a kernel whose names, shapes and dtypes are checked; changes nothing."""
    try:
        found = FAMILIES[kernel.family](kernel)
        problem = in_place(found, (name for name, tensor in kernel.tensors.items() if tensor.role == "inout"))
    except Mismatch as mismatch:
        sink.report(
            mismatch.code,
            mismatch.message,
            mismatch.span,
            f"expected {mismatch.expected}",
            also=[*mismatch.also, (kernel.span, f"declared of the family {kernel.family} here")],
        )
        return None
    if isinstance(problem, ChainProblem) and fused(problem) is None:
        sink.report(
            "SPAK416",
            f"the {len(problem.stages)} stages of this chain run as launches of their own",
            kernel.span,
            "no template joins these on chip",
            severity="warning",
        )
    return problem
