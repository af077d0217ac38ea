"""Laws over what only a call knows, as guards of the manifest."""

from __future__ import annotations

from spak_runtime.manifest import Expression, Guard
from spakc.ir.module import Law
from spakc.ir.ops import OPS, Apply, Const, Expr, Interval, Members, Query, Ref, RefKind

_ATOMS = {RefKind.dim: "dim", RefKind.knob: "knob", RefKind.option: "option", RefKind.fact: "fact"}


def guard_of(law: Law) -> Guard | None:
    """The law as a condition at launch, or None if it is about more than a call's sizes, options and
    dtypes."""
    condition = runtime_expression(law.proposition)
    if condition is None:
        return None
    if law.when is not None:
        when = runtime_expression(law.when)
        if when is None:
            return None
        condition = ["or", ["not", when], condition]
    return Guard(law.qualified, condition, law.because or "")


def runtime_expression(expr: Expr) -> Expression | None:
    """A scalar expression over dims, knobs, options, facts and sizeof; None for anything else."""
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Ref):
        if expr.kind is RefKind.symbol:
            return expr.name
        return [_ATOMS[expr.kind], expr.name] if expr.kind in _ATOMS else None
    if isinstance(expr, Query):
        if expr.name in ("sizeof", "dtype") and len(expr.args) == 1 and isinstance(expr.args[0], Ref):
            return [expr.name, expr.args[0].name]
        return None
    if isinstance(expr, (Members, Interval)):
        parts = expr.items if isinstance(expr, Members) else (expr.first, expr.last, expr.by or Const(1))
        return _operation("set" if isinstance(expr, Members) else "interval", parts)
    if isinstance(expr, Apply) and expr.op in OPS and expr.op != "call":
        return _operation(expr.op, expr.args)
    return None


def _operation(name: str, args: tuple[Expr, ...]) -> Expression | None:
    parts = [runtime_expression(arg) for arg in args]
    return None if any(part is None for part in parts) else [name, *parts]
