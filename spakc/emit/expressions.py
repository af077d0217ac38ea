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

from spakc.emit.operations import INFIX, CannotEmit, Code, Kind, Language, applied, kind_of
from spakc.ir.module import Dim, Option, Tensor
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.partials import UNARY
from spakc.ir.simplify import simplify
from spakc.record import record

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INT32 = 2**31


def identifier(prefix: str, name: str) -> str:
    """A name of the file with the prefix of its kind. Raises CannotEmit for what is no ASCII identifier."""
    if not _IDENTIFIER.match(name):
        raise CannotEmit(f"`{name}` cannot be an identifier of CUDA C++")
    return f"{prefix}_{name}"


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
        for form, function in _WHOLE.items():
            if (x := _argument(form, expr)) is not None:
                return Code(f"{function}({as_float(expression(x, scope))})", "f32")
        return applied(expr, lambda part: expression(part, scope), scope.options, CUDA)
    raise CannotEmit(f"{type(expr).__name__.lower()} cannot stand inside an element-wise expression", expr)


_X = Ref("", RefKind.local)
_WHOLE: Mapping[Expr, str] = {simplify(UNARY["gelu"](_X)): "gelu_slope"}
"""Expressions of one number that the headers compute in fewer steps than theirs: derivatives of activations."""


def _argument(form: Expr, expr: Expr) -> Expr | None:
    """What an expression is the `form` of, or None if it has another one."""
    found: list[Expr] = []

    def fits(part: Expr, other: Expr) -> bool:
        if part == _X:
            found.append(other)
            return found[0] == other
        if isinstance(part, Apply) and isinstance(other, Apply):
            same = part.op == other.op and len(part.args) == len(other.args)
            return same and all(map(fits, part.args, other.args))
        return part == other

    return found[0] if fits(form, expr) else None


def address(load: Load, scope: Scope, axes: int | None = None) -> str:
    """Pointer to an element: base plus 64-bit strides times indices, of so many axes if not all."""
    tensor = scope.tensors[load.tensor]
    if len(load.indices) != len(tensor.shape):
        raise CannotEmit(f"`{load.tensor}` has {len(tensor.shape)} axes", load)
    text = f"params.{identifier('t', tensor.name)}"
    for axis, index in enumerate(load.indices[:axes]):
        code = expression(index, scope)
        if code.kind not in ("i32", "i64"):
            raise CannotEmit("an index must be an integer", index)
        if isinstance(index, Const) and index.value == 0:
            continue
        text += f" + {code.text} * params.{identifier('s', tensor.name)}_{axis}"
    return text


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
    return CUDA.real(code)


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

CUDA = Language(
    "CUDA",
    {
        **INFIX,
        "and": "({} && {})",
        "or": "({} || {})",
        "not": "(!{})",
        "div": "divide_f32({}, {})",
        "floordiv": "floor_divide({}, {})",
        "mod": "floor_modulo({}, {})",
        "ceil_div": "ceil_div({}, {})",
        "min": "minimum({}, {})",
        "min f32": "min_f32({}, {})",
        "max": "maximum({}, {})",
        "max f32": "max_f32({}, {})",
        "pow": "pow_f32({}, {})",
        "abs": "maximum({0}, -{0})",
        "abs f32": "abs_f32({})",
        "where": "({} ? {} : {})",
        "round bf16": "rounded<bf16>({})",
        "round f16": "rounded<f16>({})",
        "true": "true",
        "false": "false",
    },
    _FUNCTIONS,
    _convert,
    lambda option, operator, choice: f"({chosen('OPTION', option)} {operator} {word(choice)})",
    lambda option: identifier("call", option),
)


def function_name(op: str) -> str:
    """The C++ function of a unary op of the mathematics. Raises CannotEmit for others."""
    if op not in _FUNCTIONS:
        raise CannotEmit(f"`{op}` is not a function of one number")
    return _FUNCTIONS[op]
