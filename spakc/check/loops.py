"""What a model says of the loops it reads out, at given values of its hypers."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.check.count import Unbuildable, Value
from spakc.ir.constraint import Env, evaluate
from spakc.ir.model import Loop, Model
from spakc.ir.ops import Apply, Expr, Interval, Query, RefKind


def check_loops(model: Model, hypers: Mapping[str, Value]) -> None:
    """Needs a checked model with a loop of a sound length. Raises Unbuildable at the first supervised loop or
    `earliest` that the loop never reaches, and at a threshold that is no probability."""
    env = Env({(RefKind.hyper, name): value for name, value in hypers.items()})
    loop = next((step for step in model.forward.body if isinstance(step, Loop)), None)
    if loop is None or not isinstance(loop.domain, Interval):
        return
    length = evaluate(loop.domain.last, env)
    assert isinstance(length, int), "counted before"
    supervise, halting = model.supervise, model.halting or {}
    if supervise is not None and isinstance(supervise.domain, Interval):
        first = _loop_number(supervise.domain.first, "the first supervised loop", 1, length, env)
        _loop_number(supervise.domain.last, "the last supervised loop", first, length, env)
    if "earliest" in halting:
        _loop_number(halting["earliest"], "`earliest`", 1, length, env)
    if "threshold" in halting:
        _threshold(halting["threshold"], env)


def _loop_number(node: Expr, what: str, least: int, most: int, env: Env) -> int:
    value = evaluate(node, env)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Unbuildable(f"{what} is a whole number from {least} to {most}, not {value}", node.span)
    return value


def _threshold(node: Expr, env: Env) -> None:
    """A number, or a choice of such by the character before."""
    if isinstance(node, Apply) and node.op == "where":
        for branch in node.args[1:]:
            _threshold(branch, env)
        return
    if isinstance(node, Query):
        return
    value = evaluate(node, env)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unbuildable(f"a threshold is a probability from 0 to 1, not {value}", node.span)
