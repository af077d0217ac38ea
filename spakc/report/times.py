"""Measured times of kernels, from evidence to the points of charts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping

from spakc.bench.questions import Question, options_of, questions
from spakc.bench.work import compulsory_bytes, operations
from spakc.evidence import Row
from spakc.figures import key_of
from spakc.ir.module import Module
from spakc.plan.problem import Problem
from spakc.record import record
from spakc.target import TARGETS, Target


@record
class Timing:
    """One subject of a claim at one point: rates in FLOP/s, one a round. `library` is empty for the kernel of
    the file. `intensity` is FLOP a byte that any computation of it must move."""

    claim: str
    call: str
    library: str
    rates: tuple[float, ...]
    intensity: float
    device: str
    target: str
    date: str

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@record
class Roof:
    """The most that a device does: FLOP/s of dense 16-bit products, bytes/s, both as documented."""

    device: str
    flops: float
    bandwidth: float

    def at(self, intensity: float) -> float:
        return min(self.flops, self.bandwidth * intensity)

    @property
    def ridge(self) -> float:
        return self.flops / self.bandwidth


def timings(module: Module, problems: Mapping[str, Problem | None], rows: Iterable[Row]) -> Iterator[Timing]:
    """Every rate that the evidence holds for a claim as the file now states it, the last row of each claim and
    target."""
    last = {(row.statement, row.meaning, row.target): row for row in sorted(rows, key=lambda r: r.date)}
    asked = [each for each in questions(module) if isinstance(each, Question)]
    for question in asked:
        for (statement, meaning, _), row in last.items():
            if (statement, meaning) == (question.statement.id, question.statement.meaning):
                yield from _of_row(module, problems, question, row)


def _of_row(
    module: Module, problems: Mapping[str, Problem | None], question: Question, row: Row
) -> Iterator[Timing]:
    found = {
        each["query"]: each["samples"]
        for each in row.figures.get("quantities", ())
        if each.get("at") == dict(question.point) and each.get("samples")
    }
    for query, call, library in question.subjects:
        kernel = module.kernels[call.kernel]
        work = operations(problems.get(call.kernel), call.dims, options_of(kernel, call))
        samples = found.get(key_of(query))
        if work is None or samples is None:
            continue
        rates = tuple(s if query.name == "speed" else work / s for s in samples)
        yield Timing(
            question.statement.id.removeprefix("claim "),
            str(call),
            library or "",
            rates,
            work / compulsory_bytes(kernel, call.dims, call.dtype),
            row.device,
            row.target,
            row.date,
        )


def roof_of(module: Module, target: str) -> Roof | None:
    """The roof of a device of the file; None for one whose architecture is not known."""
    device = module.devices.get(target)
    arch: Target | None = TARGETS.get(device.arch) if device is not None else None
    if device is None or arch is None:
        return None
    stated = device.facts.get("bandwidth")
    return Roof(
        target, arch.tensor_flops, float(stated) if isinstance(stated, int | float) else arch.bandwidth
    )
