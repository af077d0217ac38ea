"""What stands behind a dot: device facts, what a compiled kernel says of itself, members of declared
things."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from spakc.diagnostics import Sink
from spakc.ir.facts import FACTS
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.queries import BASELINES, NAMESPACES, QUERIES
from spakc.lower.calls import check_place
from spakc.lower.resolve import Entry, Scope, nearest, report_unknown
from spakc.source import Span
from spakc.syntax import nodes

Use: TypeAlias = Callable[[Entry, Span, Scope, Sink], Expr]
"""What a use of a declared thing means: `use_entry` of expressions.py, handed in because it calls back
here."""


def lower_attribute(node: nodes.Attribute, scope: Scope, sink: Sink, use: Use) -> Expr | None:
    """`device.x` is a fact; `cubin.x` and `launch.x` are queries; `torch.x` a library operation; behind a
    declared name stands one of its members, as an entity (`addition.train`, `A.shared`, `looplm.GPT`).

    None when it was not understood: SPAK127 for an unknown member, SPAK120 for an unknown name before the
    dot."""
    root = _root(node)
    if root is None:
        sink.report("SPAK128", "nothing stands behind a dot here", node.span, "this value has no members")
        return None
    if scope.find(root.name) is None and root.name in NAMESPACES:
        return _predefined(node, root.name, scope, sink)
    entry = find_entry(node, scope, sink)
    return None if entry is None else use(entry, node.span, scope, sink)


def dotted_name(node: nodes.Expr, scope: Scope) -> str:
    """`cubin.count` as one name, when nothing declared hides the word before the dot; else nothing."""
    if isinstance(node, nodes.NameExpr):
        return node.name if scope.find(node.name) is None else ""
    base = dotted_name(node.base, scope) if isinstance(node, nodes.Attribute) else ""
    return f"{base}.{node.name.text}" if base and isinstance(node, nodes.Attribute) else ""


def entry_of(node: nodes.Node, scope: Scope) -> Entry | None:
    """The declared thing that a plain or dotted name means, or None; nothing is reported."""
    if isinstance(node, nodes.NameExpr):
        return scope.find(node.name)
    base = entry_of(node.base, scope) if isinstance(node, nodes.Attribute) else None
    if base is None or base.members is None or not isinstance(node, nodes.Attribute):
        return None
    return base.members.get(node.name.text)


def find_entry(node: nodes.Expr, scope: Scope, sink: Sink, *, dotted: bool = False) -> Entry | None:
    """The declared thing that a plain or dotted name means (`GPT`, `looplm.GPT`), or None after a report."""
    if isinstance(node, nodes.NameExpr):
        entry = scope.find(node.name)
        if entry is None:
            report_unknown(node.name, node.span, scope, sink, words=NAMESPACES if dotted else ())
        return entry
    if not isinstance(node, nodes.Attribute):
        sink.report("SPAK128", "a name is expected here", node.span, "this is no name")
        return None
    base = find_entry(node.base, scope, sink, dotted=True)
    if base is None:
        return None
    if base.members is None:
        return Entry(node.name.text, f"a member of `{base.name}`", base.kind, f"{base.ref}.{node.name.text}")
    member = base.members.get(node.name.text)
    if member is None:
        _report_member(node.name.text, node.name.span, base.name, base.members, sink, declared=base)
    return member


def _root(node: nodes.Expr) -> nodes.NameExpr | None:
    while isinstance(node, nodes.Attribute):
        node = node.base
    return node if isinstance(node, nodes.NameExpr) else None


def _predefined(node: nodes.Attribute, root: str, scope: Scope, sink: Sink) -> Expr | None:
    if not isinstance(node.base, nodes.NameExpr):
        sink.report("SPAK127", f"`{root}` has no such member", node.span, "one dot too many")
        return None
    name = node.name.text
    if root == "device":
        if name in FACTS:
            return Ref(name, RefKind.fact, span=node.span)
        _report_member(name, node.name.span, root, FACTS, sink)
        return None
    full = f"{root}.{name}"
    if root == "torch":
        if full in BASELINES:
            return Ref(full, RefKind.entity, span=node.span)
        _report_member(name, node.name.span, root, [key.partition(".")[2] for key in BASELINES], sink)
        return None
    spec = QUERIES.get(full)
    if spec is None:
        known = [key.partition(".")[2] for key in QUERIES if key.startswith(f"{root}.")]
        _report_member(name, node.name.span, root, known, sink)
        return None
    if not spec.bare:
        sink.report(
            "SPAK128",
            f"`{full}` is a function",
            node.span,
            "used as a value",
            help=[f"call it: `{spec.signature}`"],
        )
        return None
    check_place(spec, node.span, scope, sink)
    return Query(full, span=node.span)


def _report_member(
    name: str, span: Span, base: str, known: Iterable[str], sink: Sink, *, declared: Entry | None = None
) -> None:
    names = sorted(known) if sink.suggests else []
    close = nearest(name, names, sink)
    help_ = [f"did you mean `{base}.{close}`?"] if close else []
    if not close and names:
        help_.append(f"it has {', '.join(f'`{member}`' for member in names[:12])}")
    also = []
    if declared is not None and declared.span is not None:
        also.append((declared.span, f"`{base}` is {declared.what} declared here"))
    sink.report("SPAK127", f"`{base}` has no member `{name}`", span, "unknown member", also=also, help=help_)
