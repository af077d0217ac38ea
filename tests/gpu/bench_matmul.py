"""Products beside torch.matmul on the CUDA device at hand: what a call chooses, and points of the space of
`warp_specialized` for its cost model to be judged by.

    python -m tests.gpu.bench_matmul OUT.json [--shapes large,training,skinny,small|MxNxK,…] [--layouts nt,nn,tn]
                                     [--points all|none|WORD,…] [--rounds 7] [--check all|points|none] [--show 4]
                                     [--unlisted] [--near 2]

All that is timed is built first, on every core. Before anything is timed, each variant is held to float64 (to float32
where that is too large) on ragged and on round sizes, and two runs of it to the same bits. Times are taken in turns
with torch.matmul on at least three sets of buffers in CUDA graphs (`spak_runtime.bench`): a ratio is the median over
rounds of time(torch) / time, both in one round. `--unlisted` adds 30 sizes that nobody chose,
in the first layout. `--near` leaves out
points that the cost model takes to be slower than its best by more than that factor. `alone` is what a call chooses,
without launches that begin before the kernel before them has ended. Layouts name A and B as cuBLAS does: nt is x Wᵀ, a
forward pass; nn the gradient of x; tn that of W.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import spakc
from spak_runtime.bench import Effort, interleaved, operands, sets_for
from spak_runtime.cache import KernelCache, digest
from spak_runtime.errors import ArchError, NoVariantError
from spak_runtime.function import KernelFunction
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.specialise import Binding, build_request

EXAMPLE = Path(__file__).parents[2] / "examples" / "kernels" / "matmul.spak"

LAYOUTS = {"nt": ("row", "column"), "nn": ("row", "row"), "tn": ("column", "row")}

Sizes = tuple[int, int, int]

SHAPES: dict[str, tuple[Sizes, ...]] = {  # M, N, K
    "large": (
        (8192, 8192, 8192),
        (4096, 4096, 4096),
        (16_384, 16_384, 4096),
        (8192, 8192, 512),
        (4000, 4000, 4000),
        (8192, 28_672, 4096),
    ),
    "training": (
        (16_384, 768, 768),
        (16_384, 2304, 768),
        (16_384, 3072, 768),
        (16_384, 768, 3072),
        (16_384, 50_304, 768),
        (768, 3072, 16_384),
        (2304, 768, 16_384),
    ),
    "skinny": (
        (16_384, 1024, 256),
        (16_384, 256, 1024),
        (256, 1024, 16_384),
        (64, 4096, 4096),
        (16, 8192, 8192),
    ),
    "small": ((2048, 2048, 2048), (1024, 1024, 1024), (512, 512, 512)),
}


@dataclass(frozen=True)
class Point:
    """A config of `warp_specialized`."""

    mode: str
    tile_m: int
    tile_n: int
    stages: int
    consumers: int
    cluster: int = 1
    raster: int = 8
    split_k: int = 1

    @property
    def name(self) -> str:
        tile = f"{self.mode[:4]}_{self.tile_m}x{self.tile_n}_s{self.stages}"
        return f"{tile}_w{self.consumers}_c{self.cluster}_r{self.raster}_k{self.split_k}"

    def __str__(self) -> str:
        knobs = ("tile_m", "tile_n", "stages", "consumers", "mode", "cluster", "raster", "split_k")
        values = "  ".join(f"{knob} = {getattr(self, knob)}" for knob in knobs)
        return f"    config {self.name} {{ {values}  tile_k = 64 }}"


def unlisted(count: int = 30, seed: int = 5) -> tuple[Sizes, ...]:
    """Sizes that nobody chose, the same ones each time: between 64 and 16384 by their logarithm, M as it comes, N
    and K multiples of 8 (rows begin where TMA may), half of them all multiples of 64; none takes more than 2 ms or less
    than 1 us at 600 TFLOP/s."""
    draw = random.Random(seed)
    found: list[Sizes] = []
    while len(found) < count:
        m, n, k = (round(2 ** draw.uniform(6, 14)) for _ in range(3))
        step = 64 if len(found) % 2 else 8
        m, n, k = (-(-m // step) * step if step == 64 else m, -(-n // step) * step, -(-k // step) * step)
        if 0.3e9 <= m * n * k <= 600e9:
            found.append((m, n, k))
    return tuple(found)


SHAPES["unlisted"] = unlisted()

COOPERATIVE = (  # tile_m, tile_n, stages, consumers
    (128, 256, 4, 2),
    (128, 192, 4, 2),
    (256, 128, 4, 2),
    (192, 192, 4, 3),
    (192, 128, 5, 3),
    (128, 144, 5, 2),
    (128, 128, 6, 2),
    (128, 64, 8, 2),
    (64, 256, 5, 1),
    (64, 128, 8, 1),
    (64, 64, 8, 1),
    (64, 32, 8, 1),
)
PINGPONG = (
    (128, 176, 5, 2),
    (128, 160, 5, 2),
    (128, 128, 6, 2),
    (128, 96, 6, 2),
    (64, 256, 4, 2),
    (64, 192, 6, 2),
    (64, 128, 8, 2),
    (64, 64, 8, 2),
)
SPLITS = (
    (128, 256, 4, 2),
    (128, 192, 4, 2),
    (128, 128, 6, 2),
    (64, 128, 8, 1),
    (64, 64, 8, 1),
)
CLUSTERS = (
    ("cooperative", (128, 256, 4, 2)),
    ("cooperative", (128, 192, 4, 2)),
    ("cooperative", (128, 128, 6, 2)),
    ("pingpong", (128, 160, 5, 2)),
    ("pingpong", (128, 128, 6, 2)),
    ("pingpong", (64, 192, 6, 2)),
    ("pingpong", (64, 128, 8, 2)),
)
POINTS = (
    *(
        Point(mode, *tile)
        for mode, tiles in (("cooperative", COOPERATIVE), ("pingpong", PINGPONG))
        for tile in tiles
    ),
    *(Point(mode, *tile, cluster=2) for mode, tile in CLUSTERS),
    *(Point("cooperative", *tile, split_k=k) for tile in SPLITS for k in (2, 4) if tile[1] % (16 * k) == 0),
)


def space_text(points: Sequence[Point]) -> str:
    """The product of the example with one schedule, these points of it named."""
    text = EXAMPLE.read_text()
    head, schedules = text.split("  schedule naive", 1)
    hopper = "  schedule warp_specialized" + schedules.split("  schedule warp_specialized", 1)[1]
    before, after = hopper.split("    config big", 1)
    after = after.split("\n  }\n", 1)[1].split("\nclaim", 1)[0]
    naive = "  schedule naive { knob block in {16} }\n\n"
    return head + naive + before + "\n".join(map(str, points)) + "\n  }\n" + after


@dataclass(frozen=True)
class Subject:
    name: str
    call: KernelFunction


def rungs() -> list[Subject]:
    """Each schedule of the example alone, its variants choosing among themselves, and all of them together."""
    kernel = spakc.load(EXAMPLE).matmul
    found = [Subject("spak", kernel), Subject("alone", without_overlap(kernel))]
    for schedule in dict.fromkeys(v.schedule for v in kernel.spec.variants):
        ids = [v.id for v in kernel.spec.variants if v.schedule == schedule]
        found.append(Subject(schedule, kernel.only(*ids)))
    return found


def without_overlap(kernel: KernelFunction) -> KernelFunction:
    """The same variants, each launch of which waits for the end of the kernel before it."""
    variants = tuple(
        replace(variant, launches=tuple(replace(launch, overlaps=False) for launch in variant.launches))
        for variant in kernel.spec.variants
    )
    shared = replace(kernel._shared, namespace=f"{kernel._shared.namespace}_alone")
    return KernelFunction(replace(kernel.spec, variants=variants, gradients=()), shared)


def points(wanted: str) -> list[Subject]:
    """Each of POINTS whose name holds one of these words; all points share one artifact."""
    words = [] if wanted == "none" else [""] if wanted == "all" else wanted.split(",")
    chosen = [point for point in POINTS if any(word in point.name for word in words)]
    if not chosen:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matmul.spak"
        path.write_text(space_text(chosen))
        kernel = spakc.load(path).matmul
    return [Subject(p.name, kernel.only(f"warp_specialized.{p.name}")) for p in chosen]


def build(request: BuildRequest) -> None:
    KernelCache().build(request)


def build_all(subjects: Sequence[Subject], layouts: Sequence[str]) -> None:
    """Fills the kernel cache with what will be timed: bf16, no bias, no activation."""
    requests = {}
    for subject in subjects:
        kernel = subject.call
        for variant, layout in itertools.product(kernel.spec.variants, layouts):
            if "sm_90a" not in variant.archs:
                continue
            binding = Binding(
                dict.fromkeys(("A", "B", "bias", "C"), "bf16"),
                dict(zip(("A", "B"), LAYOUTS[layout], strict=True)),
                {"bias": False},
                {"activation": "identity"},
            )
            sources = kernel._shared.sources
            for launch in variant.launches:
                request = build_request(sources.kernels, sources.headers, variant, launch, binding, "sm_90a")
                requests[digest(request, "")] = request
    with multiprocessing.get_context("spawn").Pool() as pool:
        pool.map(build, requests.values(), chunksize=1)
    print(f"built {len(requests)} kernels", flush=True)


# ---- correctness ----------------------------------------------------------------------------------------


def matrix(rows: int, columns: int, layout: str, dtype: torch.dtype) -> torch.Tensor:
    """Normal values whose rows (columns) begin at multiples of 16 bytes, whatever their length."""
    outer, inner = (rows, columns) if layout == "row" else (columns, rows)
    wide = torch.randn(outer, -(-inner // 8) * 8, device="cuda", dtype=dtype)[:, :inner]
    return wide if layout == "row" else wide.t()


@dataclass(frozen=True)
class Check:
    sizes: Sizes
    layout: str
    dtype: torch.dtype = torch.bfloat16
    out: torch.dtype = torch.bfloat16
    plain: bool = False  # no bias, no activation: what is timed


CHECKS = [
    Check((1000, 3080, 1096), "nt"),
    Check((456, 776, 584), "nn", torch.float16, torch.float16),
    Check((515, 523, 131), "tn", torch.bfloat16, torch.float32),
    Check((8, 16, 8), "nn"),
    Check((1, 4096, 72), "nt", torch.bfloat16, torch.float32),
    Check((4096, 4096, 4096), "tn"),
    Check((300, 200, 40), "nn"),
]
CHECKS_OF_POINTS = [Check((1000, 3080, 1096), layout, plain=True) for layout in LAYOUTS]


def check(call: KernelFunction, case: Check) -> str:
    """What is wrong, or nothing."""
    (m, n, k), layouts = case.sizes, LAYOUTS[case.layout]
    a, b = matrix(m, k, layouts[0], case.dtype), matrix(k, n, layouts[1], case.dtype)
    bias = None if case.plain else torch.randn(n, device="cuda", dtype=case.dtype)
    how = {"activation": "identity" if case.plain else "relu_squared"}
    target = torch.full((m, -(-n // 8) * 8), torch.nan, device="cuda", dtype=case.out)[:, :n]
    try:
        call(a, b, bias, out=target, **how)
    except NoVariantError:
        return "refused"
    first = target.clone()
    exact = torch.float64 if m * n * k < 2**32 else torch.float32
    wide_a, wide_b = a.to(exact), b.to(exact)
    reference, size = wide_a @ wide_b, wide_a.abs() @ wide_b.abs()
    if bias is not None:
        inner = reference + bias.to(exact)
        reference, size = inner.relu().square(), (size + inner.abs()) * (2 * inner.abs() + 2)
    unit = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-22}[case.out]
    allowed = unit * reference.abs() + (k + 8) * 2.0**-23 * size + 1e-6
    worst = ((target.to(exact) - reference).abs() / allowed).max().item()
    if not worst <= 1:
        return f"an element is wrong by {worst:.3g} times what rounding explains"
    for _ in range(4):
        target.fill_(torch.nan)
        call(a, b, bias, out=target, **how)
        if not torch.equal(target, first):
            return "two runs differ"
    return ""


def check_all(subjects: Sequence[Subject], cases: Sequence[Check]) -> bool:
    right = True
    for subject in subjects:
        found = {case: check(subject.call, case) for case in cases}
        wrong = [f"{case}: {why}" for case, why in found.items() if why not in ("", "refused")]
        refused = sum(why == "refused" for why in found.values())
        verdict = "; ".join(wrong) or f"right, {len(cases) - refused} of {len(cases)} asked"
        print(f"check {subject.name}: {verdict}", flush=True)
        right &= not wrong and refused < len(cases)
    return right


# ---- times ----------------------------------------------------------------------------------------------


def shapes(wanted: str) -> Iterator[tuple[str, Sizes]]:
    """Class and sizes."""
    for word in wanted.split(","):
        if word in SHAPES:
            yield from ((word, sizes) for sizes in SHAPES[word])
        else:
            m, n, k = map(int, word.split("x"))
            yield "asked", (m, n, k)


def estimate(call: KernelFunction, *args: torch.Tensor) -> float:
    """Seconds by the cost model; infinite where no variant serves."""
    try:
        choice = call._choose(call.signature.resolve(call.signature.bind(args, {})), {})
    except (ArchError, NoVariantError):
        return math.inf
    return math.inf if choice.seconds is None else choice.seconds


def time_one(
    subjects: Sequence[Subject], sizes: Sizes, layout: str, effort: Effort, near: float
) -> dict[str, Any]:
    m, n, k = sizes
    spec, dims = subjects[0].call.spec, {"M": m, "N": n, "K": k}
    chosen = dict(zip(("A", "B"), LAYOUTS[layout], strict=True))
    device = torch.device("cuda")
    first = operands(spec, dims, "bf16", chosen, 0, device)
    sets = [first, *(operands(spec, dims, "bf16", chosen, s, device) for s in range(1, sets_for(first)))]
    outs = [torch.empty(m, n, device=device, dtype=torch.bfloat16) for _ in sets]
    calls: dict[str, Any] = {"torch": lambda i: torch.matmul(sets[i]["A"], sets[i]["B"], out=outs[i])}
    by = {}
    seconds_of = {s.name: estimate(s.call, first["A"], first["B"]) for s in subjects}
    limit = near * min(seconds_of.values())
    for subject in subjects:
        if subject.name not in ("spak", "alone") and not seconds_of[subject.name] <= limit:
            continue
        by[subject.name] = subject.call.explain(first["A"], first["B"], out=outs[0]).variant
        calls[subject.name] = lambda i, call=subject.call: call(sets[i]["A"], sets[i]["B"], out=outs[i])
    times = interleaved(calls, len(sets), effort)
    flops = 2.0 * m * n * k
    result = {}
    for name, seconds in times.items():
        ratios = sorted(t / s for t, s in zip(times["torch"], seconds, strict=True))
        quarter = len(ratios) // 4
        result[name] = {
            "variant": by.get(name),
            "estimate": seconds_of.get(name),
            "tflops": flops / statistics.median(seconds) / 1e12,
            "ratio": statistics.median(ratios),
            "quartiles": [ratios[quarter], ratios[-1 - quarter]],
            "seconds": seconds,
        }
    return result


def show(layout: str, sizes: Sizes, found: dict[str, Any], most: int) -> None:
    ordered = sorted((n for n in found if n != "torch"), key=lambda n: -found[n]["ratio"])
    shape = "x".join(map(str, sizes))
    print(f"{shape} {layout}: torch {found['torch']['tflops']:.0f} TFLOP/s", flush=True)
    for subject in [n for n in ordered if n in ordered[:most] or n in ("spak", "alone")]:
        row = found[subject]
        low, high = row["quartiles"]
        by = f" by {row['variant']}" if subject == "spak" else ""
        figures = f"{row['tflops']:6.1f}  {row['ratio']:.3f} ({low:.3f}-{high:.3f}){by}"
        print(f"  {subject:28s} {figures}", flush=True)


def summary(rows: Sequence[dict[str, Any]]) -> None:
    for kind in (*dict.fromkeys(row["class"] for row in rows), ""):
        own = [r["subjects"] for r in rows if kind in ("", r["class"]) and "spak" in r["subjects"]]
        chosen = [subjects["spak"]["ratio"] for subjects in own]
        alone = [subjects["alone"]["ratio"] for subjects in own]
        best = [max(s["ratio"] for n, s in subjects.items() if n != "torch") for subjects in own]
        mean, most = statistics.geometric_mean(chosen), statistics.geometric_mean(best)
        print(
            f"{kind or 'all'} ({len(own)}): geometric mean of what a call chooses {mean:.3f}, worst "
            f"{min(chosen):.3f} (without overlap {statistics.geometric_mean(alone):.3f}, {min(alone):.3f}); "
            f"of the best that was timed {most:.3f}"
        )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", default="large,training,skinny,small")
    parser.add_argument("--layouts", default="nt,nn,tn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="of one subject in one round")
    parser.add_argument("--points", default="all", help="those whose names hold one of these words")
    parser.add_argument("--check", default="all", choices=("all", "points", "none"))
    parser.add_argument("--unlisted", action="store_true", help="30 sizes from a fixed seed as well")
    parser.add_argument(
        "--near", type=float, default=math.inf, help="leave out what the model takes for slower"
    )
    parser.add_argument("--warm", type=float, default=0.05, help="seconds of one subject before it is timed")
    parser.add_argument("--show", type=int, default=4, help="rows printed of each table")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    layouts = given.layouts.split(",")
    wanted = given.shapes + (",unlisted" if given.unlisted else "")
    ladder, chosen = rungs(), points(given.points)
    build_all([*ladder[:1], *chosen], sorted({*layouts, *(LAYOUTS if given.check != "none" else ())}))
    if given.check == "all" and not check_all(ladder, CHECKS):
        return 1
    if given.check != "none" and not check_all(chosen, CHECKS_OF_POINTS):
        return 1
    effort = Effort(given.rounds, given.seconds, given.warm)
    rows: list[dict[str, Any]] = []
    record = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "effort": [effort.rounds, effort.seconds, effort.warm],
        "rows": rows,
    }
    for (kind, sizes), layout in itertools.product(shapes(wanted), layouts):
        if kind == "unlisted" and layout != layouts[0]:
            continue
        found = time_one([*ladder[:2], *chosen], sizes, layout, effort, given.near)
        show(layout, sizes, found, given.show)
        rows.append({"class": kind, "layout": layout, "sizes": sizes, "subjects": found})
        given.out.write_text(json.dumps(record))
        torch.cuda.empty_cache()
    summary(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
