"""IR expressions as C++ expressions over the primitive layer.

Floating-point mathematics is computed in f32, whatever the tensors store; integers stay integers, conditions
bools. Names of the file are never written as they are: `t_` tensors, `s_` strides, `d_` dims, `o_`
options, `i_` index variables, `v_` on-chip values. So no name of a user can meet a name of C++, of a
header or of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from spakc.ir.module import Dim, Option, Tensor
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.types import DType
from spakc.record import record

Kind = Literal["f32", "i32", "i64", "bool"]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INT32 = 2**31


class CannotEmit(Exception):
    """An expression without a CUDA form. The plan admits none: seen here, it is an internal error."""

    def __init__(self, reason: str, expr: Expr | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expr = expr


def identifier(prefix: str, name: str) -> str:
    """A name of the file with the prefix of its kind. Raises CannotEmit for what is no ASCII identifier."""
    if not _IDENTIFIER.match(name):
        raise CannotEmit(f"`{name}` cannot be an identifier of CUDA C++")
    return f"{prefix}_{name}"


@record
class Code:
    """A C++ expression and what it is. `text` can stand as an operand without parentheses around it."""

    text: str
    kind: Kind


@record
class Scope:
    """What names stand for in the code under construction.

    `indices` and `locals` give the code of each index variable and on-chip value. `loads` overrides how
    single loads are read (a vector held in registers, say). Loads stay `in_place` where barriers between
    them shall keep the device compiler from making all of them at once, before there are registers for them.
    """

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    options: Mapping[str, Option]
    indices: Mapping[str, str] = field(default_factory=dict)
    locals: Mapping[str, Code] = field(default_factory=dict)
    loads: Mapping[Load, Code] = field(default_factory=dict)
    in_place: bool = False

    def with_indices(self, indices: Mapping[str, str]) -> Scope:
        return replace(self, indices={**self.indices, **indices})

    def with_locals(self, values: Mapping[str, Code]) -> Scope:
        return replace(self, locals={**self.locals, **values})

    def with_loads(self, loads: Mapping[Load, Code]) -> Scope:
        return replace(self, loads={**self.loads, **loads})


def expression(expr: Expr, scope: Scope) -> Code:
    """The C++ of one scalar expression. Raises CannotEmit where it has none (reductions, queries, f64)."""
    if isinstance(expr, Const):
        return _constant(expr)
    if isinstance(expr, Ref):
        return _reference(expr, scope)
    if isinstance(expr, Load):
        return _load(expr, scope)
    if isinstance(expr, Apply):
        return _apply(expr, scope)
    raise CannotEmit(f"{type(expr).__name__.lower()} cannot stand inside an element-wise expression", expr)


def address(load: Load, scope: Scope) -> str:
    """Pointer to an element: base plus 64-bit strides times indices."""
    tensor = scope.tensors[load.tensor]
    if len(load.indices) != len(tensor.shape):
        raise CannotEmit(f"`{load.tensor}` has {len(tensor.shape)} axes", load)
    text = f"params.{identifier('t', tensor.name)}"
    for axis, index in enumerate(load.indices):
        code = expression(index, scope)
        if code.kind not in ("i32", "i64"):
            raise CannotEmit("an index must be an integer", index)
        if isinstance(index, Const) and index.value == 0:
            continue
        text += f" + {code.text} * params.{identifier('s', tensor.name)}_{axis}"
    return text


def kind_of(dtype: DType) -> Kind:
    """What an element of this dtype is in the mathematics. Raises CannotEmit for f64."""
    if dtype is DType.f64:
        raise CannotEmit("f64 is not computed in generated kernels")
    if dtype.is_float:
        return "f32"
    return {DType.int32: "i32", DType.int64: "i64", DType.bool: "bool"}[dtype]  # type: ignore[return-value]


def tensor_kind(tensor: Tensor, tensors: Mapping[str, Tensor]) -> Kind:
    """What an element of the tensor is in the mathematics: the same for all its dtype alternatives."""
    if tensor.dtypes:
        kinds = {kind_of(dtype) for dtype in tensor.dtypes}
        if len(kinds) > 1:
            raise CannotEmit(f"`{tensor.name}` may be of {len(kinds)} kinds of number")
        return kinds.pop()
    assert tensor.same_as is not None
    return tensor_kind(tensors[tensor.same_as], tensors)


def as_float(code: Code) -> str:
    return _convert(code, "f32")


def _constant(expr: Const) -> Code:
    value = expr.value
    if isinstance(value, bool):
        return Code("true" if value else "false", "bool")
    if isinstance(value, int):
        if not -_INT32 < value < _INT32:
            return Code(_float_literal(float(value)), "f32")
        return Code(str(value) if value >= 0 else f"({value})", "i32")
    if isinstance(value, float):
        return Code(_float_literal(value), "f32")
    raise CannotEmit("a string is not a value of the mathematics", expr)


def _float_literal(value: float) -> str:
    if value != value:
        raise CannotEmit("not a number")
    if value in (float("inf"), float("-inf")):
        return "infinity_f32()" if value > 0 else "(-infinity_f32())"
    if abs(value) > 3.4028234663852886e38:
        return "infinity_f32()" if value > 0 else "(-infinity_f32())"
    text = f"{value!r}f"
    if "." not in text and "e" not in text:
        text = f"{value!r}.0f"
    return text if value >= 0 else f"({text})"


def word(name: str) -> str:
    """A word among the choices of an option or a layout, as the source's enumeration has it."""
    return f"Word::{identifier('w', name)}"


