"""The checked meaning of a `.spak` file, all `use`d files included. Frozen; built by lower, read by everyone.

Names are qualified where two files may collide (`looplm.GPT` for `use … as looplm`); `name` is what a reader
of the root file would write. Every declaration keeps the span of its name (for labels) outside its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from spakc.ir.ops import Domain, Expr, Load
from spakc.ir.types import DType
from spakc.record import record
from spakc.source import Span

if TYPE_CHECKING:
    from spakc.ir.experiment import Claim, Dataset, Experiment, Protocol
    from spakc.ir.model import Model


@record(kw_only=True)
class Declared:
    span: Span = field(compare=False, repr=False)


@record
class Law(Declared):
    """A named proposition. `scope` is where it stands: () for the file, (kernel,), (kernel, schedule),
    (model,), (dataset,), (experiment,). Inside a schedule it restricts, elsewhere it asserts."""

    name: str
    proposition: Expr
    when: Expr | None
    because: str | None
    scope: tuple[str, ...]

    @property
    def qualified(self) -> str:
        return ".".join((*self.scope, self.name))


@record
class Let(Declared):
    """Kept for display and ownership; its uses are inlined."""

    name: str
    value: Expr
    scope: tuple[str, ...]


@record
class Device(Declared):
    """`facts` in base units (bytes, bytes per second …); `arch` and `kind` are symbols kept as strings."""

    name: str
    facts: Mapping[str, bool | int | float | str]

    @property
    def arch(self) -> str:
        return str(self.facts["arch"])


@record
class Dim(Declared):
    name: str
    domain: Domain | None  # with one: compiled in and an axis of the space


@record
class Tensor(Declared):
    """A declared tensor. Either `dtypes` (alternatives) or, in any alternative, a `same_as` tensor."""

    name: str
    role: str  # input | output | inout
    dtypes: tuple[DType, ...]
    same_as: str | None
    shape: tuple[Expr, ...]  # over dims
    layouts: tuple[str, ...]  # row | column alternatives; () means row
    default: Expr | None = None  # of an optional tensor: every element


@record
class Option(Declared):
    """`choices` for an enumerated option (words: activations …), else `dtype` (bool, int32, f32).
    Choices and bools are compiled in; numbers are launch arguments."""

    name: str
    choices: tuple[str, ...]
    dtype: DType | None
    default: Expr

    @property
    def compiled_in(self) -> bool:
        return bool(self.choices) or self.dtype is DType.bool


@record
class Equation(Declared):
    """`target[indices] = value`. Intermediates are targets that are no declared tensor."""

    target: str
    indices: tuple[Expr, ...]  # index variables, or affine in one (`i + D // 2`)
    value: Expr

    @property
    def left(self) -> Load:
        return Load(self.target, self.indices, span=self.span)


@record
class Gradient(Declared):
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]


@record
class Knob(Declared):
    name: str
    domain: Domain
    at_launch: bool


@record
class Config(Declared):
    name: str
    on: tuple[str, ...]  # devices; () means every target
    values: Mapping[str, bool | int | float | str]
    value_spans: Mapping[str, Span] = field(compare=False, repr=False)


@record
class Prefer(Declared):
    proposition: Expr
    when: Expr | None
    because: str | None


@record
class Schedule(Declared):
    """With everything inherited through `like` already merged in: knobs, lets, laws, needs (the own ones
    override by name). `template` names the template of the family that generates it."""

    name: str
    like: str | None
    needs: tuple[Expr, ...]
    knobs: Mapping[str, Knob]
    configs: tuple[Config, ...]
    prefers: tuple[Prefer, ...]
    laws: tuple[Law, ...]
    lets: tuple[Let, ...]


@record
class Verification(Declared):
    tolerance: Expr | None
    values: tuple[str, ...]
    shapes: tuple[tuple[tuple[str, ...], Domain], ...]
    cases: int | None


@record
class Kernel(Declared):
    name: str
    family: str
    dims: Mapping[str, Dim]
    tensors: Mapping[str, Tensor]  # in declaration order: inputs, outputs, inouts as written
    options: Mapping[str, Option]
    math: tuple[Equation, ...]  # in dependency order
    accumulate: DType
    gradients: tuple[Gradient, ...]
    schedules: Mapping[str, Schedule]
    laws: tuple[Law, ...]  # bind every schedule
    lets: tuple[Let, ...]
    verification: Verification | None
    intent: str | None = None


@record
class Implementation(Declared):
    kernel: str
    name: str
    on: tuple[str, ...]
    needs: tuple[Expr, ...]
    settings: Mapping[str, Expr]


@record
class Role(Declared):
    name: str
    owns: tuple[str, ...]


@record
class Module:
    """Everything a root file says, with what it uses. `own` are names declared in the root file itself."""

    root: str
    targets: tuple[str, ...]
    devices: Mapping[str, Device]
    kernels: Mapping[str, Kernel]
    implementations: tuple[Implementation, ...]
    models: Mapping[str, Model]
    datasets: Mapping[str, Dataset]
    protocols: Mapping[str, Protocol]
    experiments: Mapping[str, Experiment]
    claims: Mapping[str, Claim]
    laws: tuple[Law, ...]
    lets: tuple[Let, ...]
    roles: Mapping[str, Role]
    intents: tuple[str, ...]
    own: frozenset[str] = frozenset()
