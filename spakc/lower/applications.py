"""Accesses, calls and reductions: `A[m, k]`, `exp(x)`, `sum[k](…)`, `sizeof(A)`."""

from __future__ import annotations

from collections.abc import Iterator

from spakc.diagnostics import Sink
from spakc.ir.ops import ACTIVATIONS, OPS, REDUCTIONS, Apply, Expr, Load, Query, Reduce, Ref, RefKind
from spakc.ir.queries import QUERIES, Place
from spakc.ir.types import TYPE_NAMES
from spakc.lower.calls import Lower, lower_query
from spakc.lower.members import dotted_name
from spakc.lower.resolve import Entry, Scope, is_unresolved, nearest, report_unknown, unresolved
from spakc.source import Span
from spakc.syntax import nodes

ARITHMETIC = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "and": "and",
    "or": "or",
}
COMPARISON = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
"""The ops that operators stand for."""


def lower_index(node: nodes.Index, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    """An element of a tensor, `A[m, k]` or `new(p)[i]`. Reports SPAK120 and 128 for what is no tensor, 135
    and 323 for an index that nothing binds."""
    indices = tuple(_one_index(index, scope, sink, lower) for index in node.indices)
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


def _one_index(node: nodes.Expr, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    """An index; a name alone that nothing declares is meant as an index variable."""
    entry = scope.find(node.name) if isinstance(node, nodes.NameExpr) else None
    unbound = entry is None or (entry.kind is RefKind.entity and entry.what not in TENSOR_KINDS)
    if not unbound or not isinstance(node, nodes.NameExpr) or scope.find_later(node.name) is not None:
        return lower(node, scope, sink)
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


def lower_call(node: nodes.Call, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    """A call: a reduction with its axes, a part of a model, an activation that an option chooses, an
    element-wise function, or a query. A name is looked up in that order, so declared names come before the
    language's."""
    function = node.function
    if isinstance(function, nodes.Index) and isinstance(function.base, nodes.NameExpr):
        return _reduction(node, function, function.base, scope, sink, lower)
    if isinstance(function, nodes.Attribute):
        spec = QUERIES.get(dotted_name(function, scope))
        if spec is not None and not spec.bare:
            return lower_query(spec, node, scope, sink, lower)
        if not is_unresolved(lower(function, scope, sink)):
            name = " ".join(function.span.text.split())
            sink.report("SPAK128", f"`{name}` cannot be called", function.span, "this is no function")
        return unresolved(node.span)
    if not isinstance(function, nodes.NameExpr):
        sink.report("SPAK128", "only a name can be called", function.span, "this is no function")
        return unresolved(node.span)
    return _named_call(node, function, scope, sink, lower)


def _functions(scope: Scope) -> Iterator[str]:
    """What can be called here."""
    for spec in QUERIES.values():
        if scope.place in spec.places or scope.place is Place.let:
            yield spec.name
    yield from (op for op in OPS if operation(op))
    yield from (*TYPE_NAMES, *REDUCTIONS)
    yield from (name for name, entry in scope.visible().items() if entry.callee)


def _named_call(node: nodes.Call, function: nodes.NameExpr, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    name = function.name
    entry = scope.find(name)
    if entry is not None and entry.callee:
        arguments = tuple(lower(argument.value, scope, sink) for argument in node.arguments)
        return Query(entry.ref, arguments, span=node.span)
    if entry is not None and entry.words and entry.kind in (RefKind.option, RefKind.knob):
        operand = _positional(node, name, 1, scope, sink, lower)
        strange = [word for word in entry.words if word not in ACTIVATIONS]
        if strange:
            also = [] if entry.span is None else [(entry.span, f"{entry.what} of {', '.join(entry.words)}")]
            message = f"`{name}` may be `{strange[0]}`, which is no activation"
            close = nearest(strange[0], ACTIVATIONS, sink)
            hint = f"did you mean `{close}`?" if close else f"activations are {', '.join(ACTIVATIONS)}"
            sink.report("SPAK121", message, function.span, "called here", also=also, help=[hint])
        if operand is None or strange:
            return unresolved(node.span)
        return Apply("call", (Ref(entry.ref, entry.kind, span=function.span), *operand), span=node.span)
    op = operation(name)
    if op is not None and not (name in QUERIES and scope.place in QUERIES[name].places):
        operands = _positional(node, name, OPS[op], scope, sink, lower)
        return unresolved(node.span) if operands is None else Apply(op, operands, span=node.span)
    if name in QUERIES:
        return lower_query(QUERIES[name], node, scope, sink, lower)
    _report_no_function(name, function.span, entry, scope, sink)
    for argument in node.arguments:
        if not isinstance(argument.value, nodes.NameExpr):
            lower(argument.value, scope, sink)
    return unresolved(node.span)


def operation(name: str) -> str | None:
    """The element-wise op that a call of this name means; None for a name that is called otherwise, or not at all."""
    if name in TYPE_NAMES:
        return f"cast_{TYPE_NAMES[name].value}"
    return name if name in OPS and name not in _WRITTEN_OTHERWISE else None


_WRITTEN_OTHERWISE = frozenset(
    (
        *(*ARITHMETIC.values(), *COMPARISON.values(), "neg", "not", "member", "call"),
        *(f"cast_{dtype.value}" for dtype in TYPE_NAMES.values()),
    )
)
"""Ops that are signs or the names of types where they are written."""


def _positional(
    node: nodes.Call, name: str, arity: int, scope: Scope, sink: Sink, lower: Lower
) -> tuple[Expr, ...] | None:
    named = next((argument for argument in node.arguments if argument.name is not None), None)
    if named is not None or len(node.arguments) != arity:
        arguments = "one argument" if arity == 1 else f"{arity} arguments"
        place = named.span if named is not None else node.span
        label = "no argument of it has a name" if named is not None else f"{len(node.arguments)} given here"
        sink.report("SPAK129", f"`{name}` takes {arguments}", place, label)
        return None
    return tuple(lower(argument.value, scope, sink) for argument in node.arguments)


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
    close = nearest(name, _functions(scope), sink)
    sink.report(
        "SPAK121",
        f"no function is called `{name}`",
        span,
        "unknown function",
        help=[f"did you mean `{close}`?"] if close else (),
    )


def _reduction(
    node: nodes.Call, function: nodes.Index, base: nodes.NameExpr, scope: Scope, sink: Sink, lower: Lower
) -> Expr:
    if base.name not in REDUCTIONS:
        close = nearest(base.name, REDUCTIONS, sink)
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
                help=[f"put `{index.name}` on the left: `softmax[{index.name}](…)` is one element of a row"],
            )
            return unresolved(node.span)
    if not axes:
        if not function.indices:
            sink.report(
                "SPAK135", f"`{base.name}` needs at least one axis", function.span, "no axis in brackets"
            )
        return unresolved(node.span)
    body = lower(node.arguments[0].value, inner, sink)
    return Reduce(base.name, tuple(axes), body, span=node.span)
