"""What the claims of a file ask to be timed: one call of one kernel a point of a quantifier, and what it is
compared with. Pure.

`speed(k, M = 64, dtype = bf16)` names dims, options and `dtype` of the call of `k`; a name of the quantifier
that is a dim or an option of `k` says its size, one that is a tensor says its layout (`row`, `column`). A
library operation beside it, `speed(torch.matmul)`, computes the same call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spakc.check.statements import Statement, statements
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.experiment import Claim
from spakc.ir.lanes import Scalar
from spakc.ir.module import Kernel, Module
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.queries import BASELINES
from spakc.ir.visit import walk
from spakc.record import record
from spakc.verdicts import points_of

TIMED = ("speed", "time")


@record
class Call:
    """A call of a kernel: every dim, the options that differ from their defaults, a dtype word for the tensors
    that allow it, the layouts that are not the first."""

    kernel: str
    dims: Mapping[str, int]
    options: Mapping[str, Scalar]
    dtype: str | None
    layouts: Mapping[str, str]

    def __str__(self) -> str:
        parts = [f"{name} = {value}" for name, value in self.dims.items()]
        parts += [f"{name} = {_shown(value)}" for name, value in self.options.items()]
        parts += [f"{name} {word}" for name, word in self.layouts.items()]
        return f"{self.kernel}({', '.join(parts)}{', ' + self.dtype if self.dtype else ''})"


@record
class Question:
    """A claim at one point of its quantifier: each query with the call that it asks about and, of a library
    operation, its name."""

    statement: Statement
    point: Mapping[str, Scalar]
    subjects: tuple[tuple[Query, Call, str | None], ...]


@record
class Unclear:
    """A claim that does not say which call it is about."""

    statement: Statement
    why: str


def questions(module: Module) -> Iterator[Question | Unclear]:
    """Every point of every claim over times of kernels, in the order of the file."""
    for statement in statements(module):
        claim = statement.body
        if statement.kind != "claim" or statement.fact != "time" or not isinstance(claim, Claim):
            continue
        asked = [q for q in walk(claim.proposition) if isinstance(q, Query) and q.name in TIMED]
        for point in map(dict, points_of(claim)):
            found = _question(module, statement, list(dict.fromkeys(asked)), point)
            yield found
            if isinstance(found, Unclear):
                break


def _question(
    module: Module, statement: Statement, asked: list[Query], point: Mapping[str, Scalar]
) -> Question | Unclear:
    names = [query.args[0].name if isinstance(query.args[0], Ref) else "" for query in asked]
    calls: dict[Query, Call] = {}
    for query, name in zip(asked, names, strict=True):
        if name in module.kernels:
            call = _call(module.kernels[name], query, point)
            if isinstance(call, str):
                return Unclear(statement, call)
            calls[query] = call
    if not calls:
        return Unclear(statement, "no kernel of the file is timed in it")
    first = next(iter(calls.values()))
    subjects: list[tuple[Query, Call, str | None]] = []
    for query, name in zip(asked, names, strict=True):
        if query in calls:
            subjects.append((query, calls[query], None))
        elif BASELINES.get(name) in (module.kernels[first.kernel].family, "any"):
            subjects.append((query, first, name))
        else:
            return Unclear(statement, f"`{name}` does not compute what {first.kernel} does")
    return Question(statement, point, tuple(subjects))


def _call(kernel: Kernel, query: Query, point: Mapping[str, Scalar]) -> Call | str:
    """The call that a query describes, or why it describes none."""
    env = Env({(RefKind.parameter, name): value for name, value in point.items()})
    said = {name: _value(expr, env) for name, expr in query.named}
    values = {**{n: v for n, v in point.items() if n in kernel.dims or n in kernel.options}, **said}
    values |= {n: v for n, v in point.items() if n in kernel.tensors}
    dims: dict[str, int] = {}
    options: dict[str, Scalar] = {}
    layouts: dict[str, str] = {}
    dtype: str | None = None
    for name, value in values.items():
        if isinstance(value, Unknown):
            return f"`{name}` has no value: {value}"
        if name in kernel.dims:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                return f"`{name} = {_shown(value)}` is no size"
            dims[name] = value
        elif name in kernel.options:
            options[name] = value
        elif name in kernel.tensors:
            layouts[name] = str(value)
        else:
            assert name == "dtype", "check refuses arguments that a kernel has not"
            dtype = str(value)
    missing = [name for name in kernel.dims if name not in dims]
    if missing:
        return f"it does not say {', '.join(missing)} of {kernel.name}"
    heard = {r.name for _, e in query.named for r in walk(e) if isinstance(r, Ref)} | values.keys()
    unheard = [name for name in point if name not in heard]
    if unheard:
        return f"`{unheard[0]}` of its quantifier is no dim, option or tensor of {kernel.name}"
    return Call(kernel.name, {name: dims[name] for name in kernel.dims}, options, dtype, layouts)


def options_of(kernel: Kernel, call: Call) -> dict[str, Scalar]:
    """The options of a call, those with a constant default among them."""
    found: dict[str, Scalar] = {}
    env = Env().dims(call.dims)
    for name, option in kernel.options.items():
        value = evaluate(option.default, env) if option.default is not None else Unknown(frozenset())
        if not isinstance(value, Unknown):
            found[name] = value
    return found | dict(call.options)


def _value(expr: Expr, env: Env) -> Scalar | Unknown:
    if isinstance(expr, Ref) and expr.kind is not RefKind.parameter:
        return expr.name
    return evaluate(expr, env)


def _shown(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
