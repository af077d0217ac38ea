"""Attention of short sequences with a learned bias on the scores, forward and backward, on the CUDA device at hand:
`fmha_biased` of `examples/kernels/fmha.spak` beside PyTorch's fused attention and beside its products and softmax
under torch.compile.

    python -m tests.gpu.bench_short [--shapes BxHxSxD,…] [--rounds 7]

Queries, keys and values lie as one product writes them, [B, S, 3, H, D]. Each subject is held to float64 first. What
is timed is a forward and a backward pass through autograd, bias and its gradient in float32, captured in a CUDA graph
and replayed in turns; a ratio is the median over rounds of time(fused attention of PyTorch) / time.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import spakc

EXAMPLE = Path(__file__).parents[2] / "examples" / "kernels" / "fmha.spak"
SHAPES = "512x4x16x64,256x4x24x64,512x4x16x16,512x4x32x64,512x4x64x64"
REPLAYS = 20

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def by_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + bias
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))


def step(
    attention: Attention, qkv: torch.Tensor, bias: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Output, and gradients of what the product wrote and of the bias."""
    q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
    output = attention(q, k, v, bias)
    return output.detach(), *torch.autograd.grad(output, (qkv, bias), grad)


def inputs(
    batch: int, heads: int, length: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    qkv = torch.randn(batch, length, 3, heads, width, device="cuda", dtype=torch.bfloat16)
    bias = torch.randn(batch, heads, length, length, device="cuda")
    hidden = torch.ones_like(bias[0, 0], dtype=torch.bool).triu(1)
    grad = torch.randn(batch, heads, length, width, device="cuda", dtype=torch.bfloat16)
    return qkv.requires_grad_(), bias.masked_fill(hidden, -torch.inf).requires_grad_(), grad


def captured(call: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def timed(graph: torch.cuda.CUDAGraph) -> float:
    """Microseconds of a replay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(REPLAYS):
        graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3 / REPLAYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    kernel = spakc.load(EXAMPLE).fmha_biased
    subjects: dict[str, Attention] = {
        "fused": fused,
        "compiled": torch.compile(by_products, dynamic=False),
        "spak": lambda *given: kernel(*given, causal=False)[0],
    }
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    torch.manual_seed(0)
    for shape in given.shapes.split(","):
        sizes = tuple(map(int, shape.split("x")))
        qkv, bias, grad = inputs(*sizes)
        wide = (
            qkv.detach().double().requires_grad_(),
            bias.detach().double().requires_grad_(),
            grad.double(),
        )
        exact = step(by_products_in_double, *wide)
        graphs = {}
        for name, attention in subjects.items():
            found = step(attention, qkv, bias, grad)
            errors = [
                ((a.double() - b).abs().max() / b.abs().max()).item()
                for a, b in zip(found, exact, strict=True)
            ]
            print(
                f"{shape} {name}: greatest error over the greatest element {', '.join(f'{e:.1e}' for e in errors)}"
            )
            graphs[name] = captured(partial(step, attention, qkv, bias, grad))
        times: dict[str, list[float]] = {name: [] for name in graphs}
        for number in range(-2, given.rounds):
            for name, graph in graphs.items():
                taken = timed(graph)
                if number >= 0:
                    times[name].append(taken)
        for name, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["fused"], values, strict=True))
            low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
            print(f"{shape} {name}: {middle:.1f} us ({low:.1f}, {high:.1f}), {ratio:.2f}x", flush=True)


def by_products_in_double(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    return torch.softmax((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + bias, -1) @ v


if __name__ == "__main__":
    main()
