"""The syntax tree: what was written, nothing inferred. One class a construct of grammar/spak.lark.

Spans take no part in equality or hashing, so two trees are equal when they say the same.
`Name` fields are declared or referenced names with the place where they stand.
"""

from __future__ import annotations

from spakc.source import Span
from spakc.syntax.record import Record


class Node(Record, kw_only=True):
    span: Span


class Name(Node):
    text: str


# ---- expressions ------------------------------------------------------------------------------------


class Expr(Node):
    pass


class NameExpr(Expr):
    name: str


class Number(Expr):
    """`unit` is a unit of the closed list of the grammar, "%" for a percentage, or "" for a bare number.
    `value` is as written: `227 KiB` is (227, "KiB"), `95%` is (95, "%")."""

    value: int | float
    unit: str = ""


class String(Expr):
    value: str


class Bool(Expr):
    value: bool


class Infinity(Expr):
    pass


class Unary(Expr):
    """op: `-` or `not`."""

    op: str
    operand: Expr


class Binary(Expr):
    """op: `+ - * / // % and or`. Chains of one level are left-associative."""

    op: str
    left: Expr
    right: Expr


class Compare(Expr):
    """`a < b <= c`: operands (a, b, c), ops (<, <=)."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


class Member(Expr):
    """`x in domain`."""

    item: Expr
    domain: Expr


class Attribute(Expr):
    base: Expr
    name: Name


class Index(Expr):
    """`x[i, j]`, and the axes of a reduction: `sum[k](…)` is Call(Index(sum, (k,)), …)."""

    base: Expr
    indices: tuple[Expr, ...]


class Argument(Node):
    name: Name | None
    value: Expr


class Call(Expr):
    function: Expr
    arguments: tuple[Argument, ...]


class TupleExpr(Expr):
    items: tuple[Expr, ...]


class SetExpr(Expr):
    items: tuple[Expr, ...]


class Range(Expr):
    """`first .. last [step by]`, both ends included."""

    first: Expr
    last: Expr
    by: Expr | None = None


class Phased(Expr):
    """`first then second from 50%`."""

    first: Expr
    second: Expr
    start: Number


# ---- propositions and prose -------------------------------------------------------------------------


class Intent(Node):
    text: str


class Law(Node):
    name: Name
    proposition: Expr
    when: Expr | None
    because: str | None


class Let(Node):
    name: Name
    value: Expr


class Binder(Node):
    """`x in domain`, `(M, N, K) in {…}`."""

    names: tuple[Name, ...]
    domain: Expr


class Claim(Node):
    name: Name
    on: tuple[Name, ...]
    proposition: Expr
    confidence: Number | None
    quantifier: tuple[Binder, ...]
    because: str | None


# ---- devices, settings, roles -----------------------------------------------------------------------


class Setting(Node):
    """`model.num_loops = 2`: path ("model", "num_loops")."""

    path: tuple[Name, ...]
    value: Expr

    @property
    def key(self) -> str:
        return ".".join(name.text for name in self.path)


class Device(Node):
    name: Name
    like: Name | None
    settings: tuple[Setting, ...]


class Role(Node):
    name: Name
    owns: tuple[Name, ...]


class Roles(Node):
    roles: tuple[Role, ...]


# ---- kernels ----------------------------------------------------------------------------------------


class TypeExpr(Node):
    """`bf16`, or `same(A)`: name "same", argument A."""

    name: str
    argument: Name | None = None


class Dim(Node):
    name: Name
    domain: Expr | None


class TensorDecl(Node):
    """One declared tensor; `input K, V: …` becomes two of these."""

    role: str  # input | output | inout
    name: Name
    types: tuple[TypeExpr, ...]
    shape: tuple[Expr, ...]
    layouts: tuple[Name, ...]
    optional: Expr | None


class OptionDecl(Node):
    name: Name
    types: tuple[TypeExpr, ...]
    default: Expr


class Equation(Node):
    target: Name
    indices: tuple[Expr, ...]
    value: Expr


class Math(Node):
    equations: tuple[Equation, ...]


class Accumulate(Node):
    type: Name


class Gradient(Node):
    outputs: tuple[Name, ...]
    inputs: tuple[Name, ...]


class Knob(Node):
    name: Name
    domain: Expr
    at_launch: bool


class Config(Node):
    name: Name
    on: tuple[Name, ...]
    settings: tuple[Setting, ...]


class Prefer(Node):
    proposition: Expr
    when: Expr | None
    because: str | None


class Schedule(Node):
    name: Name
    like: Name | None
    needs: tuple[Expr, ...]
    items: tuple[Node, ...]  # Knob | Config | Prefer | Law | Let | Intent


class Tolerance(Node):
    value: Expr


class Values(Node):
    names: tuple[Name, ...]


class Shapes(Node):
    binders: tuple[Binder, ...]


class Cases(Node):
    count: int


class Verify(Node):
    items: tuple[Node, ...]  # Tolerance | Values | Shapes | Cases


class Kernel(Node):
    name: Name
    family: Name
    items: tuple[Node, ...]
    # Dim | TensorDecl | OptionDecl | Math | Accumulate | Gradient | Schedule | Verify | Law | Let | Intent


class Implement(Node):
    kernel: Name
    name: Name
    on: tuple[Name, ...]
    needs: tuple[Expr, ...]
    settings: tuple[Setting, ...]


# ---- models -----------------------------------------------------------------------------------------


class Hyper(Node):
    """One hyper-parameter; `hyper a = 1, b = 2` becomes two of these."""

    name: Name
    value: Expr


class Uses(Node):
    kernel: Name
    ops: tuple[Name, ...]


class Param(Node):
    name: Name
    types: tuple[TypeExpr, ...]
    shape: tuple[Expr, ...]


class Assign(Node):
    name: Name
    value: Expr


class Repeat(Node):
    count: Expr
    body: tuple[Node, ...]  # Assign | Repeat | Loop


class Loop(Node):
    index: Name
    domain: Expr
    carry: Name
    initial: Expr
    body: tuple[Node, ...]


class Part(Node):
    name: Name
    params: tuple[Param, ...]
    result: Param
    body: tuple[Node, ...]


class Forward(Node):
    params: tuple[Param, ...]
    result: Param
    body: tuple[Node, ...]


class Halting(Node):
    settings: tuple[Setting, ...]


class Supervise(Node):
    part: Name
    index: Name
    domain: Expr


class Model(Node):
    name: Name
    items: tuple[Node, ...]  # Hyper | Uses | Part | Forward | Halting | Supervise | Law | Let | Intent


# ---- data, protocols, experiments -------------------------------------------------------------------


class Sample(Node):
    name: Name
    value: Expr


class Text(Node):
    pieces: tuple[Expr, ...]


class LossAfter(Node):
    marker: str


class Answer(Node):
    mode: Name


class Split(Node):
    """Either `binders` (with `size` and `weight`) or `fraction`."""

    name: Name
    binders: tuple[Binder, ...] = ()
    size: int | None = None
    weight: Number | None = None
    fraction: Number | None = None


class Dataset(Node):
    name: Name
    items: tuple[Node, ...]  # Sample | Text | LossAfter | Answer | Split | Law | Let | Intent


class Train(Node):
    """`train(steps = 100, …)`, in a gate or an experiment."""

    arguments: tuple[Argument, ...]


class Require(Node):
    proposition: Expr
    hide: tuple[Name, ...]
    because: str | None


class Show(Node):
    values: tuple[Expr, ...]


class Gate(Node):
    name: Name
    items: tuple[Node, ...]  # Train | Require | Show


class Protocol(Node):
    name: Name
    items: tuple[Node, ...]  # Gate | Intent


class OfModel(Node):
    value: Expr


class OfData(Node):
    values: tuple[Expr, ...]


class OfProtocol(Node):
    name: Name


class Optimizer(Node):
    value: Expr


class LearningRate(Node):
    value: Expr


class Vary(Node):
    binders: tuple[Binder, ...]


class Profile(Node):
    name: Name
    settings: tuple[Setting, ...]


class Experiment(Node):
    name: Name
    like: Name | None
    items: tuple[Node, ...]
    # OfModel | OfData | OfProtocol | Train | Optimizer | LearningRate | Vary | Profile | Law | Let | Intent


# ---- the file ---------------------------------------------------------------------------------------


class Use(Node):
    """`use std.devices` has a dotted `path`; `use "../x.spak" as y` a `file` and an `alias`."""

    path: str | None
    file: str | None
    alias: Name | None


class File(Node):
    version: int
    uses: tuple[Use, ...]
    targets: tuple[Name, ...]
    items: tuple[Node, ...]
    # Device | Kernel | Implement | Model | Dataset | Protocol | Experiment | Claim | Roles
    # | Law | Let | Intent
