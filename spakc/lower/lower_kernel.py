"""Kernels: what they declare, their laws, verification and hand-written implementations."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TypeVar

from spakc.diagnostics import Sink
from spakc.ir import module as ir
from spakc.ir.constraint import Env, describe, evaluate, members
from spakc.ir.ops import Apply, Const, Domain, Expr, Interval, RefKind, Tuple
from spakc.ir.queries import Place
from spakc.ir.ranges import range_of
from spakc.ir.types import NUMBER, TYPE_NAMES, DType
from spakc.ir.visit import walk, with_unit
from spakc.lower.const_eval import constant_domain
from spakc.lower.expressions import lower_domain, lower_expression
from spakc.lower.lower_math import lower_math
from spakc.lower.lower_schedule import lower_schedules
from spakc.lower.lower_tensor import lower_option, lower_tensors
from spakc.lower.propositions import lower_laws, lower_lets
from spakc.lower.resolve import Scope, check_unique, nearest, report_again
from spakc.record import record
from spakc.source import Span
from spakc.syntax import nodes

FAMILIES = ("product", "attention", "rows", "elementwise", "chain")
VALUES = ("normal", "uniform", "integers")
"""How `verify` may fill the inputs."""

MOST_CASES = 1_000_000

Item = TypeVar("Item", bound=nodes.Node)


@record
class LoweredKernel:
    """A kernel with the scope of its names, in which an `implement` of it is read."""

    kernel: ir.Kernel
    scope: Scope


def lower_kernel(node: nodes.Kernel, file_scope: Scope, sink: Sink) -> LoweredKernel:
    """One kernel.

    Guarantees: every name in it is resolved, domains and configs are constant, `like` of schedules is merged,
    equations are in dependency order with single assignment, `same(X)` names a tensor whose type is written
    out, gradients name outputs and floating-point inputs. Reports SPAK12x-13x, 304-324. Leaves alone: ranges
    of index variables, shapes of accesses, kinds and units of expressions (check), whether the mathematics
    fits the family.
    """
    name = file_scope.qualify(node.name.text)
    scope = file_scope.child(Place.law, title=f"kernel `{node.name.text}`")
    if node.family.text not in FAMILIES:
        _report_word(node.family, "a family of kernels", FAMILIES, sink)
    dims = _dims(node, scope, sink)
    tensors = lower_tensors(_all(node, nodes.TensorDecl), scope, sink)
    options = {option.name.text: lower_option(option, scope, sink) for option in _all(node, nodes.OptionDecl)}
    for let in _all(node, nodes.Let):
        scope.add_let(let, sink)
    _mention_inner_names(node, scope)
    lets = lower_lets(node.items, scope, (name,), sink)
    math = _at_most_one(_all(node, nodes.Math), "math", sink)
    equations = lower_math(math, node.name, tensors, scope, sink)
    accumulate = _at_most_one(_all(node, nodes.Accumulate), "accumulate", sink)
    kernel = ir.Kernel(
        name,
        node.family.text,
        dims,
        tensors,
        options,
        equations,
        DType.f32 if accumulate is None else _accumulate(accumulate, sink),
        tuple(_gradient(gradient, tensors, sink) for gradient in _all(node, nodes.Gradient)),
        lower_schedules(_all(node, nodes.Schedule), name, scope, sink),
        lower_laws(node.items, scope, (name,), sink),
        lets,
        _verification(_at_most_one(_all(node, nodes.Verify), "verify", sink), dims, scope, sink),
        "\n".join(intent.text for intent in _all(node, nodes.Intent)) or None,
        span=node.name.span,
    )
    return LoweredKernel(kernel, scope)


def _all(node: nodes.Kernel, kind: type[Item]) -> list[Item]:
    return [item for item in node.items if isinstance(item, kind)]


def _at_most_one(items: Sequence[Item], what: str, sink: Sink) -> Item | None:
    for extra in items[1:]:
        also = [(_head(items[0].span), "the first one")]
        sink.report("SPAK122", f"a kernel has one `{what}`", _head(extra.span), "one more", also=also)
    return items[0] if items else None


def _head(span: Span) -> Span:
    """The keyword that a statement begins with."""
    length = next((i for i, char in enumerate(span.text) if not char.isalnum()), len(span.text))
    return Span(span.source, span.start, span.start + max(length, 1))


def _report_word(name: nodes.Name, what: str, choices: Sequence[str], sink: Sink) -> None:
    close = nearest(name.text, choices, sink)
    sink.report(
        "SPAK139",
        f"`{name.text}` is not {what}",
        name.span,
        "none of the choices",
        help=[
            f"did you mean `{close}`?" if close else f"it is one of {', '.join(f'`{c}`' for c in choices)}"
        ],
    )


def _dims(node: nodes.Kernel, scope: Scope, sink: Sink) -> dict[str, ir.Dim]:
    dims: dict[str, ir.Dim] = {}
    outside = scope.at(Place.declaration)
    for dim in _all(node, nodes.Dim):
        domain = None
        if dim.domain is not None:
            what = f"dim `{dim.name.text}`"
            domain = constant_domain(lower_domain(dim.domain, outside, sink), sink, what, integers=True)
        scope.add(dim.name, "a dim", RefKind.dim, sink)
        dims.setdefault(dim.name.text, ir.Dim(dim.name.text, domain, span=dim.name.span))
    return dims


def _mention_inner_names(node: nodes.Kernel, scope: Scope) -> None:
    for schedule in _all(node, nodes.Schedule):
        for item in schedule.items:
            if isinstance(item, nodes.Knob):
                where = f"schedule `{schedule.name.text}`"
                scope.mention(item.name, f"it is a knob of {where}: what speaks of it stands there")
    for math in _all(node, nodes.Math):
        for equation in math.equations:
            scope.mention(equation.target, "it is an intermediate result, known to the mathematics only")


def _accumulate(node: nodes.Accumulate, sink: Sink) -> DType:
    dtype = TYPE_NAMES.get(node.type.text)
    if dtype is None or not dtype.is_float:
        floats = [name for name, known in TYPE_NAMES.items() if known.is_float]
        close = nearest(node.type.text, floats, sink)
        sink.report(
            "SPAK310",
            f"`{node.type.text}` is no type to accumulate in",
            node.type.span,
            "expected a floating-point type",
            help=[f"did you mean `{close}`?" if close else f"one of {', '.join(f'`{f}`' for f in floats)}"],
        )
        return DType.f32
    return dtype


def _gradient(node: nodes.Gradient, tensors: dict[str, ir.Tensor], sink: Sink) -> ir.Gradient:
    check_unique(node.outputs, "an output", sink)
    check_unique(node.inputs, "an input", sink)
    outputs = tuple(n.text for n in node.outputs if _differentiable(n, ("output",), tensors, sink))
    inputs = tuple(n.text for n in node.inputs if _differentiable(n, ("input",), tensors, sink))
    return ir.Gradient(outputs, inputs, span=node.span)


def _differentiable(
    name: nodes.Name, roles: Sequence[str], tensors: dict[str, ir.Tensor], sink: Sink
) -> bool:
    tensor = tensors.get(name.text)
    wanted = roles[0]
    if tensor is None:
        fitting = [key for key, value in tensors.items() if value.role in roles]
        close = nearest(name.text, fitting, sink)
        sink.report(
            "SPAK138",
            f"no {wanted} is called `{name.text}`",
            name.span,
            f"expected an {wanted} of this kernel",
            help=[f"did you mean `{close}`?"] if close else (),
        )
        return False
    if tensor.role not in roles:
        where = "before" if wanted == "output" else "behind"
        sink.report(
            "SPAK138",
            f"`{name.text}` is an {tensor.role} tensor; {where} `wrt` stands an {wanted}",
            name.span,
            f"expected an {wanted} of this kernel",
            also=[(tensor.span, "declared here")],
        )
        return False
    base = tensors.get(tensor.same_as) if tensor.same_as is not None else tensor
    integers = [dtype for dtype in (base or tensor).dtypes if not dtype.is_float]
    if integers:
        sink.report(
            "SPAK138",
            f"`{name.text}` can be {integers[0].value}, which has no gradient",
            name.span,
            "not a floating-point tensor",
            also=[(tensor.span, "declared here")],
        )
    return not integers


# ---- verification -----------------------------------------------------------------------------------


def _verification(
    node: nodes.Verify | None, dims: dict[str, ir.Dim], scope: Scope, sink: Sink
) -> ir.Verification | None:
    if node is None:
        return None
    tolerance: Expr | None = None
    values: list[str] = []
    shapes: list[tuple[tuple[str, ...], Domain]] = []
    cases: int | None = None
    seen: dict[str, Span] = {}
    for item in node.items:
        kind = type(item).__name__.lower()
        if kind in seen:
            also = [(seen[kind], "the first one")]
            sink.report("SPAK122", f"`{kind}` is given twice", item.span, "one more", also=also)
        seen.setdefault(kind, item.span)
        if isinstance(item, nodes.Tolerance):
            tolerance = lower_expression(item.value, scope.at(Place.tolerance), sink)
            _check_tolerance(tolerance, sink)
        elif isinstance(item, nodes.Values):
            for word in item.names:
                if word.text not in VALUES:
                    _report_word(word, "a way to fill inputs", VALUES, sink)
                elif word.text not in values:
                    values.append(word.text)
                else:
                    report_again(f"`{word.text}`", word.span, item.names[values.index(word.text)].span, sink)
        elif isinstance(item, nodes.Shapes):
            shapes += [_shape(binder, dims, scope, sink) for binder in item.binders]
        elif isinstance(item, nodes.Cases):
            cases = item.count
            if cases < 1:
                sink.report("SPAK305", "verification needs at least one case", item.span, "no case at all")
            if cases > MOST_CASES:
                sink.report("SPAK305", f"verification draws at most {MOST_CASES} cases", item.span, "more")
    _each_dim_once(node, sink)
    return ir.Verification(tolerance, tuple(values), tuple(shapes), cases, span=node.span)


def _check_tolerance(tolerance: Expr, sink: Sink) -> None:
    """A bound that every error is above, or below, judges nothing; nor does one that some errors push below zero."""
    value = evaluate(tolerance, Env())
    number = isinstance(value, int | float) and not isinstance(value, bool)
    reach = range_of(tolerance, Env())
    if (number and not 0 <= value < inf) or (reach is not None and reach[0] < 0):  # type: ignore[operator]
        label = "this bounds nothing" if number else "this falls below 0"
        sink.report("SPAK305", "a tolerance is a number from 0 on", tolerance.span, label)
    units = [node for node in walk(tolerance) if isinstance(node, Const) and node.unit != NUMBER]
    if units:
        sink.report("SPAK319", "a tolerance has no unit", units[0].span, "this number has one")


def _shape(
    binder: nodes.Binder, dims: dict[str, ir.Dim], scope: Scope, sink: Sink
) -> tuple[tuple[str, ...], Domain]:
    for name in binder.names:
        if name.text not in dims:
            close = nearest(name.text, dims, sink)
            sink.report(
                "SPAK120",
                f"the kernel has no dim `{name.text}`",
                name.span,
                "unknown dim",
                also=[(dims[close].span, f"`{close}` is a dim declared here")] if close else (),
                help=[f"did you mean `{close}`?"] if close else (),
            )
    what = f"the shape of `{', '.join(name.text for name in binder.names)}`"
    written = lower_domain(binder.domain, scope.at(Place.declaration), sink)
    domain = constant_domain(written, sink, what, names=len(binder.names))
    _check_sizes(domain, sink)
    for axis, name in enumerate(binder.names):
        if name.text in dims and (compiled := dims[name.text].domain) is not None:
            _check_compiled(name.text, axis, domain, compiled, sink)
    return tuple(name.text for name in binder.names), domain


def _check_sizes(domain: Domain, sink: Sink) -> None:
    """A tensor may be empty, but has no negative size."""
    united = with_unit(domain)
    if united is not None:
        sink.report("SPAK305", "a size has no unit", united.span or domain.span, "this number has one")
        return
    items = [domain.first] if isinstance(domain, Interval) else domain.items
    for part in (p for item in items for p in (item.items if isinstance(item, Tuple) else (item,))):
        if isinstance(part, Const) and (
            isinstance(part.value, bool) or not isinstance(part.value, int) or part.value < 0
        ):
            sink.report("SPAK305", "a size is a whole number from 0 on", part.span or domain.span, "not this")
            return


def _check_compiled(name: str, axis: int, sizes: Domain, compiled: Domain, sink: Sink) -> None:
    """A dim that is compiled in has no other sizes than those of its domain."""
    if isinstance(sizes, Interval):
        values = members(sizes, Env())
        found: list[Expr] = [Const(v, span=sizes.span) for v in values] if isinstance(values, tuple) else []
    else:
        rows = [item.items if isinstance(item, Tuple) else (item,) for item in sizes.items]
        found = [row[axis] for row in rows if axis < len(row)]
    for size in found:
        if evaluate(Apply("member", (size, compiled)), Env()) is False:
            also = [(compiled.span, "the domain")] if compiled.span is not None else []
            message = f"`{name}` cannot be {describe(size)}"
            sink.report("SPAK306", message, size.span or sizes.span, "outside of its domain", also=also)
            return


def _each_dim_once(node: nodes.Verify, sink: Sink) -> None:
    first: dict[str, Span] = {}
    for item in node.items:
        for binder in item.binders if isinstance(item, nodes.Shapes) else ():
            for name in binder.names:
                if name.text in first:
                    also = [(first[name.text], "first given here")]
                    sink.report(
                        "SPAK122", f"`{name.text}` is given twice", name.span, "again here", also=also
                    )
                first.setdefault(name.text, name.span)


# ---- hand-written kernels ---------------------------------------------------------------------------

SETTINGS = {
    "source": str,
    "entry": str,
    "threads": None,
    "shared": None,
    "grid": None,
    "cluster": None,
    "arguments": None,
}
"""What an `implement` may say; `source` and `entry` are strings."""

_REQUIRED = ("source", "entry", "threads", "grid")


def lower_implementation(
    node: nodes.Implement, lowered: LoweredKernel, devices: tuple[str, ...], file_scope: Scope, sink: Sink
) -> ir.Implementation:
    """`implement K as NAME …`: expressions over the kernel's dims, options and tensors. Reports unknown,
    repeated, missing settings (SPAK324)."""
    scope = lowered.scope
    settings: dict[str, Expr] = {}
    first: dict[str, Span] = {}
    for setting in node.settings:
        key = setting.key
        span = setting.path[0].span
        if key not in SETTINGS:
            close = nearest(key, SETTINGS, sink)
            help_ = [f"did you mean `{close}`?"] if close else [f"the settings are {', '.join(SETTINGS)}"]
            sink.report("SPAK324", f"an implementation has no setting `{key}`", span, "unknown", help=help_)
            continue
        if key in first:
            sink.report(
                "SPAK324", f"`{key}` is given twice", span, "again", also=[(first[key], "first here")]
            )
            continue
        first[key] = span
        settings[key] = lower_expression(setting.value, scope, sink)
        value = settings[key]
        if SETTINGS[key] is str and not (isinstance(value, Const) and isinstance(value.value, str)):
            sink.report("SPAK324", f"`{key}` is a text in quotes", setting.value.span, "expected a string")
    for key in _REQUIRED:
        if key not in first:
            sink.report(
                "SPAK324", f"`{node.name.text}` does not say its `{key}`", node.name.span, "incomplete"
            )
    needs = tuple(lower_expression(need, scope, sink) for need in node.needs)
    name = file_scope.qualify(node.name.text)
    return ir.Implementation(lowered.kernel.name, name, devices, needs, settings, span=node.name.span)
