"""Which configs of a schedule are built, and why: measurements first, then fewest violated `prefer`, then
the cost model, then the order of the file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from spak_runtime.manifest import Guard
from spakc.ir.constraint import Env, evaluate, mentions
from spakc.ir.module import Prefer
from spakc.ir.ops import Ref, RefKind
from spakc.ir.types import DType
from spakc.plan.cost_model import Estimate, ProductShape, product_time
from spakc.plan.launch import Config, Signature, StepProblem
from spakc.plan.problem import ElementwiseProblem, ProductProblem
from spakc.plan.resources import Resources
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
)
"""Sizes that a portfolio should serve when nothing was measured: large, training, skinny, small."""


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


@record
class _Rank:
    """What speaks for a config at one shape. `handicap` is how much slower than the best of the shape, at
    least 1."""

    measured: float | None
    violated: int
    estimate: Estimate
    handicap: float = math.inf

    @property
    def seconds(self) -> float:
        """By the cost model."""
        assert not isinstance(self.estimate.seconds, Term), "the sizes of reference shapes are known"
        return self.estimate.seconds


_OUTRANKED = 10.0
"""Handicap factor of a config that evidence or a `prefer` puts behind others, whatever the cost model
says."""

_WORTH_BUILDING = 1.004
"""Another config is built if it makes the reference shapes this much faster on average."""


def _portfolio(question: Question, candidates: Sequence[Candidate]) -> tuple[Selected, ...]:
    """The configs that serve the reference shapes best where each call gets the best of those built; and where
    some of these are for some calls only, the best for the other calls."""
    resources = [
        question.template.resources(question.problem, question.signature, c.config) for c in candidates
    ]
    tables = [_ranks(question, candidates, resources, shape) for shape in REFERENCE_SHAPES]
    columns = [[table[i] for table in tables] for i in range(len(candidates))]
    usable = [i for i, column in enumerate(columns) if any(math.isfinite(r.handicap) for r in column)]
    most = question.template.portfolio
    chosen = _greedy(candidates, columns, usable, [], most)
    for_all = [i for i in chosen if not candidates[i].guards]
    if len(for_all) < len(chosen):
        rest = [i for i in usable if not candidates[i].guards]
        chosen += _greedy(candidates, columns, rest, for_all, max(2, most // 2))[len(for_all) :]
    return tuple(_selected(question, candidates, columns, chosen, index) for index in chosen)


def _greedy(
    candidates: Sequence[Candidate],
    columns: Sequence[Sequence[_Rank]],
    usable: Sequence[int],
    given: Sequence[int],
    most: int,
) -> list[int]:
    """The given configs, then one after the other the usable one that helps most, as long as that is worth
    another build."""
    chosen = list(given)
    served = [
        min((columns[i][s].handicap for i in given), default=math.inf) for s in range(len(REFERENCE_SHAPES))
    ]
    while len(chosen) < most:
        helped = {
            i: _average([min(s, rank.handicap) for s, rank in zip(served, columns[i], strict=True)])
            for i in usable
            if i not in chosen
        }
        best = min(helped, key=lambda i: (helped[i], candidates[i].order), default=None)
        if best is None or (chosen and helped[best] * _WORTH_BUILDING > _average(served)):
            break
        chosen.append(best)
        served = [min(s, rank.handicap) for s, rank in zip(served, columns[best], strict=True)]
    return chosen


def _selected(
    question: Question,
    candidates: Sequence[Candidate],
    columns: Sequence[Sequence[_Rank]],
    chosen: Sequence[int],
    index: int,
) -> Selected:
    """One config of a portfolio, with the reference shape at which it is most ahead of the others as the
    reason."""
    others = [columns[i] for i in chosen if i != index]
    ahead = [
        min((other[s].handicap for other in others), default=1.0) / rank.handicap
        for s, rank in enumerate(columns[index])
    ]
    at = max(range(len(ahead)), key=lambda s: ahead[s])
    why = _why(question, columns[index][at], REFERENCE_SHAPES[at], candidates)
    measured = [rank.measured / rank.seconds for rank in columns[index] if rank.measured is not None]
    correction = math.exp(sum(map(math.log, measured)) / len(measured)) if measured else 1.0
    candidate = candidates[index]
    return Selected(candidate.config, candidate.name, why, candidate.guards, correction)


def _average(handicaps: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(sum(map(math.log, handicaps)) / len(handicaps))


def _ranks(
    question: Question, candidates: Sequence[Candidate], resources: Sequence[Resources], shape: ProductShape
) -> list[_Rank]:
    """Every candidate at one shape, handicapped against the best: among those measured if any is, else among
    those that violate fewest preferences."""
    sizes = _sizes(question, shape)
    measured = [
        m
        for m in question.measurements
        if m.arch == question.target.arch and m.schedule == question.schedule and m.shape == sizes
    ]
    violated = _Violated(question, sizes)
    ranks = [
        _Rank(
            min((m.seconds for m in measured if m.config == candidate.config), default=None),
            violated.by(candidate.config),
            product_time(question.template, candidate.config, takes, shape, question.target),
        )
        for candidate, takes in zip(candidates, resources, strict=True)
    ]
    by_evidence = any(rank.measured is not None for rank in ranks)
    fewest = min(rank.violated for rank in ranks)
    seconds = [
        (r.measured if r.measured is not None else r.seconds)
        * (1.0 if (r.measured is not None if by_evidence else r.violated == fewest) else _OUTRANKED)
        for r in ranks
    ]
    best = min(seconds)
    if not math.isfinite(best):
        return ranks
    return [
        _Rank(rank.measured, rank.violated, rank.estimate, max(1.0, s / best))
        for rank, s in zip(ranks, seconds, strict=True)
    ]


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


class _Violated:
    """How many `prefer` statements apply at some sizes and are false for a config. Hundreds of configs differ in
    knobs that no `prefer` speaks of, so that each question is asked once."""

    def __init__(self, question: Question, sizes: Mapping[str, int]) -> None:
        self.env = Env().facts(question.facts or {}).dims(sizes)
        self.prefers = question.prefers
        asked = mentions(*(part for p in question.prefers for part in (p.when, p.proposition)))
        self.knobs = sorted(r.name for r in asked if isinstance(r, Ref) and r.kind is RefKind.knob)
        self.known: dict[tuple[object, ...], int] = {}

    def by(self, config: Config) -> int:
        key = tuple(config.get(name) for name in self.knobs)
        if key not in self.known:
            env = self.env.knobs(config)
            self.known[key] = sum(
                (prefer.when is None or evaluate(prefer.when, env) is True)
                and evaluate(prefer.proposition, env) is False
                for prefer in self.prefers
            )
        return self.known[key]


def _why(question: Question, rank: _Rank, shape: ProductShape, candidates: Sequence[Candidate]) -> str:
    among = f"of {len(candidates)} lawful config{'s' if len(candidates) != 1 else ''}"
    where = f"at {shape} on {question.target.arch}"
    if rank.measured is not None:
        return f"measured fastest {among} {where}: {rank.measured * 1e6:.1f} us"
    preferred = f", {rank.violated} `prefer` violated" if rank.violated else ""
    time = f"{rank.seconds * 1e6:.0f} us, limited by {rank.estimate.limit}"
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
