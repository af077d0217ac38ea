"""Memory-bound kernels of `examples/kernels/train.spak` beside PyTorch on the CUDA device at hand.

    python -m tests.gpu.bench_rows OUT.json [--only WORD] [--rounds 11] [--seconds 0.02]

Each result is first held to float64. Then the kernel, its rival (torch.compile of the same mathematics; the fused
AdamW of PyTorch) and a copy that moves as many bytes are timed in turns (`spak_runtime.bench`). GB/s count the bytes
that must move at least: every input and every output once. Printed is the median over rounds and, in parentheses,
its quartiles; OUT.json keeps every round.
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
import torch.nn.functional as F

import spakc
from spak_runtime.bench import Effort, interleaved, sets_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "kernels" / "train.spak"
NORM, LOGITS, PARAMETERS = (65536, 768), (8192, 50304), 2**27
ADAM = {"lr": 1e-3, "decay": 0.1, "c1": 0.5, "c2": 0.5, "scale": 0.5}

Tensors = dict[str, torch.Tensor]
Results = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Case:
    """`inputs` makes one set; `exact` is the mathematics, of tensors of any dtype, and what torch.compile gets."""

    name: str
    kernel: str
    inputs: Callable[[], Tensors]
    exact: Callable[..., Results]
    changes: tuple[str, ...] = ()  # inputs that are written too


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(shape, device="cuda", dtype=dtype)


def norm_inputs() -> Tensors:
    return {"x": normal(*NORM), "weight": normal(NORM[1], dtype=torch.float32)}


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> Results:
    wide = x if x.dtype is torch.float64 else x.float()
    rstd = torch.rsqrt(wide.square().mean(1) + 1e-6)
    return (wide * rstd[:, None] * weight).to(x.dtype), rstd


def rms_norm_gradient(
    x: torch.Tensor, weight: torch.Tensor, rstd: torch.Tensor, grad_y: torch.Tensor
) -> Results:
    wide, grad = (t if t.dtype is torch.float64 else t.float() for t in (x, grad_y))
    unit, inner = wide * rstd[:, None], grad * weight
    grad_x = rstd[:, None] * (inner - unit * (inner * unit).mean(1, keepdim=True))
    return grad_x.to(x.dtype), (grad * unit).sum(0)


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Results:
    wide = x if x.dtype is torch.float64 else x.float()
    mean = wide.mean(1)
    rstd = torch.rsqrt(wide.var(1, correction=0) + 1e-5)
    return ((wide - mean[:, None]) * rstd[:, None] * weight + bias).to(x.dtype), mean, rstd


def layer_norm_gradient(
    x: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor, grad_y: torch.Tensor
) -> Results:
    wide, grad = (t if t.dtype is torch.float64 else t.float() for t in (x, grad_y))
    unit, inner = (wide - mean[:, None]) * rstd[:, None], grad * weight
    centred = inner - inner.mean(1, keepdim=True) - unit * (inner * unit).mean(1, keepdim=True)
    return (rstd[:, None] * centred).to(x.dtype), (grad * unit).sum(0), grad.sum(0)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> Results:
    wide = logits if logits.dtype is torch.float64 else logits.float()
    lse = wide.logsumexp(1)
    return lse - wide.gather(1, target.long()[:, None])[:, 0], lse


def cross_entropy_gradient(
    logits: torch.Tensor, target: torch.Tensor, lse: torch.Tensor, grad_loss: torch.Tensor
) -> Results:
    wide = logits if logits.dtype is torch.float64 else logits.float()
    columns = torch.arange(logits.shape[1], device=logits.device)
    hit = (columns == target[:, None]).to(wide.dtype)
    return (((torch.exp(wide - lse[:, None]) - hit) * grad_loss[:, None]).to(logits.dtype),)


def swiglu(gate: torch.Tensor, up: torch.Tensor) -> Results:
    if gate.dtype is torch.float64:
        return (F.silu(gate) * up,)
    return ((F.silu(gate.float()) * up.float()).to(gate.dtype),)


def swiglu_gradient(gate: torch.Tensor, up: torch.Tensor, grad_y: torch.Tensor) -> Results:
    wide_gate, wide_up, grad = (t if t.dtype is torch.float64 else t.float() for t in (gate, up, grad_y))
    share = torch.sigmoid(wide_gate)
    slope = share + wide_gate * share * (1 - share)
    return (grad * wide_up * slope).to(gate.dtype), (grad * wide_gate * share).to(up.dtype)


def gelu(x: torch.Tensor) -> Results:
    return (F.gelu(x) if x.dtype is torch.float64 else F.gelu(x.float()).to(x.dtype),)


def gelu_gradient(x: torch.Tensor, grad_y: torch.Tensor) -> Results:
    wide, grad = (t if t.dtype is torch.float64 else t.float() for t in (x, grad_y))
    share = 0.5 * (1 + torch.erf(wide * 0.5**0.5))
    density = torch.exp(-0.5 * wide * wide) * 0.3989422804014327
    return ((grad * (share + wide * density)).to(x.dtype),)


def adamw(
    p: torch.Tensor, m: torch.Tensor, v: torch.Tensor, g: torch.Tensor, **scalars: torch.Tensor
) -> Results:
    lr, decay, c1, c2, scale = (scalars[name] for name in ADAM)
    g = scale * g.to(p.dtype)
    m, v = 0.9 * m + (1 - 0.9) * g, 0.95 * v + (1 - 0.95) * g * g
    return p * (1 - lr * decay) - lr * (m / c1) / ((v / c2).sqrt() + 1e-8), m, v


def rms_backward_inputs() -> Tensors:
    made = norm_inputs()
    return {**made, "rstd": rms_norm(**made)[1], "grad_y": normal(*NORM)}


def layer_inputs() -> Tensors:
    return {**norm_inputs(), "bias": normal(NORM[1], dtype=torch.float32)}


def layer_backward_inputs() -> Tensors:
    made = layer_inputs()
    _, mean, rstd = layer_norm(**made)
    return {"x": made["x"], "weight": made["weight"], "mean": mean, "rstd": rstd, "grad_y": normal(*NORM)}


def logits_inputs() -> Tensors:
    target = torch.randint(LOGITS[1], LOGITS[:1], device="cuda", dtype=torch.int32)
    return {"logits": normal(*LOGITS), "target": target}


def loss_backward_inputs() -> Tensors:
    made = logits_inputs()
    return {**made, "lse": cross_entropy(**made)[1], "grad_loss": normal(LOGITS[0], dtype=torch.float32)}


def adam_inputs() -> Tensors:
    state = {name: normal(PARAMETERS, dtype=torch.float32) for name in "pm"}
    state |= {"v": normal(PARAMETERS, dtype=torch.float32).square(), "g": normal(PARAMETERS)}
    return state | {name: torch.tensor(value, device="cuda") for name, value in ADAM.items()}


def named(*names: str) -> Callable[[], Tensors]:
    """Inputs of the shape of a norm's."""
    return lambda: {name: normal(*NORM) for name in names}


