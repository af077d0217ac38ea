"""Products beside torch.matmul on the CUDA device at hand: every rung, and points of the space of
`warp_specialized` for its cost model to be judged by.

    python -m tests.gpu.bench_matmul OUT.json [--shapes cubes|gpt|ladder|WORD,…] [--layouts nt,nn,tn] [--rounds 11]
                                     [--configs WORD] [--no-check] [--show 4]

Before anything is timed, each variant is held to float64 (to float32 where that is too large) on ragged and on
round sizes, and two runs of it to the same bits. Times are taken in turns with torch.matmul on at least three
sets of buffers in CUDA graphs (`spak_runtime.bench`): a ratio is the median over rounds of time(torch) / time,
both in one round. Layouts name A and B as cuBLAS does: nt is x Wᵀ, a forward pass; nn the gradient of x; tn that
of W. A GPT-2 shape is the forward product (tokens x features out x features in); nn and tn are its gradients.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import spakc
from spak_runtime.bench import Effort, interleaved, operands, sets_for
from spak_runtime.errors import ArchError, NoVariantError
from spak_runtime.function import KernelFunction

EXAMPLE = Path(__file__).parents[2] / "examples" / "kernels" / "matmul.spak"

LAYOUTS = {"nt": ("row", "column"), "nn": ("row", "row"), "tn": ("column", "row")}

CUBES = {f"{n}³": (n, n, n) for n in (1024, 2048, 3072, 4096, 8192)}
FEATURES = {
    "proj": (768, 768),
    "qkv": (2304, 768),
    "up": (3072, 768),
    "down": (768, 3072),
    "vocab": (50304, 768),
}
TOKENS = (12_288, 16_384)
LADDER = {"2048³": (2048, 2048, 2048), "4096³": (4096, 4096, 4096)}

COOPERATIVE = [  # tile_m, tile_n, stages, consumers
    (128, 256, 4, 2),
    (128, 192, 5, 2),
    (256, 128, 4, 2),
    (256, 160, 3, 2),
    (192, 192, 4, 3),
    (192, 128, 5, 3),
    (128, 128, 6, 2),
    (64, 256, 4, 1),
    (64, 128, 6, 1),
]
PINGPONG = [
    (128, 160, 4, 2),
    (128, 128, 5, 2),
    (128, 96, 6, 2),
    (64, 256, 4, 2),
    (64, 192, 5, 2),
    (64, 128, 6, 2),
]


def space_text() -> str:
    """The product of the example with one schedule, every point of it named."""
    configs = []
    for mode, points in (("cooperative", COOPERATIVE), ("pingpong", PINGPONG)):
        for (m, n, stages, consumers), cluster in itertools.product(points, (1, 2)):
            configs.append(
                f"    config {mode[:4]}_{m}x{n}_s{stages}_c{cluster} {{ tile_m = {m}  tile_n = {n}  tile_k = 64  "
                f"stages = {stages}  consumers = {consumers}  mode = {mode}  cluster = {cluster}  "
                f"raster = 8  split_k = 1 }}"
            )
    text = EXAMPLE.read_text()
    head, schedules = text.split("  schedule naive", 1)
    hopper = "  schedule warp_specialized" + schedules.split("  schedule warp_specialized", 1)[1]
    before, after = hopper.split("    config big", 1)
    after = after.split("\n  }\n", 1)[1].split("\nclaim", 1)[0]
    naive = "  schedule naive { knob block in {16} }\n\n"
    return head + naive + before + "\n".join(configs) + "\n  }\n" + after


@dataclass(frozen=True)
class Subject:
    name: str
    call: KernelFunction


def rungs() -> list[Subject]:
    """Each schedule of the example alone, its variants choosing among themselves, and all of them together."""
    kernel = spakc.load(EXAMPLE).matmul
    found = [Subject("spak", kernel)]
    for schedule in dict.fromkeys(v.schedule for v in kernel.spec.variants):
        ids = [v.id for v in kernel.spec.variants if v.schedule == schedule]
        found.append(Subject(schedule, kernel.only(*ids)))
    return found


def points(wanted: str) -> list[Subject]:
    """Each named config of `space_text`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matmul.spak"
        path.write_text(space_text())
        kernel = spakc.load(path).matmul
    named = [
        v.id
        for v in kernel.spec.variants
        if v.id.startswith(("warp_specialized.coop", "warp_specialized.ping"))
    ]
    return [Subject(v.partition(".")[2], kernel.only(v)) for v in named if wanted in v]


# ---- correctness ----------------------------------------------------------------------------------------


def matrix(rows: int, columns: int, layout: str, dtype: torch.dtype) -> torch.Tensor:
    """Normal values whose rows (columns) begin at multiples of 16 bytes, whatever their length."""
    outer, inner = (rows, columns) if layout == "row" else (columns, rows)
    wide = torch.randn(outer, -(-inner // 8) * 8, device="cuda", dtype=dtype)[:, :inner]
    return wide if layout == "row" else wide.t()


@dataclass(frozen=True)
class Check:
    sizes: tuple[int, int, int]
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
]
CHECKS_OF_CONFIGS = [Check((1000, 3080, 1096), layout, plain=True) for layout in LAYOUTS]


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
    a, b = a.to(exact), b.to(exact)
    reference, size = a @ b, a.abs() @ b.abs()
    if bias is not None:
        inner = reference + bias.to(exact)
        reference, size = inner.relu().square(), (size + inner.abs()) * (2 * inner.abs() + 2)
    unit = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-22}[case.out]
    allowed = unit * reference.abs() + (k + 8) * 2.0**-23 * size + 1e-6
    worst = ((target.to(exact) - reference).abs() / allowed).max().item()
    if not worst <= 1:
        return f"an element is wrong by {worst:.3g} times what rounding explains"
    a, b = (x.to(case.dtype) for x in (a, b))
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


