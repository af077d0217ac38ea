"""Expressions of the math as readable torch code: every index variable an axis, aligned by broadcasting.

A piece of code stands for a tensor whose dimensions are `axes`, always in the order of the equation at hand
(its left side first, then the axes of the reductions around). Without axes it is a Python scalar or a tensor
of no dimension. Only dims, options and constants make scalars, and those are computed by Python itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spakc.ir.extents import split_offset
from spakc.ir.inline import free_indices
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import ZERO, add, factors_of, number, simplify, sub
from spakc.record import record

# Binding strength of Python's operators, for parentheses only where they are needed.
OR, AND, NOT, COMPARE, BIT_OR, BIT_AND, SUM, PRODUCT, NEGATION, POWER, ATOM = range(11)

_SCALAR_FUNCTIONS = {
    "exp": "exp", "log": "log", "exp2": "exp2", "log2": "log2", "sqrt": "sqrt", "sin": "sin", "cos": "cos",
    "tanh": "tanh", "erf": "erf", "floor": "floor", "ceil": "ceil",
}  # fmt: skip
_TENSOR_FUNCTIONS = _SCALAR_FUNCTIONS | {"rsqrt": "rsqrt", "abs": "abs", "sigmoid": "sigmoid"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_CASTS = {"bf16": "bfloat16().float", "f16": "half().float", "int32": "int", "int64": "long", "bool": "bool"}
ACTIVATION_CODE = {
    "identity": "lambda x: x",
    "relu": "{F}.relu",
    "relu_squared": "lambda x: {F}.relu(x).square()",
    "gelu": "{F}.gelu",
    "gelu_tanh": 'lambda x: {F}.gelu(x, approximate="tanh")',
    "silu": "{F}.silu",
    "sigmoid": "{torch}.sigmoid",
    "tanh": "{torch}.tanh",
}


@record
class Code:
    text: str
    axes: tuple[str, ...] = ()
    strength: int = ATOM
    scalar: bool = False  # computed by Python

    def within(self, strength: int) -> str:
        """The text, in parentheses where it binds less tightly than its surroundings ask."""
        return self.text if self.strength >= strength else f"({self.text})"


@dataclass
class Names:
    """Python names: of modules, helpers, and of everything the kernel names."""

    torch: str
    math: str
    functional: str
    local: Mapping[str, str]  # tensors (old values), options, dims, intermediates
    new: Mapping[str, str]  # what this step writes
    device: str  # the last argument of a factory function: where the inputs are
    taken: frozenset[str]  # every name in use
    helpers: set[str] = field(default_factory=set)  # helper functions and tables that the code needs
    used: set[str] = field(default_factory=set)  # dims and options that the code mentions


@dataclass
class Expressions:
    """Compiles the expressions of one equation. `order` is the order of axes, `extents` their sizes as
    code."""

    names: Names
    order: list[str]
    extents: Mapping[str, Expr]
    shapes: Mapping[str, tuple[Expr, ...]]
    written: frozenset[str]  # outputs and intermediates: read as what this step writes
    integers: frozenset[str]  # tensors of integers
    indices: dict[tuple[str, str], str]  # (index variable, extent) -> the name of its arange

    def code(self, expr: Expr) -> Code:
        match expr:
            case Const(value=value):
                return self._constant(value)
            case Ref(kind=RefKind.index, name=name):
                return Code(self._arange(name), (name,))
            case Ref(kind=RefKind.symbol, name=name):
                return Code(_quoted(name), scalar=True)
            case Ref(name=name):
                self.names.used.add(name)
                return Code(self.names.local[name], scalar=True)
            case Load():
                return self._ordered(*self._load(expr))
            case Reduce():
                return self._reduce(expr)
            case Apply():
                return self._apply(expr)
        raise AssertionError(f"{type(expr).__name__} in mathematics")

    def size(self, expr: Expr) -> str:
        """A shape expression."""
        return self.code(expr).text

    def aligned(self, code: Code, axes: Sequence[str], strength: int = ATOM) -> str:
        """The text with dimensions of length one put in, so that it broadcasts over `axes`."""
        if not code.axes or code.scalar:
            return code.within(strength)
        trailing = list(axes[axes.index(code.axes[0]) :])
        if trailing == list(code.axes):
            return code.within(strength)
        marks = ", ".join(":" if axis in code.axes else "None" for axis in trailing)
        return f"{code.within(ATOM)}[{marks}]"

    def spread(self, code: Code, axes: Sequence[str]) -> str:
        """The text as a tensor of full extent along `axes`."""
        if not code.scalar and tuple(axes) == code.axes:
            return code.text
        sizes = [self.size(self.extents[axis]) for axis in axes]
        shape = f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"
        if code.scalar:
            return f"{self.names.torch}.full({shape}, float({code.text}){self.names.device})"
        return f"{self.aligned(code, axes)}.expand({shape})"

    def union(self, *parts: Code) -> tuple[str, ...]:
        present = {axis for part in parts for axis in part.axes}
        return tuple(axis for axis in self.order if axis in present)

    # ---- atoms -------------------------------------------------------------------------------------------

    def _constant(self, value: bool | int | float | str) -> Code:
        if isinstance(value, float) and math.isinf(value):
            sign, strength = ("-", NEGATION) if value < 0 else ("", ATOM)
            return Code(f"{sign}{self.names.math}.inf", strength=strength, scalar=True)
        if isinstance(value, str):
            return Code(_quoted(value), scalar=True)
        negative = isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0
        return Code(repr(value), strength=NEGATION if negative else ATOM, scalar=True)

    def _arange(self, name: str) -> str:
        return self.indices.setdefault((name, self.size(self.extents[name])), f"at_{name}")

    def _load(self, load: Load) -> tuple[str, list[str]]:
        """The text of an access and its dimensions in the order of the tensor."""
        table = self.names.new if load.new or load.tensor in self.written else self.names.local
        text = table[load.tensor]
        shape = self.shapes[load.tensor]
        if not load.indices:
            return text, []
        splits = [split_offset(index) for index in load.indices]
        names = [split[0] for split in splits if split is not None]
        gathered = [axis for axis, split in enumerate(splits) if split is None or self._may_leave(split)]
        if len(set(names)) < len(names) or len(gathered) > 1:
            return self._gathered(text, load, shape)
        marks: list[str] = []
        axes: list[str] = []
        for axis, (index, split) in enumerate(zip(load.indices, splits, strict=True)):
            if axis in gathered:
                inner = free_indices(index)
                if len(inner) > 1 or (inner and inner[0] in names):
                    return self._gathered(text, load, shape)
                marks.append(self._index(index, shape[axis], split).text)
                axes += inner
            else:
                assert split is not None
                marks.append(self._slice(split, shape[axis]))
                axes.append(split[0])
        while marks and marks[-1] == ":":
            marks.pop()
        if marks:
            text = f"{text}[{', '.join(marks)}]"
        return text, axes

    def _may_leave(self, split: tuple[str, Expr]) -> bool:
        """Whether `i + c` may lie outside, so that a condition around must exclude it."""
        value = number(split[1])
        return (value is not None and value < 0) or (isinstance(split[1], Apply) and split[1].op == "neg")

    def _slice(self, split: tuple[str, Expr], size: Expr) -> str:
        name, start = split
        extent = self.extents[name]
        if start == ZERO and extent == size:
            return ":"
        first = "" if start == ZERO else self.code(start).text
        stop = simplify(add(start, extent))
        twice = Apply("floordiv", (size, Const(2)))
        if stop == size or (start == extent == twice) or simplify(sub(size, start)) == extent:
            return f"{first}:"
        return f"{first}:{self.code(stop).text}" if first else f":{self.code(stop).text}"

    def _index(self, index: Expr, size: Expr, split: tuple[str, Expr] | None) -> Code:
        """An index as whole numbers, kept inside the axis where only a condition around keeps it inside."""
        code = self.code(index)
        if isinstance(index, Load):
            return Code(f"{code.within(ATOM)}.long()", code.axes)
        if split is not None and self._may_leave(split):
            return Code(f"{code.within(ATOM)}.clamp(0, {self.code(size).within(SUM)} - 1)", code.axes)
        return code

    def _gathered(self, text: str, load: Load, shape: Sequence[Expr]) -> tuple[str, list[str]]:
        """Every index a tensor of positions, broadcast against each other."""
        codes = [
            self._index(index, size, split_offset(index))
            for index, size in zip(load.indices, shape, strict=True)
        ]
        axes = self.union(*codes)
        positions = ", ".join(self.aligned(code, axes, COMPARE) for code in codes)
        return f"{text}[{positions}]", list(axes)

    def _ordered(self, text: str, axes: list[str]) -> Code:
        wanted = sorted(axes, key=self.order.index)
        if wanted == axes:
            return Code(text, tuple(axes))
        if len(axes) == 2:
            return Code(f"{text}.T", tuple(wanted))
        return Code(f"{text}.permute({', '.join(str(axes.index(a)) for a in wanted)})", tuple(wanted))

    # ---- element-wise ------------------------------------------------------------------------------------

    def _apply(self, expr: Apply) -> Code:
        op = expr.op
        if op == "where":
            return self._where(expr)
        if op == "call":
            return self._call(expr)
        floats = op in ACTIVATIONS or op == "pow"
        args = [self._float(arg) if floats else self.code(arg) for arg in expr.args]
        if op.startswith("cast_"):
            return self._cast(op[5:], args[0])
        scalar = all(arg.scalar for arg in args)
        if op in _COMPARISONS:
            return self._binary(_COMPARISONS[op], args, COMPARE, COMPARE + 1, COMPARE + 1, scalar)
        if op in ("and", "or", "not"):
            return self._logic(op, args, scalar)
        if op in _OPERATORS:
            sign, strength, left, right = _OPERATORS[op]
            return self._binary(sign, args, strength, left, right, scalar)
        if op == "neg":
            return Code(f"-{args[0].within(NEGATION)}", args[0].axes, NEGATION, scalar)
        if op in ("min", "max"):
            return self._extreme(op, args, scalar)
        if op == "ceil_div":
            a, b = (self.aligned(arg, self.union(*args), PRODUCT + 1) for arg in args)
            return Code(f"-(-{a} // {b})", self.union(*args), NEGATION, scalar)
        return self._function(op, args[0])

    def _binary(
        self, sign: str, args: Sequence[Code], strength: int, left: int, right: int, scalar: bool
    ) -> Code:
        axes = self.union(*args)
        a, b = self.aligned(args[0], axes, left), self.aligned(args[1], axes, right)
        return Code(f"{a} {sign} {b}", axes, strength, scalar)

    def _logic(self, op: str, args: Sequence[Code], scalar: bool) -> Code:
        if scalar:
            if op == "not":
                return Code(f"not {args[0].within(NOT)}", (), NOT, True)
            strength = AND if op == "and" else OR
            return self._binary(op, args, strength, strength, strength + 1, True)
        if op == "not":
            return Code(f"~{args[0].within(NEGATION)}", args[0].axes, NEGATION)
        strength = BIT_AND if op == "and" else BIT_OR
        return self._binary("&" if op == "and" else "|", args, strength, strength, strength + 1, False)

    def _where(self, expr: Apply) -> Code:
        condition, yes, no = (self.code(arg) for arg in expr.args)
        if condition.scalar:
            axes = self.union(yes, no)
            scalar = yes.scalar and no.scalar
            # Only one branch is computed, so each by itself must have the dimensions of the result.
            a, b = (code.text if scalar else self.spread(code, axes) for code in (yes, no))
            return Code(f"({a} if {condition.text} else {b})", axes, ATOM, scalar)
        axes = self.union(condition, yes, no)
        parts = ", ".join(self.aligned(code, axes, OR) for code in (condition, yes, no))
        return Code(f"{self.names.torch}.where({parts})", axes)

    def _call(self, expr: Apply) -> Code:
        option, x = self.code(expr.args[0]), self._float(expr.args[1])
        self.names.helpers.add("ACTIVATIONS")
        return Code(f"ACTIVATIONS[{option.text}]({self._tensor(x)})", x.axes)

    def _float(self, expr: Expr) -> Code:
        """The code of an operand of a function that torch has for floats only."""
        code = self.code(expr)
        if code.scalar or not self._is_integer(expr):
            return code
        return Code(f"{code.within(ATOM)}.float()", code.axes)

    def _is_integer(self, expr: Expr) -> bool:
        """Whether a tensor of whole numbers comes out: positions, and what is computed from them alone."""
        match expr:
            case Const(value=value):
                return not isinstance(value, float)
            case Ref(kind=RefKind.index | RefKind.dim):
                return True
            case Load():
                return expr.tensor in self.integers
            case Reduce():
                return expr.op not in ("softmax", "logsumexp") and self._is_integer(expr.body)
            case Apply(op="where", args=(_, yes, no)):
                return self._is_integer(yes) and self._is_integer(no)
            case Apply():
                return expr.op in _WHOLE and all(self._is_integer(arg) for arg in expr.args)
        return False

    def _tensor(self, code: Code) -> str:
        return f"{self.names.torch}.tensor(float({code.text}))" if code.scalar else code.text

    def _cast(self, dtype: str, code: Code) -> Code:
        if dtype in ("f32", "f64"):
            return code if not code.scalar else Code(f"float({code.text})", scalar=True)
        if code.scalar:
            return Code(f"{'bool' if dtype == 'bool' else 'int'}({code.text})", scalar=True) if dtype in (
                "int32", "int64", "bool"
            ) else code  # fmt: skip
        return Code(f"{code.within(ATOM)}.{_CASTS[dtype]}()", code.axes)

    def _extreme(self, op: str, args: Sequence[Code], scalar: bool) -> Code:
        axes = self.union(*args)
        if scalar:
            return Code(f"{op}({args[0].text}, {args[1].text})", scalar=True)
        for mine, other in ((0, 1), (1, 0)):
            if args[other].scalar:
                bound = f"{'max' if op == 'min' else 'min'}={args[other].text}"
                return Code(f"{args[mine].within(ATOM)}.clamp({bound})", axes)
        parts = ", ".join(self.aligned(arg, axes, OR) for arg in args)
        return Code(f"{self.names.torch}.{op}imum({parts})", axes)

    def _function(self, op: str, x: Code) -> Code:
        if x.scalar and op == "rsqrt":
            return Code(f"1.0 / {self.names.math}.sqrt({x.text})", (), PRODUCT, True)
        if x.scalar and op == "abs":
            return Code(f"abs({x.text})", scalar=True)
        if x.scalar and op in _SCALAR_FUNCTIONS:
            return Code(f"{self.names.math}.{op}({x.text})", scalar=True)
        if op in _TENSOR_FUNCTIONS:
            return Code(f"{self.names.torch}.{op}({self._tensor(x)})", x.axes)
        if op == "identity":
            return x
        code = ACTIVATION_CODE[op].format(F=self.names.functional, torch=self.names.torch)
        body = code.removeprefix("lambda x: ").replace("(x", f"({self._tensor(x)}")
        return Code(body if "lambda" in code else f"{code}({self._tensor(x)})", x.axes)

    # ---- reductions --------------------------------------------------------------------------------------

    def _reduce(self, node: Reduce) -> Code:
        if node.op == "softmax":
            body = self._float(node.body)
            self.names.helpers.add("softmax")
            return Code(f"softmax({body.text}, {self._dims(node.axes, body.axes, single=True)})", body.axes)
        self.order += [axis for axis in node.axes if axis not in self.order]
        try:
            if node.op == "sum":
                factors = factors_of(node.body)
                contraction = self._contraction(factors, node.axes) if len(factors) > 1 else None
                if contraction is not None:
                    return contraction
            body = self._float(node.body) if node.op == "logsumexp" else self.code(node.body)
            return self._reduced(node, body)
        finally:
            for axis in node.axes:
                self.order.remove(axis)

    def _reduced(self, node: Reduce, body: Code) -> Code:
        inside = [axis for axis in node.axes if axis in body.axes]
        missing = [axis for axis in node.axes if axis not in body.axes]
        rest = tuple(axis for axis in body.axes if axis not in node.axes)
        text, strength = body.text, body.strength
        if inside:
            dims = self._dims(inside, body.axes)
            if node.op == "logsumexp":
                self.names.helpers.add("logsumexp")
                text = f"logsumexp({body.text}, {dims})"
            else:
                method = {"sum": "sum", "max": "amax", "min": "amin", "every": "all", "any": "any"}[node.op]
                text = f"{body.within(ATOM)}.{method}({dims})"
            strength = ATOM
        if missing and node.op in ("sum", "logsumexp"):
            count = " * ".join(self.code(self.extents[axis]).within(PRODUCT) for axis in missing)
            sign = "*" if node.op == "sum" else f"+ {self.names.math}.log("
            text = f"({text}) {sign} {count}" if node.op == "sum" else f"({text}) {sign}{count})"
            strength = PRODUCT if node.op == "sum" else SUM
        return Code(text, rest, strength, body.scalar)

    def _dims(self, axes: Sequence[str], within: Sequence[str], single: bool = False) -> str:
        places = [within.index(axis) - len(within) for axis in axes]
        return str(places[0]) if len(places) == 1 or single else f"({', '.join(map(str, places))})"

    def _contraction(self, factors: Sequence[Expr], axes: Sequence[str]) -> Code | None:
        """A product of factors over different axes, as one einsum; None for an element-wise product."""
        codes = [(factor, self._operand(factor)) for factor in factors]
        tensors = [(factor, code) for factor, code in codes if code.axes]
        plain = [code for _, code in codes if not code.axes]
        everything = {axis for _, code in tensors for axis in code.axes}
        if len(tensors) < 2 or all(set(code.axes) == everything for _, code in tensors):
            return None
        if not set(axes) <= everything:
            return None
        tensors.sort(key=lambda pair: not isinstance(pair[0], Load))  # conditions last: they only select
        letters = _letters([axis for _, code in tensors for axis in code.axes])
        result = tuple(axis for axis in self.order if axis in everything and axis not in axes)
        spec = ",".join("".join(letters[a] for a in code.axes) for _, code in tensors)
        spec += "->" + "".join(letters[a] for a in result)
        operands = ", ".join(self._floating(factor, code) for factor, code in tensors)
        text = f'{self.names.torch}.einsum("{spec}", {operands})'
        if not plain:
            return Code(text, result)
        scale = " * ".join(code.within(PRODUCT) for code in plain)
        return Code(f"{scale} * {text}", result, PRODUCT)

    def _operand(self, factor: Expr) -> Code:
        """A factor of a contraction: a whole tensor in the order of its own axes, which einsum can
        permute."""
        if isinstance(factor, Load):
            text, axes = self._load(factor)
            return Code(text, tuple(axes))
        return self.code(factor)

    def _floating(self, factor: Expr, code: Code) -> str:
        """einsum wants one dtype: what may be of integers or conditions is converted."""
        if isinstance(factor, Load) and factor.tensor not in self.integers:
            return code.text
        return f"{code.within(ATOM)}.float()"


def _quoted(word: str) -> str:
    return json.dumps(word)


def _letters(axes: Sequence[str]) -> dict[str, str]:
    """One letter for each axis: its own name where that is a letter, else one that is free."""
    found = {axis: axis for axis in axes if len(axis) == 1 and axis.isalpha()}
    free = (c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in found.values())
    for axis in axes:
        if axis not in found:
            found[axis] = next(free)
    return found


_WHOLE = frozenset(
    (
        "add",
        "sub",
        "mul",
        "neg",
        "floordiv",
        "mod",
        "ceil_div",
        "min",
        "max",
        "abs",
        "cast_int32",
        "cast_int64",
    )
)

_OPERATORS = {
    "add": ("+", SUM, SUM, SUM + 1),
    "sub": ("-", SUM, SUM, SUM + 1),
    "mul": ("*", PRODUCT, PRODUCT, PRODUCT + 1),
    "div": ("/", PRODUCT, PRODUCT, PRODUCT + 1),
    "floordiv": ("//", PRODUCT, PRODUCT, PRODUCT + 1),
    "mod": ("%", PRODUCT, PRODUCT, PRODUCT + 1),
    "pow": ("**", POWER, ATOM, ATOM),
}
"""Sign, strength, and the strengths that the operands need."""