CASES = [
    Case("RMSNorm", "rms_norm", norm_inputs, rms_norm),
    Case("RMSNorm backward", "rms_norm_gradient", rms_backward_inputs, rms_norm_gradient),
    Case("LayerNorm", "layer_norm", layer_inputs, layer_norm),
    Case("LayerNorm backward", "layer_norm_gradient", layer_backward_inputs, layer_norm_gradient),
    Case("cross-entropy", "cross_entropy", logits_inputs, cross_entropy),
    Case("cross-entropy backward", "cross_entropy_gradient", loss_backward_inputs, cross_entropy_gradient),
    Case("SwiGLU", "swiglu", named("gate", "up"), swiglu),
    Case("SwiGLU backward", "swiglu_gradient", named("gate", "up", "grad_y"), swiglu_gradient),
    Case("GELU", "gelu", named("x"), gelu),
    Case("GELU backward", "gelu_gradient", named("x", "grad_y"), gelu_gradient),
    Case("AdamW", "adamw", adam_inputs, adamw, changes=("p", "m", "v")),
]


def results(case: Case, kernel: Callable[..., Any], tensors: Tensors) -> Results:
    """What the kernel computes: its outputs, or the tensors that it changes."""
    found = kernel(**tensors)
    if case.changes:
        return tuple(tensors[name] for name in case.changes)
    return found if isinstance(found, tuple) else (found,)