def shapes(wanted: str) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """Name, class and M, N, K of the forward product."""
    groups = {"cubes": CUBES, "ladder": LADDER}
    for word in wanted.split(","):
        if word in groups:
            for name, sizes in groups[word].items():
                yield name, word, sizes
        for tokens, (name, (n, k)) in itertools.product(TOKENS, FEATURES.items()):
            if word in ("gpt", name):
                yield f"{name}@{tokens}", "gpt", (tokens, n, k)
        if word in CUBES:
            yield word, "cubes", CUBES[word]


def sizes_in(layout: str, kind: str, forward: tuple[int, int, int]) -> tuple[int, int, int]:
    """M, N, K of the product that the layout stands for in training."""
    m, n, k = forward
    if kind != "gpt":
        return forward
    return {"nt": (m, n, k), "nn": (m, k, n), "tn": (n, k, m)}[layout]


def time_one(
    subjects: Sequence[Subject], sizes: tuple[int, int, int], layout: str, effort: Effort
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
    for subject in subjects:
        try:
            by[subject.name] = subject.call.explain(first["A"], first["B"], out=outs[0]).variant
        except (ArchError, NoVariantError):
            continue
        calls[subject.name] = lambda i, call=subject.call: call(sets[i]["A"], sets[i]["B"], out=outs[i])
    times = interleaved(calls, len(sets), effort)
    flops = 2.0 * m * n * k
    result = {}
    for name, seconds in times.items():
        ratios = sorted(t / s for t, s in zip(times["torch"], seconds, strict=True))
        quarter = len(ratios) // 4
        result[name] = {
            "variant": by.get(name),
            "tflops": flops / statistics.median(seconds) / 1e12,
            "ratio": statistics.median(ratios),
            "quartiles": [ratios[quarter], ratios[-1 - quarter]],
            "seconds": seconds,
        }
    return result


def show(name: str, layout: str, sizes: tuple[int, int, int], found: dict[str, Any], most: int) -> None:
    ordered = sorted((n for n in found if n != "torch"), key=lambda n: -found[n]["ratio"])
    print(f"{name} {layout} {sizes}: torch {found['torch']['tflops']:.0f} TFLOP/s", flush=True)
    for subject in [n for n in ordered if n in ordered[:most] or n == "spak"]:
        row = found[subject]
        low, high = row["quartiles"]
        by = f" by {row['variant']}" if subject == "spak" else ""
        print(
            f"  {subject:28s} {row['tflops']:6.1f}  {row['ratio']:.3f} ({low:.3f}-{high:.3f}){by}", flush=True
        )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--shapes", default="ladder,cubes,gpt")
    parser.add_argument("--layouts", default="nt,nn,tn")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.02, help="of one subject in one round")
    parser.add_argument(
        "--configs", default="", help="only configs whose name contains this; `none` for none"
    )
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--show", type=int, default=4, help="rows printed of each table")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    torch.manual_seed(0)
    ladder = rungs()
    fast = [s for s in ladder if s.name in ("spak", "warp_specialized", "pipelined")]
    configs = [] if given.configs == "none" else points(given.configs)
    torch.backends.cuda.matmul.allow_tf32 = False
    if not given.no_check and not (check_all(ladder, CHECKS) and check_all(configs, CHECKS_OF_CONFIGS)):
        return 1
    effort = Effort(given.rounds, given.seconds, 0.05)
    rows: list[dict[str, Any]] = []
    record = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "effort": [effort.rounds, effort.seconds, effort.warm],
        "rows": rows,
    }
    for (name, kind, forward), layout in itertools.product(shapes(given.shapes), given.layouts.split(",")):
        sizes = sizes_in(layout, kind, forward)
        found = time_one(ladder if kind == "ladder" else [*fast, *configs], sizes, layout, effort)
        show(name, layout, sizes, found, 8 if kind == "ladder" else given.show)
        rows.append({"shape": name, "class": kind, "layout": layout, "sizes": sizes, "subjects": found})
        given.out.write_text(json.dumps(record))
        torch.cuda.empty_cache()
    for kind in dict.fromkeys(row["class"] for row in rows):
        ratios = [row["subjects"]["spak"]["ratio"] for row in rows if row["class"] == kind]
        best = [
            max(s["ratio"] for n, s in row["subjects"].items() if n != "torch")
            for row in rows
            if row["class"] == kind
        ]
        print(f"{kind}: geometric mean of {len(ratios)}: chosen {statistics.geometric_mean(ratios):.3f}, ")
        print(
            f"  best of all that were timed {statistics.geometric_mean(best):.3f}, worst chosen {min(ratios):.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
