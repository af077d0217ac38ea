"""Kernel mathematics: names and index variables bound, single assignment, equations in dependency order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spakc.diagnostics import Sink
from spakc.ir.module import Equation, Tensor
from spakc.ir.ops import Apply, Const, Expr, Ref, RefKind
from spakc.ir.queries import Place
from spakc.ir.visit import loads, walk
from spakc.lower.expressions import lower_expression
from spakc.lower.resolve import Entry, Scope, is_unresolved
from spakc.syntax import nodes


def lower_math(
    math: nodes.Math | None, kernel: nodes.Name, tensors: Mapping[str, Tensor], scope: Scope, sink: Sink
) -> tuple[Equation, ...]:
    """The equations of a kernel, each after those whose results it reads; independent ones in the order
    written.

    Needs the kernel's dims, tensors, options and lets in `scope`. Guarantees: a target is an output, an
    inout or an intermediate; an intermediate is assigned by one equation, a tensor by one or by several
    whose left sides differ by offsets; an index on the left is a plain variable or one variable plus an
    offset, each variable once; every index variable is bound by the left side or by a reduction around it.
    Reports SPAK134, 135, 137, 307. Leaves alone: ranges, whether several equations cover a tensor exactly,
    kinds (check).
    """
    inner = scope.child(Place.math, title=scope.title, inner=True)
    written = () if math is None else math.equations
    targets = [equation for equation in written if _declare_target(equation, tensors, inner, sink)]
    equations = [_equation(node, inner, sink) for node in targets]
    _check_assigned_once(equations, tensors, sink)
    _check_outputs(equations, kernel, tensors, sink)
    return _ordered(equations, tensors, sink)


# ---- one equation -----------------------------------------------------------------------------------


def _declare_target(node: nodes.Equation, tensors: Mapping[str, Tensor], scope: Scope, sink: Sink) -> bool:
    """Enters a new intermediate. False when the target may not be assigned."""
    name = node.target
    entry = _near(name.text, scope)
    if entry is None:
        scope.add(name, "an intermediate", RefKind.local, sink)
        return True
    tensor = tensors.get(name.text)
    if entry.what == "an intermediate" or (tensor is not None and tensor.role != "input"):
        return True
    sink.report(
        "SPAK134",
        f"`{name.text}` is {entry.what} and cannot be assigned",
        name.span,
        "assigned here",
        also=[] if entry.span is None else [(entry.span, "declared here")],
        help=["declare it `inout` if this step changes it"] if tensor is not None else (),
    )
    return False


def _near(name: str, scope: Scope) -> Entry | None:
    """What the name is inside the kernel, or a `let` of the file. Other names of the file may be used
    anew."""
    entry = scope.find(name)
    if entry is None or entry.what == "a word":
        return None
    of_file = next(around for around in scope.chain() if name in around.entries).parent is None
    return entry if not of_file or entry.value is not None else None


def _equation(node: nodes.Equation, outer: Scope, sink: Sink) -> Equation:
    scope = outer.child(title=f"the equation of `{node.target.text}`", inner=True)
    variables: set[str] = set()
    for index in node.indices:
        names = [name for name in _names(index) if _is_variable(name, scope)]
        for name in names[:1]:
            if name.name in variables:
                sink.report(
                    "SPAK135",
                    f"`{name.name}` stands twice on the left",
                    name.span,
                    "every axis of the left side has a variable of its own",
                )
            elif name.name not in scope.entries:
                scope.add(nodes.Name(name.name, span=name.span), "an index variable", RefKind.index, sink)
            variables.add(name.name)
    indices = tuple(_left_index(index, scope, sink) for index in node.indices)
    value = lower_expression(node.value, scope, sink)
    return Equation(node.target.text, indices, value, span=node.span)


def _names(node: nodes.Expr) -> Iterator[nodes.NameExpr]:
    """The names in an index of the left side, outside of calls and accesses."""
    if isinstance(node, nodes.NameExpr):
        yield node
    elif isinstance(node, nodes.Binary):
        yield from _names(node.left)
        yield from _names(node.right)
    elif isinstance(node, nodes.Unary):
        yield from _names(node.operand)


def _is_variable(name: nodes.NameExpr, scope: Scope) -> bool:
    entry = _near(name.name, scope)
    return entry is None or entry.kind is RefKind.index


def _left_index(node: nodes.Expr, scope: Scope, sink: Sink) -> Expr:
    """A plain variable, or one variable plus or minus an offset over dims."""
    index = lower_expression(node, scope, sink)
    if is_unresolved(index) or is_left_index(index):
        return index
    sink.report(
        "SPAK135",
        "the left side is indexed by a variable, or by one variable plus an offset",
        node.span,
        "this is neither",
        help=["write `y[i]`, or `y[i + D // 2]` beside `y[i]` for another part of the same axis"],
    )
    return index


def is_left_index(index: Expr) -> bool:
    """Whether an index is `i`, `i + c`, `c + i` or `i - c`, with c over dims and integers."""
    if isinstance(index, Ref):
        return index.kind is RefKind.index
    if not isinstance(index, Apply) or index.op not in ("add", "sub"):
        return False
    left, right = index.args
    if _is_offset(right):
        return is_left_index(left)
    return index.op == "add" and _is_offset(left) and is_left_index(right)


def _is_offset(expr: Expr) -> bool:
    return all(
        (isinstance(node, Ref) and node.kind is RefKind.dim)
        or (isinstance(node, Const) and isinstance(node.value, int) and not isinstance(node.value, bool))
        or (
            isinstance(node, Apply) and node.op in ("add", "sub", "mul", "floordiv", "mod", "neg", "ceil_div")
        )
        for node in walk(expr)
    )


# ---- all equations ----------------------------------------------------------------------------------


def _check_assigned_once(equations: Sequence[Equation], tensors: Mapping[str, Tensor], sink: Sink) -> None:
    first: dict[str, Equation] = {}
    for equation in equations:
        other = first.setdefault(equation.target, equation)
        if other is equation:
            continue
        plain = all(isinstance(index, Ref) for index in (*equation.indices, *other.indices))
        if plain or equation.target not in tensors:
            sink.report(
                "SPAK134",
                f"`{equation.target}` is assigned twice",
                equation.span,
                "assigned again here",
                also=[(other.span, "first assigned here")],
                help=["give the intermediate result a name of its own"],
            )


def _check_outputs(
    equations: Sequence[Equation], kernel: nodes.Name, tensors: Mapping[str, Tensor], sink: Sink
) -> None:
    assigned = {equation.target for equation in equations}
    for tensor in tensors.values():
        if tensor.role != "input" and tensor.name not in assigned:
            sink.report(
                "SPAK307",
                f"`{tensor.name}` is an {tensor.role} tensor, and no equation assigns it",
                tensor.span,
                "declared here",
                also=[(kernel.span, "the mathematics of this kernel")],
            )


def _ordered(
    equations: Sequence[Equation], tensors: Mapping[str, Tensor], sink: Sink
) -> tuple[Equation, ...]:
    """Dependency order, else the order written. Equations of a circle are SPAK137 and stay as written."""
    by_target: dict[str, list[int]] = {}
    for position, equation in enumerate(equations):
        by_target.setdefault(equation.target, []).append(position)
    needs = [_needs(equation, by_target, tensors) for equation in equations]
    order: list[int] = []
    state = [0] * len(equations)  # 0 not seen, 1 being placed, 2 placed
    reported = False
    for start in range(len(equations)):
        stack = [(start, iter(needs[start]))] if state[start] == 0 else []
        if stack:
            state[start] = 1
        while stack:
            position, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[position] = 2
                order.append(position)
                stack.pop()
            elif state[following] == 0:
                state[following] = 1
                stack.append((following, iter(needs[following])))
            elif state[following] == 1 and not reported:
                reported = True
                path = [step for step, _ in stack]
                _report_circle([equations[step] for step in path[path.index(following) :]], sink)
    return tuple(equations[position] for position in order)


def _needs(
    equation: Equation, by_target: Mapping[str, Sequence[int]], tensors: Mapping[str, Tensor]
) -> list[int]:
    needs: dict[int, None] = {}
    for load in loads(equation.value):
        tensor = tensors.get(load.tensor)
        if tensor is None or tensor.role == "output" or load.new:
            needs.update(dict.fromkeys(by_target.get(load.tensor, ())))
    return list(needs)


def _report_circle(circle: Sequence[Equation], sink: Sink) -> None:
    path = " needs ".join(f"`{equation.target}`" for equation in (*circle, circle[0]))
    first = circle[0]
    sink.report(
        "SPAK137",
        f"these equations need each other: {path}" if len(circle) > 1 else f"`{first.target}` needs itself",
        first.span,
        "this equation",
        also=[(equation.span, "and this one") for equation in circle[1:]],
    )
