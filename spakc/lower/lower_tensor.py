"""Tensors and options of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spakc.diagnostics import Repair, Sink
from spakc.ir import module as ir
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.ops import Const, Expr, Interval, Members, Ref, RefKind, Tuple
from spakc.ir.queries import Place
from spakc.ir.types import TYPE_NAMES, DType
from spakc.ir.visit import walk, with_unit
from spakc.lower.expressions import lower_expression
from spakc.lower.files import tensor_members
from spakc.lower.resolve import Scope, is_unresolved, nearest, report_again
from spakc.source import Span
from spakc.syntax import nodes

LAYOUTS = ("row", "column")


def lower_tensors(declared: Sequence[nodes.TensorDecl], scope: Scope, sink: Sink) -> dict[str, ir.Tensor]:
    """The tensors of a kernel in the order written, entered in `scope`, where its dims are known already.

    `same(X)` is followed to the tensor whose types are written out. Reports SPAK310 (no such type), 311
    (`same` of nothing), 312 (layouts), 313 (defaults), 321 (a shape over something else than dims)."""
    for node in declared:
        members = tensor_members(node.name.text)
        article = "an" if node.role[0] in "io" else "a"
        scope.add(node.name, f"{article} {node.role} tensor", RefKind.entity, sink, members=members)
    by_name = {node.name.text: node for node in reversed(declared)}
    tensors: dict[str, ir.Tensor] = {}
    for node in declared:
        if node.name.text not in tensors:
            tensors[node.name.text] = _tensor(node, by_name, scope, sink)
    return tensors


def _tensor(
    node: nodes.TensorDecl, declared: Mapping[str, nodes.TensorDecl], scope: Scope, sink: Sink
) -> ir.Tensor:
    dtypes: list[DType] = []
    spans: list[Span] = []
    same_as: str | None = None
    for kind in node.types:
        if kind.name == "same" and kind.argument is not None:
            if same_as is not None:
                text = f"`{node.name.text}` cannot have the types of two tensors"
                sink.report(
                    "SPAK311", text, kind.span, "one more `same`", also=[(node.name.span, "declared here")]
                )
            same_as = _same(node, kind.argument, declared, sink)
        else:
            dtype = _dtype(kind, sink)
            if dtype in dtypes:
                report_again(f"the type {dtype.value}", kind.span, spans[dtypes.index(dtype)], sink)
            elif dtype is not None:
                dtypes.append(dtype)
                spans.append(kind.span)
    layouts = _layouts(node, sink)
    return ir.Tensor(
        node.name.text,
        node.role,
        tuple(dtypes),
        same_as,
        tuple(_size(size, scope, sink) for size in node.shape),
        layouts,
        _default(node, scope, sink),
        span=node.name.span,
    )


def _dtype(kind: nodes.TypeExpr, sink: Sink) -> DType | None:
    dtype = TYPE_NAMES.get(kind.name)
    if dtype is not None and kind.argument is None:
        return dtype
    close = nearest(kind.name, (*TYPE_NAMES, "same"), sink)
    if dtype is not None:
        help_ = f"write `{kind.name}`"
    elif close == "same" or kind.name == "same":
        help_ = "write `same(X)` for the type of the tensor X"
    else:
        help_ = f"did you mean `{close}`?" if close else f"the types are {', '.join(TYPE_NAMES)}"
    sink.report("SPAK310", f"no type is called `{kind.span.text}`", kind.span, "unknown type", help=[help_])
    return None


def _same(
    node: nodes.TensorDecl, argument: nodes.Name, declared: Mapping[str, nodes.TensorDecl], sink: Sink
) -> str | None:
    """The tensor at the end of a chain of `same`, whose types are written out."""
    seen = [node.name.text]
    name = argument
    while True:
        if name.text not in declared:
            close = nearest(name.text, (key for key in declared if key != node.name.text), sink)
            also = [(declared[close].name.span, f"`{close}` is declared here")] if close else []
            help_ = [f"did you mean `{close}`?"] if close else []
            sink.report(
                "SPAK311", f"no tensor is called `{name.text}`", name.span, "unknown", also=also, help=help_
            )
            return None
        if name.text in seen:
            circle = seen[seen.index(name.text) :]
            if node.name.text != min(circle, key=lambda other: declared[other].name.span.start):
                return None  # a circle is reported once
            text = f"the type of `{node.name.text}` is that of `{name.text}`, which needs it in turn"
            also = [(declared[name.text].name.span, "declared here")]
            sink.report("SPAK311", text, argument.span, "a circle", also=also)
            return None
        seen.append(name.text)
        aliases = [kind.argument for kind in declared[name.text].types if kind.argument is not None]
        if not aliases:
            return name.text
        if len(declared[name.text].types) > 1:
            sink.report(
                "SPAK311",
                f"`{name.text}` has a choice of types of its own",
                argument.span,
                "ambiguous",
                also=[(declared[name.text].name.span, "declared here")],
                help=[f"write `same({aliases[0].text})`"],
            )
            return None
        name = aliases[0]


def _layouts(node: nodes.TensorDecl, sink: Sink) -> tuple[str, ...]:
    found: list[str] = []
    for layout in node.layouts:
        if layout.text not in LAYOUTS:
            close = nearest(layout.text, LAYOUTS, sink)
            help_ = f"did you mean `{close}`?" if close else "it is `row` or `column`"
            sink.report(
                "SPAK312", f"no layout is called `{layout.text}`", layout.span, "unknown", help=[help_]
            )
        elif layout.text in found:
            first = next(each for each in node.layouts if each.text == layout.text)
            report_again(f"`{layout.text}`", layout.span, first.span, sink)
        else:
            found.append(layout.text)
    if node.layouts and len(node.shape) < 2:
        text = f"`{node.name.text}` has {len(node.shape)} axes, and no layout to choose"
        sink.report(
            "SPAK312", text, node.layouts[0].span, "needs two axes", also=[(node.name.span, "declared here")]
        )
        return ()
    return tuple(found)


def _size(node: nodes.Expr, scope: Scope, sink: Sink) -> Expr:
    size = lower_expression(node, scope.at(Place.declaration), sink)
    if is_unresolved(size):
        return size
    for part in walk(size):
        if isinstance(part, Ref) and part.kind is not RefKind.dim:
            sink.report("SPAK321", "a shape is made of dims and integers", part.span, "this is no dim")
            return size
        if isinstance(part, Const) and (isinstance(part.value, bool) or not isinstance(part.value, int)):
            sink.report("SPAK321", "a shape is made of dims and integers", part.span, "this is no integer")
            return size
    if isinstance(size, Const) and isinstance(size.value, int) and size.value < 1:
        sink.report("SPAK321", "an axis has at least one element", node.span, "not a positive integer")
    return size


def _default(node: nodes.TensorDecl, scope: Scope, sink: Sink) -> Expr | None:
    if node.optional is None:
        return None
    default = lower_expression(node.optional, scope.at(Place.declaration), sink)
    if is_unresolved(default):
        return default
    if node.role != "input":
        text = f"`{node.name.text}` is an {node.role} tensor; only an input can be left out"
        sink.report(
            "SPAK313", text, node.optional.span, "no default here", also=[(node.name.span, "declared here")]
        )
    elif isinstance(evaluate(default, Env()), (Unknown, str)):
        sink.report("SPAK313", "the default of a tensor is one number", node.optional.span, "not a number")
    return default


# ---- options ----------------------------------------------------------------------------------------


def lower_option(node: nodes.OptionDecl, scope: Scope, sink: Sink) -> ir.Option:
    """One option, entered in `scope` behind its default, which may need dims and earlier options. SPAK322
    when its type is neither one type nor a list of words, or when the default is none of its values."""
    names = [kind.name for kind in node.types]
    plain = all(kind.argument is None for kind in node.types)
    dtype = TYPE_NAMES.get(names[0]) if len(names) == 1 and plain else None
    choices = () if dtype is not None else tuple(dict.fromkeys(names))
    for i, kind in enumerate(node.types):
        if kind.name in names[:i] and plain:
            report_again(f"`{kind.name}`", kind.span, node.types[names.index(kind.name)].span, sink)
    if dtype is None and (not plain or any(name in TYPE_NAMES for name in names)):
        sink.report(
            "SPAK322",
            f"option `{node.name.text}` has one type, or a choice of words",
            node.types[0].span.to(node.types[-1].span),
            "types and words do not mix",
        )
        choices = tuple(name for name in choices if name not in TYPE_NAMES)
    default = lower_expression(node.default, scope.at(Place.declaration), sink, words=choices)
    if not is_unresolved(default):
        _check_default(node, dtype, choices, default, sink)
    scope.add(node.name, "an option", RefKind.option, sink, words=choices)
    scope.words(choices)
    return ir.Option(node.name.text, choices, dtype, default, span=node.name.span)


def _check_default(
    node: nodes.OptionDecl, dtype: DType | None, choices: tuple[str, ...], default: Expr, sink: Sink
) -> None:
    wrong, meant = "", ""
    value = evaluate(default, Env())
    if choices:
        if not (isinstance(default, Ref) and default.kind is RefKind.symbol and default.name in choices):
            close = nearest(node.default.span.text, choices, sink)
            wrong = (
                f"did you mean `{close}`?"
                if close
                else f"it is one of {', '.join(f'`{c}`' for c in choices)}"
            )
    elif dtype is not None:
        if isinstance(default, Tuple | Members | Interval):
            wrong = "it is one value"
        elif with_unit(default) is not None:
            wrong = "it has no unit"
        elif dtype is DType.bool:
            wrong = "" if isinstance(value, bool) else "it is `true` or `false`"
            meant = {"0": "false", "1": "true"}.get(node.default.span.text, "")
        elif isinstance(value, (bool, str)):
            wrong = "it is a number"
        elif not dtype.is_float and isinstance(value, float):
            wrong = "it is an integer"
            meant = str(int(value)) if value.is_integer() else ""
    if wrong:
        sink.report(
            "SPAK322",
            f"option `{node.name.text}` cannot be `{node.default.span.text}`",
            node.default.span,
            "none of its values",
            also=[(node.types[0].span.to(node.types[-1].span), "its values are stated here")],
            help=[wrong],
            repairs=[Repair(node.default.span, meant)] if meant else (),
        )