def chosen(axis: str, name: str) -> str:
    """The word that this specialisation has for OPTION or LAYOUT of a name."""
    return f"SPAK_WORD({identifier(axis, name)})"


def _reference(expr: Ref, scope: Scope) -> Code:
    if expr.kind is RefKind.index:
        if expr.name not in scope.indices:
            raise CannotEmit(f"index `{expr.name}` is not defined here", expr)
        return Code(scope.indices[expr.name], "i32")
    if expr.kind is RefKind.local:
        if expr.name not in scope.locals:
            raise CannotEmit(f"`{expr.name}` is not computed yet", expr)
        return scope.locals[expr.name]
    if expr.kind is RefKind.dim:
        if scope.dims[expr.name].domain is not None:
            return Code(identifier("DIM", expr.name), "i32")
        return Code(f"params.{identifier('d', expr.name)}", "i32")
    if expr.kind is RefKind.option:
        option = scope.options[expr.name]
        if option.choices:
            raise CannotEmit(f"`{expr.name}` is a word: it can only be called or compared with a word", expr)
        assert option.dtype is not None
        if option.compiled_in:
            return Code(identifier("OPTION", expr.name), kind_of(option.dtype))
        return Code(f"params.{identifier('o', expr.name)}", kind_of(option.dtype))
    if expr.kind is RefKind.fact:
        return Code(f"params.{identifier('f', expr.name)}", "i32")
    raise CannotEmit(f"`{expr.name}` ({expr.kind.value}) has no value inside a kernel", expr)


def _load(expr: Load, scope: Scope) -> Code:
    if expr in scope.loads:
        return scope.loads[expr]
    if expr.tensor not in scope.tensors:
        raise CannotEmit(f"`{expr.tensor}` is no tensor of the kernel", expr)
    tensor = scope.tensors[expr.tensor]
    kind = tensor_kind(tensor, scope.tensors)
    read = "read_constant" if tensor.role == "input" and not scope.in_place else "read"
    text = f"{read}({address(expr, scope)})"
    if tensor.default is not None:
        default = _convert(expression(tensor.default, scope), kind)
        text = f"({identifier('PRESENT', tensor.name)} ? {text} : {default})"
    return Code(text, kind)


def _convert(code: Code, kind: Kind) -> str:
    if code.kind == kind:
        return code.text
    if kind == "f32" and code.text.isdigit():
        return f"{code.text}.0f"
    return f"static_cast<{kind}>({code.text})"


