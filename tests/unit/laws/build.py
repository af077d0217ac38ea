"""IR by hand, short enough to read in a test."""

from __future__ import annotations

from typing import Any

from spakc.ir.module import Config, Device, Dim, Kernel, Knob, Law, Module, Option, Schedule, Tensor
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Ref, RefKind
from spakc.ir.types import DType
from spakc.source import SourceFile, Span

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


# ---- declarations -------------------------------------------------------------------------------------

SOURCE = SourceFile("hand.spak", "spak 1\n" + "x" * 2000 + "\n")


def at(start: int = 7, length: int = 4) -> Span:
    return Span(SOURCE, start, start + length)


def domain(*values: Operand) -> Members:
    return Members(tuple(word(v) if isinstance(v, str) else const(v) for v in values))


def span_of(first: int, last: int, by: int | None = None) -> Interval:
    return Interval(Const(first), Const(last), None if by is None else Const(by))


def a_knob(name: str, values: Members | Interval, at_launch: bool = False) -> Knob:
    return Knob(name, values, at_launch, span=at())


def law(name: str, proposition: Expr, when: Expr | None = None, scope: tuple[str, ...] = ("k", "s")) -> Law:
    return Law(name, proposition, when, None, scope, span=at())


def schedule(
    name: str, *knobs: Knob, laws: tuple[Law, ...] = (), needs: tuple[Expr, ...] = (), **more: Any
) -> Schedule:
    return Schedule(
        name,
        None,
        needs,
        {k.name: k for k in knobs},
        more.get("configs", ()),
        more.get("prefers", ()),
        laws,
        (),
        span=at(),
    )


def config(name: str, on: tuple[str, ...] = (), **values: Any) -> Config:
    return Config(name, on, values, {key: at(20 + 9 * i, 8) for i, key in enumerate(values)}, span=at())


def tensor(name: str, *dtypes: DType, same_as: str | None = None, role: str = "input") -> Tensor:
    return Tensor(name, role, dtypes, same_as, (), (), span=at())


def kernel(
    *schedules: Schedule,
    tensors: tuple[Tensor, ...] = (),
    dims: dict[str, Members | None] | None = None,
    options: tuple[Option, ...] = (),
    laws: tuple[Law, ...] = (),
    name: str = "k",
    **more: Any,
) -> Kernel:
    return Kernel(
        name,
        "product",
        {d: Dim(d, values, span=at()) for d, values in (dims or {}).items()},
        {t.name: t for t in tensors},
        {o.name: o for o in options},
        more.get("math", ()),
        DType.f32,
        more.get("gradients", ()),
        {s.name: s for s in schedules},
        laws,
        (),
        more.get("verification"),
        span=at(),
    )


def device(name: str, **facts: Any) -> Device:
    return Device(name, {"arch": "sm_90a", "kind": "gpu", **facts}, span=at())


def module(
    *kernels: Kernel, devices: tuple[Device, ...] = (), laws: tuple[Law, ...] = (), **more: Any
) -> Module:
    return Module(
        "hand.spak",
        tuple(d.name for d in devices),
        {d.name: d for d in devices},
        {k.name: k for k in kernels},
        (),
        more.get("models", {}),
        more.get("datasets", {}),
        more.get("protocols", {}),
        more.get("experiments", {}),
        {c.name: c for c in more.get("claims", ())},
        laws,
        (),
        {},
        more.get("intents", ()),
    )
