"""Expressions of the IR: names resolved, lets inlined, units folded, one small set of node classes.

The same classes carry kernel mathematics (with `Load`, `Reduce`, index references) and propositions (laws,
guards, preferences: scalars only, with `Query` for what only a compiler, a run or a measurement knows).
Spans take no part in equality, so structural equality and hashing are equality of meaning.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TypeAlias

from spakc.ir.types import NUMBER, Unit
from spakc.record import record
from spakc.source import Span


class RefKind(Enum):
    """What a name stands for."""

    __hash__ = object.__hash__  # a member is itself alone; that of Enum is the hash of a name, by a call

    dim = "dim"  # a size of the kernel or model: compiled in if it has a domain, else known at launch
    knob = "knob"
    option = "option"
    fact = "fact"  # of the device: name is the key, `device.smem_per_block` -> "smem_per_block"
    index = "index"  # an index variable of an equation
    hyper = "hyper"
    symbol = "symbol"  # a word that stands for itself: `gelu`, `cooperative`, `row`, a dtype name
    sample = "sample"  # of a dataset
    parameter = "parameter"  # bound by a quantifier, a split or a `vary`
    entity = "entity"  # a declared thing named in a query: an experiment, split, kernel, tensor
    local = "local"  # a value inside a model body or protocol


@record(kw_only=True)
class Expr:
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Const(Expr):
    """A bool, int, float (may be inf) or string, in base units."""

    value: bool | int | float | str
    unit: Unit = field(default=NUMBER, kw_only=True)

    def __eq__(self, other: object) -> bool:
        # 1 == True == 1.0 in Python; in a meaning they differ.
        return (
            isinstance(other, Const)
            and type(self.value) is type(other.value)
            and self.value == other.value
            and self.unit == other.unit
        )

    def __hash__(self) -> int:
        return hash((type(self.value), self.value, self.unit))


@record
class Ref(Expr):
    name: str
    kind: RefKind


@record
class Load(Expr):
    """An element of a tensor or of an intermediate of the math. `new` reads what this step writes
    (`new(p)[i]`), else an `inout` tensor is read as it was before."""

    tensor: str
    indices: tuple[Expr, ...]
    new: bool = False


@record
class Apply(Expr):
    """`op` is a key of `OPS`; `cast_<dtype>` converts. An activation chosen by an option is
    Apply("call", (Ref(option), x)): the op is the value of the first argument."""

    op: str
    args: tuple[Expr, ...]


@record
class Reduce(Expr):
    """`sum max min logsumexp every any` remove the axes; `softmax` keeps them (a distribution over them).
    Axes are names of index variables. Empty or fully masked: sum 0, max -inf, logsumexp -inf, softmax 0."""

    op: str
    axes: tuple[str, ...]
    body: Expr


@record
class Query(Expr):
    """What a later stage knows: `cubin.count("HMMA")` is Query("cubin.count", (Const("HMMA"),)),
    `bank_conflicts(A.shared)` has args (Ref("A.shared", entity),), `speed(k, M = 1)` has `named`."""

    name: str
    args: tuple[Expr, ...] = ()
    named: tuple[tuple[str, Expr], ...] = ()


@record
class Members(Expr):
    """A finite set, in the order written."""

    items: tuple[Expr, ...]


@record
class Interval(Expr):
    """first .. last step by, both ends included."""

    first: Expr
    last: Expr
    by: Expr | None = None


@record
class Tuple(Expr):
    items: tuple[Expr, ...]


Domain: TypeAlias = Members | Interval

ACTIVATIONS = ("identity", "relu", "relu_squared", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")
"""Named activations. `gelu` is the exact one (erf), `gelu_tanh` its tanh approximation."""

OPS: dict[str, int] = (
    # arity of every element-wise op
    dict.fromkeys(("add", "sub", "mul", "div", "floordiv", "mod", "min", "max", "pow"), 2)
    | dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "member"), 2)
    | dict.fromkeys(("neg", "not", "abs", "exp", "log", "exp2", "log2", "sqrt", "rsqrt"), 1)
    | dict.fromkeys(("sin", "cos", "tanh", "erf", "floor", "ceil"), 1)
    | dict.fromkeys(ACTIVATIONS, 1)
    | dict.fromkeys(("ceil_div",), 2)
    | {"where": 3, "call": 2}
    | dict.fromkeys(tuple(f"cast_{t}" for t in ("bf16", "f16", "f32", "f64", "int32", "int64", "bool")), 1)
)

REDUCTIONS = ("sum", "max", "min", "logsumexp", "softmax", "every", "any")
