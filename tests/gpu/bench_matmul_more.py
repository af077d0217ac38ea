"""What `bench_matmul` does not time of products: epilogues, element types, and the products of older devices.

    python -m tests.gpu.bench_matmul_more OUT.json [--rounds 9] [--seconds 0.02]

* epilogue: bias and GELU in the product, over the product alone. The same for torch: matmul, then gelu(x + bias).
* types: f16, and bf16 with an f32 result, beside torch.matmul (`out_dtype` for the latter).
* added: a product of bf16 that is added to f32 in place, beside torch's, added in a pass of its own.
* mma: the schedule `pipelined`, which any device since sm_80 runs, beside torch.matmul.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import spakc
from spak_runtime.bench import Effort, interleaved
from spak_runtime.function import KernelFunction
from tests.gpu.bench_matmul import EXAMPLE, LAYOUTS, Sizes, matrix

SIZES: tuple[Sizes, ...] = ((8192, 8192, 8192), (4096, 4096, 4096), (16_384, 3072, 768), (2048, 2048, 2048))

Calls = dict[str, Callable[[int], object]]


def sets_of(sizes: Sizes, layout: str, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Operands that push each other out of the cache."""
    m, n, k = sizes
    count = max(3, min(24, -(-160_000_000 // (2 * (m * k + n * k)))))
    a, b = LAYOUTS[layout]
    return [(matrix(m, k, a, dtype), matrix(k, n, b, dtype)) for _ in range(count)]


def ratios(calls: Calls, sets: int, effort: Effort, of: str, over: str) -> dict[str, Any]:
    """time(over) / time(of) by round: quartiles and median."""
    times = interleaved(calls, sets, effort)
    found = sorted(b / a for a, b in zip(times[of], times[over], strict=True))
    low, middle, high = statistics.quantiles(found, n=4)
    return {"ratio": middle, "quartiles": [low, high], "us": 1e6 * statistics.median(times[of])}


# ---- the device -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Buffers of one product."""

    sizes: Sizes
    layout: str = "nt"
    dtype: torch.dtype = torch.bfloat16
    result: torch.dtype = torch.bfloat16

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.sizes))} {self.layout}"

    def buffers(self) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[torch.Tensor]]:
        m, n, _ = self.sizes
        sets = sets_of(self.sizes, self.layout, self.dtype)
        return sets, [torch.empty(m, n, device="cuda", dtype=self.result) for _ in sets]


def epilogue(product: KernelFunction, case: Case, effort: Effort) -> dict[str, Any]:
    sets, outs = case.buffers()
    bias = torch.randn(case.sizes[1], device="cuda", dtype=case.dtype)
    calls: Calls = {
        "plain": lambda i: product(*sets[i], out=outs[i]),
        "gelu": lambda i: product(*sets[i], bias, activation="gelu", out=outs[i]),
        "torch": lambda i: torch.nn.functional.gelu(torch.matmul(*sets[i]) + bias),
    }
    cost = ratios(calls, len(sets), effort, "plain", "gelu")
    beside = ratios({name: calls[name] for name in ("gelu", "torch")}, len(sets), effort, "gelu", "torch")
    by = product.explain(*sets[0], bias, activation="gelu").variant
    print(f"bias, gelu {case}: {tell(cost)} of the time without; torch {tell(beside)}; by {by}", flush=True)
    return {"over plain": cost, "torch over ours": beside}


def types(product: KernelFunction, case: Case, effort: Effort) -> dict[str, Any]:
    sets, outs = case.buffers()
    wide = case.result is not case.dtype

    def theirs(i: int) -> object:
        return torch.mm(*sets[i], out_dtype=case.result) if wide else torch.mm(*sets[i], out=outs[i])

    calls: Calls = {"ours": lambda i: product(*sets[i], out=outs[i]), "torch": theirs}
    row = ratios(calls, len(sets), effort, "ours", "torch")
    print(f"{case.dtype} to {case.result} {case}: {tell(row)}", flush=True)
    return row


def added(_: KernelFunction, case: Case, effort: Effort) -> dict[str, Any]:
    sets, outs = case.buffers()
    kernel = spakc.load(Path(__file__).with_name("accumulate.spak")).accumulate
    calls: Calls = {
        "ours": lambda i: kernel(*sets[i], outs[i]),
        "torch": lambda i: outs[i].add_(torch.mm(*sets[i], out_dtype=case.result)),
    }
    row = ratios(calls, len(sets), effort, "ours", "torch")
    print(f"added {case}: {tell(row)}; by {kernel.explain(*sets[0], outs[0]).variant}", flush=True)
    return row


def older(product: KernelFunction, case: Case, effort: Effort) -> dict[str, Any]:
    """By `pipelined` alone; its own ceiling here is what mma.sync reaches, not wgmma."""
    sets, outs = case.buffers()
    mma = product.only(*(v.id for v in product.spec.variants if v.schedule == "pipelined"))
    calls: Calls = {
        "mma": lambda i: mma(*sets[i], out=outs[i]),
        "torch": lambda i: torch.mm(*sets[i], out=outs[i]),
    }
    row = ratios(calls, len(sets), effort, "mma", "torch")
    m, n, k = case.sizes
    print(f"mma.sync {case}: {2e-6 * m * n * k / row['us']:.0f} TFLOP/s, {tell(row)}", flush=True)
    return row


def tell(row: dict[str, Any]) -> str:
    low, high = row["quartiles"]
    return f"{row['ratio']:.3f} ({low:.3f} - {high:.3f})"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.02)
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    torch.manual_seed(0)
    product = spakc.load(EXAMPLE).matmul
    effort = Effort(given.rounds, given.seconds, 0.05)
    record: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    half, single = torch.float16, torch.float32
    plain = [Case(sizes) for sizes in SIZES]
    cases = {
        epilogue: plain,
        types: [
            *plain,
            *(Case(sizes, "nt", half, half) for sizes in SIZES),
            *(Case(sizes, "tn", result=single) for sizes in (*SIZES, (768, 3072, 16_384))),
        ],
        added: [Case(sizes, "tn", result=single) for sizes in (*SIZES, (768, 3072, 16_384))],
        older: plain,
    }
    for measure, asked in cases.items():
        record[measure.__name__] = {f"{c} {c.dtype} {c.result}": measure(product, c, effort) for c in asked}
        given.out.write_text(json.dumps(record))
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
