"""Which configs of a schedule are built, and why: measurements first, then fewest violated `prefer`, then
the cost model, then the order of the file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from spak_runtime.manifest import Guard
from spakc.ir.constraint import Env, evaluate
from spakc.ir.module import Prefer
from spakc.ir.types import DType
from spakc.plan.cost_model import Estimate, ProductShape, attention_time, product_time
from spakc.plan.launch import Config, Signature, StepProblem, product
from spakc.plan.problem import AttentionProblem, ElementwiseProblem, ProductProblem
from spakc.plan.template import Template
from spakc.plan.templates_product import size
from spakc.plan.vectors import stores_are_vectors, vector_loads
from spakc.target import Target

REFERENCE_SHAPES = (
    ProductShape(4096, 4096, 4096),
    ProductShape(8192, 8192, 8192),
    ProductShape(16_384, 768, 3072),
    ProductShape(1024, 1024, 1024),
    ProductShape(512, 512, 512),
    ProductShape(64, 4096, 4096),
    ProductShape(256, 256, 256),
)
"""Sizes that a portfolio should serve when nothing was measured: large, training, skinny, small."""


_LARGEST = max(
    range(len(REFERENCE_SHAPES)), key=lambda i: REFERENCE_SHAPES[i].rows * REFERENCE_SHAPES[i].depth
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A timing out of the evidence file: of one config on one architecture at one shape."""

    kernel: str
    schedule: str
    arch: str
    config: Config
    shape: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A lawful config and the order in which the file lists it; `name` if the file names it."""

    config: Config
    order: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Selected:
    """A config to build. `yields` if small calls are left to the variants after it (see
    `fills_the_device`); `seconds` is what the cost model says of the largest reference shape."""

    config: Config
    name: str | None
    reason: str
    yields: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of `select`: the problem that the config is for, the schedule's name and preferences."""

    problem: StepProblem
    signature: Signature
    template: Template
    target: Target
    schedule: str
    prefers: tuple[Prefer, ...] = ()
    facts: Mapping[str, bool | int | float | str] | None = None
    measurements: tuple[Measurement, ...] = ()


def select(question: Question, candidates: Sequence[Candidate]) -> tuple[Selected, ...]:
    """The configs to build, in the order in which calls should try them. Empty only without candidates."""
    if not candidates:
        return ()
    named = [c for c in candidates if c.name is not None]
    if isinstance(question.problem, ProductProblem):
        chosen = _portfolio(question, candidates)
    else:
        chosen = _nearest_default(question, candidates)
    known = [selected.config for selected in chosen]
    extra = [Selected(c.config, c.name, "the file names this config") for c in named if c.config not in known]
    return (*extra, *chosen)


# ---- products -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rank:
    """What speaks for a config at one shape. `handicap` is how much slower than the best of the shape, at
    least 1."""

    measured: float | None
    violated: int
    estimate: Estimate
    handicap: float = math.inf


_OUTRANKED = 10.0
"""Handicap factor of a config that evidence or a `prefer` puts behind others, whatever the cost model
says."""

MAX_PAIRED = 100
"""Of this many best configs, every pair is considered."""

_WORTH_BUILDING = 1.05
"""A second config is built if it makes the reference shapes this much faster on average."""


def _portfolio(question: Question, candidates: Sequence[Candidate]) -> tuple[Selected, ...]:
    """The config that serves all reference shapes best; or, if that is worth a second build, the two that
    do so when calls whose large tiles would not fill the device are left to the smaller ones."""
    tables = [_ranks(question, candidates, shape) for shape in REFERENCE_SHAPES]
    columns = [[table[i] for table in tables] for i in range(len(candidates))]
    if not any(math.isfinite(rank.handicap) for column in columns for rank in column):
        return ()
    order = sorted(range(len(candidates)), key=lambda i: (_average(columns[i]), candidates[i].order))
    chosen = [order[0]]
    pairs = {
        (large, small): _average(
            [
                columns[large if _tiles(candidates[large].config, shape) >= question.target.sms else small][s]
                for s, shape in enumerate(REFERENCE_SHAPES)
            ]
        )
        for large, small in itertools.permutations(order[:MAX_PAIRED], 2)
        if _tile_area(candidates[large].config) > _tile_area(candidates[small].config) > 0
    }
    if pairs:
        best = min(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] * _WORTH_BUILDING < _average(columns[order[0]]):
            chosen = list(best)
    result = []
    for position, index in enumerate(chosen):
        others = [columns[i] for i in chosen if i != index]
        gain = [
            min((o[s].handicap for o in others), default=1.0) / r.handicap
            for s, r in enumerate(columns[index])
        ]
        at = max(range(len(gain)), key=lambda s: gain[s])
        why = _why(question, columns[index][at], REFERENCE_SHAPES[at], candidates)
        candidate = candidates[index]
        yields = position + 1 < len(chosen)
        seconds = columns[index][_LARGEST].estimate.seconds
        result.append(Selected(candidate.config, candidate.name, why, yields, seconds))
    return tuple(result)


