"""A kernel with hand-written sources for it, as a project in a folder."""

from __future__ import annotations

from pathlib import Path

SPAK = """spak 1
use std.devices
targets h100
kernel add: elementwise {
  dim M, N
  input  x: f32 [M, N]
  input  b: f32 [N]
  output y: f32 [M, N]
  option alpha: f32 = 1.0
  math { y[i, j] = alpha * x[i, j] + b[j] }
  law few_registers: cubin.registers <= 40
  verify { shapes M in 1..20, N in 1..100  cases 8 }
}
claim time_of on h100: speed(add, M = m, N = 4096) >= 1 for every m in {64, 256}
"""
IMPLEMENT = """implement add as {name} {more}{{
  source = "{name}.cu"  entry = "{name}"  threads = 64  grid = (ceil_div(N, 64), M)  arguments = (x, b, y, alpha, M, N)
}}
"""
ON_PRIMITIVES = """#include "spak/primitives.cuh"
#include "lib/scaled.cuh"
using namespace spak;
struct Params { const f32* x; const f32* b; f32* y; f32 alpha; i32 M; i32 N; };
SPAK_KERNEL(NAME, Params, 64) {
  const i32 j = block_index_x() * 64 + thread_index(), i = block_index_y();
  if (j >= params.N) return;
  store(params.y + i * params.N + j, scaled(load(params.x + i * params.N + j), params.alpha) + load(params.b + j));
}
"""
SCALED = """#pragma once
#include "spak/primitives.cuh"
SPAK_DEVICE spak::f32 scaled(spak::f32 value, spak::f32 by) { return value * by; }
"""
PLAIN = """extern "C" __global__ void NAME(const float* x, const float* b, float* y, float alpha, int M, int N) {
  int j = blockIdx.x * 64 + threadIdx.x, i = blockIdx.y;
  if (j < N) y[i * N + j] = alpha * x[i * N + j] + b[j];
}
"""


def project(folder: Path, sources: dict[str, str], more: str = "", spak: str = SPAK) -> Path:
    """The `.spak` file of a project with an `implement` for each source, by name."""
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    (folder / "lib" / "scaled.cuh").write_text(SCALED)
    for name, text in sources.items():
        (folder / f"{name}.cu").write_text(text.replace("NAME", name))
        spak += IMPLEMENT.format(name=name, more=more)
    path = folder / "add.spak"
    path.write_text(spak)
    return path
