"""Operations of the mathematics, whatever language they are written in: which operands are brought to which kind of
number, what kind comes out. How each is spelled is the language's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from spakc.ir.module import Option
from spakc.ir.ops import Apply, Expr, Ref, RefKind
from spakc.ir.types import DType
from spakc.record import record

Kind = Literal["f32", "i32", "i64", "bool"]

_KINDS: tuple[Kind, ...] = ("bool", "i32", "i64", "f32")
"""Of two operands, the later kind is that of both."""

_ALIKE = frozenset(("add", "sub", "mul", "floordiv", "mod", "ceil_div", "min", "max"))
_COMPARED = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))
_TRUTHS = frozenset(("and", "or", "not"))
_REALS = frozenset(("div", "pow"))


INFIX = {
    "add": "({} + {})",
    "sub": "({} - {})",
    "mul": "({} * {})",
    "neg": "(-{})",
    "eq": "({} == {})",
    "ne": "({} != {})",
    "lt": "({} < {})",
    "le": "({} <= {})",
    "gt": "({} > {})",
    "ge": "({} >= {})",
}
"""Forms that C++ and Python share."""


class CannotEmit(Exception):
    """An expression without a form in a language. The plan admits none: seen here, it is an internal error."""

    def __init__(self, reason: str, expr: Expr | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expr = expr


@record
class Code:
    """An expression of a language and what it is. `text` can stand as an operand without parentheses around it."""

    text: str
    kind: Kind


@record
class Language:
    """`forms` are by operation, and by operation and kind where that decides (`min f32`); `round bf16` and `round f16`
    are what a conversion leaves of an f32, `true` and `false` constants. `functions` take one f32. `convert` brings
    code to a kind, `word` is the test that an option is one of its words, `option` calls the function that an option
    chose."""

    name: str
    forms: Mapping[str, str]
    functions: Mapping[str, str]
    convert: Callable[[Code, Kind], str]
    word: Callable[[str, str, str], str]
    option: Callable[[str], str]

    def form(self, op: str, kind: str, *operands: str) -> str:
        return self.forms.get(f"{op} {kind}", self.forms[op]).format(*operands)

    def real(self, code: Code) -> str:
        return self.convert(code, "f32")

    def alike(self, *codes: Code) -> tuple[str, str, Kind]:
        """Both operands in their common kind: f32 if either is, else the wider integer."""
        kind = max((code.kind for code in codes), key=_KINDS.index)
        left, right = (self.convert(code, kind) for code in codes)
        return left, right, kind


def kind_of(dtype: DType) -> Kind:
    """What an element of this dtype is in the mathematics. Raises CannotEmit for f64."""
    if dtype is DType.f64:
        raise CannotEmit("f64 is not computed in generated kernels")
    if dtype.is_float:
        return "f32"
    return {DType.int32: "i32", DType.int64: "i64", DType.bool: "bool"}[dtype]  # type: ignore[return-value]


def applied(
    expr: Apply, write: Callable[[Expr], Code], options: Mapping[str, Option], language: Language
) -> Code:
    """One operation; `write` gives the code of its operands. Raises CannotEmit where the language has no form."""
    op = expr.op
    if op == "call":
        return _called(expr, write, options, language)
    if op in ("eq", "ne") and (test := _word_test(expr, options, language)) is not None:
        return test
    args = [write(arg) for arg in expr.args]
    if op in _ALIKE:
        left, right, kind = language.alike(*args)
        return Code(language.form(op, kind, left, right), kind)
    if op in _COMPARED:
        left, right, kind = language.alike(*args)
        return Code(language.form(op, kind, left, right), "bool")
    if op in _TRUTHS:
        return Code(language.form(op, "bool", *(code.text for code in args)), "bool")
    if op in _REALS:
        return Code(language.form(op, "f32", *map(language.real, args)), "f32")
    if op == "neg":
        kind = "i32" if args[0].kind == "bool" else args[0].kind
        return Code(language.form(op, kind, language.convert(args[0], kind)), kind)
    if op == "abs":
        return Code(language.form(op, args[0].kind, args[0].text), args[0].kind)
    if op == "where":
        left, right, kind = language.alike(*args[1:])
        return Code(language.form(op, kind, args[0].text, left, right), kind)
    if op.startswith("cast_"):
        return _cast(DType(op.removeprefix("cast_")), args[0], language)
    if op in language.functions:
        return Code(f"{language.functions[op]}({language.real(args[0])})", "f32")
    raise CannotEmit(f"`{op}` has no {language.name} form", expr)


def _cast(dtype: DType, value: Code, language: Language) -> Code:
    kind = kind_of(dtype)
    if dtype in (DType.bf16, DType.f16):
        return Code(language.forms[f"round {dtype.value}"].format(language.real(value)), "f32")
    if kind == "bool":
        return Code(f"({value.text} != 0)", "bool")
    return Code(language.convert(value, kind), kind)


def _word_test(expr: Apply, options: Mapping[str, Option], language: Language) -> Code | None:
    """`option == word`, a constant of the specialisation. None if no word is compared."""
    for option, symbol in (expr.args, expr.args[::-1]):
        if not isinstance(symbol, Ref) or symbol.kind is not RefKind.symbol:
            continue
        if not isinstance(option, Ref) or option.kind is not RefKind.option:
            raise CannotEmit(f"`{symbol.name}` can only be compared with an option", expr)
        if symbol.name not in options[option.name].choices:
            return Code(language.forms["false" if expr.op == "eq" else "true"], "bool")
        return Code(language.word(option.name, "==" if expr.op == "eq" else "!=", symbol.name), "bool")
    return None


def _called(
    expr: Apply, write: Callable[[Expr], Code], options: Mapping[str, Option], language: Language
) -> Code:
    """A function that the file names, or that an option chooses: the dispatcher of the option."""
    function, value = expr.args
    if isinstance(function, Ref) and function.kind is RefKind.symbol:
        return applied(Apply(function.name, (value,), span=expr.span), write, options, language)
    if not isinstance(function, Ref) or function.kind is not RefKind.option:
        raise CannotEmit("only an option can choose a function", expr)
    return Code(f"{language.option(function.name)}({language.real(write(value))})", "f32")
