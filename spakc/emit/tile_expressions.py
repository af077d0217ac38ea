"""IR expressions as cuTile Python over whole tiles: the same mathematics as `expressions`, for the other backend.

Index variables are tiles of whole numbers that broadcast against each other, so an element of a tensor is a gather at
them. Names of the file carry the prefix of their kind, as in C++.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from spakc.emit.expressions import identifier, tensor_kind
from spakc.emit.operations import INFIX, CannotEmit, Code, Kind, Language, applied, kind_of
from spakc.ir.module import Dim, Option, Tensor
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Load, Ref, RefKind
from spakc.ir.types import DType
from spakc.record import record

TYPES = {
    DType.bf16: "ct.bfloat16",
    DType.f16: "ct.float16",
    DType.f32: "ct.float32",
    DType.int32: "ct.int32",
    DType.int64: "ct.int64",
    DType.bool: "ct.bool_",
}
"""What cuTile calls a dtype."""

_OF_KIND: dict[Kind, str] = {"f32": "ct.float32", "i32": "ct.int32", "i64": "ct.int64", "bool": "ct.bool_"}


@record
class TileScope:
    """What names stand for: `indices` give the code of each index variable, `locals` of each value on chip."""

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    options: Mapping[str, Option]
    indices: Mapping[str, str] = field(default_factory=dict)
    locals: Mapping[str, str] = field(default_factory=dict)

    def with_indices(self, indices: Mapping[str, str]) -> TileScope:
        return replace(self, indices={**self.indices, **indices})

    def with_locals(self, values: Mapping[str, str]) -> TileScope:
        return replace(self, locals={**self.locals, **values})


def tile_expression(expr: Expr, scope: TileScope) -> Code:
    """The Python of one expression. Raises CannotEmit where it has none."""
    if isinstance(expr, Const):
        return _constant(expr)
    if isinstance(expr, Ref):
        return _reference(expr, scope)
    if isinstance(expr, Load):
        return _load(expr, scope)
    if isinstance(expr, Apply):
        return applied(expr, lambda part: tile_expression(part, scope), scope.options, CUTILE)
    raise CannotEmit(f"{type(expr).__name__.lower()} cannot stand inside an element-wise expression", expr)


def as_float(code: Code) -> str:
    return CUTILE.real(code)


def _constant(expr: Const) -> Code:
    value = expr.value
    if isinstance(value, bool):
        return Code(str(value), "bool")
    if isinstance(value, int) and abs(value) < 2**31:
        return Code(str(value) if value >= 0 else f"({value})", "i32")
    if isinstance(value, int | float):
        number = float(value)
        if number != number:
            raise CannotEmit("not a number", expr)
        if abs(number) > 3.4028234663852886e38:
            return Code("INFINITY" if number > 0 else "(-INFINITY)", "f32")
        return Code(repr(number) if number >= 0 else f"({number!r})", "f32")
    raise CannotEmit("a string is not a value of the mathematics", expr)


def _reference(expr: Ref, scope: TileScope) -> Code:
    if expr.kind is RefKind.index:
        return Code(scope.indices[expr.name], "i32")
    if expr.kind is RefKind.local:
        return Code(scope.locals[expr.name], "f32")
    if expr.kind is RefKind.dim:
        prefix = "d" if scope.dims[expr.name].domain is None else "DIM"
        return Code(identifier(prefix, expr.name), "i32")
    if expr.kind is RefKind.option:
        option = scope.options[expr.name]
        if option.dtype is None:
            raise CannotEmit(f"`{expr.name}` is a word: it can only be called or compared with a word", expr)
        return Code(identifier("OPTION" if option.compiled_in else "o", expr.name), kind_of(option.dtype))
    raise CannotEmit(f"`{expr.name}` ({expr.kind.value}) has no value inside a kernel", expr)


def _load(expr: Load, scope: TileScope) -> Code:
    tensor = scope.tensors[expr.tensor]
    kind = tensor_kind(tensor, scope.tensors)
    indices = [tile_expression(index, scope).text for index in expr.indices]
    text = f"element({identifier('t', tensor.name)}, {tuple_of(indices)}, {_OF_KIND[kind]})"
    if tensor.default is not None:
        default = _convert(tile_expression(tensor.default, scope), kind)
        text = f"({text} if {identifier('PRESENT', tensor.name)} else {default})"
    return Code(text, kind)


def tuple_of(parts: Sequence[str]) -> str:
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _convert(code: Code, kind: Kind) -> str:
    if code.kind == kind:
        return code.text
    if code.text.isdigit():
        return f"{code.text}.0" if kind == "f32" else code.text
    return f"as_number({code.text}, {_OF_KIND[kind]})"


def _rounded(dtype: DType) -> str:
    return f"as_number(as_number({{}}, {TYPES[dtype]}), ct.float32)"


_UNARY = ("exp", "log", "exp2", "log2", "sqrt", "rsqrt", "sin", "cos", "tanh", "floor", "ceil")

CUTILE = Language(
    "cuTile",
    {
        **INFIX,
        "and": "both({}, {})",
        "or": "either({}, {})",
        "not": "negation({})",
        "div": "({} / {})",
        "floordiv": "({} // {})",
        "floordiv f32": "ct.floor({} / {})",
        "mod": "({} % {})",
        "mod f32": "({0} - ct.floor({0} / {1}) * {1})",
        "ceil_div": "(-(-{} // {}))",
        "min": "ct.minimum({}, {})",
        "max": "ct.maximum({}, {})",
        "pow": "ct.pow({}, {})",
        "abs": "ct.abs({})",
        "where": "choose({}, {}, {})",
        "round bf16": _rounded(DType.bf16),
        "round f16": _rounded(DType.f16),
        "true": "True",
        "false": "False",
    },
    {name: name for name in (*ACTIVATIONS, "erf")} | {name: f"ct.{name}" for name in _UNARY},
    _convert,
    lambda option, operator, choice: f"({identifier('OPTION', option)} {operator} {choice!r})",
    lambda option: identifier("call", option),
)
