"""Attention of `examples/kernels/fmha.spak` beside cuDNN and FlashAttention-2 (both as PyTorch has them) on the CUDA
device at hand: what a call chooses, and every fused variant by itself.

    python -m tests.gpu.bench_attention OUT.json [--cases all|listed|more|BxHxSxD,…] [--masks full,causal]
                                        [--passes forward,backward] [--only WORD,…] [--rounds 7] [--check all|none]
                                        [--points TILE_QxTILE_KxSTAGESxCONSUMERSxGRIDxPOLYNOMIAL,…]

All that is timed is built first, on every core. Before anything is timed, each variant is held to float64 on small
ragged problems (grouped heads, more queries than keys, a window, a soft cap), and two runs of it to the same bits. A
forward pass writes the logsumexp that its backward pass reads; peers do, too. Times are taken in turns on at least
three sets of buffers in CUDA graphs (`spak_runtime.bench`), standard normal inputs. TFLOP/s count 4 B H Sq Sk D
operations forward and 2.5 times as many backward, half of them under a causal mask. A ratio is the median over rounds
of time(cuDNN) / time, both in one round.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import spakc
from spak_runtime.bench import Effort, interleaved, sets_for
from spak_runtime.cache import KernelCache, digest
from spak_runtime.errors import ArchError, NoVariantError
from spak_runtime.expressions import Environment, ExpressionError, evaluate
from spak_runtime.function import KernelFunction
from spak_runtime.manifest import Variant
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.specialise import Binding, build_request

EXAMPLE = Path(__file__).parents[2] / "examples" / "kernels" / "fmha.spak"
ARCH = "sm_90a"
TOO_SLOW = 30.0
"""A variant that takes so many times as long as cuDNN is not timed."""

Tensors = dict[str, torch.Tensor]
aten = torch.ops.aten


@dataclass(frozen=True)
class Shape:
    batch: int
    heads: int
    queries: int
    width: int
    groups: int = 0  # 0: as many as heads
    keys: int = 0  # 0: as many as queries

    def __str__(self) -> str:
        heads = str(self.heads) + (f"/{self.groups}" if self.groups else "")
        return f"{self.batch},{heads},{self.queries}{f'x{self.keys}' if self.keys else ''},{self.width}"

    def inputs(self, dtype: torch.dtype = torch.bfloat16) -> Tensors:
        groups, keys = self.groups or self.heads, self.keys or self.queries
        sizes = {"Q": (self.heads, self.queries), "K": (groups, keys), "V": (groups, keys)}
        return {
            name: torch.randn(self.batch, *size, self.width, device="cuda", dtype=dtype)
            for name, size in sizes.items()
        }

    def flops(self, causal: bool, backward: bool) -> float:
        whole = 4.0 * self.batch * self.heads * self.queries * (self.keys or self.queries) * self.width
        return whole * (0.5 if causal else 1.0) * (2.5 if backward else 1.0)


CASES: dict[str, tuple[Shape, ...]] = {
    "listed": (
        Shape(16, 16, 1024, 64),
        Shape(8, 16, 2048, 64),
        Shape(4, 16, 4096, 64),
        Shape(1, 16, 16_384, 64),
        Shape(16, 16, 1024, 128),
        Shape(4, 16, 4096, 128),
        Shape(1, 16, 16_384, 128),
        Shape(64, 12, 1024, 64),
        Shape(512, 4, 64, 64),
    ),
    "more": (
        Shape(8, 16, 2048, 128),
        Shape(8, 16, 1000, 64),
        Shape(2, 16, 3333, 128),
        Shape(4, 32, 2048, 128, groups=8),
        Shape(16, 24, 512, 64),
    ),
}


def cases(wanted: str) -> Iterator[Shape]:
    for word in (*CASES,) if wanted == "all" else wanted.split(","):
        yield from CASES[word] if word in CASES else (Shape(*map(int, word.split("x"))),)


def load(points: Sequence[str]) -> Any:
    """The kernels of the example, with these points of `v4_tma` named so that each is built."""
    if not points:
        return spakc.load(EXAMPLE)
    knobs = ("tile_q", "tile_k", "stages", "consumers", "grid", "polynomial")
    configs = "".join(
        f"    config {'c' + point.replace('x', '_')} {{ "
        + "  ".join(f"{knob} = {value}" for knob, value in zip(knobs, point.split("x"), strict=True))
        + " }\n"
        for point in points
    )
    head, tail = EXAMPLE.read_text().split("  schedule v4_tma", 1)
    domains = {"tile_k": "64..192 step 16", "polynomial": "{0, 4, 8, 16}"}
    for knob, domain in domains.items():
        tail = re.sub(rf"knob {knob} in \{{[^}}]*\}}", f"knob {knob} in {domain}", tail, count=1)
    before, after = tail.split("    let  smem_bytes", 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fmha.spak"
        path.write_text(f"{head}  schedule v4_tma{before}{configs}    let  smem_bytes{after}")
        return spakc.load(path)


# ---- who is timed ---------------------------------------------------------------------------------------


def alone(kernel: KernelFunction, only: Sequence[str]) -> dict[str, KernelFunction]:
    """Every fused variant for this architecture by itself, and all together as `spak`."""
    found = {"spak": kernel}
    for variant in kernel.spec.variants:
        fused = not variant.schedule.startswith("unfused") and ARCH in variant.archs
        if fused and (not only or any(word in variant.id for word in only)):
            found[variant.id] = kernel.only(variant.id)
    return found


def admits(variant: Variant, width: int) -> bool:
    """Whether any call with rows of this width may get the variant."""
    for guard in variant.guards:
        with contextlib.suppress(ExpressionError, KeyError):
            if not evaluate(guard.condition, Environment(dims={"D": width})):
                return False
    return True


def build(request: BuildRequest) -> str:
    try:
        KernelCache().build(request)
    except Exception as error:  # what cannot be built is reported and not timed
        return f"{request.name}: {error}"[:400]
    return ""


def build_all(kernels: Sequence[KernelFunction], only: Sequence[str], dtypes: Sequence[str]) -> None:
    """Fills the kernel cache with what will be checked and timed."""
    requests: dict[str, BuildRequest] = {}
    for kernel in kernels:
        for variant in (k.spec.variants[0] for n, k in alone(kernel, only).items() if n != "spak"):
            for dtype, causal, width in itertools.product(dtypes, (True, False), (64, 128)):
                if not admits(variant, width):
                    continue
                names = dict.fromkeys((t.name for t in kernel.spec.tensors if t.name != "L"), dtype)
                binding = Binding({**names, "L": "f32"}, {}, {}, {"causal": causal}, {"D": width})
                sources = kernel._shared.sources
                for launch in variant.launches:
                    request = build_request(sources.kernels, sources.headers, variant, launch, binding, ARCH)
                    requests[digest(request, "")] = request
    with multiprocessing.get_context("spawn").Pool() as pool:
        failed = [why for why in pool.imap_unordered(build, requests.values()) if why]
    print(f"built {len(requests) - len(failed)} kernels", *failed, sep="\n  ", flush=True)


def cudnn(inputs: Tensors, causal: bool) -> tuple[Any, ...]:
    q, k, v = (inputs[name] for name in "QKV")
    return aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False)  # type: ignore[no-any-return]


def cudnn_backward(inputs: Tensors, saved: tuple[Any, ...], causal: bool) -> object:
    q, k, v, grad = (inputs[name] for name in ("Q", "K", "V", "grad_O"))
    out, lse, cum_q, cum_k, max_q, max_k, seed, offset, _ = saved
    rest = (seed, offset, None, cum_q, cum_k, max_q, max_k, 0.0, causal)
    return aten._scaled_dot_product_cudnn_attention_backward(grad, q, k, v, out, lse, *rest)


def flash(inputs: Tensors, causal: bool) -> tuple[Any, ...]:
    q, k, v = (inputs[name] for name in "QKV")
    return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)  # type: ignore[no-any-return]


def flash_backward(inputs: Tensors, saved: tuple[Any, ...], causal: bool) -> object:
    q, k, v, grad = (inputs[name] for name in ("Q", "K", "V", "grad_O"))
    out, lse, cum_q, cum_k, max_q, max_k, seed, offset, _ = saved
    rest = (cum_q, cum_k, max_q, max_k, 0.0, causal, seed, offset)
    return aten._scaled_dot_product_flash_attention_backward(grad, q, k, v, out, lse, *rest)


PEERS: dict[str, tuple[Callable[..., tuple[Any, ...]], Callable[..., object]]] = {
    "cudnn": (cudnn, cudnn_backward),
    "flash2": (flash, flash_backward),
}


# ---- correctness ----------------------------------------------------------------------------------------


def exact(inputs: Tensors, causal: bool, softcap: float, window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and logsumexp in the dtype of the inputs; a row without a key gives zeros and -inf."""
    q, k, v = (inputs[name] for name in "QKV")
    share, queries, keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    rows, columns = (torch.arange(size, device=q.device) for size in (queries, keys))
    behind = rows[:, None] + keys - queries - columns
    seen = torch.ones_like(behind, dtype=torch.bool)
    seen &= (behind >= 0) if causal else seen
    seen &= (behind < window) if window else seen
    empty = ~seen.any(-1, keepdim=True)
    masked = scores.masked_fill(~seen, -torch.inf).masked_fill(empty, 0.0)
    sums = torch.logsumexp(masked, -1).masked_fill(empty[:, 0], -torch.inf)
    return torch.softmax(masked, -1).masked_fill(empty, 0.0) @ v, sums


