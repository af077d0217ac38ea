"""The template of rows that are read once: in vectors, and what several passes need stays in registers."""

from __future__ import annotations

from dataclasses import replace

from spak_runtime.manifest import Expression, Guard
from spakc.ir.ops import Load
from spakc.plan.launch import Config, Requirements, Signature, StepProblem, lower
from spakc.plan.problem import RowsProblem
from spakc.plan.resources import Resources
from spakc.plan.template import LaunchShape, Template, TemplateKnob, one_of
from spakc.plan.templates_attention import compiled_sizes
from spakc.plan.templates_product import size
from spakc.plan.templates_rows import REDUCER_BYTES, SHORT_ROW, along_rows
from spakc.plan.vector_guards import vector_requirements
from spakc.plan.vectors import innermost_offset, row_passes

_LADDER = ((32, 1), (32, 3), (32, 4), (256, 2), (256, 4), (1024, 2))
"""Threads and vectors a thread by growing length of the row: in eights, up to 256, 768, 1024, 4096, 8192, 16384
elements."""

_ROWS, _ROWS_WITH_COLUMNS = 4, 8
"""Rows of a block where each is one warp's. Sums down columns want few blocks: each writes a part of all columns."""

_NARROW = 128
"""Elements of a row that eight threads read in few vectors."""

_LONGEST_WAY = (256, 0)
"""Rows longer than registers hold are read once for each pass, from the cache after the first."""


def _number(config: Config, knob: str) -> int:
    value = config[knob]
    assert isinstance(value, int)
    return value


def _rows(config: Config) -> int:
    """Rows that a block computes at a time."""
    return _number(config, "rows") if _number(config, "threads") <= 32 else 1


def _cannot(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, RowsProblem)
    if len(problem.reduced) != 1:
        return "a row runs along several indices"
    if not row_passes(problem, signature).all:
        return "nothing is read along the row"
    (along,) = problem.reduced
    stores = (*problem.element_outputs, *problem.column_sums)
    if any(innermost_offset(store.indices, along.name) is None for store in stores):
        return "an output does not run along the row"
    return along_rows(replace(problem, column_sums=()), signature)


def _refuses(problem: StepProblem, signature: Signature, config: Config) -> str | None:
    assert isinstance(problem, RowsProblem)
    if _number(config, "chunks") == 0 and problem.column_sums:
        return "the columns of a row that is not held have no registers to be summed in"
    if _number(config, "threads") < 32 and problem.column_sums:
        return "several rows of a warp do not sum down columns"
    if _number(config, "chunks") > 0 and not row_passes(problem, signature).held:
        return "no pass reads what another has read: there is nothing to hold"
    return None


def _vectors(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, RowsProblem)
    (along,) = problem.reduced
    stores = (Load(s.tensor, s.indices) for s in (*problem.element_outputs, *problem.column_sums))
    accesses = (*row_passes(problem, signature).all, *stores)
    return vector_requirements(along, accesses, _number(config, "vector"), signature)


def _requirements(problem: StepProblem, signature: Signature, config: Config) -> Requirements:
    assert isinstance(problem, RowsProblem)
    vector, threads, chunks = (_number(config, knob) for knob in ("vector", "threads", "chunks"))
    guards = list(_vectors(problem, signature, config).guards)
    length = size(problem.reduced)
    if chunks > 0:
        most = threads * vector * chunks
        guards.append(Guard("held", ["le", length, most], f"registers hold rows of up to {most} elements"))
    elif threads <= 32:
        reason = f"a row of up to {SHORT_ROW} elements is one warp's work"
        guards.append(Guard("short_rows", ["le", length, SHORT_ROW], reason))
    return Requirements(tuple(guards))


def _shape(problem: StepProblem, signature: Signature, config: Config) -> LaunchShape:
    """Sums down columns have as many blocks as parts. Else each block computes its rows and is done, or there are some
    blocks a multiprocessor."""
    assert isinstance(problem, RowsProblem)
    threads, rows, kept = _number(config, "threads"), _rows(config), size(problem.kept)
    blocks: Expression = kept if rows == 1 else ["ceil_div", kept, rows]
    if problem.parts is not None:
        blocks = lower(problem.parts.extent)
    elif _number(config, "blocks") > 0:
        blocks = ["min", blocks, ["mul", ["fact", "sms"], config["blocks"]]]
    together = max((len(one.sums) for one in row_passes(problem, signature).reducing), default=0)
    shared = REDUCER_BYTES * together * threads // 32 if threads > 32 else 0
    if problem.column_sums and threads == 32:
        shared = (
            rows * len(problem.column_sums) * 4 * 32 * _number(config, "chunks") * _number(config, "vector")
        )
    return LaunchShape((blocks, 1, 1), threads * rows, shared)


