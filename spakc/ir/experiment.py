"""Datasets, protocols, experiments and claims. `like` and `profile` are merged on request, never in place."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.ir.module import Declared, Law, Let
from spakc.ir.ops import Domain, Expr
from spakc.record import record


@record
class Split(Declared):
    """Either `binders` over the dataset's parameters (with `size`, `weight`) or `fraction` of a corpus."""

    name: str
    binders: tuple[tuple[tuple[str, ...], Domain], ...]
    size: int | None
    weight: float | None  # share of a mixture, 0..1
    fraction: float | None


@record
class Dataset(Declared):
    """`samples` are draws (`digits(n)`), `text` the pieces of one document: constants, `reverse(a)`, the
    symbol `end`, or `characters(corpus("…"))`."""

    name: str
    samples: Mapping[str, Expr]
    text: tuple[Expr, ...]
    loss_after: str | None
    answer: str  # autoregressive | parallel
    splits: Mapping[str, Split]
    laws: tuple[Law, ...]
    lets: tuple[Let, ...]


@record
class Requirement(Declared):
    proposition: Expr
    hide: tuple[str, ...]
    because: str | None


@record
class Gate(Declared):
    name: str
    train: Mapping[str, Expr] | None
    require: tuple[Requirement, ...]
    show: tuple[Expr, ...]


@record
class Protocol(Declared):
    name: str
    gates: tuple[Gate, ...]
    intent: str | None = None


@record
class Experiment(Declared):
    """`like` already merged. `overrides` are the arguments of `model M(…)`; `profiles` map a profile to its
    settings by dotted key (`model.num_loops`, `train.steps`), values unevaluated."""

    name: str
    like: str | None
    model: str
    overrides: Mapping[str, Expr]
    data: tuple[str, ...]
    protocol: str | None
    train: Mapping[str, Expr]
    optimizer: Expr | None  # Query("adamw", …)
    lr: Expr | None  # Query("cosine", …)
    vary: tuple[tuple[tuple[str, ...], Domain], ...]
    profiles: Mapping[str, Mapping[str, Expr]]
    laws: tuple[Law, ...]
    lets: tuple[Let, ...]


@record
class Phased(Expr):
    """`first then second from start` (a share of the budget, 0..1): only as a value of a setting."""

    first: Expr
    second: Expr
    start: float


@record
class Claim(Declared):
    name: str
    on: tuple[str, ...]
    proposition: Expr
    confidence: float | None  # 0..1
    quantifier: tuple[tuple[tuple[str, ...], Domain], ...]
    because: str | None
