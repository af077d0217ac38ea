"""The values of `let`s: lowered once, inlined where they are used, never into each other, never without
bounds."""

from __future__ import annotations

from collections.abc import Iterator

from spakc.diagnostics import Sink
from spakc.ir.ops import Expr, Query
from spakc.ir.queries import QUERIES, Place
from spakc.ir.visit import children, walk
from spakc.lower.calls import Lower, check_place
from spakc.lower.members import entry_of
from spakc.lower.resolve import Entry, Scope, is_unresolved, unresolved
from spakc.source import Span
from spakc.syntax import nodes

_MOST_NODES = 4000
_MOST_NESTED = 320  # brackets and operators of chains, as far as one expression may go
_MOST_INLINED = 300_000
"""Operations of one `let`, steps from its outermost to its innermost, operations that the lets of a file
become."""


def inline_let(entry: Entry, span: Span, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    """The value of a `let` where it is used: functions in it must have a meaning there (SPAK130)."""
    value = lower_let(entry, span, sink, lower)
    scope.inlined[0] += entry.size
    if scope.inlined[0] > _MOST_INLINED:
        _report_once(entry, f"the lets of this file become more than {_MOST_INLINED} operations", sink)
        return unresolved(span)
    if scope.place is not Place.let:
        for node in walk(value):
            if isinstance(node, Query) and node.name in QUERIES:
                check_place(QUERIES[node.name], span, scope, sink)
    return value


def _report_once(entry: Entry, label: str, sink: Sink) -> None:
    """One chain of lets is one mistake, however many of them are too long or too large."""
    if not any(diagnostic.code == "SPAK136" for diagnostic in sink.diagnostics):
        text = f"`{entry.name}` is too large once its parts are written out"
        help_ = ["a `let` stands for its text: break it up, or compute less"]
        sink.report("SPAK136", text, entry.span, label, help=help_)


def lower_let(entry: Entry, span: Span, sink: Sink, lower: Lower) -> Expr:
    """The value of a `let`, lowered once, in the scope it stands in. A `let` that needs itself is SPAK123.

    What it needs is lowered first, along an explicit path, so that a long chain costs no depth of calls."""
    path = [entry]
    open_ = {id(entry)}
    waiting = [_needs(entry)]
    while entry.lowered is None:
        needed = next(waiting[-1], None)
        if needed is None:
            waiting.pop()
            done = path.pop()
            open_.discard(id(done))
            if done.lowered is None:
                _lower_one(done, sink, lower)
        elif needed[0].lowered is None and id(needed[0]) in open_:
            _report_cycle(path[path.index(needed[0]) :], needed[1], sink)
            needed[0].lowered, needed[0].size = unresolved(span), 1
        elif needed[0].lowered is None:
            path.append(needed[0])
            open_.add(id(needed[0]))
            waiting.append(_needs(needed[0]))
    return entry.lowered


def _needs(entry: Entry) -> Iterator[tuple[Entry, Span]]:
    """The lets that the value of a `let` names, with the places."""
    assert entry.value is not None and entry.scope is not None
    stack: list[nodes.Node] = [entry.value]
    while stack:
        node = stack.pop()
        found = entry_of(node, entry.scope)
        if found is not None and found.value is not None:
            yield found, node.span
        elif found is None:
            for value in reversed(node.said()):
                parts = reversed(value) if isinstance(value, tuple) else (value,)
                stack.extend(part for part in parts if isinstance(part, nodes.Node))


def _lower_one(entry: Entry, sink: Sink, lower: Lower) -> None:
    assert entry.value is not None and entry.scope is not None
    entry.lowered = lower(entry.value, entry.scope.at(Place.let), sink)
    entry.size = _size(entry.lowered)
    if entry.size > _MOST_NODES:
        _report_once(entry, f"more than {_MOST_NODES} operations, or nested deeper than {_MOST_NESTED}", sink)
    if entry.size > _MOST_NODES or is_unresolved(entry.lowered):
        entry.lowered, entry.size = unresolved(entry.value.span), 1


def _report_cycle(chain: list[Entry], use: Span, sink: Sink) -> None:
    first = chain[0]
    sink.report(
        "SPAK123",
        f"`{first.name}` is defined by itself",
        first.span,
        " needs ".join(f"`{step.name}`" for step in (*chain, first)[:6]),
        also=[(use, f"`{first.name}` is needed again here")]
        + [(step.span, f"through `{step.name}`") for step in chain[1:4] if step.span is not None],
    )


def _size(expr: Expr) -> int:
    """How many operations an expression has; one that is too large or nested too deep counts as too large."""
    count = 0
    stack = [(expr, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > _MOST_NODES or depth > _MOST_NESTED:
            return _MOST_NODES + 1
        stack.extend((child, depth + 1) for child in children(node))
    return count