def worst_error(case: Case, kernel: Callable[..., Any], rows: int = 512) -> float:
    """The largest error over all outputs, as a part of what is allowed: two units of the output's dtype, and
    of a float32 sum over the rows. The inputs are a slice of what is timed, because float64 is large."""
    whole = case.inputs()
    long = max(t.shape[0] for t in whole.values() if t.dim() > 0)
    cut = {n: t[:rows].clone() if t.dim() and t.shape[0] == long else t.clone() for n, t in whole.items()}
    exact = case.exact(**{n: t.double() if t.is_floating_point() else t for n, t in cut.items()})
    worst = 0.0
    for ours, reference in zip(results(case, kernel, cut), exact, strict=True):
        unit = torch.finfo(ours.dtype).eps
        allowed = 2 * unit * reference.abs() + (unit + 1e-5) * reference.abs().max()
        worst = max(worst, ((ours.double() - reference).abs() / allowed).max().item())
    return worst


def fused_adamw(sets: Sequence[Tensors]) -> Callable[[int], object]:
    """The optimizer of PyTorch; it wants gradients of the parameter's dtype, so it reads two bytes more."""
    made = []
    for tensors in sets:
        parameter = torch.nn.Parameter(tensors["p"].clone())
        parameter.grad = tensors["g"].float()
        made.append(torch.optim.AdamW([parameter], fused=True, capturable=True))
    return lambda i: made[i].step()


def measure(case: Case, kernel: Callable[..., Any], effort: Effort) -> dict[str, Any]:
    first = case.inputs()
    sets = [first, *(case.inputs() for _ in range(1, sets_for(first)))]
    outputs = results(case, kernel, first)
    moved = sum(t.numel() * t.element_size() for t in (*first.values(), *outputs))
    sources = [torch.empty(moved // 2, dtype=torch.uint8, device="cuda") for _ in range(2)]
    compiled = torch.compile(case.exact)
    calls: dict[str, Callable[[int], object]] = {
        "spak": lambda i: kernel(**sets[i]),
        "torch": fused_adamw(sets) if case.changes else lambda i: compiled(**sets[i]),
        "copy": lambda i: sources[1].copy_(sources[0]),
    }
    times = interleaved(calls, len(sets), effort)
    rates = {name: sorted(moved / s / 1e9 for s in seconds) for name, seconds in times.items()}
    quarter = effort.rounds // 4
    figures = {
        name: {"gb_s": statistics.median(r), "quartiles": [r[quarter], r[-1 - quarter]]}
        for name, r in rates.items()
    }
    return {"case": case.name, "bytes": moved, "seconds": times, "figures": figures}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.02, help="of one subject in one round")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not run: no device")
        return 5
    torch.manual_seed(0)
    kernels = spakc.load(EXAMPLE)
    rows: list[dict[str, Any]] = []
    record = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    wrong = False
    for case in (case for case in CASES if given.only in case.name):
        kernel = getattr(kernels, case.kernel)
        error = worst_error(case, kernel)
        if not error <= 1:
            print(f"{case.name}: wrong by {error:.3g} times what is allowed; not timed", flush=True)
            wrong = True
            continue
        row = measure(case, kernel, Effort(given.rounds, given.seconds, 0.1))
        rows.append({**row, "error": error})
        shown = "  ".join(
            f"{name} {f['gb_s']:.0f} ({f['quartiles'][0]:.0f}-{f['quartiles'][1]:.0f})"
            for name, f in row["figures"].items()
        )
        print(f"{case.name:24s} GB/s: {shown}", flush=True)
        given.out.write_text(json.dumps(record))
        torch.cuda.empty_cache()
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
