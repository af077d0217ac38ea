"""What a row of evidence counted or measured, read with suspicion.

Figures have four forms, all plain JSON; a row may carry several.

* `observations`: what compiled kernels or cases showed. A law is evaluated at each of them; one that is not
  selected was dropped for breaking a law, and only counted.
  {"at": {"knob tile_m": 64, "dim M": 5}, "queries": {"cubin.registers": 168}, "count": 1, "selected": true}
* `tested`: in how many cases a law was evaluated, where they are too many to keep, and the first that broke
  it.
  {"cases": 4000, "failures": 1, "first": "false for 1+1=3"}
* `checks`: outcomes of a comparison with the oracle. A tripwire is true when the same check rejected it.
  {"cases": 200, "failures": 0, "tripwires": {"zeros": true}}
* `quantities`: what claims compare, at a point of their quantifier.
  {"query": "accuracy(e, s)", "at": {"n": 5}, "hits": [990, 985], "totals": [1000, 1000]}, an entry a seed, or
  {…, "samples": [7.1e14, 7.0e14], "rounds": "a"}, or {…, "exact": 42}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spakc.ir.lanes import Scalar
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Ref, Tuple
from spakc.record import record
from spakc.statistics import Counts, Exact, Quantity, Samples


class Malformed(ValueError):
    """Figures that no writer of this version produces. They establish nothing."""


def key_of(expr: Expr) -> str:
    """The text by which figures name a query: what was asked, in a form that formatting does not change."""
    match expr:
        case Query(name=name, args=args, named=named):
            parts = [key_of(a) for a in args] + [f"{k} = {key_of(v)}" for k, v in sorted(named)]
            return f"{name}({', '.join(parts)})" if parts else name
        case Ref(name=name):
            return name
        case Const(value=value):
            return json.dumps(value)
        case Apply(op=op, args=args):
            return f"{op}({', '.join(map(key_of, args))})"
        case Members(items=items):
            return f"{{{', '.join(map(key_of, items))}}}"
        case Tuple(items=items):
            return f"({', '.join(map(key_of, items))})"
        case Interval(first=first, last=last, by=by):
            return f"{key_of(first)}..{key_of(last)}" + (f" step {key_of(by)}" if by is not None else "")
        case _:
            return type(expr).__name__


# ---- quantities ---------------------------------------------------------------------------------------


@record
class Found:
    query: str
    at: Mapping[str, Scalar]
    quantity: Quantity


def quantities(figures: Iterable[Mapping[str, Any]]) -> Iterator[Found]:
    for each in objects(figures, "quantities"):
        at = {str(k): scalar_in(v) for k, v in object_in(each, "at").items()}
        query = each.get("query")
        if not isinstance(query, str):
            raise Malformed("a quantity without its query")
        yield Found(query, at, _quantity(each))


def _quantity(data: Mapping[str, Any]) -> Quantity:
    if "exact" in data:
        return Exact(_number(data["exact"]))
    if "samples" in data:
        values = data["samples"]
        if not isinstance(values, list) or not values:
            raise Malformed("no samples")
        return Samples(tuple(_number(v) for v in values), str(data.get("rounds", "")))
    hits, totals = data.get("hits"), data.get("totals")
    if not isinstance(hits, list) or not isinstance(totals, list) or len(hits) != len(totals) or not hits:
        raise Malformed("hits and totals are lists of one length")
    pairs = [(count_in(k), count_in(n)) for k, n in zip(hits, totals, strict=True)]
    if any(k > n or n < 1 for k, n in pairs):
        raise Malformed("more hits than samples")
    return Counts(tuple(k for k, _ in pairs), tuple(n for _, n in pairs))


def lookup(query: Query, point: Mapping[str, Scalar], found: list[Found]) -> Quantity | None:
    """The last one recorded for this query at this point."""
    key = key_of(query)
    return next((f.quantity for f in reversed(found) if f.query == key and dict(f.at) == dict(point)), None)


def objects(figures: Iterable[Mapping[str, Any]], name: str) -> Iterator[Mapping[str, Any]]:
    for each in figures:
        items = each.get(name, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Malformed(f"{name} is a list of objects")
        yield from items


def object_in(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise Malformed(f"{name} is an object")
    return value


def count_in(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise Malformed("a count is an integer that is not negative")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e300:
        raise Malformed("a figure is a finite number")
    return float(value)


def scalar_in(value: Any) -> Scalar:
    if not isinstance(value, (bool, int, float, str)):
        raise Malformed("a value is a number, a word or a truth")
    return value
