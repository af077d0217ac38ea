"""IR expressions as cuTile Python over whole tiles: the same mathematics as `expressions`, for the other backend.

Index variables are tiles of whole numbers that broadcast against each other, so an element of a tensor is a gather at
them. Names of the file carry the prefix of their kind, as in C++.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from spakc.emit.expressions import CannotEmit, Code, Kind, identifier, kind_of, tensor_kind
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
        return _apply(expr, scope)
    raise CannotEmit(f"{type(expr).__name__.lower()} cannot stand inside an element-wise expression", expr)


def as_float(code: Code) -> str:
    return _convert(code, "f32")


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
    text = f"element({identifier('t', tensor.name)}, {_tuple(indices)}, {_OF_KIND[kind]})"
    if tensor.default is not None:
        default = _convert(tile_expression(tensor.default, scope), kind)
        text = f"({text} if {identifier('PRESENT', tensor.name)} else {default})"
    return Code(text, kind)


def _tuple(parts: list[str]) -> str:
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _convert(code: Code, kind: Kind) -> str:
    if code.kind == kind:
        return code.text
    if code.text.isdigit():
        return f"{code.text}.0" if kind == "f32" else code.text
    return f"as_number({code.text}, {_OF_KIND[kind]})"


_INFIX = {"add": "+", "sub": "-", "mul": "*"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNARY = ("exp", "log", "exp2", "log2", "sqrt", "rsqrt", "sin", "cos", "tanh", "floor", "ceil")


def _apply(expr: Apply, scope: TileScope) -> Code:
    op = expr.op
    if op == "call":
        return _call_option(expr, scope)
    if op in ("eq", "ne"):
        test = _word_test(expr)
        if test is not None:
            return test
    args = [tile_expression(arg, scope) for arg in expr.args]
    if op in _INFIX:
        left, right, kind = _same(args)
        return Code(f"({left} {_INFIX[op]} {right})", kind)
    if op in _COMPARE:
        left, right, _ = _same(args)
        return Code(f"({left} {_COMPARE[op]} {right})", "bool")
    if op in ("and", "or"):
        return Code(f"{'both' if op == 'and' else 'either'}({args[0].text}, {args[1].text})", "bool")
    if op == "not":
        return Code(f"negation({args[0].text})", "bool")
    if op == "neg":
        kind = "i32" if args[0].kind == "bool" else args[0].kind
        return Code(f"(-{_convert(args[0], kind)})", kind)
    if op == "div":
        return Code(f"({as_float(args[0])} / {as_float(args[1])})", "f32")
    if op in ("floordiv", "mod"):
        left, right, kind = _same(args)
        if kind == "f32":
            quotient = f"ct.floor({left} / {right})"
            return Code(quotient if op == "floordiv" else f"({left} - {quotient} * {right})", kind)
        return Code(f"({left} {'//' if op == 'floordiv' else '%'} {right})", kind)
    if op == "ceil_div":
        left, right, kind = _same(args)
        return Code(f"(-(-{left} // {right}))", kind)
    if op in ("min", "max"):
        left, right, kind = _same(args)
        return Code(f"ct.{op}imum({left}, {right})", kind)
    if op == "pow":
        return Code(f"ct.pow({as_float(args[0])}, {as_float(args[1])})", "f32")
    if op == "abs":
        return Code(f"ct.abs({args[0].text})", args[0].kind)
    if op == "where":
        left, right, kind = _same(args[1:])
        return Code(f"choose({args[0].text}, {left}, {right})", kind)
    if op.startswith("cast_"):
        return _cast(DType(op.removeprefix("cast_")), args[0])
    if op in _UNARY:
        return Code(f"ct.{op}({as_float(args[0])})", "f32")
    if op in ACTIVATIONS or op == "erf":
        return Code(f"{op}({as_float(args[0])})", "f32")
    raise CannotEmit(f"`{op}` has no cuTile form", expr)


def _same(args: list[Code]) -> tuple[str, str, Kind]:
    order: tuple[Kind, ...] = ("bool", "i32", "i64", "f32")
    kind = max((code.kind for code in args), key=order.index)
    left, right = (_convert(code, kind) for code in args)
    return left, right, kind


def _cast(dtype: DType, value: Code) -> Code:
    kind = kind_of(dtype)
    if dtype in (DType.bf16, DType.f16):
        return Code(f"as_number(as_number({as_float(value)}, {TYPES[dtype]}), ct.float32)", "f32")
    if kind == "bool":
        return Code(f"({value.text} != 0)", "bool")
    return Code(_convert(value, kind), kind)


def _word_test(expr: Apply) -> Code | None:
    """`option == word`, a constant of the specialisation. None if no word is compared."""
    for option, symbol in (expr.args, expr.args[::-1]):
        if not isinstance(symbol, Ref) or symbol.kind is not RefKind.symbol:
            continue
        if not isinstance(option, Ref) or option.kind is not RefKind.option:
            raise CannotEmit(f"`{symbol.name}` can only be compared with an option", expr)
        operator = "==" if expr.op == "eq" else "!="
        return Code(f"({identifier('OPTION', option.name)} {operator} {symbol.name!r})", "bool")
    return None


def _call_option(expr: Apply, scope: TileScope) -> Code:
    function, value = expr.args
    if isinstance(function, Ref) and function.kind is RefKind.symbol:
        return _apply(Apply(function.name, (value,), span=expr.span), scope)
    if not isinstance(function, Ref) or function.kind is not RefKind.option:
        raise CannotEmit("only an option can choose a function", expr)
    return Code(f"{identifier('call', function.name)}({as_float(tile_expression(value, scope))})", "f32")