CHECKS: tuple[tuple[Shape, dict[str, Any]], ...] = (
    (Shape(2, 3, 384, 128), {"causal": True}),
    (Shape(1, 4, 1000, 64, groups=2), {"causal": True}),
    (Shape(1, 2, 1000, 128), {"causal": False}),
    (Shape(1, 2, 700, 64), {"causal": False}),
    (Shape(2, 2, 300, 64, keys=140), {"causal": True}),  # the first rows see no key
    (Shape(1, 2, 77, 128, keys=650), {"causal": True}),
    (Shape(1, 2, 520, 64), {"causal": True, "window": 33}),
    (Shape(1, 2, 500, 128), {"causal": True, "softcap": 5.0}),
    (Shape(40, 16, 256, 64), {"causal": False}),  # several tiles a block
    (Shape(24, 16, 300, 128), {"causal": True}),
)


def close(ours: torch.Tensor, theirs: torch.Tensor, units: float) -> str:
    """What is wrong, or nothing: in units of the dtype, of the element and of the largest one."""
    unit = torch.finfo(ours.dtype).eps
    allowed = units * unit * (theirs.abs() + theirs[theirs.isfinite()].abs().max())
    different = torch.where(ours.double() == theirs, 0.0, (ours.double() - theirs).abs())
    worst = (different / allowed).max().item()
    return "" if worst <= 1 else f"wrong by {worst:.3g} times what rounding explains"


