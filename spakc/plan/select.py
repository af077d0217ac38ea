"""Which configs of a schedule are built, and why: measurements first, then fewest violated `prefer`, then
the cost model, then the order of the file."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spak_runtime.manifest import Guard
from spakc.ir.constraint import Env, evaluate, mentions
from spakc.ir.module import Prefer
from spakc.ir.ops import Ref, RefKind
from spakc.ir.types import DType
from spakc.plan.cost_model import Estimate, ProductShape, product_time
from spakc.plan.launch import Config, Signature, StepProblem
from spakc.plan.problem import ElementwiseProblem, ProductProblem
from spakc.plan.template import Template
from spakc.plan.templates_product import size
from spakc.plan.terms import Term
from spakc.plan.vectors import stores_are_vectors, vector_loads
from spakc.record import record
from spakc.target import Target

REFERENCE_SHAPES = (
    ProductShape(4096, 4096, 4096),
    ProductShape(8192, 8192, 8192),
    ProductShape(3072, 3072, 3072),
    ProductShape(2048, 2048, 2048),
    ProductShape(16_384, 768, 3072),
    ProductShape(16_384, 2304, 768),
    ProductShape(12_288, 3072, 768),
    ProductShape(8192, 50_304, 768),
    ProductShape(8192, 8192, 512),
    ProductShape(768, 3072, 12_288),
    ProductShape(2304, 768, 16_384),
    ProductShape(16_384, 1024, 256),
    ProductShape(256, 1024, 16_384),
    ProductShape(1536, 1536, 1536),
    ProductShape(1024, 1024, 1024),
    ProductShape(512, 512, 512),
    ProductShape(64, 4096, 4096),
    ProductShape(16, 8192, 8192),
    ProductShape(256, 256, 256),
    ProductShape(16_384, 2304, 768, across=1),
    ProductShape(8192, 50_304, 768, across=1),
    ProductShape(768, 3072, 12_288, across=1),
    ProductShape(2304, 768, 16_384, across=1),
    ProductShape(4000, 4000, 4000, ragged=(1, 1)),
    ProductShape(200, 12_000, 3000, ragged=(1, 1)),
    ProductShape(6000, 808, 664, ragged=(1, 1)),
    ProductShape(456, 1176, 4728, ragged=(1, 1)),
    ProductShape(12_000, 192, 4232, ragged=(1, 1)),
    ProductShape(100, 1000, 12_000, ragged=(1, 1)),
    ProductShape(4096, 7000, 72, ragged=(1, 1)),
)
"""Sizes that a portfolio should serve when nothing was measured: large, training, skinny, small; layouts and lengths of
rows that are harder than others."""


LONG_SUMS = (
    ProductShape(1024, 256, 92_160, across=1),
    ProductShape(256, 1024, 92_160, across=1),
    ProductShape(768, 256, 92_160, across=1),
    ProductShape(256, 256, 92_160, across=1),
    ProductShape(256, 64, 30_720, across=1),
    ProductShape(64, 64, 30_720, across=1),
    ProductShape(384, 384, 16_384, across=1),
    ProductShape(1152, 384, 16_384, across=1),
    ProductShape(1536, 384, 16_384, across=1),
    ProductShape(768, 768, 16_384, across=1),
    ProductShape(768, 768, 3840, across=1),
    ProductShape(256, 1024, 16_384),
    ProductShape(512, 768, 16_384),
    ProductShape(456, 1176, 4728, ragged=(1, 1)),
    ProductShape(100, 1000, 12_000, ragged=(1, 1)),
    ProductShape(64, 4096, 4096),
)
"""The same for products whose sums are computed in parts: gradients of weights, skinny ones."""


@functools.cache
def all_references(shapes: tuple[ProductShape, ...] = REFERENCE_SHAPES) -> ProductShape:
    """These shapes as one: arrays of their sizes, for a time of each by one evaluation of the model."""
    sides = np.array([(s.rows, s.columns, s.depth, *s.ragged, s.across) for s in shapes], float).T
    rows, columns, depth, left, right, across = sides
    return ProductShape(rows, columns, depth, ragged=(left, right), across=across)


@record
class Measurement:
    """A timing out of the evidence file: of one config on one architecture at one shape."""

    kernel: str
    schedule: str
    arch: str
    config: Config
    shape: Mapping[str, int]
    seconds: float


@record
class Candidate:
    """A config, the order in which the file lists it, and its name if the file gives it one. `guards` leave it
    to the calls for which it is lawful."""

    config: Config
    order: int
    name: str | None = None
    guards: tuple[Guard, ...] = ()


@record
class Selected:
    """A config to build; `guards` as in Candidate. `correction` is how many times as long as the cost model
    says it takes, where that was measured."""

    config: Config
    name: str | None
    reason: str
    guards: tuple[Guard, ...] = ()
    correction: float = 1.0


@record
class Question:
    """What is asked of `select`: the problem that the config is for, the schedule's name and preferences. With
    `asked`, these configs are what is wanted, and nothing is chosen."""

    problem: StepProblem
    signature: Signature
    template: Template
    target: Target
    schedule: str
    prefers: tuple[Prefer, ...] = ()
    facts: Mapping[str, bool | int | float | str] | None = None
    measurements: tuple[Measurement, ...] = ()
    asked: tuple[Config, ...] = ()

    @property
    def references(self) -> tuple[ProductShape, ...]:
        """The sizes that a portfolio of it should serve."""
        return LONG_SUMS if self.template.in_parts else REFERENCE_SHAPES


def select(question: Question, candidates: Sequence[Candidate]) -> tuple[Selected, ...]:
    """The configs to build, in the order in which calls should try them. Empty only without candidates."""
    if not candidates:
        return ()
    if question.asked:
        return tuple(_asked(question, candidates))
    named = [c for c in candidates if c.name is not None]
    if isinstance(question.problem, ProductProblem):
        chosen = _portfolio(question, candidates)
    else:
        chosen = _nearest_default(question, candidates)
    known = [selected.config for selected in chosen]
    extra = [
        Selected(c.config, c.name, "the file names this config", c.guards)
        for c in named
        if c.config not in known
    ]
    return (*extra, *chosen)


def _asked(question: Question, candidates: Sequence[Candidate]) -> Iterator[Selected]:
    """Those of the asked configs that can be built."""
    free = {knob.name for knob in question.template.knobs if knob.at_launch}

    def built(config: Config) -> tuple[tuple[str, object], ...]:
        return tuple(sorted((name, value) for name, value in config.items() if name not in free))

    known = {built(candidate.config): candidate for candidate in candidates}
    for config in question.asked:
        candidate = known.get(built(config))
        if candidate is not None:
            yield Selected(config, None, "asked for", candidate.guards)


# ---- products -------------------------------------------------------------------------------------------


Numbers: TypeAlias = NDArray[np.float64]


@record(eq=False)
class _Ranks:
    """What speaks for each candidate (rows) at each reference shape (columns): seconds by the cost model, measured
    ones (nan where there are none), how many `prefer` it violates, and its `handicap`: how much slower it is than the
    best of the shape, at least 1."""

    modelled: Numbers
    measured: Numbers
    violated: NDArray[np.int64]
    handicap: Numbers


_OUTRANKED = 10.0
"""Handicap factor of a config that evidence or a `prefer` puts behind others, whatever the cost model
says."""

_WORTH_BUILDING = 1.0005
"""Another config is built if it makes the reference shapes this much faster on average."""


def _portfolio(question: Question, candidates: Sequence[Candidate]) -> tuple[Selected, ...]:
    """The configs that serve the reference shapes best where each call gets the best of those built; and where
    some of these are for some calls only, the best for the other calls."""
    ranks = _ranks(question, candidates)
    orders = np.array([candidate.order for candidate in candidates])
    usable = np.array([math.isfinite(row.min()) for row in ranks.handicap])
    most = question.template.portfolio
    chosen = _greedy(ranks.handicap, orders, usable, [], most)
    for_all = [i for i in chosen if not candidates[i].guards]
    if len(for_all) < len(chosen):
        rest = usable & np.array([not candidate.guards for candidate in candidates])
        chosen += _greedy(ranks.handicap, orders, rest, for_all, max(2, most // 2))[len(for_all) :]
    return tuple(_selected(question, candidates, ranks, chosen, index) for index in chosen)


def _greedy(
    handicap: Numbers, orders: NDArray[np.int64], usable: NDArray[np.bool_], given: Sequence[int], most: int
) -> list[int]:
    """The given candidates, then one after the other the usable one that helps most, as long as that is worth
    another build."""
    chosen = list(given)
    slower = np.log(handicap)  # their mean is the logarithm of a geometric mean
    served = slower[chosen].min(axis=0, initial=math.inf)
    free = usable.copy()
    free[chosen] = False
    while len(chosen) < most and free.any():
        places = np.flatnonzero(free)
        helped = np.minimum(served, slower[places]).mean(axis=1)
        first = np.lexsort((orders[places], helped))[0]
        best = int(places[first])
        if chosen and helped[first] + math.log(_WORTH_BUILDING) > served.mean():
            break
        chosen.append(best)
        served, free[best] = np.minimum(served, slower[best]), False
    return chosen


def _selected(
    question: Question, candidates: Sequence[Candidate], ranks: _Ranks, chosen: Sequence[int], index: int
) -> Selected:
    """One config of a portfolio, with the reference shape at which it is most ahead of the others as the
    reason."""
    others = [i for i in chosen if i != index]
    rival = ranks.handicap[others].min(axis=0) if others else np.ones(len(question.references))
    at = int(np.argmax(rival / ranks.handicap[index]))
    why = _why(question, candidates, ranks, index, at)
    ratios = ranks.measured[index] / ranks.modelled[index]
    known = ratios[~np.isnan(ratios)]
    correction = math.exp(np.log(known).mean()) if known.size else 1.0
    candidate = candidates[index]
    return Selected(candidate.config, candidate.name, why, candidate.guards, correction)


def _ranks(question: Question, candidates: Sequence[Candidate]) -> _Ranks:
    """Every candidate at every reference shape, handicapped against the best: among those measured if any is, else
    among those that violate fewest preferences."""
    full = (len(candidates), len(question.references))
    modelled, measured, violated = np.empty(full), np.full(full, np.nan), _violated(question, candidates)
    for i, candidate in enumerate(candidates):
        seconds = _estimate(question, candidate, all_references(question.references)).seconds
        assert not isinstance(seconds, Term), "the sizes of reference shapes are known"
        modelled[i] = seconds
    for at, shape in enumerate(question.references):
        sizes = _sizes(question, shape)
        for m in question.measurements:
            if m.arch == question.target.arch and m.schedule == question.schedule and m.shape == sizes:
                for i, candidate in enumerate(candidates):
                    if m.config == candidate.config:
                        measured[i, at] = np.fmin(measured[i, at], m.seconds)
    told = ~np.isnan(measured)
    leads = np.where(told.any(axis=0), told, violated == violated.min(axis=0))
    times = np.where(told, measured, modelled) * np.where(leads, 1.0, _OUTRANKED)
    best = times.min(axis=0)
    handicap = np.full(full, math.inf)  # at a shape for which nothing can be built
    handicap[:, np.isfinite(best)] = np.maximum(1.0, (times / best)[:, np.isfinite(best)])
    return _Ranks(modelled, measured, violated, handicap)


def _estimate(question: Question, candidate: Candidate, shape: ProductShape) -> Estimate:
    takes = question.template.resources(question.problem, question.signature, candidate.config)
    return product_time(question.template, candidate.config, takes, shape, question.target)


def _sizes(question: Question, shape: ProductShape) -> dict[str, int]:
    """The dims of the file that this shape gives a value: those that are the extent of an index alone."""
    problem = question.problem
    assert isinstance(problem, ProductProblem)
    sizes: dict[str, int] = {}
    for group, number in (
        (problem.rows, shape.rows),
        (problem.columns, shape.columns),
        (problem.reduced, shape.depth),
    ):
        extent = size(group)
        if isinstance(extent, list) and extent[0] == "dim" and isinstance(number, int):
            sizes[extent[1]] = number
    return sizes


def _violated(question: Question, candidates: Sequence[Candidate]) -> NDArray[np.int64]:
    """How many `prefer` statements apply at each reference shape (columns) and are false for each candidate (rows).
    Hundreds of candidates differ in knobs that no `prefer` speaks of: those alike are asked about once."""
    asked = mentions(*(part for p in question.prefers for part in (p.when, p.proposition)))
    knobs = sorted(r.name for r in asked if isinstance(r, Ref) and r.kind is RefKind.knob)
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, candidate in enumerate(candidates):
        alike.setdefault(tuple(candidate.config.get(name) for name in knobs), []).append(i)
    counts = np.zeros((len(candidates), len(question.references)), np.int64)
    for at, shape in enumerate(question.references):
        env = Env().facts(question.facts or {}).dims(_sizes(question, shape))
        for places in alike.values():
            known = env.knobs(candidates[places[0]].config)
            counts[places, at] = sum(
                (prefer.when is None or evaluate(prefer.when, known) is True)
                and evaluate(prefer.proposition, known) is False
                for prefer in question.prefers
            )
    return counts


def _why(question: Question, candidates: Sequence[Candidate], ranks: _Ranks, index: int, at: int) -> str:
    shape = question.references[at]
    among = f"of {len(candidates)} lawful config{'s' if len(candidates) != 1 else ''}"
    where = f"at {shape} on {question.target.arch}"
    measured, violated = float(ranks.measured[index, at]), int(ranks.violated[index, at])
    if not math.isnan(measured):
        return f"measured fastest {among} {where}: {measured * 1e6:.1f} us"
    preferred = f", {violated} `prefer` violated" if violated else ""
    limit = _estimate(question, candidates[index], shape).limit
    time = f"{ranks.modelled[index, at] * 1e6:.0f} us, limited by {limit}"
    return f"cost model: fastest {among} {where}: {time}{preferred}"


# ---- the others -----------------------------------------------------------------------------------------


def _nearest_default(question: Question, candidates: Iterable[Candidate]) -> tuple[Selected, ...]:
    """Memory-bound templates: the default where it is lawful. Element-wise, with vectors and without."""
    ordered = list(candidates)
    ladder = question.template.ladder(question.problem, question.signature)
    lawful = [config for config in ladder if any(candidate.config == config for candidate in ordered)]
    wanted: list[Config] = lawful or [question.template.defaults]
    if isinstance(question.problem, ElementwiseProblem) and stores_are_vectors(question.problem):
        wanted.insert(
            0, {**question.template.defaults, "vector": vector_width(question.problem, question.signature)}
        )
    chosen: list[Selected] = []
    for config in wanted:
        best = min(ordered, key=lambda c: (sum(c.config[k] != v for k, v in config.items()), c.order))
        if all(best.config != selected.config for selected in chosen):
            reason = (
                "the template's own choice"
                if best.config == config
                else "nearest to the template's own choice"
            )
            chosen.append(Selected(best.config, best.name, reason, best.guards))
    return tuple(chosen)


def vector_width(problem: ElementwiseProblem, signature: Signature) -> int:
    """Elements that fill 16 bytes of the narrowest tensor that moves in vectors."""
    names = {load.tensor for load in vector_loads(problem, signature)} | {s.tensor for s in problem.outputs}
    dtypes: set[DType] = {dtype for name in names for dtype in signature.alternatives(name)}
    return min(8, 16 // min(dtype.bytes for dtype in dtypes))
