"""Constants of the cost model for `warp_specialized`, fitted to the times of points that `bench_matmul` has written.

    python -m tests.gpu.fit_cost_model TIMES.json… [--seconds 60] [--jobs 8] [--write] [--holdout]

A random walk from the constants as they are. What it lowers, over sizes: the logarithm of what the model's choice among
the points that were timed loses (the mean over all points within 1 % of its choice, so that no tie is luck), a fifth of
the spread of its errors over the points that are not hopeless, a tenth of its mean error. `--write` puts the constants
into the cost model. `--holdout` fits to every other size and judges by the rest.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spakc.plan import cost_model
from spakc.plan.cost_model import ProductShape
from spakc.target import TARGETS

FITTED = (
    *("PATH", "ALL", "NARROW", "TMA_LATENCY", "SHALLOW", "WGMMA_STEP", "CLUSTER_COST", "STORED_ACCUMULATOR"),
    *(
        "STORED_SLAB",
        "TILE",
        "EXCHANGE",
        "CLUSTER_BANDWIDTH",
        "MEMORY_SHARE",
        "TMA_FACTOR",
    ),
    *("RAGGED", "CLUSTER_RAGGED", "CLUSTER_START"),
)
HOPELESS = 1.5
"""Points that take longer than the best by this factor say nothing about errors."""

Constants = dict[str, float]


@dataclass(frozen=True)
class Row:
    """The points that were timed at one size, and their seconds."""

    shape: ProductShape
    configs: tuple[dict[str, Any], ...]
    seconds: tuple[float, ...]
    torch: float


def config_of(name: str) -> dict[str, Any] | None:
    """Of a point's name in `bench_matmul`."""
    found = re.fullmatch(r"(coop|ping)_(\d+)x(\d+)_s(\d+)_w(\d)_c(\d)_r(\d+)_k(\d)", name)
    if found is None:
        return None
    knobs = ("tile_m", "tile_n", "stages", "consumers", "cluster", "raster", "split_k")
    mode = {"coop": "cooperative", "ping": "pingpong"}[found[1]]
    return {"mode": mode, "tile_k": 64, **dict(zip(knobs, map(int, found.groups()[1:]), strict=True))}


def rows_of(path: Path) -> list[Row]:
    found = []
    for row in json.loads(path.read_text())["rows"]:
        if row["layout"] != "nt":
            continue
        m, n, k = row["sizes"]
        out_of_step = int(k * 2 % 128 != 0)
        times = {name: statistics.median(s["seconds"]) for name, s in row["subjects"].items()}
        points = [(c, times[name]) for name in times if (c := config_of(name)) is not None]
        if len(points) > 1:
            configs, seconds = zip(*points, strict=True)
            shape = ProductShape(m, n, k, ragged=(out_of_step, out_of_step))
            found.append(Row(shape, configs, seconds, times["torch"]))
    return found


def put(constants: Constants) -> None:
    for name, value in constants.items():
        setattr(cost_model, name, value)


def judged(row: Row) -> tuple[float, float, float, int]:
    """What the choice loses, spread and mean of errors (all logarithms), and the choice."""
    target = TARGETS["sm_90a"]
    estimates = [float(cost_model._persistent_time(c, row.shape, target).seconds) for c in row.configs]  # type: ignore[arg-type]
    choice, best = min(range(len(estimates)), key=estimates.__getitem__), min(row.seconds)
    near = [s for e, s in zip(estimates, row.seconds, strict=True) if e <= 1.01 * estimates[choice]]
    loss = statistics.fmean(math.log(s / best) for s in near)
    errors = [math.log(e / s) for e, s in zip(estimates, row.seconds, strict=True) if s < HOPELESS * best]
    return loss, statistics.pstdev(errors), abs(statistics.fmean(errors)), choice


def cost(constants: Constants, rows: Sequence[Row]) -> float:
    put(constants)
    return statistics.fmean(loss + 0.2 * s + 0.1 * m for loss, s, m, _ in map(judged, rows))


def walk(work: tuple[int, float, Constants, list[Row]]) -> tuple[float, Constants]:
    seed, seconds, best, rows = work
    draw, end = random.Random(seed), time.monotonic() + seconds
    least = cost(best, rows)
    while time.monotonic() < end:
        tried = dict(best)
        for name in draw.sample(sorted(tried), draw.choice((1, 1, 2, 3))):
            tried[name] *= math.exp(draw.gauss(0, draw.choice((0.05, 0.2, 0.6))))
        tried["MEMORY_SHARE"] = min(tried["MEMORY_SHARE"], 1.0)
        found = cost(tried, rows)
        if found < least:
            least, best = found, tried
    return least, best


def fit(rows: list[Row], seconds: float, jobs: int) -> Constants:
    start = {name: float(getattr(cost_model, name)) for name in FITTED}
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        found = pool.map(walk, [(seed, seconds, start, rows) for seed in range(jobs)])
    constants = min(found, key=lambda each: each[0])[1]
    return {name: float(f"{value:.3g}") for name, value in constants.items()}


def tell(rows: Sequence[Row], constants: Constants) -> None:
    put(constants)
    chosen, best, losses = [], [], []
    for row in rows:
        loss, spread, mean, choice = judged(row)
        chosen.append(row.torch / row.seconds[choice])
        best.append(row.torch / min(row.seconds))
        losses.append(loss)
        knobs = "x".join(str(v) for v in row.configs[choice].values())
        print(f"{row.shape!s:45} loses {loss:6.1%}, errors {spread:.1%} around {mean:.1%}")
        print(f"{'':45} {knobs} {chosen[-1]:.3f} of {best[-1]:.3f}")
    mean, most = statistics.geometric_mean(chosen), statistics.geometric_mean(best)
    within = sum(loss <= 0.02 for loss in losses)
    print(f"{len(rows)} sizes: loses {statistics.fmean(losses):.1%}, {within} within 2 %", end="")
    print(f"; choice {mean:.3f}, best {most:.3f}")


def write(constants: Constants) -> None:
    path = Path(str(cost_model.__file__))
    text = path.read_text()
    for name, value in constants.items():
        if name in ("PATH", "ALL"):
            continue
        text, found = re.subn(rf"^{name} = .*$", f"{name} = {value:g}", text, flags=re.M)
        assert found == 1, name
    text = re.sub(
        r"^PATH, ALL = .*$", f"PATH, ALL = {constants['PATH']:g}, {constants['ALL']:g}", text, flags=re.M
    )
    path.write_text(text)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("times", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--holdout", action="store_true")
    given = parser.parse_args(arguments)
    rows = [row for path in given.times for row in rows_of(path)]
    before = {name: float(getattr(cost_model, name)) for name in FITTED}
    constants = (
        fit(rows[::2] if given.holdout else rows, given.seconds, given.jobs) if given.seconds else before
    )
    tell(rows[1::2] if given.holdout else rows, constants)
    print(constants)
    if given.write:
        write(constants)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
