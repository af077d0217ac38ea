"""Models: a shape-checked program over tensors, still free of any framework.

Operations are `Query` nodes: `attention(norm(x), heads = n_head)` is
Query("attention", (Query("norm", (Ref("x", local),)),), (("heads", Ref("n_head", hyper)),)).
Positions and step embeddings are nested queries: Query("rope", (Const(10000),)). Arithmetic is `Apply`.
A call of a part is Query("part.block", …): no operation has such a name, so a part may be called like one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from spakc.ir.module import Declared, Law, Let
from spakc.ir.ops import Domain, Expr, Query
from spakc.ir.visit import walk
from spakc.record import record


@record
class Value(Declared):
    """A parameter or result: its shape over hypers and the run-time sizes B (batch), T (tokens), vocab."""

    name: str
    dtype: str | None  # "int" for tokens, else None: the model's floating type
    shape: tuple[Expr, ...]


@record
class Assign(Declared):
    name: str
    value: Expr


@record
class Repeat(Declared):
    """`count` layers, each with weights of its own."""

    count: Expr
    body: tuple[Step, ...]


@record
class Loop(Declared):
    """One block with shared weights; `carry` starts at `initial` and is what the body assigns to it."""

    index: str
    domain: Domain
    carry: str
    initial: Expr
    body: tuple[Step, ...]


Step: TypeAlias = Assign | Repeat | Loop


@record
class Part(Declared):
    """A block (called from forward) or forward itself (name "forward")."""

    name: str
    params: tuple[Value, ...]
    result: Value
    body: tuple[Step, ...]


@record
class Supervise(Declared):
    part: str
    index: str
    domain: Domain


@record
class Model(Declared):
    name: str
    hypers: Mapping[str, Expr]  # defaults, over earlier hypers
    uses: Mapping[str, str]  # op -> kernel that computes it
    parts: Mapping[str, Part]
    forward: Part
    halting: Mapping[str, Expr] | None
    supervise: Supervise | None
    laws: tuple[Law, ...]
    lets: tuple[Let, ...]

    def called(self, node: Query) -> Part | None:
        """The part that a query calls, or None for an operation."""
        prefix, _, name = node.name.partition(".")
        return self.parts.get(name) if prefix == "part" else None


def queries(body: tuple[Step, ...]) -> Iterator[Query]:
    """Every operation of a body, those in loops and repeats included, outermost first."""
    for step in body:
        if not isinstance(step, Repeat):
            start = step.initial if isinstance(step, Loop) else step.value
            yield from (node for node in walk(start) if isinstance(node, Query))
        if not isinstance(step, Assign):
            yield from queries(step.body)