def check(forward: KernelFunction | None, backward: KernelFunction | None, dtype: torch.dtype) -> str:
    """What is wrong with one of the two passes, or nothing."""
    refused = 0
    kernel = forward or backward
    assert kernel is not None
    same_bits = not any(launch.unordered for variant in kernel.spec.variants for launch in variant.launches)
    for shape, how in CHECKS:
        inputs = shape.inputs(dtype)
        wide = {name: t.double().requires_grad_() for name, t in inputs.items()}
        output, sums = exact(wide, **{"softcap": 0.0, "window": 0} | how)
        made = {"O": output.detach().to(dtype), "L": sums.detach().float()}
        made["grad_O"] = torch.randn_like(made["O"])
        try:
            if forward is not None:
                runs = [forward(**inputs, **how) for _ in range(4)]
                wrong = close(runs[0][0], output.detach(), 2) or close(runs[0][1], sums.detach(), 512)
            else:
                assert backward is not None
                runs = [backward(**inputs, **made, **how) for _ in range(4)]
                slopes = torch.autograd.grad(output, tuple(wide.values()), made["grad_O"].double())
                wrong = "".join(close(a, b, 6) for a, b in zip(runs[0], slopes, strict=True))
        except NoVariantError:
            refused += 1
            continue
        runs = runs if same_bits else []
        if not wrong and any(
            not torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True)
        ):
            wrong = "two runs differ"
        if wrong:
            return f"{shape} {how} {dtype}: {wrong}"
    return "" if refused < len(CHECKS) else "no check was asked of it"


# ---- times ----------------------------------------------------------------------------------------------


