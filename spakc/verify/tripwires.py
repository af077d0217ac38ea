"""The check checked: results that are wrong in ways that kernels are wrong, which it must reject.

Zeros; one number everywhere; the output of another call; a term of the math left out, or a mask; a tail that
nobody masked. A tripwire that the check lets pass is a failure of the verification itself: its tolerance is
too wide, or its cases do not show what the kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from spakc.ir.extents import UnknownExtent
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import Apply, Expr, Load
from spakc.ir.visit import children, walk, with_children
from spakc.record import record
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.oracle import NUMPY, OracleError, evaluate
from spakc.verify.properties import Reference, mismatches, reference
from spakc.verify.tested import UnderTest

Results = Mapping[str, Array]


@record
class Tripwire:
    """`rejected` is None where no case could try it: in all of them the wrong result is the right one."""

    name: str
    rejected: bool | None
    tried: int


@record
class Prepared:
    """A case with what is right for it, and for the same call with other values."""

    case: Case
    ref: Reference
    other: Reference


def prepare(tested: UnderTest, cases: Sequence[Case]) -> list[Prepared]:
    """The cases that the math admits."""
    found = []
    for case in cases:
        try:
            other = reference(tested, replace(case, data=case.data + 1))
            found.append(Prepared(case, reference(tested, case), other))
        except OracleError:
            continue
    return found


def spring(tested: UnderTest, prepared: Sequence[Prepared]) -> list[Tripwire]:
    """Every tripwire over prepared cases. It is rejected if the check rejects it in each case in which it
    shows."""
    found = []
    for name in _WRONG:
        verdicts = [_is_rejected(_WRONG[name](each), each.ref) for each in prepared]
        found.append(_verdict(name, verdicts))
    for name, mutant in left_out(tested.kernel):
        verdicts = [_is_rejected(_of_mutant(mutant, each), each.ref) for each in prepared]
        found.append(_verdict(name, verdicts, some=True))
    return found


def _verdict(name: str, verdicts: Sequence[bool | None], some: bool = False) -> Tripwire:
    tried = [verdict for verdict in verdicts if verdict is not None]
    rejected = (any(tried) if some else all(tried)) if tried else None
    return Tripwire(name, rejected, len(tried))


def _is_rejected(wrong: Results | None, ref: Reference) -> bool | None:
    """Whether the check rejects a result; None if it is the right one."""
    if wrong is None:
        return None
    right = _rounded(ref)
    if all(
        np.array_equal(wrong[name], right[name], equal_nan=right[name].dtype.kind != "i") for name in right
    ):
        return None
    return bool(mismatches(wrong, ref))


def _rounded(ref: Reference) -> dict[str, Array]:
    """The right result as a perfect kernel would write it."""
    with np.errstate(all="ignore"):
        return {name: value.astype(NUMPY[ref.dtypes[name]]) for name, value in ref.right.items()}


# ---- wrong results ------------------------------------------------------------------------------------


def _zeros(each: Prepared) -> Results:
    return {name: np.zeros_like(array) for name, array in _rounded(each.ref).items()}


def _constant(each: Prepared) -> Results | None:
    """The first element everywhere. A result of a single element is a constant."""
    right = _rounded(each.ref)
    if all(array.size <= 1 for array in right.values()):
        return None
    return {
        name: np.full_like(array, array.flat[0]) if array.size else array for name, array in right.items()
    }


def _stale(each: Prepared) -> Results:
    """What an earlier call of the same shape left in the output."""
    return _rounded(each.other)


def _unwritten_tail(each: Prepared) -> Results | None:
    """The last row is not written, or is the sum of what lay beyond the end: NaN."""
    return _with_tail(each, lambda tail: np.full_like(tail, np.nan) if tail.dtype.kind != "i" else tail + 1)


def _shifted_tail(each: Prepared) -> Results | None:
    """The last element of every row is that before it: a tail that overlaps its neighbour."""
    right = _rounded(each.ref)
    found = {}
    for name, array in right.items():
        copy = array.copy()
        if array.ndim and array.shape[-1] > 1:
            copy[..., -1] = copy[..., -2]
        found[name] = copy
    return found


def _with_tail(each: Prepared, change: Callable[[Array], Array]) -> Results | None:
    found = {}
    for name, array in _rounded(each.ref).items():
        copy = array.copy()
        if array.ndim and array.size:
            copy[..., -1] = change(copy[..., -1])
        found[name] = copy
    return found


_WRONG: dict[str, Callable[[Prepared], Results | None]] = {
    "zeros": _zeros,
    "one number": _constant,
    "an earlier output": _stale,
    "tail not written": _unwritten_tail,
    "tail of the neighbour": _shifted_tail,
}


# ---- math with a term left out ------------------------------------------------------------------------


def left_out(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """The kernel with one term of a sum, factor of a scale, or mask left out, one at a time. Only what
    reads a tensor or decides by an index counts: a small constant need not show."""
    seen: set[tuple[Equation, Expr]] = set()
    names: dict[str, int] = {}
    for number, equation in enumerate(kernel.math):
        for node in walk(equation.value):
            for what, shorter in _shorter(node):
                changed = _replaced(equation.value, node, shorter)
                if (equation, changed) in seen:
                    continue
                seen.add((equation, changed))
                math = list(kernel.math)
                math[number] = replace(equation, value=changed)
                name = f"{equation.target} without {what}"
                names[name] = names.get(name, 0) + 1
                numbered = name if names[name] == 1 else f"{name} ({names[name]})"
                yield numbered, replace(kernel, math=tuple(math))


def _shorter(node: Expr) -> Iterator[tuple[str, Expr]]:
    if not isinstance(node, Apply):
        return
    if node.op in ("add", "sub"):
        first, second = node.args
        if _reads(second):
            yield _text(second), first
        if node.op == "add" and _reads(first):
            yield _text(first), second
    elif node.op == "where":
        yield f"the mask {_text(node.args[0])}", node.args[1]
    elif node.op == "call" or node.op in _ACTIVATIONS:
        yield "its activation", node.args[-1]


_ACTIVATIONS = frozenset(("relu", "relu_squared", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh"))


def _reads(expr: Expr) -> bool:
    return any(isinstance(node, Load) for node in walk(expr))


def _text(expr: Expr) -> str:
    text = " ".join(expr.span.text.split()) if expr.span is not None else ""
    return f"`{text}`" if text and len(text) <= 40 else "a term"


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """The expression with one node, by identity, replaced."""
    if expr is old:
        return new
    parts = tuple(_replaced(child, old, new) for child in children(expr))
    return (
        expr
        if all(a is b for a, b in zip(parts, children(expr), strict=True))
        else with_children(expr, parts)
    )


def _of_mutant(mutant: Kernel, each: Prepared) -> Results | None:
    """What the shorter math gives, rounded; None where it is no math any more, or is the same: the mean of
    deviations from a mean is a term, and zero."""
    given = {name: array for name, array in each.ref.given.items() if array is not None}
    try:
        with np.errstate(all="ignore"):
            wrong = evaluate(mutant, given, each.case.options, each.case.dims)
            if all(_equal_but_for_rounding(wrong[name], right) for name, right in each.ref.right.items()):
                return None
            return {name: value.astype(NUMPY[each.ref.dtypes[name]]) for name, value in wrong.items()}
    except (OracleError, UnknownExtent, KeyError):
        return None


def _equal_but_for_rounding(wrong: Array, right: Array) -> bool:
    """Whether two results differ by less than half a unit of float32 of the largest element: inputs that were
    computed in float32 (a mean that was kept) leave that much of what is zero, and no check could see it."""
    size = np.max(np.abs(right), initial=0.0, where=np.isfinite(right))
    return bool(np.allclose(wrong, right, rtol=0.0, atol=2.0**-24 * float(size), equal_nan=True))
