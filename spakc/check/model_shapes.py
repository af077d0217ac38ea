"""Shapes of a model's values, inferred line by line over its hyper-parameters.

Sizes are polynomials over hypers and the run-time sizes `B`, `T`, `vocab`, in a normal form, so that `4 * n`
and `n * 4` agree. A size that nothing has said yet (the width of `embed(tokens)`) is an unknown that the
first use with a known size settles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, TypeGuard

from spakc.diagnostics import Sink
from spakc.ir.model import Assign, Loop, Model, Part, Repeat, Step
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Query, Ref, RefKind
from spakc.source import Span

Monomial = tuple[Expr, ...]
Polynomial = dict[Monomial, Fraction]


@dataclass(eq=False, slots=True)
class Unknown:
    """A size that is settled later."""

    size: Size | None = None


Size: TypeAlias = Expr | Unknown
Shape = tuple[Size, ...]
"""`()` is a scalar known before training: a hyper, a constant, the index of a loop."""


@dataclass(slots=True)
class Shapes:
    """What inference found out. `widths` is the size of the last axis of what an operation is applied to (for
    `embed`, `step`: of its result), by the identity of its node; `values` the shapes of the values of a part."""

    model: Model
    widths: dict[int, Size] = field(default_factory=dict)
    values: dict[str, dict[str, Shape]] = field(default_factory=dict)

    def width(self, node: Query) -> Expr | None:
        """The width an operation works on, or None if the model never says it."""
        return settle(self.widths[id(node)]) if id(node) in self.widths else None


def infer_model(model: Model, sink: Sink) -> Shapes:
    """Checks every line of every part and of forward against the shapes declared. Reports SPAK501 (two shapes
    that must agree do not), SPAK502 (a wrong number of axes), SPAK503 (a width that is never said), SPAK504
    (a result that is never assigned). Leaves laws and values of hypers alone."""
    shapes = Shapes(model)
    for part in (*model.parts.values(), model.forward):
        _Body(shapes, part, sink).run()
    return shapes


def settle(size: Size) -> Expr | None:
    while isinstance(size, Unknown):
        if size.size is None:
            return None
        size = size.size
    return size


def normal_form(size: Expr) -> Polynomial:
    """The polynomial of a size; what is no sum or product (`n // 2`) counts as one symbol."""
    if isinstance(size, Const) and _is_finite(size.value):
        return {(): Fraction(size.value)} if size.value else {}
    if isinstance(size, Apply) and size.op in ("add", "sub", "mul", "neg"):
        parts = [normal_form(argument) for argument in size.args]
        if size.op == "mul":
            return _product(*parts)
        if size.op == "neg":
            return _product(parts[0], {(): Fraction(-1)})
        sign = Fraction(-1 if size.op == "sub" else 1)
        return _sum(parts[0], _product(parts[1], {(): sign}))
    return {(size,): Fraction(1)}


def _is_finite(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    result = dict(a)
    for monomial, factor in b.items():
        result[monomial] = result.get(monomial, Fraction(0)) + factor
    return {monomial: factor for monomial, factor in result.items() if factor}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            result = _sum(result, {tuple(sorted((*left, *right), key=repr)): x * y})
    return result


def same_size(a: Expr, b: Expr) -> bool:
    return normal_form(a) == normal_form(b)


def show_shape(shape: Shape) -> str:
    """`[B, T, 4 * n]`, with `?` for a size that nothing says."""
    if not shape:
        return "a scalar"
    return "[" + ", ".join("?" if (s := settle(size)) is None else show_size(s) for size in shape) + "]"


def show_size(size: Expr) -> str:
    if isinstance(size, Const):
        return str(size.value)
    if isinstance(size, Ref):
        return size.name
    if isinstance(size, Apply) and len(size.args) == 2:
        sign = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%"}.get(size.op)
        if sign:
            left, right = (
                f"({show_size(a)})" if isinstance(a, Apply) and sign not in "+-" else show_size(a)
                for a in size.args
            )
            return f"{left} {sign} {right}"
    return size.span.text if size.span else "…"


class _Body:
    """Inference of one part."""

    def __init__(self, shapes: Shapes, part: Part, sink: Sink) -> None:
        self.shapes = shapes
        self.model = shapes.model
        self.part = part
        self.sink = sink
        self.locals: dict[str, Shape] = {value.name: value.shape for value in part.params}
        self.unsettled: list[tuple[Unknown, Query]] = []

    def run(self) -> None:
        self.shapes.values[self.part.name] = self.locals
        self.steps(self.part.body)
        result = self.part.result
        found = self.locals.get(result.name)
        if found is None:
            self.sink.report(
                "SPAK504",
                f"`{result.name}` is the result of {_title(self.part)}, but nothing is assigned to it",
                result.span,
                "never assigned",
            )
        else:
            self.agree(found, result.shape, result.span, f"`{result.name}` is declared", also=None)
        for unknown, node in self.unsettled:
            if settle(unknown) is None and node.span is not None:
                self.sink.report(
                    "SPAK503",
                    f"nothing says how wide the result of `{node.name}` is",
                    node.span,
                    "the width is open",
                    help=["use the value where its shape is declared: as an argument or result of a part"],
                )

    def steps(self, body: tuple[Step, ...]) -> None:
        for step in body:
            match step:
                case Assign():
                    self.locals[step.name] = self.shape(step.value)
                case Repeat():
                    self._again(step.body)
                case Loop():
                    self.locals[step.carry] = self.shape(step.initial)
                    self.locals[step.index] = ()
                    self._again(step.body)

    def _again(self, body: tuple[Step, ...]) -> None:
        """What is carried from one repetition to the next must keep its shape."""
        before = dict(self.locals)
        self.steps(body)
        for step in body:
            if isinstance(step, Assign) and step.name in before:
                span = step.value.span or step.span
                self.agree(
                    self.locals[step.name],
                    before[step.name],
                    span,
                    f"`{step.name}` enters the repetition as",
                    also=None,
                )

    # ---- expressions ------------------------------------------------------------------------------------

    def shape(self, node: Expr) -> Shape:
        match node:
            case Const() | Ref(kind=RefKind.hyper | RefKind.symbol):
                return ()
            case Ref():
                return self.locals.get(node.name, ())
            case Apply(op="where"):
                return self.broadcast(node, self.shape(node.args[1]), self.shape(node.args[2]))
            case Apply() if node.op in ACTIVATIONS or len(node.args) == 1:
                return self.shape(node.args[0])
            case Apply():
                return self.broadcast(node, *(self.shape(argument) for argument in node.args))
            case Query():
                part = self.model.called(node)
                return self.operation(node) if part is None else self.call(node, part)
        return ()

    def operation(self, node: Query) -> Shape:
        if node.name == "embed":
            tokens = self.shape(node.args[0])
            width = Unknown()
            self.shapes.widths[id(node)] = width
            self.unsettled.append((width, node))
            if len(tokens) != 2:
                self._axes(node, tokens, "tokens [B, T]")
                return (Unknown(), Unknown(), width)
            return (*tokens, width)
        if node.name == "step":
            width = Unknown()
            self.shapes.widths[id(node)] = width
            self.unsettled.append((width, node))
            return (width,)
        shape = self.shape(node.args[0])
        if not shape:
            self._axes(node, shape, "a tensor")
            return ()
        self.shapes.widths[id(node)] = shape[-1]
        if node.name == "attention" and len(shape) != 3:
            self._axes(node, shape, "[B, T, width]")
        if node.name == "linear":
            return (*shape[:-1], dict(node.named)["out"])
        if node.name == "unembed":
            return (*shape[:-1], Ref("vocab", RefKind.dim))
        return shape

    def call(self, node: Query, part: Part) -> Shape:
        if len(node.args) != len(part.params):
            self.sink.report(
                "SPAK502",
                f"{_title(part)} takes {len(part.params)} values and is given {len(node.args)}",
                node.span,
                "called here",
                also=[(part.span, "declared here")],
            )
        for argument, parameter in zip(node.args, part.params, strict=False):
            found = self.shape(argument)
            span = argument.span or node.span or parameter.span
            self.agree(
                found,
                parameter.shape,
                span,
                f"`{parameter.name}` of {_title(part)} is",
                also=(parameter.span, f"declared {show_shape(parameter.shape)}"),
            )
        return part.result.shape

    def broadcast(self, node: Apply, *shapes: Shape) -> Shape:
        """Right-aligned; a missing axis or a size 1 stretches."""
        result: list[Size] = list(sorted(shapes, key=_length)[-1])
        for shape in shapes:
            for axis in range(1, len(shape) + 1):
                have, want = result[-axis], shape[-axis]
                if settle(have) == Const(1):
                    result[-axis] = want
                elif settle(want) != Const(1) and not self.unify(have, want):
                    spans = [
                        (a.span, s) for a, s in zip(node.args[-len(shapes) :], shapes, strict=True) if a.span
                    ]
                    self.sink.report(
                        "SPAK501",
                        f"shapes {' and '.join(show_shape(s) for s in shapes)} do not fit together",
                        node.span,
                        "combined here",
                        also=[(span, f"this is {show_shape(s)}") for span, s in spans],
                    )
                    return tuple(result)
        return tuple(result)

    # ---- agreement --------------------------------------------------------------------------------------

    def unify(self, a: Size, b: Size) -> bool:
        left, right = settle(a), settle(b)
        if left is not None and right is not None:
            return same_size(left, right)
        root = _root(a) if left is None else _root(b)
        other = b if left is None else a
        if isinstance(other, Unknown) and _root(other) is root:
            return True
        assert isinstance(root, Unknown)
        root.size = other
        return True

    def agree(
        self, found: Shape, wanted: Shape, span: Span, what: str, *, also: tuple[Span, str] | None
    ) -> None:
        if len(found) == len(wanted) and all(self.unify(a, b) for a, b in zip(found, wanted, strict=True)):
            return
        code = "SPAK502" if len(found) != len(wanted) else "SPAK501"
        self.sink.report(
            code,
            f"{what} {show_shape(wanted)}, but this is {show_shape(found)}",
            span,
            show_shape(found),
            also=[also] if also else (),
        )

    def _axes(self, node: Query, shape: Shape, wanted: str) -> None:
        self.sink.report(
            "SPAK502",
            f"`{node.name}` works on {wanted}, not on {show_shape(shape)}",
            node.span,
            show_shape(shape),
        )


def _length(shape: Shape) -> int:
    return len(shape)


def _root(size: Size) -> Size:
    while isinstance(size, Unknown) and size.size is not None:
        size = size.size
    return size


def _title(part: Part) -> str:
    return "forward" if part.name == "forward" else f"part `{part.name}`"
