"""Constants of the cost model for `warp_specialized`, fitted to the times of points that `bench_matmul` has written.

    python -m tests.gpu.fit_cost_model TIMES.json… [--seconds 60] [--jobs 8] [--write] [--holdout]

A random walk from the constants as they are. What it lowers, over sizes: the logarithm of what the model's choice among
the points that were timed loses (the mean over all points within 1 % of its choice, so that no tie is luck), a fifth of
the spread of its errors over the points that are not hopeless, a tenth of its mean error. `--write` puts the constants
into the cost model. `--holdout` fits to half of the sizes and judges by the others.
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

import numpy as np
from numpy.typing import NDArray

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
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Times:
    """Seconds of each config (rows) at each size (columns), nan where it was not timed; those of torch.matmul."""

    sizes: tuple[tuple[int, int, int], ...]
    configs: tuple[dict[str, Any], ...]
    seconds: Numbers
    torch: Numbers

    def shape(self) -> ProductShape:
        """All sizes as one: arrays of their sides."""
        rows, columns, depth = np.array(self.sizes, float).T
        ragged = (depth * 2 % 128 != 0).astype(float)
        return ProductShape(rows, columns, depth, ragged=(ragged, ragged))

    def at(self, columns: NDArray[np.bool_]) -> Times:
        sizes = tuple(size for size, wanted in zip(self.sizes, columns, strict=True) if wanted)
        return Times(sizes, self.configs, self.seconds[:, columns], self.torch[columns])


def config_of(name: str, variant: str) -> dict[str, Any] | None:
    """Of a point by its name in `bench_matmul`, of what a call chose by its variant; nothing for other templates."""
    tile = r"(\d+)x(\d+)"
    point = re.fullmatch(rf"(coop|ping)_{tile}_s(\d+)_w(\d)_c(\d)_r(\d+)_k(\d)", name)
    chosen = re.fullmatch(rf"warp_specialized\.{tile}x64x(\d+)x(\d)x(\w+?)x(\d)x(\d+)x(\d)", variant)
    if point is not None:
        mode, *numbers = point.groups()
    elif chosen is not None and name == "spak":
        mode, numbers = chosen[5], [chosen[i] for i in (1, 2, 3, 4, 6, 7, 8)]
    else:
        return None
    knobs = ("tile_m", "tile_n", "stages", "consumers", "cluster", "raster", "split_k")
    modes = {"coop": "cooperative", "ping": "pingpong"}
    return {"mode": modes.get(mode, mode), "tile_k": 64, **dict(zip(knobs, map(int, numbers), strict=True))}


def times_of(paths: Sequence[Path]) -> Times:
    """Of the sizes in layout nt at which several configs were timed."""
    rows = [row for path in paths for row in json.loads(path.read_text())["rows"] if row["layout"] == "nt"]
    sizes, torch, found = [], [], []
    for row in rows:
        own = {}
        for name, subject in row["subjects"].items():
            config = config_of(name, subject.get("variant") or "")
            if config is not None:
                own[tuple(config.items())] = statistics.median(subject["seconds"])
        if len(own) > 1:
            sizes.append(tuple(row["sizes"]))
            torch.append(statistics.median(row["subjects"]["torch"]["seconds"]))
            found.append(own)
    configs = list(dict.fromkeys(config for own in found for config in own))
    seconds = np.array([[own.get(config, math.nan) for own in found] for config in configs])
    return Times(tuple(sizes), tuple(map(dict, configs)), seconds, np.array(torch))


def put(constants: Constants) -> None:
    for name, value in constants.items():
        setattr(cost_model, name, value)


def judged(times: Times) -> tuple[Numbers, Numbers, Numbers, NDArray[np.int64]]:
    """At each size what the choice loses, spread and mean of errors (all logarithms), and the choice."""
    shape, target = times.shape(), TARGETS["sm_90a"]
    known = [cost_model._persistent_time(config, shape, target).seconds for config in times.configs]
    timed = ~np.isnan(times.seconds)
    estimates = np.where(timed, np.array(known, float), math.inf)
    slower = np.log(times.seconds / np.nanmin(times.seconds, axis=0))
    ties = estimates <= 1.01 * estimates.min(axis=0)
    loss = np.where(ties, slower, 0).sum(axis=0) / ties.sum(axis=0)
    with np.errstate(invalid="ignore"):
        errors = np.where(slower < math.log(HOPELESS), np.log(estimates / times.seconds), math.nan)
    spread, mean = np.nanstd(errors, axis=0), np.abs(np.nanmean(errors, axis=0))
    return loss, spread, mean, estimates.argmin(axis=0)


def cost(constants: Constants, times: Times) -> float:
    put(constants)
    loss, spread, mean, _ = judged(times)
    return float((loss + 0.2 * spread + 0.1 * mean).mean())


def walk(work: tuple[int, float, Constants, Times]) -> tuple[float, Constants]:
    seed, seconds, best, times = work
    draw, end = random.Random(seed), time.monotonic() + seconds
    least = cost(best, times)
    while time.monotonic() < end:
        tried = dict(best)
        for name in draw.sample(sorted(tried), draw.choice((1, 1, 2, 3))):
            tried[name] *= math.exp(draw.gauss(0, draw.choice((0.05, 0.2, 0.6))))
        tried["MEMORY_SHARE"] = min(tried["MEMORY_SHARE"], 1.0)
        found = cost(tried, times)
        if found < least:
            least, best = found, tried
    return least, best


def fit(times: Times, seconds: float, jobs: int) -> Constants:
    start = {name: float(getattr(cost_model, name)) for name in FITTED}
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        found = pool.map(walk, [(seed, seconds, start, times) for seed in range(jobs)])
    constants = min(found, key=lambda each: each[0])[1]
    return {name: float(f"{value:.3g}") for name, value in constants.items()}


def tell(times: Times, constants: Constants) -> None:
    put(constants)
    loss, spread, mean, choices = judged(times)
    chosen = times.torch / times.seconds[choices, np.arange(len(times.sizes))]
    best = times.torch / np.nanmin(times.seconds, axis=0)
    for at, size in enumerate(times.sizes):
        knobs = "x".join(map(str, times.configs[choices[at]].values()))
        print(f"{size!s:25} loses {loss[at]:6.1%}, errors {spread[at]:.1%} around {mean[at]:.1%}", end="; ")
        print(f"{knobs} {chosen[at]:.3f} of {best[at]:.3f}")
    print(f"{len(times.sizes)} sizes: loses {loss.mean():.1%}, {(loss <= 0.02).sum()} within 2 %", end="; ")
    print(f"choice {statistics.geometric_mean(chosen):.3f}, best {statistics.geometric_mean(best):.3f}")


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
    times = times_of(given.times)
    before = {name: float(getattr(cost_model, name)) for name in FITTED}
    turn = np.arange(len(times.sizes)) // 2 % 2  # sizes come in pairs of two kinds (`bench_matmul.unlisted`)
    learned, judging = (turn == 0, turn == 1) if given.holdout else (turn >= 0, turn >= 0)
    constants = fit(times.at(learned), given.seconds, given.jobs) if given.seconds else before
    tell(times.at(judging), constants)
    print(constants)
    if given.write:
        write(constants)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
