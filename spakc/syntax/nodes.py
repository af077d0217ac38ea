"""The syntax tree: what was written, nothing inferred. One class a construct of grammar/spak.lark.

Spans take no part in equality or hashing, so two trees are equal when they say the same.
`Name` fields are declared or referenced names with the place where they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from spakc.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    text: str


# ---- expressions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(Node):
    pass


@dataclass(frozen=True, slots=True)
class NameExpr(Expr):
    name: str


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """`unit` is a unit of the closed list of the grammar, "%" for a percentage, or "" for a bare number.
    `value` is as written: `227 KiB` is (227, "KiB"), `95%` is (95, "%")."""

    value: int | float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class String(Expr):
    value: str


@dataclass(frozen=True, slots=True)
class Bool(Expr):
    value: bool


@dataclass(frozen=True, slots=True)
class Infinity(Expr):
    pass


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """op: `-` or `not`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """op: `+ - * / // % and or`. Chains of one level are left-associative."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Expr):
    """`a < b <= c`: operands (a, b, c), ops (<, <=)."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member(Expr):
    """`x in domain`."""

    item: Expr
    domain: Expr


@dataclass(frozen=True, slots=True)
class Attribute(Expr):
    base: Expr
    name: Name


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """`x[i, j]`, and the axes of a reduction: `sum[k](…)` is Call(Index(sum, (k,)), …)."""

    base: Expr
    indices: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Argument(Node):
    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class TupleExpr(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class SetExpr(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Range(Expr):
    """`first .. last [step by]`, both ends included."""

    first: Expr
    last: Expr
    by: Expr | None = None


@dataclass(frozen=True, slots=True)
class Phased(Expr):
    """`first then second from 50%`."""

    first: Expr
    second: Expr
    start: Number


# ---- propositions and prose -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Intent(Node):
    text: str


@dataclass(frozen=True, slots=True)
class Law(Node):
    name: Name
    proposition: Expr
    when: Expr | None
    because: str | None


@dataclass(frozen=True, slots=True)
class Let(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Binder(Node):
    """`x in domain`, `(M, N, K) in {…}`."""

    names: tuple[Name, ...]
    domain: Expr


@dataclass(frozen=True, slots=True)
class Claim(Node):
    name: Name
    on: tuple[Name, ...]
    proposition: Expr
    confidence: Number | None
    quantifier: tuple[Binder, ...]
    because: str | None


# ---- devices, settings, roles -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`model.num_loops = 2`: path ("model", "num_loops")."""

    path: tuple[Name, ...]
    value: Expr

    @property
    def key(self) -> str:
        return ".".join(name.text for name in self.path)


@dataclass(frozen=True, slots=True)
class Device(Node):
    name: Name
    like: Name | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Role(Node):
    name: Name
    owns: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Roles(Node):
    roles: tuple[Role, ...]


# ---- kernels ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TypeExpr(Node):
    """`bf16`, or `same(A)`: name "same", argument A."""

    name: str
    argument: Name | None = None


@dataclass(frozen=True, slots=True)
class Dim(Node):
    name: Name
    domain: Expr | None


@dataclass(frozen=True, slots=True)
class TensorDecl(Node):
    """One declared tensor; `input K, V: …` becomes two of these."""

    role: str  # input | output | inout
    name: Name
    types: tuple[TypeExpr, ...]
    shape: tuple[Expr, ...]
    layouts: tuple[Name, ...]
    optional: Expr | None


@dataclass(frozen=True, slots=True)
class OptionDecl(Node):
    name: Name
    types: tuple[TypeExpr, ...]
    default: Expr


@dataclass(frozen=True, slots=True)
class Equation(Node):
    target: Name
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Math(Node):
    equations: tuple[Equation, ...]


@dataclass(frozen=True, slots=True)
class Accumulate(Node):
    type: Name


@dataclass(frozen=True, slots=True)
class Gradient(Node):
    outputs: tuple[Name, ...]
    inputs: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Knob(Node):
    name: Name
    domain: Expr
    at_launch: bool


@dataclass(frozen=True, slots=True)
class Config(Node):
    name: Name
    on: tuple[Name, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Prefer(Node):
    proposition: Expr
    when: Expr | None
    because: str | None


@dataclass(frozen=True, slots=True)
class Schedule(Node):
    name: Name
    like: Name | None
    needs: tuple[Expr, ...]
    items: tuple[Node, ...]  # Knob | Config | Prefer | Law | Let | Intent


@dataclass(frozen=True, slots=True)
class Tolerance(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class Values(Node):
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Shapes(Node):
    binders: tuple[Binder, ...]


@dataclass(frozen=True, slots=True)
class Cases(Node):
    count: int


@dataclass(frozen=True, slots=True)
class Verify(Node):
    items: tuple[Node, ...]  # Tolerance | Values | Shapes | Cases


@dataclass(frozen=True, slots=True)
class Kernel(Node):
    name: Name
    family: Name
    items: tuple[Node, ...]
    # Dim | TensorDecl | OptionDecl | Math | Accumulate | Gradient | Schedule | Verify | Law | Let | Intent


@dataclass(frozen=True, slots=True)
class Implement(Node):
    kernel: Name
    name: Name
    on: tuple[Name, ...]
    needs: tuple[Expr, ...]
    settings: tuple[Setting, ...]


# ---- models -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hyper(Node):
    """One hyper-parameter; `hyper a = 1, b = 2` becomes two of these."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Uses(Node):
    kernel: Name
    ops: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Param(Node):
    name: Name
    types: tuple[TypeExpr, ...]
    shape: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Assign(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Repeat(Node):
    count: Expr
    body: tuple[Node, ...]  # Assign | Repeat | Loop


@dataclass(frozen=True, slots=True)
class Loop(Node):
    index: Name
    domain: Expr
    carry: Name
    initial: Expr
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Part(Node):
    name: Name
    params: tuple[Param, ...]
    result: Param
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Forward(Node):
    params: tuple[Param, ...]
    result: Param
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Halting(Node):
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Supervise(Node):
    part: Name
    index: Name
    domain: Expr


@dataclass(frozen=True, slots=True)
class Model(Node):
    name: Name
    items: tuple[Node, ...]  # Hyper | Uses | Part | Forward | Halting | Supervise | Law | Let | Intent


# ---- data, protocols, experiments -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample(Node):
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Text(Node):
    pieces: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class LossAfter(Node):
    marker: str


@dataclass(frozen=True, slots=True)
class Answer(Node):
    mode: Name


@dataclass(frozen=True, slots=True)
class Split(Node):
    """Either `binders` (with `size` and `weight`) or `fraction`."""

    name: Name
    binders: tuple[Binder, ...] = ()
    size: int | None = None
    weight: Number | None = None
    fraction: Number | None = None


@dataclass(frozen=True, slots=True)
class Dataset(Node):
    name: Name
    items: tuple[Node, ...]  # Sample | Text | LossAfter | Answer | Split | Law | Let | Intent


@dataclass(frozen=True, slots=True)
class Train(Node):
    """`train(steps = 100, …)`, in a gate or an experiment."""

    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Require(Node):
    proposition: Expr
    hide: tuple[Name, ...]
    because: str | None


@dataclass(frozen=True, slots=True)
class Show(Node):
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Gate(Node):
    name: Name
    items: tuple[Node, ...]  # Train | Require | Show


@dataclass(frozen=True, slots=True)
class Protocol(Node):
    name: Name
    items: tuple[Node, ...]  # Gate | Intent


@dataclass(frozen=True, slots=True)
class OfModel(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class OfData(Node):
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class OfProtocol(Node):
    name: Name


@dataclass(frozen=True, slots=True)
class Optimizer(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class LearningRate(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class Vary(Node):
    binders: tuple[Binder, ...]


@dataclass(frozen=True, slots=True)
class Profile(Node):
    name: Name
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Experiment(Node):
    name: Name
    like: Name | None
    items: tuple[Node, ...]
    # OfModel | OfData | OfProtocol | Train | Optimizer | LearningRate | Vary | Profile | Law | Let | Intent


# ---- the file ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use(Node):
    """`use std.devices` has a dotted `path`; `use "../x.spak" as y` a `file` and an `alias`."""

    path: str | None
    file: str | None
    alias: Name | None


@dataclass(frozen=True, slots=True)
class File(Node):
    version: int
    uses: tuple[Use, ...]
    targets: tuple[Name, ...]
    items: tuple[Node, ...]
    # Device | Kernel | Implement | Model | Dataset | Protocol | Experiment | Claim | Roles
    # | Law | Let | Intent
