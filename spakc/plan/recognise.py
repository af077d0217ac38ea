"""Maths → problem: matches a kernel's equations against the family that its author asserts.

Intermediates are inlined first and expressions brought to normal form, so names, the order of equations, the
order of factors and terms, constant factors and the side of a `where` do not matter. Softmax is not
re-derived from exp. What does not fit is reported at the first node that does not, with the form expected
there.
"""

from __future__ import annotations

from collections.abc import Callable

from spakc.diagnostics.sink import Sink
from spakc.ir.extents import UnknownExtent
from spakc.ir.module import Kernel
from spakc.plan.match_attention import match_attention
from spakc.plan.match_elementwise import match_elementwise
from spakc.plan.match_product import match_product
from spakc.plan.match_rows import match_rows
from spakc.plan.mismatch import Mismatch
from spakc.plan.problem import Problem

FAMILIES: dict[str, Callable[[Kernel], Problem]] = {
    "product": match_product,
    "attention": match_attention,
    "rows": match_rows,
    "elementwise": match_elementwise,
}


def recognise(kernel: Kernel, sink: Sink) -> Problem | None:
    """The kernel as a problem of its family, or None with one diagnostic (SPAK401 to SPAK416) in the sink.

    Needs a kernel whose names, shapes and dtypes are checked; changes nothing."""
    family = FAMILIES.get(kernel.family)
    if family is None:
        sink.report(
            "SPAK416",
            f"no code is generated for the family {kernel.family} yet",
            kernel.span,
            notes=["its maths is checked, and evaluated by the oracle"],
            severity="warning",
        )
        return None
    try:
        return family(kernel)
    except Mismatch as problem:
        sink.report(
            problem.code,
            problem.message,
            problem.span,
            f"expected {problem.expected}",
            also=[*problem.also, (kernel.span, f"declared of the family {kernel.family} here")],
        )
    except UnknownExtent as problem:
        sink.report(
            "SPAK417",
            f"nothing says how many values the index {problem.name} takes",
            problem.span,
            "it runs along no axis of a tensor",
        )
    return None
