"""Intervals against textbook values and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from spakc.statistics import Counts, Exact, Interval, Quantity, Samples, combined, geometric_mean, wilson


def interval_of(quantity: Quantity, confidence: float, seed: int = 0) -> Interval:
    return combined(lambda values: values[0], [quantity], confidence, seed)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (997, 1000, 0.9912, 0.9990),
        (990, 1000, 0.9817, 0.9946),
        (13, 21, 0.4088, 0.7925),
        (16, 21, 0.5491, 0.8937),
        (0, 1000, 0.0, 0.0038),
        (1000, 1000, 0.9962, 1.0),
    ],
)
def test_wilson(hits: int, total: int, low: float, high: float) -> None:
    interval = wilson(hits, total)
    assert interval.low == pytest.approx(low, abs=1e-4) and interval.high == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(("hits", "total"), [(1, 0), (2, 1), (-1, 5)])
def test_wilson_of_nonsense(hits: int, total: int) -> None:
    with pytest.raises(ValueError):
        wilson(hits, total)


def test_one_seed_is_wilson_exactly() -> None:
    assert interval_of(Counts((997,), (1000,)), 0.95) == wilson(997, 1000)


def test_seeds_that_agree_perfectly_keep_wilsons_width() -> None:
    interval = interval_of(Counts((1000,) * 5, (1000,) * 5), 0.95)
    assert interval.low == pytest.approx(wilson(5000, 5000).low) and interval.high == 1.0


def test_seeds_that_disagree_widen_the_interval() -> None:
    pooled = wilson(2985, 4000)
    spread = interval_of(Counts((1000, 485, 1000, 500), (1000,) * 4), 0.95)
    assert spread.low < pooled.low - 0.1 and spread.high > pooled.high + 0.1


def test_difference_of_two_proportions_is_newcombes() -> None:
    # Newcombe 1998, method 10, case (a): 56/70 against 48/80 gives 0.0524 to 0.3339.
    interval = combined(lambda v: v[0] - v[1], [Counts((56,), (70,)), Counts((48,), (80,))], 0.95)
    assert interval.low == pytest.approx(0.0524, abs=1e-4) and interval.high == pytest.approx(
        0.3339, abs=1e-4
    )


def test_interleaved_rounds_cancel_the_machines_drift() -> None:
    rng = np.random.default_rng(0)
    drift = rng.uniform(0.7, 1.3, 60)
    ours, theirs = 1.05 * drift * rng.normal(1, 0.004, 60), drift * rng.normal(1, 0.004, 60)

    def ratio(rounds: str) -> float:
        pair = [Samples(tuple(ours), rounds), Samples(tuple(theirs), rounds)]
        interval = combined(lambda v: v[0] / v[1], pair, 0.95)
        assert interval.low <= 1.05 <= interval.high
        return interval.high - interval.low

    assert ratio("a") < 0.2 * ratio("")


def test_exact_figures_have_no_width() -> None:
    interval = combined(lambda v: v[0] / v[1], [Exact(84_964_608), Exact(7_100_160)], 0.95)
    assert interval.low == interval.high == pytest.approx(11.9666, abs=1e-4)


def test_same_figures_same_interval() -> None:
    figures = [Samples(tuple(float(i % 7) + 1 for i in range(40)))]
    assert interval_of(figures[0], 0.9, seed=5) == interval_of(figures[0], 0.9, seed=5)


def test_geometric_mean() -> None:
    assert geometric_mean([np.array([1.0, 2.0]), np.array([4.0, 8.0])]).tolist() == pytest.approx([2.0, 4.0])
    assert np.isnan(geometric_mean([np.array([-1.0]), np.array([4.0])])[0])


@pytest.mark.parametrize("seeds", [1, 8])
def test_coverage_by_simulation(seeds: int) -> None:
    """A nominal 95 % interval covers the truth about that often: between 90 % and 100 % of 200 runs."""
    rng = np.random.default_rng(1)
    covered = 0
    for run in range(200):
        rates = np.clip(rng.normal(0.9, 0.03 if seeds > 1 else 0.0, seeds), 0, 1)
        hits = tuple(int(h) for h in rng.binomial(200, rates))
        interval = interval_of(Counts(hits, (200,) * seeds), 0.95, seed=run)
        covered += interval.low <= 0.9 <= interval.high
    assert covered >= 180
