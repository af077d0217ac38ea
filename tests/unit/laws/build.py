"""IR by hand, short enough to read in a test."""

from __future__ import annotations

from spakc.ir.ops import Apply, Const, Expr, Query, Ref, RefKind

Operand = Expr | bool | int | float | str


def const(value: Operand) -> Expr:
    return value if isinstance(value, Expr) else Const(value)


def op(name: str, *args: Operand) -> Apply:
    return Apply(name, tuple(const(a) for a in args))


def knob(name: str) -> Ref:
    return Ref(name, RefKind.knob)


def dim(name: str) -> Ref:
    return Ref(name, RefKind.dim)


def option(name: str) -> Ref:
    return Ref(name, RefKind.option)


def fact(name: str) -> Ref:
    return Ref(name, RefKind.fact)


def word(name: str) -> Ref:
    return Ref(name, RefKind.symbol)


def sizeof(tensor: str) -> Query:
    return Query("sizeof", (Ref(tensor, RefKind.entity),))
