"""Intervals for claims, from recorded figures: Wilson, bootstrap over seeds then samples, and of a
difference.

A claim compares two sides; its interval is that of their difference, so one rule covers a figure against a
constant, two figures, a ratio or a mean of ratios. Everything is deterministic: the generator is seeded by
the caller, and the same figures give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from spakc.record import record

Floats: TypeAlias = NDArray[np.float64]

RESAMPLES = 4000
"""Bootstrap resamples; the ends of a 95 % interval then move by a few per cent of its width between seeds."""


@record
class Interval:
    """Two-sided; `estimate` lies within, `low` and `high` may be equal where nothing varies."""

    low: float
    estimate: float
    high: float


@record
class Counts:
    """Successes out of samples, one entry a seed: `hits[i]` of `totals[i]`. Samples of one seed are not
    independent of each other, seeds are."""

    hits: tuple[int, ...]
    totals: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(self.totals)

    @property
    def estimate(self) -> float:
        """Pooled over the seeds."""
        return sum(self.hits) / sum(self.totals)


@record
class Samples:
    """Repeated measurements; the figure is their median. Two with the same `rounds` were taken
    interleaved, so that the i-th of both saw the same machine; they are resampled together."""

    values: tuple[float, ...]
    rounds: str = ""

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def estimate(self) -> float:
        return float(np.median(np.asarray(self.values)))


@record
class Exact:
    """A figure without uncertainty: a count of bytes or parameters."""

    value: float

    @property
    def size(self) -> int:
        return 1

    @property
    def estimate(self) -> float:
        return self.value


Quantity: TypeAlias = Counts | Samples | Exact


def quantile(confidence: float) -> float:
    """z of a two-sided interval: 1.96 for 95 %."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(hits: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion. Raises ValueError unless 0 <= hits <= total and 1 <= total."""
    if total < 1 or not 0 <= hits <= total:
        raise ValueError(f"{hits} hits of {total} samples")
    z, p = quantile(confidence), hits / total
    scale = 1 + z * z / total
    centre = (p + z * z / (2 * total)) / scale
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / scale
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == total else min(1.0, centre + half)
    return Interval(low, p, high)


def combined(
    figure: Callable[[Sequence[Floats]], Floats],
    quantities: Sequence[Quantity],
    confidence: float,
    seed: int = 0,
) -> Interval:
    """The interval of `figure(quantities)`, a function of one array a quantity, element by element.

    Two constructions, and what is reported encloses both: percentiles of the figure over bootstrap draws
    (seeds, then samples), and the propagation of each quantity's own interval (for two proportions Newcombe's
    interval of a difference, for one against a constant Wilson's). The first sees seeds that disagree, the
    second does not collapse where all samples agree. Where every proportion has one seed and nothing was
    measured repeatedly, the second alone is exact enough and is used alone."""
    estimates = [np.array([q.estimate]) for q in quantities]
    centre = float(figure(estimates)[0])
    if not math.isfinite(centre):
        raise ValueError("the figure has no finite value")
    low, high = _propagated(figure, quantities, confidence, centre)
    if any(_varies(q) for q in quantities):
        drawn = figure(_draws(quantities, seed))
        drawn = drawn[np.isfinite(drawn)]
        if drawn.size:
            ends = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
            low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    return Interval(min(low, centre), centre, max(high, centre))


def _varies(quantity: Quantity) -> bool:
    return isinstance(quantity, Samples) or (isinstance(quantity, Counts) and len(quantity.totals) > 1)


def _draws(quantities: Sequence[Quantity], seed: int) -> list[Floats]:
    """Resampled figures, one array a quantity."""
    generator = np.random.default_rng(seed)
    rounds: dict[tuple[str, int], NDArray[np.int64]] = {}
    drawn: list[Floats] = []
    for quantity in quantities:
        match quantity:
            case Exact(value=value):
                drawn.append(np.full(RESAMPLES, value))
            case Counts(hits=hits, totals=totals):
                n, k = np.asarray(totals), np.asarray(hits)
                chosen = generator.integers(len(totals), size=(RESAMPLES, len(totals)))
                again = generator.binomial(n[chosen], (k / n)[chosen])
                drawn.append(again.sum(axis=1) / n[chosen].sum(axis=1))
            case Samples(values=values, rounds=name):
                size = len(values)
                chosen = generator.integers(size, size=(RESAMPLES, size))
                if name:
                    chosen = rounds.setdefault((name, size), chosen)
                drawn.append(np.median(np.asarray(values)[chosen], axis=1))
    return drawn


def _propagated(
    figure: Callable[[Sequence[Floats]], Floats],
    quantities: Sequence[Quantity],
    confidence: float,
    centre: float,
) -> tuple[float, float]:
    """Variance recovery: each proportion moves to the ends of its own interval, and the distances by
    which the figure follows add up in squares. Repeated measurements are left to the bootstrap."""
    below = above = 0.0
    for i, quantity in enumerate(quantities):
        if not isinstance(quantity, Counts):
            continue
        own = wilson(sum(quantity.hits), sum(quantity.totals), confidence)
        moved = []
        for end in (own.low, own.high):
            values = [np.array([end if j == i else q.estimate]) for j, q in enumerate(quantities)]
            value = float(figure(values)[0])
            moved.append(value if math.isfinite(value) else math.copysign(math.inf, value))
        below += (centre - min(centre, *moved)) ** 2
        above += (max(centre, *moved) - centre) ** 2
    return centre - math.sqrt(below), centre + math.sqrt(above)


def geometric_mean(values: Sequence[Floats]) -> Floats:
    """Element by element over the sequence; NaN where a value is not positive."""
    stacked = np.stack(list(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.exp(np.mean(np.log(np.where(stacked > 0, stacked, np.nan)), axis=0)))
