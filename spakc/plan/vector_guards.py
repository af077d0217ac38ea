"""What a call must satisfy for neighbouring elements to move in vectors."""

from __future__ import annotations

from collections.abc import Iterable

from spak_runtime.manifest import Expression, Guard
from spakc.ir.ops import Load
from spakc.plan.launch import Requirements, Signature, lower, product
from spakc.plan.problem import IndexRange
from spakc.plan.templates_product import is_multiple
from spakc.plan.vectors import innermost_offset


def vector_requirements(
    inner: IndexRange, accesses: Iterable[Load], vector: int, signature: Signature
) -> Requirements:
    """Whole vectors along `inner`, and every row of every accessed tensor begins at one. Each access runs
    along `inner` (`innermost_offset`)."""
    asked: dict[str, Guard] = {}

    def ask(condition: Expression, reason: str) -> None:
        if condition is not True:
            asked.setdefault(repr(condition), Guard("vectors", condition, reason))

    ask(_multiple(lower(inner.extent), vector), f"the innermost size is a multiple of {vector}")
    for load in accesses:
        name, last = load.tensor, len(load.indices) - 1
        offset = innermost_offset(load.indices, inner.name)
        assert offset is not None
        ask(_multiple(lower(offset), vector), f"{name} is read from multiples of {vector} elements on")
        for axis in range(last):
            reason = f"rows of {name} are multiples of {vector} elements apart"
            ask(_multiple(signature.stride(name, axis), vector), reason)
        if name not in signature.carried:
            ask(["eq", ["stride", name, last], 1], f"the last axis of {name} lies in one piece")
            whole: Expression = ["min", 16, product([signature.element_bytes(name), vector])]
            ask(["ge", ["alignment", name], whole], f"{name} begins at a multiple of a vector's bytes")
    return Requirements(tuple(asked.values()))


def _multiple(value: Expression, of: int) -> Expression:
    if is_multiple(value, of):
        return True
    return ["eq", ["mod", value, of], 0]
