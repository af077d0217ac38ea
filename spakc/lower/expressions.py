"""Expressions of the syntax tree to expressions of the IR: names resolved, lets inlined, units folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Any

from spakc.diagnostics import Sink
from spakc.ir.experiment import Phased
from spakc.ir.ops import (
    OPS,
    REDUCTIONS,
    Apply,
    Const,
    Domain,
    Expr,
    Interval,
    Load,
    Members,
    Query,
    Reduce,
    Ref,
    RefKind,
    Tuple,
)
from spakc.ir.queries import NAMESPACES, QUERIES, Place
from spakc.ir.types import NUMBER, TYPE_NAMES, UNITS
from spakc.ir.visit import children, walk
from spakc.lower.calls import check_place, lower_query
from spakc.lower.members import lower_attribute
from spakc.lower.resolve import UNRESOLVED, WORDS, Entry, Scope, nearest, report_unknown
from spakc.source import Span
from spakc.syntax import nodes

_ARITHMETIC = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "and": "and",
    "or": "or",
}
_COMPARISON = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


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


def unresolved(span: Span) -> Expr:
    """What stands where something was not understood."""
    return Ref(UNRESOLVED, RefKind.symbol, span=span)


def is_unresolved(expr: Expr) -> bool:
    """Whether a mistake in the expression, or in one of its parts, has been reported already."""
    return any(isinstance(node, Ref) and node.name == UNRESOLVED for node in walk(expr))


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


def base_value(node: nodes.Number) -> tuple[int | float, Any]:
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
    return Apply(_ARITHMETIC[node.op], (left, right), span=node.span)


def _compare(node: nodes.Compare, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    # A word beside an enumerated option or knob: `mode == cooperative`, `activation != gelu`.
    words = {word for operand in node.operands for word in _words_of(operand, scope)}
    operands = [lower_expression(operand, scope, sink, words=words) for operand in node.operands]
    parts: list[Expr] = [
        Apply(_COMPARISON[op], (left, right), span=_span_over(left, right, node.span))
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
    ]
    result = parts[0]
    for part in parts[1:]:
        result = Apply("and", (result, part), span=node.span)
    return result if len(parts) > 1 else replace(result, span=node.span)


def _span_over(left: Expr, right: Expr, default: Span) -> Span:
    if left.span is None or right.span is None or left.span.source is not right.span.source:
        return default
    return left.span.to(right.span)


def _words_of(operand: nodes.Expr, scope: Scope) -> tuple[str, ...]:
    entry = scope.find(operand.name) if isinstance(operand, nodes.NameExpr) else None
    return entry.words if entry is not None else ()


def _member(node: nodes.Member, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    item = lower_expression(node.item, scope, sink)
    words = _words_of(node.item, scope)
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
    return Members(
        tuple(lower_expression(item, scope, sink, words=words) for item in node.items), span=node.span
    )


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
        return replace(_inline(entry, span, scope, sink), span=span)
    return Ref(entry.ref, entry.kind, span=span)


def _inline(entry: Entry, span: Span, scope: Scope, sink: Sink) -> Expr:
    value = lower_let(entry, span, sink)
    if scope.place is not Place.let:
        for node in walk(value):
            if isinstance(node, Query) and node.name in QUERIES:
                check_place(QUERIES[node.name], span, scope, sink)
    return value


def lower_let(entry: Entry, span: Span, sink: Sink) -> Expr:
    """The value of a `let`, lowered once, in the scope it stands in. A `let` that needs itself is SPAK123."""
    assert entry.value is not None and entry.scope is not None
    if entry.lowered is not None:
        return entry.lowered
    cycle = entry.scope.open_lets
    if entry in cycle:
        chain = cycle[cycle.index(entry) :]
        sink.report(
            "SPAK123",
            f"`{entry.name}` is defined by itself",
            entry.span,
            " needs ".join(f"`{step.name}`" for step in (*chain, entry)),
            also=[(span, f"`{entry.name}` is needed again here")]
            + [(step.span, f"through `{step.name}`") for step in chain[1:] if step.span is not None],
        )
        return unresolved(span)
    if len(cycle) >= _MOST_NESTED:
        sink.report(
            "SPAK136", f"`{entry.name}` needs too long a chain of definitions", entry.span, "too deep"
        )
        return unresolved(span)
    cycle.append(entry)
    entry.lowered = lower_expression(entry.value, entry.scope.at(Place.let), sink)
    cycle.pop()
    if _too_large(entry.lowered):
        sink.report(
            "SPAK136",
            f"`{entry.name}` is too large once its parts are written out",
            entry.span,
            f"more than {_MOST_NODES} operations, or nested deeper than {_MOST_NESTED}",
            help=["a `let` stands for its text: break it up, or compute less"],
        )
        entry.lowered = unresolved(entry.value.span)
    return entry.lowered


_MOST_NODES = 4000
_MOST_NESTED = 60


def _too_large(expr: Expr) -> bool:
    """Lets are inlined, so a short chain of them can double itself beyond all bounds."""
    count = 0
    stack = [(expr, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > _MOST_NODES or depth > _MOST_NESTED:
            return True
        stack.extend((child, depth + 1) for child in children(node))
    return False


# ---- accesses and calls -----------------------------------------------------------------------------


def _attribute(node: nodes.Attribute, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    return lower_attribute(node, scope, sink) or unresolved(node.span)


def _index(node: nodes.Index, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    indices = tuple(_one_index(index, scope, sink) for index in node.indices)
    base, new = node.base, False
    if (
        isinstance(base, nodes.Call)
        and isinstance(base.function, nodes.NameExpr)
        and base.function.name == "new"
        and scope.find("new") is None
        and len(base.arguments) == 1
    ):
        base, new = base.arguments[0].value, True
    if not isinstance(base, nodes.NameExpr):
        sink.report("SPAK128", "only a tensor can be indexed", node.base.span, "this is no tensor")
        return unresolved(node.span)
    entry = scope.find(base.name)
    if entry is None:
        report_unknown(base.name, base.span, scope, sink)
        return unresolved(node.span)
    if entry.what not in TENSOR_KINDS:
        also = [] if entry.span is None else [(entry.span, f"`{base.name}` is {entry.what} declared here")]
        sink.report(
            "SPAK128", f"`{base.name}` is {entry.what}, no tensor", base.span, "indexed here", also=also
        )
        return unresolved(node.span)
    if new and entry.what != "an inout tensor":
        sink.report(
            "SPAK128",
            f"`new({base.name})` has no meaning: `{base.name}` is {entry.what}",
            node.base.span,
            "only an inout tensor has an old and a new value",
            also=[] if entry.span is None else [(entry.span, "declared here")],
            help=[f"write `{base.name}[…]`"],
        )
    return Load(entry.ref, indices, new, span=node.span)


def _one_index(node: nodes.Expr, scope: Scope, sink: Sink) -> Expr:
    """An index; a name alone that nothing declares is meant as an index variable."""
    unbound = isinstance(node, nodes.NameExpr) and scope.find(node.name) is None
    if not unbound or not isinstance(node, nodes.NameExpr) or scope.find_later(node.name) is not None:
        return lower_expression(node, scope, sink)
    if scope.place is Place.math:
        sink.report(
            "SPAK135",
            f"nothing binds `{node.name}`",
            node.span,
            "neither on the left nor an axis of a reduction",
            help=[f"sum over it, `sum[{node.name}](…)`, or put it on the left"],
        )
    else:
        sink.report(
            "SPAK323",
            f"which `{node.name}` is meant?",
            node.span,
            "nothing binds this index",
            help=[f"write `every[{node.name}](…)` or `any[{node.name}](…)`"],
        )
    return unresolved(node.span)


TENSOR_KINDS = frozenset(("an input tensor", "an output tensor", "an inout tensor", "an intermediate"))
"""What an entry of a scope may be for its name to be indexed."""


def _call(node: nodes.Call, scope: Scope, sink: Sink, _words: frozenset[str]) -> Expr:
    function = node.function
    if isinstance(function, nodes.Index) and isinstance(function.base, nodes.NameExpr):
        return _reduction(node, function, function.base, scope, sink)
    if isinstance(function, nodes.Attribute):
        name = function.span.text.replace(" ", "")
        if name in QUERIES:
            return lower_query(QUERIES[name], node, scope, sink, lower_expression)
        lowered = lower_attribute(function, scope, sink)
        if lowered is not None:
            sink.report("SPAK128", f"`{name}` cannot be called", function.span, "this is no function")
        return unresolved(node.span)
    if not isinstance(function, nodes.NameExpr):
        sink.report("SPAK128", "only a name can be called", function.span, "this is no function")
        return unresolved(node.span)
    return _named_call(node, function, scope, sink)


def _named_call(node: nodes.Call, function: nodes.NameExpr, scope: Scope, sink: Sink) -> Expr:
    name = function.name
    entry = scope.find(name)
    if entry is not None and entry.callee:
        arguments = tuple(lower_expression(argument.value, scope, sink) for argument in node.arguments)
        return Query(entry.ref, arguments, span=node.span)
    if entry is not None and entry.words and entry.kind in (RefKind.option, RefKind.knob):
        operand = _positional(node, name, 1, scope, sink)
        if operand is None:
            return unresolved(node.span)
        return Apply("call", (Ref(entry.ref, entry.kind, span=function.span), *operand), span=node.span)
    op = _operation(name)
    if op is not None and not (name in QUERIES and scope.place in QUERIES[name].places):
        operands = _positional(node, name, OPS[op], scope, sink)
        return unresolved(node.span) if operands is None else Apply(op, operands, span=node.span)
    if name in QUERIES:
        return lower_query(QUERIES[name], node, scope, sink, lower_expression)
    _report_no_function(name, function.span, entry, scope, sink)
    for argument in node.arguments:
        if not isinstance(argument.value, nodes.NameExpr):
            lower_expression(argument.value, scope, sink)
    return unresolved(node.span)


def _operation(name: str) -> str | None:
    if name in TYPE_NAMES:
        return f"cast_{TYPE_NAMES[name].value}"
    return name if name in OPS and name not in _WRITTEN_AS_OPERATORS else None


_WRITTEN_AS_OPERATORS = frozenset(
    (*_ARITHMETIC.values(), *_COMPARISON.values(), "neg", "not", "member", "call")
)


def _positional(node: nodes.Call, name: str, arity: int, scope: Scope, sink: Sink) -> tuple[Expr, ...] | None:
    named = next((argument for argument in node.arguments if argument.name is not None), None)
    if named is not None or len(node.arguments) != arity:
        arguments = "one argument" if arity == 1 else f"{arity} arguments"
        place = named.span if named is not None else node.span
        label = "no argument of it has a name" if named is not None else f"{len(node.arguments)} given here"
        sink.report("SPAK129", f"`{name}` takes {arguments}", place, label)
        return None
    return tuple(lower_expression(argument.value, scope, sink) for argument in node.arguments)


def _report_no_function(name: str, span: Span, entry: Entry | None, scope: Scope, sink: Sink) -> None:
    if entry is not None:
        also = [] if entry.span is None else [(entry.span, f"`{name}` is {entry.what} declared here")]
        sink.report("SPAK128", f"`{name}` is {entry.what}, no function", span, "called here", also=also)
        return
    if name in REDUCTIONS:
        sink.report(
            "SPAK128",
            f"`{name}` needs the axes it runs over",
            span,
            "a reduction",
            help=[f"write `{name}[k](…)`: the index variables in brackets"],
        )
        return
    known = [spec.name for spec in QUERIES.values() if scope.place in spec.places or scope.place is Place.let]
    callees = [key for key, value in scope.visible().items() if value.callee]
    operations = [op for op in OPS if _operation(op)] + list(TYPE_NAMES)
    close = nearest(name, (*known, *operations, *REDUCTIONS, *callees))
    sink.report(
        "SPAK121",
        f"no function is called `{name}`",
        span,
        "unknown function",
        help=[f"did you mean `{close}`?"] if close else (),
    )


def _reduction(
    node: nodes.Call, function: nodes.Index, base: nodes.NameExpr, scope: Scope, sink: Sink
) -> Expr:
    if base.name not in REDUCTIONS:
        close = nearest(base.name, REDUCTIONS)
        sink.report(
            "SPAK121",
            f"no reduction is called `{base.name}`",
            base.span,
            "unknown reduction",
            help=[f"did you mean `{close}`?"] if close else [f"the reductions are {', '.join(REDUCTIONS)}"],
        )
        return unresolved(node.span)
    if len(node.arguments) != 1 or node.arguments[0].name is not None:
        sink.report(
            "SPAK129", f"`{base.name}[…]` takes one argument", node.span, "a reduction of one expression"
        )
        return unresolved(node.span)
    inner = scope.child(inner=True)
    axes: list[str] = []
    for index in function.indices:
        if not isinstance(index, nodes.NameExpr):
            sink.report("SPAK135", "an axis is the name of an index variable", index.span, "this is no name")
            continue
        axes.append(index.name)
        if base.name != "softmax":
            inner.add(nodes.Name(index.name, span=index.span), "an index variable", RefKind.index, sink)
        elif (entry := scope.find(index.name)) is None or entry.kind is not RefKind.index:
            sink.report(
                "SPAK135",
                f"nothing binds `{index.name}`: `softmax` keeps the axes it runs over",
                index.span,
                "unbound",
                help=[
                    f"`softmax[{index.name}](…)` is one element of a distribution: put `{index.name}` on the left"
                ],
            )
            return unresolved(node.span)
    if not axes:
        if not function.indices:
            sink.report(
                "SPAK135", f"`{base.name}` needs at least one axis", function.span, "no axis in brackets"
            )
        return unresolved(node.span)
    body = lower_expression(node.arguments[0].value, inner, sink)
    return Reduce(base.name, tuple(axes), body, span=node.span)


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