def _resources(problem: StepProblem, signature: Signature, config: Config) -> Resources:
    """What is held, of the widest dtype, the sums down columns, and some thirty registers for the rest."""
    assert isinstance(problem, RowsProblem)
    elements = _number(config, "chunks") * _number(config, "vector")
    passes = row_passes(problem, signature)
    held = sum(signature.largest_element(load.tensor) for load in (*passes.held, *passes.fixed))
    held += 4 * len(problem.column_sums)
    shape = _shape(problem, signature, config)
    assert isinstance(shape.threads, int) and isinstance(shape.shared_bytes, int)
    return Resources(shape.threads, 30 + held * elements // 4, shape.shared_bytes)


def _ladder(problem: StepProblem, signature: Signature) -> tuple[Config, ...]:
    """Short rows first; each config leaves longer ones to the next."""
    assert isinstance(problem, RowsProblem)
    steps: tuple[tuple[int, int], ...] = _LADDER if row_passes(problem, signature).held else ((32, 0),)
    if not problem.column_sums:
        steps = (*steps, _LONGEST_WAY)
    rows = _ROWS_WITH_COLUMNS if problem.column_sums else _ROWS
    return tuple({"threads": t, "chunks": c, "vector": 8, "rows": rows, "blocks": 0} for t, c in steps)


HELD = Template(
    family="rows",
    name="held",
    path="rows/held.cu.j2",
    summary="some threads, a warp or a block compute one row, read once, in vectors, and held in registers",
    knobs=(
        TemplateKnob(
            "threads",
            "threads",
            "8, 16, 32, 128, 256, 512 or 1024",
            one_of(8, 16, 32, 128, 256, 512, 1024),
            256,
            "threads that share a row",
            (32, 256, 512, 1024),
        ),
        TemplateKnob(
            "chunks",
            "vectors",
            "0, 1, 2, 3, 4, 6 or 8",
            one_of(0, 1, 2, 3, 4, 6, 8),
            4,
            "vectors of a row that a thread holds; with 0, each pass reads the row again",
            (0, 1, 2, 3, 4),
        ),
        TemplateKnob(
            "vector", "elements", "4 or 8", one_of(4, 8), 8, "neighbours that a thread moves together"
        ),
        TemplateKnob(
            "rows",
            "rows",
            "1, 2, 4, 8, 16 or 32",
            one_of(1, 2, 4, 8, 16, 32),
            _ROWS,
            "rows that a block computes at a time, where at most 32 threads share one",
            (_ROWS, _ROWS_WITH_COLUMNS),
        ),
        TemplateKnob(
            "blocks",
            "blocks",
            "0 to 8",
            one_of(*range(9)),
            0,
            "blocks for each multiprocessor, which go on from row to row; 0: as many as there are rows for",
        ),
    ),
    needs=(),
    cannot=_cannot,
    requirements=_requirements,
    shape=_shape,
    resources=_resources,
    refuses=_refuses,
    ladder=_ladder,
)


def _long(problem: StepProblem, signature: Signature) -> str | None:
    assert isinstance(problem, RowsProblem)
    sizes = [compiled_sizes(index, signature) for index in problem.reduced]
    if any(known is None or max(known) > _NARROW for known in sizes):
        return f"rows may be longer than {_NARROW} elements"
    return _cannot(problem, signature)


BESIDE = replace(
    HELD,
    knobs=tuple(
        replace(knob, default={"threads": 32, "chunks": 0}.get(knob.name, knob.default))
        for knob in HELD.knobs
    ),
    requirements=_vectors,
)
"""The same for rows that a launch beside a product or attention computes: a warp a row, which reads it again in each
pass. Calls have many rows of one head or one token there; where a row is long, this is slower and as right."""

NARROW_BESIDE = replace(
    BESIDE,
    knobs=tuple(
        replace(knob, default={"threads": 8, "rows": 16}.get(knob.name, knob.default))
        for knob in BESIDE.knobs
    ),
    cannot=_long,
)
"""The same for rows that are known to be narrow, such as those of one head: eight threads a row."""
