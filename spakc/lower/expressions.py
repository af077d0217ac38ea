"""Expressions of the syntax tree to expressions of the IR: names resolved, lets inlined, units folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

from spakc.diagnostics import Sink
from spakc.diagnostics.diagnostic import Severity
from spakc.ir.experiment import Phased
from spakc.ir.ops import (
    OPS,
    REDUCTIONS,
    Apply,
    Const,
    Domain,
    Expr,
    Interval,
    Members,
    Query,
    Ref,
    RefKind,
    Tuple,
)
from spakc.ir.queries import NAMESPACES, QUERIES, Place
from spakc.ir.types import NUMBER, UNITS, Unit
from spakc.lower.applications import (
    ARITHMETIC,
    COMPARISON,
    TENSOR_KINDS,
    lower_call,
    lower_index,
)
from spakc.lower.calls import check_place
from spakc.lower.lets import inline_let
from spakc.lower.members import lower_attribute
from spakc.lower.resolve import (
    WORDS,
    Entry,
    Scope,
    is_unresolved,
    nearest,
    report_again,
    report_unknown,
    unresolved,
)
from spakc.source import Span
from spakc.syntax import nodes


def lower_expression(node: nodes.Expr, scope: Scope, sink: Sink, *, words: Iterable[str] = ()) -> Expr:
    """The meaning of an expression where `scope` says what names stand for and `scope.place` which functions
    may be called (spakc/ir/queries.py).

    Takes any expression, domain or value of the grammar. `words` may stand for themselves beside the names
    of the scope (`keep = last`). Guarantees: no reference to a `let` is left, every number is in base units
    (`227 KiB` is 232448 of bytes, `95%` is 0.95), integers stay integers, chained comparisons are
    conjunctions, every node has a span. Reports unknown and misused names and calls (SPAK120-130, 135) and
    returns `unresolved(span)` in their place, so that one run reports every mistake. Leaves alone: types,
    units, shapes, constant folding.
    """
    return _LOWER[type(node)](node, scope, sink, frozenset(words))


def lower_domain(node: nodes.Expr, scope: Scope, sink: Sink, *, open_words: bool = False) -> Domain:
    """A domain: a set `{…}` or a range `a .. b`. With `open_words` a name in it that nothing declares is a
    word of its own (`knob mode in {cooperative, pingpong}`). Anything else is SPAK304 and gives the empty
    set."""
    words = _bare_names(node) if open_words else ()
    domain = lower_expression(node, scope, sink, words=words)
    if isinstance(domain, (Members, Interval)):
        return domain
    if not is_unresolved(domain):
        sink.report(
            "SPAK304",
            "this is no domain",
            node.span,
            "expected a set `{a, b}` or a range `first .. last`",
            help=[f"write `{{{node.span.text}}}` for the set of this one value"],
        )
    return Members((unresolved(node.span),), span=node.span)


def _bare_names(node: nodes.Expr) -> tuple[str, ...]:
    items = node.items if isinstance(node, (nodes.SetExpr, nodes.TupleExpr)) else (node,)
    names: list[str] = []
    for item in items:
        if isinstance(item, nodes.NameExpr):
            names.append(item.name)
        elif isinstance(item, nodes.TupleExpr):
            names.extend(_bare_names(item))
    return tuple(names)


# ---- literals ---------------------------------------------------------------------------------------


def _number(node: nodes.Number, _scope: Scope, _sink: Sink, _words: frozenset[str]) -> Expr:
    value, unit = base_value(node)
    return Const(value, unit=unit, span=node.span)


def base_value(node: nodes.Number) -> tuple[int | float, Unit]:
    """A number literal in base units. A factor below one divides by its inverse: 57% is 0.57, not 57 *
    0.01."""
    if not node.unit:
        return node.value, NUMBER
    factor, unit = UNITS[node.unit]
    if factor < 1:
        return node.value / round(1 / factor), unit
    return node.value * factor, unit


def _string(node: nodes.String, _scope: Scope, _sink: Sink, _words: frozenset[str]) -> Expr:
    return Const(node.value, span=node.span)


def _bool(node: nodes.Bool, _scope: Scope, _sink: Sink, _words: frozenset[str]) -> Expr:
    return Const(node.value, span=node.span)


def _infinity(node: nodes.Infinity, _scope: Scope, _sink: Sink, _words: frozenset[str]) -> Expr:
    return Const(inf, span=node.span)


# ---- operators --------------------------------------------------------------------------------------


def _unary(node: nodes.Unary, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    operand = lower_expression(node.operand, scope, sink)
    if node.op == "not":
        return Apply("not", (operand,), span=node.span)
    if (
        isinstance(operand, Const)
        and isinstance(operand.value, (int, float))
        and not isinstance(operand.value, bool)
    ):
        return Const(-operand.value, unit=operand.unit, span=node.span)
    return Apply("neg", (operand,), span=node.span)


def _binary(node: nodes.Binary, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    left = lower_expression(node.left, scope, sink)
    right = lower_expression(node.right, scope, sink)
    return Apply(ARITHMETIC[node.op], (left, right), span=node.span)


def _compare(node: nodes.Compare, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    # A word beside an enumerated option or knob: `mode == cooperative`, `activation != gelu`.
    words = {word for operand in node.operands for word in _words_of(operand, scope)}
    if any(_is_word_knob(operand, scope) for operand in node.operands):
        words |= _strange_words(node.operands, words, scope)
    operands = [lower_expression(operand, scope, sink, words=words) for operand in node.operands]
    for (a, left), (b, right) in pairwise(zip(node.operands, operands, strict=True)):
        _check_choice(a, right, scope, sink)
        _check_choice(b, left, scope, sink)
    parts: list[Expr] = [
        Apply(COMPARISON[op], (left, right), span=_span_over(left, right, node.span))
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
    ]
    result = parts[0]
    for part in parts[1:]:
        result = Apply("and", (result, part), span=node.span)
    return result if len(parts) > 1 else replace(result, span=node.span)


def _is_word_knob(operand: nodes.Expr, scope: Scope) -> bool:
    entry = scope.find(operand.name) if isinstance(operand, nodes.NameExpr) else None
    return entry is not None and entry.kind is RefKind.knob and bool(entry.words)


def _strange_words(operands: Iterable[nodes.Expr], words: Iterable[str], scope: Scope) -> set[str]:
    """Names beside a knob that nothing has and nothing comes near: words that the knob had when somebody else wrote
    about them. Whoever owns a knob may narrow it, and need not touch what laws say of it."""
    names = {operand.name for operand in operands if isinstance(operand, nodes.NameExpr)}
    known = (*scope.visible(), *words)
    free = {name for name in names if scope.find(name) is None and scope.find_later(name) is None}
    return {
        name for name in free - {*OPS, *QUERIES, *REDUCTIONS, *NAMESPACES} if nearest(name, known) is None
    }


def _check_choice(operand: nodes.Expr, word: Expr, scope: Scope, sink: Sink) -> None:
    """A word beside something whose values are words must be one of them; beside a knob, which may have been narrowed,
    another word is odd and no mistake."""
    choices = _words_of(operand, scope)
    if not choices or not isinstance(word, Ref) or word.kind is not RefKind.symbol:
        return
    if word.name not in choices and not is_unresolved(word):
        close = nearest(word.name, choices)
        help_ = (
            f"did you mean `{close}`?" if close else f"it is one of {', '.join(f'`{c}`' for c in choices)}"
        )
        odd = _is_word_knob(operand, scope) and close is None
        severity: Severity = "warning" if odd else "error"
        sink.report(
            "SPAK139",
            f"it is never `{word.name}`",
            word.span,
            "none of the choices",
            help=[help_],
            severity=severity,
        )


def _span_over(left: Expr, right: Expr, default: Span) -> Span:
    if left.span is None or right.span is None or left.span.source is not right.span.source:
        return default
    return left.span.to(right.span)


def _words_of(operand: nodes.Expr, scope: Scope) -> tuple[str, ...]:
    entry = scope.find(operand.name) if isinstance(operand, nodes.NameExpr) else None
    return entry.words if entry is not None else ()


def _member(node: nodes.Member, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    item = lower_expression(node.item, scope, sink)
    words = set(_words_of(node.item, scope))
    if _is_word_knob(node.item, scope) and isinstance(node.domain, nodes.SetExpr):
        words |= _strange_words(node.domain.items, words, scope)
    domain = lower_expression(node.domain, scope, sink, words=words)
    if not isinstance(domain, (Members, Interval)):
        domain = lower_domain(node.domain, scope, Sink() if is_unresolved(domain) else sink)
    return Apply("member", (item, domain), span=node.span)


# ---- collections ------------------------------------------------------------------------------------


def _tuple(node: nodes.TupleExpr, scope: Scope, sink: Sink, words: frozenset[str]) -> Expr:
    return Tuple(
        tuple(lower_expression(item, scope, sink, words=words) for item in node.items), span=node.span
    )


def _set(node: nodes.SetExpr, scope: Scope, sink: Sink, words: frozenset[str]) -> Expr:
    items = tuple(lower_expression(item, scope, sink, words=words) for item in node.items)
    first: dict[Expr, Span | None] = {}
    for item in items:
        if item in first and not is_unresolved(item):
            report_again(f"`{item.span.text}`" if item.span else "a member", item.span, first[item], sink)
        first.setdefault(item, item.span)
    return Members(items, span=node.span)


def _range(node: nodes.Range, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    first = lower_expression(node.first, scope, sink)
    last = lower_expression(node.last, scope, sink)
    by = None if node.by is None else lower_expression(node.by, scope, sink)
    return Interval(first, last, by, span=node.span)


def _phased(node: nodes.Phased, scope: Scope, sink: Sink, words: frozenset[str]) -> Expr:
    first = lower_expression(node.first, scope, sink, words=words)
    second = lower_expression(node.second, scope, sink, words=words)
    return Phased(first, second, float(base_value(node.start)[0]), span=node.span)


# ---- names ------------------------------------------------------------------------------------------


def _name(node: nodes.NameExpr, scope: Scope, sink: Sink, words: frozenset[str]) -> Expr:
    entry = scope.find(node.name)
    if entry is not None and scope.place is Place.math and entry.what in TENSOR_KINDS:
        also = [] if entry.span is None else [(entry.span, "declared here")]
        help_ = f"index it: `{node.name}[…]`, or `{node.name}[]` if it has no axes"
        text = f"`{node.name}` is {entry.what}; mathematics is about its elements"
        sink.report("SPAK128", text, node.span, "without indices", also=also, help=[help_])
        return unresolved(node.span)
    if entry is not None:
        return use_entry(entry, node.span, scope, sink)
    if node.name in words or node.name in WORDS:
        return Ref(node.name, RefKind.symbol, span=node.span)
    spec = QUERIES.get(node.name)
    if spec is not None and spec.bare:
        check_place(spec, node.span, scope, sink)
        return Query(spec.name, span=node.span)
    if node.name in NAMESPACES:
        sink.report(
            "SPAK128",
            f"`{node.name}` alone has no value",
            node.span,
            "needs a name behind a dot",
            help=[f"for example `{node.name}.{_FIRST_MEMBER[node.name]}`"],
        )
    elif node.name in QUERIES or node.name in OPS or node.name in REDUCTIONS:
        help_ = f"`{QUERIES[node.name].signature}`" if node.name in QUERIES else f"`{node.name}(…)`"
        sink.report(
            "SPAK128",
            f"`{node.name}` is a function",
            node.span,
            "used as a value",
            help=[f"call it: {help_}"],
        )
    else:
        report_unknown(node.name, node.span, scope, sink, words=words)
    return unresolved(node.span)


_FIRST_MEMBER = {
    "device": "smem_per_block",
    "cubin": "registers",
    "launch": "shared_bytes",
    "torch": "matmul",
}


def use_entry(entry: Entry, span: Span, scope: Scope, sink: Sink) -> Expr:
    """A reference to a declared thing; the value of a `let`, with the span of its use."""
    if entry.value is not None:
        return replace(inline_let(entry, span, scope, sink, lower_expression), span=span)
    return Ref(entry.ref, entry.kind, span=span)


# ---- accesses and calls -----------------------------------------------------------------------------


def _attribute(node: nodes.Attribute, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    return lower_attribute(node, scope, sink, use_entry) or unresolved(node.span)


def _index(node: nodes.Index, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    return lower_index(node, scope, sink, lower_expression)


def _call(node: nodes.Call, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    return lower_call(node, scope, sink, lower_expression)


_LOWER: dict[type[nodes.Expr], Callable[[Any, Scope, Sink, frozenset[str]], Expr]] = {
    nodes.NameExpr: _name,
    nodes.Number: _number,
    nodes.String: _string,
    nodes.Bool: _bool,
    nodes.Infinity: _infinity,
    nodes.Unary: _unary,
    nodes.Binary: _binary,
    nodes.Compare: _compare,
    nodes.Member: _member,
    nodes.Attribute: _attribute,
    nodes.Index: _index,
    nodes.Call: _call,
    nodes.TupleExpr: _tuple,
    nodes.SetExpr: _set,
    nodes.Range: _range,
    nodes.Phased: _phased,
}
