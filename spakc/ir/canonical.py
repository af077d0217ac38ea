"""The one text of what was written, and its hash.

Two objects of the IR with the same text mean the same to everyone after lowering: places, comments, formatting, prose
(`intent`, `because`) and the names of `let`s that were inlined are not in it; names, order of operands, types, units
and every number are. Equations and laws are sets, and mappings have no order, except where order is a call's: the
tensors and options of a kernel. Evidence stands on this text, for tolerances are measured in the order in which the
mathematics is written; whether two texts say the same in other words is asked of `spakc/ir/normal.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

from spakc.ir.experiment import Phased
from spakc.ir.ops import Apply, Const, Interval, Load, Members, Query, Reduce, Ref, Tuple
from spakc.ir.types import NUMBER, Unit

_PROSE = frozenset(("span", "because", "like", "intent", "intents", "lets", "root", "own", "value_spans"))
"""Fields that carry no meaning of their own: `lets` are inlined and `like` is merged where they are used."""

_ORDERED = frozenset(("tensors", "options"))
_SETS = frozenset(("math", "laws", "gradients", "prefers", "implementations"))


def canonical(thing: Any) -> str:
    """The text of an expression, a declaration, a module, or a tuple or mapping of such. One line, ASCII
    only.

    Raises TypeError for what is no part of the IR: a mistake in the compiler, not in a file."""
    writer = _WRITERS.get(type(thing))
    if writer is not None:
        return writer(thing)
    if isinstance(thing, Enum):
        return thing.name
    if is_dataclass(thing):
        return _declaration(thing)
    if isinstance(thing, Mapping):
        return _mapping(thing, ordered=False)
    raise TypeError(f"{type(thing).__name__} is no part of the IR")


def meaning(*things: Any) -> str:
    """The hash of the canonical texts of some things, in order: 16 bytes of SHA-256 as 32 hexadecimal
    digits."""
    digest = hashlib.sha256()
    for thing in things:
        digest.update(canonical(thing).encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()[:32]


def _call(head: str, parts: list[str]) -> str:
    return f"({' '.join([head, *parts])})"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=True)


def _scalar(value: bool | int | float | str | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return repr(value)
    return str(value)


def _tuple(items: tuple[Any, ...]) -> str:
    return f"[{' '.join(canonical(item) for item in items)}]"


def _set(items: frozenset[Any]) -> str:
    return f"{{{' '.join(sorted(canonical(item) for item in items))}}}"


def _mapping(items: Mapping[str, Any], *, ordered: bool) -> str:
    keys = list(items) if ordered else sorted(items)
    return f"{{{' '.join(f'{_text(key)}: {canonical(items[key])}' for key in keys)}}}"


# ---- expressions --------------------------------------------------------------------------------------


def _const(expr: Const) -> str:
    value = _scalar(expr.value)
    return value if expr.unit == NUMBER else _call("unit", [value, canonical(expr.unit)])


def _unit(unit: Unit) -> str:
    powers = [(field.name, getattr(unit, field.name)) for field in fields(unit)]
    return _call("of", [f"{name}^{power}" for name, power in powers if power])


def _ref(expr: Ref) -> str:
    return f"{expr.kind.name}:{_name(expr.name)}"


@cache
def _name(name: str) -> str:
    return name if name.isascii() and name.replace(".", "_").isidentifier() else _text(name)


def _load(expr: Load) -> str:
    head = "new" if expr.new else "load"
    return _call(head, [_name(expr.tensor), *(canonical(index) for index in expr.indices)])


def _apply(expr: Apply) -> str:
    return _call(expr.op, [canonical(argument) for argument in expr.args])


def _reduce(expr: Reduce) -> str:
    return _call(f"reduce-{expr.op}", [f"[{' '.join(expr.axes)}]", canonical(expr.body)])


def _query(expr: Query) -> str:
    named = sorted(f"{name}={canonical(value)}" for name, value in expr.named)
    return _call(f"?{expr.name}", [canonical(argument) for argument in expr.args] + named)


def _members(expr: Members) -> str:
    return _call("members", [canonical(item) for item in expr.items])


def _items(expr: Tuple) -> str:
    return _call("tuple", [canonical(item) for item in expr.items])


def _interval(expr: Interval) -> str:
    by = [] if expr.by is None else [canonical(expr.by)]
    return _call("range", [canonical(expr.first), canonical(expr.last), *by])


def _phased(expr: Phased) -> str:
    return _call("phased", [canonical(expr.first), canonical(expr.second), repr(expr.start)])


# ---- declarations -------------------------------------------------------------------------------------


@cache
def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in _PROSE and field.compare)


def _declaration(thing: Any) -> str:
    parts: list[str] = []
    kind: Any = type(thing)
    for name in _fields(kind):
        value = getattr(thing, name)
        if isinstance(value, Mapping):
            text = _mapping(value, ordered=name in _ORDERED)
        elif name in _SETS:
            text = f"{{{' '.join(sorted(canonical(item) for item in value))}}}"
        else:
            text = canonical(value)
        parts.append(f"{name}={text}")
    return _call(kind.__name__, parts)


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    Const: _const,
    Ref: _ref,
    Load: _load,
    Apply: _apply,
    Reduce: _reduce,
    Query: _query,
    Members: _members,
    Tuple: _items,
    Interval: _interval,
    Phased: _phased,
    Unit: _unit,
    tuple: _tuple,
    frozenset: _set,
    bool: _scalar,
    int: _scalar,
    float: _scalar,
    str: _scalar,
    type(None): _scalar,
}