def subjects(
    shape: Shape, causal: bool, backward: bool, kernels: Mapping[str, KernelFunction], chosen: KernelFunction
) -> tuple[dict[str, Callable[[int], object]], int, str]:
    """Calls by name (each takes the number of a set of buffers), how many sets there are, and the variant that a
    call chooses."""
    first = shape.inputs()
    many = sets_for(first) if not backward else max(3, sets_for(first) // 2)
    sets = [first, *(shape.inputs() for _ in range(1, many))]
    calls: dict[str, Callable[[int], object]] = {}
    for name, (run, run_back) in PEERS.items():
        try:
            saved = [run(inputs, causal) for inputs in sets]
        except RuntimeError as error:
            print(f"  {name} declines {shape}: {str(error)[:100]}")
            continue
        for inputs, made in zip(sets, saved, strict=True):
            if backward and "grad_O" not in inputs:
                inputs |= {"grad_O": torch.randn_like(made[0])}
        if backward:
            calls[name] = lambda i, call=run_back, made=saved: call(sets[i], made[i], causal)
        else:
            calls[name] = lambda i, call=run: call(sets[i], causal)
    if backward:
        for inputs in sets:
            inputs["O"], inputs["L"] = chosen(**{name: inputs[name] for name in "QKV"}, causal=causal)
    by = ""
    for name, kernel in kernels.items():
        try:
            why = kernel.explain(**first, causal=causal)
        except (ArchError, NoVariantError):
            continue
        by = why.variant or "" if name == "spak" else by
        calls[name] = lambda i, call=kernel: call(**sets[i], causal=causal)
    return calls, many, by


def once(call: Callable[[int], object]) -> float:
    """Seconds of one call, roughly."""
    call(0)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call(0)
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3


def time_one(
    shape: Shape,
    causal: bool,
    backward: bool,
    kernels: Mapping[str, KernelFunction],
    chosen: KernelFunction,
    effort: Effort,
) -> dict[str, Any]:
    calls, many, by = subjects(shape, causal, backward, kernels, chosen)
    rough = {name: once(call) for name, call in calls.items()}
    longest = TOO_SLOW * min(rough[name] for name in PEERS if name in rough)
    timed = {name: call for name, call in calls.items() if rough[name] <= longest}
    times = interleaved(timed, many, effort)
    base = "cudnn" if "cudnn" in times else "flash2"
    result = {}
    for name, seconds in times.items():
        ratios = sorted(t / s for t, s in zip(times[base], seconds, strict=True))
        quarter = len(ratios) // 4
        result[name] = {
            "variant": by if name == "spak" else name,
            "tflops": shape.flops(causal, backward) / statistics.median(seconds) / 1e12,
            "ratio": statistics.median(ratios),
            "quartiles": [ratios[quarter], ratios[-1 - quarter]],
            "seconds": seconds,
        }
    return result


def show(title: str, found: Mapping[str, Any]) -> None:
    print(title, flush=True)
    for name in sorted(found, key=lambda n: -found[n]["ratio"]):
        row = found[name]
        low, high = row["quartiles"]
        by = f" by {row['variant']}" if name == "spak" else ""
        print(f"  {name:34s} {row['tflops']:6.1f}  {row['ratio']:.3f} ({low:.3f}-{high:.3f}){by}", flush=True)


def summary(rows: Sequence[dict[str, Any]]) -> None:
    for backward in (False, True):
        own = [row["subjects"] for row in rows if row["backward"] is backward and "cudnn" in row["subjects"]]
        if not own:
            continue
        chosen = [subjects["spak"]["ratio"] for subjects in own if "spak" in subjects]
        best = [max(s["ratio"] for n, s in subjects.items() if n not in PEERS) for subjects in own]
        print(
            f"{'backward' if backward else 'forward'} ({len(own)}): geometric mean beside cuDNN of what a call "
            f"chooses {statistics.geometric_mean(chosen):.3f}, worst {min(chosen):.3f}; of the best that was timed "
            f"{statistics.geometric_mean(best):.3f}"
        )


def right(found: Mapping[str, KernelFunction], backward: bool) -> dict[str, KernelFunction]:
    """The subjects that compute what they should. Says so of each."""
    kept = {}
    for name, kernel in found.items():
        pair = (None, kernel) if backward else (kernel, None)
        wrong = "; ".join(filter(None, (check(*pair, dtype) for dtype in (torch.bfloat16, torch.float16))))
        print(f"check {name}: {wrong or 'right'}", flush=True)
        if not wrong:
            kept[name] = kernel
    return kept


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", default="listed,more")
    parser.add_argument("--masks", default="full,causal")
    parser.add_argument("--passes", default="forward,backward")
    parser.add_argument("--only", default="", help="variants whose names hold one of these words")
    parser.add_argument("--points", default="", help="further configs of v4_tma")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.015, help="of one subject in one round")
    parser.add_argument("--check", default="all", choices=("all", "none"))
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    torch.manual_seed(0)
    loaded = load([point for point in given.points.split(",") if point])
    only = [word for word in given.only.split(",") if word]
    kernels = {"forward": loaded.fmha, "backward": loaded.fmha_gradient}
    wanted = {name: alone(kernels[name], only) for name in given.passes.split(",")}
    dtypes = ("bf16", "f16") if given.check == "all" else ("bf16",)
    build_all([kernels[name] for name in wanted], only, dtypes)
    kept = {n: right(s, n == "backward") if given.check == "all" else s for n, s in wanted.items()}
    wrong = any(len(kept[name]) < len(wanted[name]) for name in wanted)
    effort = Effort(given.rounds, given.seconds, 0.05)
    rows: list[dict[str, Any]] = []
    record = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "effort": [effort.rounds, effort.seconds, effort.warm],
        "rows": rows,
    }
    for name, shape, mask in itertools.product(kept, cases(given.cases), given.masks.split(",")):
        backward, causal = name == "backward", mask == "causal"
        found = time_one(shape, causal, backward, kept[name], loaded.fmha, effort)
        show(f"{name} {shape} {mask}", found)
        rows.append({"shape": str(shape), "causal": causal, "backward": backward, "subjects": found})
        given.out.write_text(json.dumps(record))
        torch.cuda.empty_cache()
    summary(rows)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
