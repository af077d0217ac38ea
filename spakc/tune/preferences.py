"""What times of configs say of a `prefer`: supported, contradicted, or too close to tell. Pure.

A `prefer` is a guess about what is fast. Against each other stand the fastest config that has what it wants and the
fastest that has not, on one device at one call that its `when` admits. Where the middle halves of their times
overlap, nothing is decided."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spakc.evidence import Row
from spakc.ir.constraint import Env, evaluate
from spakc.ir.module import Kernel, Prefer
from spakc.plan.launch import Config
from spakc.record import record
from spakc.tune.rows import STATEMENT

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"

Times = Mapping[str, Sequence[float]]
"""Seconds of configs, by key; without any where the config failed."""


@record
class Side:
    """The fastest config of one side."""

    config: Config
    samples: Sequence[float]

    @property
    def seconds(self) -> float:
        return statistics.median(self.samples)


@record
class Weighed:
    """One `prefer` at one call on one device. A side is None where none of its configs has a time."""

    call: Mapping[str, Any]
    device: str
    having: Side | None
    lacking: Side | None

    @property
    def verdict(self) -> str:
        if self.having is None or self.lacking is None:
            return UNDECIDED
        (low, high), (other_low, other_high) = _middle(self.having), _middle(self.lacking)
        if high < other_low:
            return SUPPORTED
        return CONTRADICTED if other_high < low else UNDECIDED


def weighed(prefer: Prefer, kernel: str, schedule: str, rows: Iterable[Row]) -> list[Weighed]:
    """Every call and device that fresh rows are about and its `when` admits, in the order of rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.statement == f"{STATEMENT}{kernel}.{schedule}" and _admits(prefer, row):
            groups.setdefault((repr(row.figures["call"]), row.device), []).append(row)
    return [
        Weighed(mine[0].figures["call"], device, *sides(prefer, _samples(mine)))
        for (_, device), mine in groups.items()
    ]


def sides(prefer: Prefer, timed: Iterable[tuple[Config, Sequence[float]]]) -> tuple[Side | None, Side | None]:
    """The fastest config with what is wanted, and the fastest without it."""
    fastest: dict[bool, Side] = {}
    for config, samples in timed:
        wanted = evaluate(prefer.proposition, Env().knobs(config))
        if samples and isinstance(wanted, bool):
            side = Side(config, samples)
            if wanted not in fastest or side.seconds < fastest[wanted].seconds:
                fastest[wanted] = side
    return fastest.get(True), fastest.get(False)


def verdict_of(calls: Sequence[Weighed]) -> str:
    """Of all calls together: one that contradicts is enough, since the `prefer` claims each."""
    found = {each.verdict for each in calls}
    return next((each for each in (CONTRADICTED, SUPPORTED) if each in found), UNDECIDED)


def preferences_of(
    kernels: Iterable[Kernel], rows: Sequence[Row]
) -> dict[tuple[str, str, Prefer], list[Weighed]]:
    """Every `prefer` of every schedule, by kernel and schedule, with what fresh rows say of it."""
    return {
        (kernel.name, schedule.name, prefer): weighed(prefer, kernel.name, schedule.name, rows)
        for kernel in kernels
        for schedule in kernel.schedules.values()
        for prefer in schedule.prefers
    }


def _admits(prefer: Prefer, row: Row) -> bool:
    call = row.figures["call"]
    return (
        prefer.when is None
        or evaluate(prefer.when, Env().dims(call["dims"]).options(call["options"])) is True
    )


def _samples(rows: Iterable[Row]) -> Iterable[tuple[Config, Sequence[float]]]:
    """The last times of each config."""
    last = {repr(sorted(row.figures["config"].items())): row.figures for row in rows}
    return [(figures["config"], tuple(figures.get("samples") or ())) for figures in last.values()]


def _middle(side: Side) -> tuple[float, float]:
    """Between which times the middle half lies."""
    if len(side.samples) < 4:
        return min(side.samples), max(side.samples)
    low, _, high = statistics.quantiles(side.samples, n=4, method="inclusive")
    return low, high