_INFIX = {"add": "+", "sub": "-", "mul": "*"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FUNCTIONS = {
    "exp": "exp_f32",
    "log": "log_f32",
    "exp2": "exp2_f32",
    "log2": "log2_f32",
    "sqrt": "sqrt_f32",
    "rsqrt": "rsqrt_f32",
    "sin": "sin_f32",
    "cos": "cos_f32",
    "tanh": "tanh_f32",
    "erf": "erf_f32",
    "floor": "floor_f32",
    "ceil": "ceil_f32",
} | {name: name for name in ACTIVATIONS if name != "tanh"}


def _apply(expr: Apply, scope: Scope) -> Code:
    op = expr.op
    if op == "call":
        return _call_option(expr, scope)
    if op in ("eq", "ne"):
        position = _word_test(expr, scope)
        if position is not None:
            return position
    args = [expression(arg, scope) for arg in expr.args]
    if op in _INFIX:
        left, right, kind = _same(args)
        return Code(f"({left} {_INFIX[op]} {right})", kind)
    if op in _COMPARE:
        left, right, _ = _same(args)
        return Code(f"({left} {_COMPARE[op]} {right})", "bool")
    if op in ("and", "or"):
        return Code(f"({args[0].text} {'&&' if op == 'and' else '||'} {args[1].text})", "bool")
    if op == "not":
        return Code(f"(!{args[0].text})", "bool")
    if op == "neg":
        kind = "i32" if args[0].kind == "bool" else args[0].kind
        return Code(f"(-{args[0].text})", kind)
    if op == "div":
        return Code(f"divide_f32({as_float(args[0])}, {as_float(args[1])})", "f32")
    if op in ("floordiv", "mod"):
        left, right, kind = _same(args)
        return Code(f"floor_{'divide' if op == 'floordiv' else 'modulo'}({left}, {right})", kind)
    if op == "ceil_div":
        left, right, kind = _same(args)
        return Code(f"ceil_div({left}, {right})", kind)
    if op in ("min", "max"):
        left, right, kind = _same(args)
        if kind == "f32":
            return Code(f"{op}_f32({left}, {right})", kind)
        return Code(f"{op}imum({left}, {right})", kind)
    if op == "pow":
        return Code(f"pow_f32({as_float(args[0])}, {as_float(args[1])})", "f32")
    if op == "abs":
        if args[0].kind == "f32":
            return Code(f"abs_f32({args[0].text})", "f32")
        return Code(f"maximum({args[0].text}, -{args[0].text})", args[0].kind)
    if op == "where":
        left, right, kind = _same(args[1:])
        return Code(f"({args[0].text} ? {left} : {right})", kind)
    if op.startswith("cast_"):
        return _cast(DType(op.removeprefix("cast_")), args[0])
    if op in _FUNCTIONS:
        return Code(f"{_FUNCTIONS[op]}({as_float(args[0])})", "f32")
    raise CannotEmit(f"`{op}` has no CUDA form", expr)


def _same(args: list[Code]) -> tuple[str, str, Kind]:
    """Both operands in their common kind: f32 if either is, else the wider integer."""
    order: tuple[Kind, ...] = ("bool", "i32", "i64", "f32")
    kind = max((code.kind for code in args), key=order.index)
    left, right = (_convert(code, kind) for code in args)
    return left, right, kind


def _cast(dtype: DType, value: Code) -> Code:
    kind = kind_of(dtype)
    if dtype in (DType.bf16, DType.f16):
        return Code(f"rounded<{dtype.value}>({as_float(value)})", "f32")
    if kind == "bool":
        return Code(f"({value.text} != 0)", "bool")
    return Code(_convert(value, kind), kind)


def _word_test(expr: Apply, scope: Scope) -> Code | None:
    """`option == word`, a constant of the specialisation. None if no word is compared."""
    for option, symbol in (expr.args, expr.args[::-1]):
        if not isinstance(symbol, Ref) or symbol.kind is not RefKind.symbol:
            continue
        if not isinstance(option, Ref) or option.kind is not RefKind.option:
            raise CannotEmit(f"`{symbol.name}` can only be compared with an option", expr)
        choices = scope.options[option.name].choices
        if symbol.name not in choices:
            return Code("false" if expr.op == "eq" else "true", "bool")
        operator = "==" if expr.op == "eq" else "!="
        return Code(f"({chosen('OPTION', option.name)} {operator} {word(symbol.name)})", "bool")
    return None


def _call_option(expr: Apply, scope: Scope) -> Code:
    """A function chosen by an option: the dispatcher that the preamble defines for the option."""
    function, value = expr.args
    if isinstance(function, Ref) and function.kind is RefKind.symbol:
        return _apply(Apply(function.name, (value,), span=expr.span), scope)
    if not isinstance(function, Ref) or function.kind is not RefKind.option:
        raise CannotEmit("only an option can choose a function", expr)
    return Code(f"{identifier('call', function.name)}({as_float(expression(value, scope))})", "f32")


def function_name(op: str) -> str:
    """The C++ function of a unary op of the mathematics. Raises CannotEmit for others."""
    if op not in _FUNCTIONS:
        raise CannotEmit(f"`{op}` is not a function of one number")
    return _FUNCTIONS[op]
