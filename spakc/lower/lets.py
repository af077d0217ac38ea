"""The values of `let`s: lowered once, inlined where they are used, never into each other, never without
bounds."""

from __future__ import annotations

from spakc.diagnostics import Sink
from spakc.ir.ops import Expr, Query
from spakc.ir.queries import QUERIES, Place
from spakc.ir.visit import children, walk
from spakc.lower.calls import Lower, check_place
from spakc.lower.resolve import Entry, Scope, is_unresolved, unresolved
from spakc.source import Span

_MOST_NODES = 4000
_MOST_NESTED = 60


def inline_let(entry: Entry, span: Span, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    """The value of a `let` where it is used: functions in it must have a meaning there (SPAK130)."""
    value = lower_let(entry, span, sink, lower)
    if scope.place is not Place.let:
        for node in walk(value):
            if isinstance(node, Query) and node.name in QUERIES:
                check_place(QUERIES[node.name], span, scope, sink)
    return value


def lower_let(entry: Entry, span: Span, sink: Sink, lower: Lower) -> Expr:
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
        if not any(diagnostic.code == "SPAK136" for diagnostic in sink.diagnostics):  # one chain, one report
            text = f"`{entry.name}` needs too long a chain of definitions"
            sink.report("SPAK136", text, entry.span, f"more than {_MOST_NESTED} of them")
        return unresolved(span)
    cycle.append(entry)
    entry.lowered = lower(entry.value, entry.scope.at(Place.let), sink)
    cycle.pop()
    if is_unresolved(entry.lowered):
        entry.lowered = unresolved(entry.value.span)
    elif _too_large(entry.lowered):
        sink.report(
            "SPAK136",
            f"`{entry.name}` is too large once its parts are written out",
            entry.span,
            f"more than {_MOST_NODES} operations, or nested deeper than {_MOST_NESTED}",
            help=["a `let` stands for its text: break it up, or compute less"],
        )
        entry.lowered = unresolved(entry.value.span)
    return entry.lowered


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
