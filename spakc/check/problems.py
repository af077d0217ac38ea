"""What a kernel is compiled for besides its knobs: dtypes, compiled dims, compiled-in options, as one axis.

A *problem* binds what a set of laws can see of these; two bindings that look alike to the laws are one
problem, so `bf16 | f16` counts once where laws only ask `sizeof`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from spakc.ir.constraint import Env, TooMany, Unknown, column, members, names_of
from spakc.ir.lanes import Scalar, Value
from spakc.ir.module import Kernel, Tensor
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.types import DType
from spakc.record import record


@record
class Problem:
    """`sizes` are bytes an element by tensor; `dtypes` is one choice of dtypes that has these sizes."""

    sizes: Mapping[str, int]
    dims: Mapping[str, Scalar]
    options: Mapping[str, Scalar]
    dtypes: Mapping[str, DType]

    def __str__(self) -> str:
        parts = [f"{t}: {self.dtypes[t].value}" for t in self.sizes]
        parts += [f"{name} = {value}" for name, value in (self.dims | self.options).items()]  # type: ignore[operator]
        return ", ".join(parts)


def dtype_choices(kernel: Kernel, tensors: Iterable[str] | None = None) -> Iterator[dict[str, DType]]:
    """Every lawful choice of dtypes for `tensors` (all by default) and those they are `same` as, in the order
    written; no choice twice."""
    wanted: dict[str, Tensor] = {}

    def want(name: str) -> None:
        tensor = kernel.tensors.get(name)
        if tensor is None or name in wanted:
            return
        if tensor.same_as is not None and tensor.same_as != name:
            want(tensor.same_as)
        wanted[name] = tensor

    for name in kernel.tensors if tensors is None else tensors:
        want(name)

    def choose(rest: tuple[Tensor, ...], chosen: dict[str, DType]) -> Iterator[dict[str, DType]]:
        if not rest:
            yield dict(chosen)
            return
        tensor, *others = rest
        same = (chosen[tensor.same_as],) if tensor.same_as in chosen else ()
        for dtype in dict.fromkeys((*same, *tensor.dtypes)):
            yield from choose(tuple(others), chosen | {tensor.name: dtype})

    yield from choose(tuple(wanted.values()), {})


def problems_of(kernel: Kernel, seen: Iterable[Expr], limit: int = 1 << 16) -> tuple[Problem, ...] | TooMany:
    """The distinct problems among what `seen` (see `constraint.mentions`) mentions. Never empty."""
    seen = frozenset(seen)
    sized = sorted(
        {str(q.args[0].name) for q in seen if isinstance(q, Query) and q.name == "sizeof" and _names(q)}  # type: ignore[attr-defined]
    )
    axes: list[tuple[str, RefKind, tuple[Scalar, ...]]] = []
    for name in sorted(names_of(seen, RefKind.dim)):
        domain = kernel.dims[name].domain if name in kernel.dims else None
        if domain is not None:
            values = members(domain, Env(), limit)
            if isinstance(values, TooMany):
                return values
            if values and not isinstance(values, Unknown):
                axes.append((name, RefKind.dim, values))
    for name in sorted(names_of(seen, RefKind.option)):
        option = kernel.options.get(name)
        if option is not None and option.compiled_in:
            axes.append((name, RefKind.option, option.choices or (False, True)))
    sizes: dict[tuple[int, ...], dict[str, DType]] = {}
    for choice in dtype_choices(kernel, sized):
        sizes.setdefault(tuple(choice[t].bytes for t in sized), choice)
    count = len(sizes)
    for _, _, values in axes:
        count *= len(values)
    if count > limit:
        return TooMany(count)
    found = []
    for size, point in itertools.product(sizes, itertools.product(*(values for _, _, values in axes))):
        bound = list(zip(axes, point, strict=True))
        found.append(
            Problem(
                dict(zip(sized, size, strict=True)),
                {name: value for (name, kind, _), value in bound if kind is RefKind.dim},
                {name: value for (name, kind, _), value in bound if kind is RefKind.option},
                sizes[size],
            )
        )
    return tuple(found)


def _names(query: Query) -> bool:
    return len(query.args) == 1 and isinstance(query.args[0], Ref)


def sizeof(tensor: str) -> Query:
    return Query("sizeof", (Ref(tensor, RefKind.entity),))


def bind_problem(env: Env, problem: Problem) -> Env:
    """One problem bound."""
    queries: dict[Query, Value] = {sizeof(t): size for t, size in problem.sizes.items()}
    return env.dims(problem.dims).options(problem.options).bind(queries=queries)


def bind_problems(env: Env, problems: tuple[Problem, ...], rank: int) -> Env:
    """All problems bound, as the first of `rank` axes."""
    shape = (len(problems),) + (1,) * (rank - 1)

    def axis(values: list[Scalar]) -> Value:
        return column(tuple(values)).reshape(shape)

    first = problems[0]
    return (
        env.dims({name: axis([p.dims[name] for p in problems]) for name in first.dims})
        .options({name: axis([p.options[name] for p in problems]) for name in first.options})
        .bind(queries={sizeof(t): axis([p.sizes[t] for p in problems]) for t in first.sizes})
    )


def bind_dtypes(env: Env, dtypes: Mapping[str, DType]) -> Env:
    """`sizeof` of every tensor of a chosen specialisation."""
    return env.bind(queries={sizeof(t): dtype.bytes for t, dtype in dtypes.items()})