def _tiles(config: Config, shape: ProductShape) -> int:
    tile_m, tile_n = config["tile_m"], config["tile_n"]
    assert isinstance(tile_m, int) and isinstance(tile_n, int)
    return -(-shape.rows // tile_m) * -(-shape.columns // tile_n)


def _average(ranks: Sequence[_Rank]) -> float:
    """Geometric mean of the handicaps."""
    return math.exp(sum(math.log(rank.handicap) for rank in ranks) / len(ranks))


def _ranks(question: Question, candidates: Sequence[Candidate], shape: ProductShape) -> list[_Rank]:
    """Every candidate at one shape, handicapped against the best: among those measured if any is, else among
    those that violate fewest preferences."""
    ranks = []
    for candidate in candidates:
        resources = question.template.resources(question.problem, question.signature, candidate.config)
        ranks.append(
            _Rank(
                _measured(question, candidate.config, shape),
                violated_prefers(question, candidate.config, shape),
                product_time(question.template, candidate.config, resources, shape, question.target),
            )
        )
    by_evidence = any(rank.measured is not None for rank in ranks)
    fewest = min(rank.violated for rank in ranks)
    seconds = [
        (r.measured if r.measured is not None else r.estimate.seconds)
        * (1.0 if (r.measured is not None if by_evidence else r.violated == fewest) else _OUTRANKED)
        for r in ranks
    ]
    best = min(seconds)
    if not math.isfinite(best):
        return ranks
    return [replace(rank, handicap=max(1.0, s / best)) for rank, s in zip(ranks, seconds, strict=True)]


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
        if isinstance(extent, list) and extent[0] == "dim":
            sizes[extent[1]] = number
    return sizes


def _measured(question: Question, config: Config, shape: ProductShape) -> float | None:
    sizes = _sizes(question, shape)
    found = [
        m.seconds
        for m in question.measurements
        if m.arch == question.target.arch
        and m.schedule == question.schedule
        and m.config == config
        and m.shape == sizes
    ]
    return min(found, default=None)


def violated_prefers(question: Question, config: Config, shape: ProductShape) -> int:
    """How many `prefer` statements apply to this shape and are false for this config."""
    env = Env().facts(question.facts or {}).knobs(config).dims(_sizes(question, shape))
    return sum(
        1
        for prefer in question.prefers
        if (prefer.when is None or evaluate(prefer.when, env) is True)
        and evaluate(prefer.proposition, env) is False
    )


def _why(question: Question, rank: _Rank, shape: ProductShape, candidates: Sequence[Candidate]) -> str:
    among = f"of {len(candidates)} lawful config{'s' if len(candidates) != 1 else ''}"
    where = f"at {shape} on {question.target.arch}"
    if rank.measured is not None:
        return f"measured fastest {among} {where}: {rank.measured * 1e6:.1f} us"
    preferred = f", {rank.violated} `prefer` violated" if rank.violated else ""
    time = f"{rank.estimate.seconds * 1e6:.0f} us, limited by {rank.estimate.limit}"
    return f"cost model: fastest {among} {where}: {time}{preferred}"


def _tile_area(config: Config) -> int:
    values = [config[knob] for knob in ("tile_m", "tile_n") if knob in config]
    return math.prod(value for value in values if isinstance(value, int)) if values else 0


def fills_the_device(problem: ProductProblem, config: Config, sms: int) -> Guard:
    """The guard that leaves a call to smaller tiles where these would not occupy every multiprocessor."""
    tiles = product(
        (
            ["ceil_div", size(problem.rows), config["tile_m"]],
            ["ceil_div", size(problem.columns), config["tile_n"]],
            size(problem.batch),
        )
    )
    return Guard(
        "choice", ["ge", tiles, sms], f"fewer tiles than {sms} multiprocessors: smaller ones are faster"
    )


# ---- the others -----------------------------------------------------------------------------------------


def _nearest_default(question: Question, candidates: Iterable[Candidate]) -> tuple[Selected, ...]:
    """The default where it is lawful. Element-wise, with vectors and without."""
    ordered = list(candidates)
    wanted = [question.template.defaults]
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
            chosen.append(Selected(best.config, best.name, reason, seconds=_seconds(question, best.config)))
    return tuple(chosen)


def _seconds(question: Question, config: Config) -> float:
    """What the cost model says, where schedules of one kernel are to be ordered by it."""
    if not isinstance(question.problem, AttentionProblem):
        return 0.0
    resources = question.template.resources(question.problem, question.signature, config)
    return attention_time(question.template, config, resources, question.target).seconds


def vector_width(problem: ElementwiseProblem, signature: Signature) -> int:
    """Elements that fill 16 bytes of the narrowest tensor that moves in vectors."""
    names = {load.tensor for load in vector_loads(problem, signature)} | {s.tensor for s in problem.outputs}
    dtypes: set[DType] = {dtype for name in names for dtype in signature.alternatives(name)}
    return min(8, 16 // min(dtype.bytes for dtype in dtypes))
