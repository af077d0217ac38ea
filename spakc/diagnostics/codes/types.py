"""SPAK3xx: domains, shapes, types, units."""

from spakc.diagnostics.codes.entry import Code


def _kernel(body: str) -> str:
    """A smallest kernel with some lines in it."""
    return f"spak 1\nkernel k: elementwise {{\n  dim N\n  input x: f32 [N]\n  output y: f32 [N]\n{body}}}\n"


_COPY = "  math { y[i] = x[i] }\n"

TABLE: tuple[Code, ...] = (
    Code(
        "SPAK304",
        "no domain where one is needed",
        "A dim, a knob, a split or a quantifier runs over a set `{a, b}` or a range `first .. last "
        "step by`, both ends included.",
        wrong=_kernel(_COPY + "  schedule s { knob vector in 4 }\n"),
        right=_kernel(_COPY + "  schedule s { knob vector in {4} }\n"),
    ),
)
