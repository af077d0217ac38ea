"""Which specialisations of a variant are tried: few enough to be built, and every pair of choices among
them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from spak_runtime.emulator.call import facts_of_device
from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import Environment, TensorFacts
from spakc.check.problems import bind_dtypes, dtype_choices
from spakc.check.verdict import means_of_law
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, implication, members
from spakc.ir.module import Kernel
from spakc.ir.ops import Expr
from spakc.ir.queries import Means
from spakc.ir.types import DType
from spakc.record import record
from spakc.verify.case import Value
from spakc.verify.tested import UnderTest

TRIES = 60
"""Random candidates for each next member of the pool; more of them make it smaller, not better."""


@record
class Specialisation:
    """What a source is built for: dtypes of every tensor, layouts, absent tensors, compiled-in options and
    dims, and whether the emulator's compiler fuses products with sums."""

    dtypes: Mapping[str, DType]
    layouts: Mapping[str, str]
    absent: tuple[str, ...]
    options: Mapping[str, Value]
    dims: Mapping[str, int]
    contract: bool

    def __str__(self) -> str:
        words = {**{name: dtype.value for name, dtype in self.dtypes.items()}, **self.options, **self.dims}
        parts = [", ".join(f"{name} {value}" for name, value in words.items())]
        parts += [", ".join(f"{name} by {layout}s" for name, layout in self.layouts.items())]
        parts += [f"without {', '.join(self.absent)}"] if self.absent else []
        return "; ".join(part for part in parts if part)


@record
class _Axis:
    kind: str
    name: str
    choices: tuple[Any, ...]


def pool(tested: UnderTest) -> tuple[Specialisation, ...]:
    """Specialisations that the variant's guards and the kernel's laws allow, the one of first choices and
    defaults first. Each lawful pair of choices occurs in one of them. Empty if nothing is lawful."""
    axes = tuple(_axes(tested))
    lawful: dict[tuple[int, ...], bool] = {}

    def allowed(row: tuple[int, ...]) -> bool:
        if row not in lawful:
            lawful[row] = _is_lawful(tested, _made(tested.kernel, axes, row))
        return lawful[row]

    rows = _cover([len(axis.choices) for axis in axes], allowed)
    return tuple(_made(tested.kernel, axes, row) for row in rows)


def _axes(tested: UnderTest) -> Iterator[_Axis]:
    kernel = tested.kernel
    yield _Axis("dtypes", "", tuple(dtype_choices(kernel)))
    for name, tensor in kernel.tensors.items():
        if len(tensor.layouts) > 1:
            yield _Axis("layouts", name, tensor.layouts)
        if tensor.default is not None:
            yield _Axis("present", name, (True, False))
    for name, option in kernel.options.items():
        if option.compiled_in:
            default = evaluate(option.default, Env())
            choices = option.choices or (False, True)
            yield _Axis("options", name, tuple(sorted(choices, key=lambda c: c != default)))
    for name in kernel.dims:
        sizes = compiled_sizes(tested, name)
        if sizes is not None:
            yield _Axis("dims", name, sizes)
    yield _Axis("contract", "", (True, False))


def compiled_sizes(tested: UnderTest, dim: str) -> tuple[int, ...] | None:
    """The sizes of a compiled dim that are to be verified, None for a run-time dim."""
    domain = tested.kernel.dims[dim].domain
    if domain is None:
        return None
    sizes = _integers(domain)
    wanted = next((_integers(d) for names, d in shapes_of(tested) if names == (dim,)), sizes)
    return tuple(size for size in sizes if size in wanted) or sizes


def shapes_of(tested: UnderTest) -> tuple[tuple[tuple[str, ...], Expr], ...]:
    """The `shapes` of the file's `verify`."""
    return tested.verification.shapes if tested.verification is not None else ()


def _integers(domain: Expr) -> tuple[int, ...]:
    found = members(domain, Env())
    assert not isinstance(found, TooMany | Unknown), "the domains of compiled dims are checked"
    return tuple(int(value) for value in found)


def _made(kernel: Kernel, axes: Sequence[_Axis], row: Sequence[int]) -> Specialisation:
    chosen = {(axis.kind, axis.name): axis.choices[choice] for axis, choice in zip(axes, row, strict=True)}

    def of(kind: str) -> dict[str, Any]:
        return {name: value for (k, name), value in chosen.items() if k == kind}

    first = {name: (tensor.layouts or ("row",))[0] for name, tensor in kernel.tensors.items()}
    absent = tuple(name for name, present in of("present").items() if not present)
    return Specialisation(
        chosen["dtypes", ""], first | of("layouts"), absent, of("options"), of("dims"), chosen["contract", ""]
    )


def facts_of(tested: UnderTest, made: Specialisation) -> Environment:
    """What guards may ask of a specialisation before there are sizes: run-time dims and strides are unknown."""
    facts = {
        name: TensorFacts(dtype.value, dtype.bytes, (), made.layouts[name], present=name not in made.absent)
        for name, dtype in made.dtypes.items()
    }
    return Environment(made.dims, tested.variant.config, made.options, facts_of_device(), facts)


def _is_lawful(tested: UnderTest, made: Specialisation) -> bool:
    """Whether nothing that is known of a specialisation alone forbids it."""
    env = bind_dtypes(Env().dims(made.dims).options(made.options), made.dtypes).knobs(tested.variant.config)
    for law in tested.laws:
        if means_of_law(law, tested.source) not in (Means.proof, Means.guard):
            continue
        if evaluate(implication(law.proposition, law.when), env) is False:
            return False
    environment = facts_of(tested, made)
    for _, holds in tested.guards:
        try:
            if not holds(environment):
                return False
        except ExpressionError:
            continue  # it asks for sizes or strides, which come later
    return True


def _cover(sizes: Sequence[int], allowed: Callable[[tuple[int, ...]], bool]) -> list[tuple[int, ...]]:
    """Rows, one choice an axis, such that every pair of choices of two axes that some allowed row has is in
    one.

    Greedy: each next row is, of some random ones through an uncovered pair, the one with most uncovered
    pairs."""
    rng = random.Random(0)
    first = (0,) * len(sizes)
    rows = [first] if allowed(first) else []
    open_pairs = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(range(len(sizes)), 2)
        for x in range(sizes[a])
        for y in range(sizes[b])
    }
    for row in rows:
        open_pairs -= _pairs(row)
    while open_pairs:
        wanted = min(open_pairs)
        best: tuple[int, ...] | None = None
        for _ in range(TRIES):
            draft = [rng.randrange(size) for size in sizes]
            for axis, choice in wanted:
                draft[axis] = choice
            row = tuple(draft)
            if allowed(row) and (
                best is None or len(_pairs(row) & open_pairs) > len(_pairs(best) & open_pairs)
            ):
                best = row
        if best is None:
            open_pairs.discard(wanted)  # unlawful together
            continue
        rows.append(best)
        open_pairs -= _pairs(best)
    return rows


def _pairs(row: tuple[int, ...]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    return set(itertools.combinations(enumerate(row), 2))
