"""An artifact written by hand: what a compiler would write, small enough to read, with every feature of a
manifest.

`affine`  y[r, n] = f(x[r, n] * gate[n]) * factor, f by the option `mode`; two variants; a gradient of two
launches
          with a workspace.
`update`  p[i] += rate * g[i] in place.
`moments` two outputs of one row: its sum and its sum of squares.
`mean`    y[r] = sum of x[r] * scale, and the default of the option `scale` is 1 / N.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spak_runtime.manifest import (
    GradientSpec,
    Guard,
    KernelSpec,
    Launch,
    Manifest,
    OptionSpec,
    Param,
    TensorSpec,
    Variant,
)

ARCHS = ("sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a")

HEADER = """\
#pragma once
namespace spak {
using i32 = int;
using i64 = long long;
using f32 = float;
struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };
__device__ inline f32 get(f32 x) { return x; }
__device__ inline f32 get(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ inline f32 get(f16 x) { f32 r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits)); return r; }
__device__ inline void put(f32& to, f32 x) { to = x; }
__device__ inline void put(bf16& to, f32 x) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ inline void put(f16& to, f32 x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
enum class Word { w_plain, w_squared };
}
#define SPAK_WORD(macro) SPAK_WORD_OF(macro)
#define SPAK_WORD_OF(word) spak::Word::w_##word
"""

AFFINE = """\
#include "spak/hand.cuh"
using namespace spak;
struct Params {
  const DTYPE_x* x; const DTYPE_x* gate; DTYPE_y* y;
  i64 x0, x1, y0, y1;
  i32 R, N;
  f32 factor;
};
extern "C" __global__ void __launch_bounds__(KNOB_threads) affine(const __grid_constant__ Params p) {
#line 7 "hand.spak"
  const i64 i = (i64)blockIdx.x * KNOB_threads + threadIdx.x;
  if (i >= (i64)p.R * p.N) return;
  const i64 r = i / p.N, n = i % p.N;
  f32 v = get(p.x[r * p.x0 + n * p.x1]);
  if (PRESENT_gate) v *= get(p.gate[n]);
  if (SPAK_WORD(OPTION_mode) == Word::w_squared) v *= v;
  put(p.y[r * p.y0 + n * p.y1], v * p.factor);
}
"""

AFFINE_GRADIENT = """\
#include "spak/hand.cuh"
using namespace spak;
struct Params {
  const DTYPE_x* x; const DTYPE_x* gate; const DTYPE_grad_y* grad_y; DTYPE_x* grad_x; DTYPE_x* grad_gate;
  f32* products;
  i64 x0, x1, g0, g1;
  i32 R, N;
  f32 factor;
};
extern "C" __global__ void each(const __grid_constant__ Params p) {
  const i64 i = (i64)blockIdx.x * 128 + threadIdx.x;
  if (i >= (i64)p.R * p.N) return;
  const i64 r = i / p.N, n = i % p.N;
  const f32 x = get(p.x[r * p.x0 + n * p.x1]), gate = get(p.gate[n]);
  const f32 slope = SPAK_WORD(OPTION_mode) == Word::w_squared ? 2.0f * x * gate : 1.0f;
  const f32 inner = get(p.grad_y[r * p.g0 + n * p.g1]) * p.factor * slope;
  put(p.grad_x[i], inner * gate);
  p.products[i] = inner * x;
}
extern "C" __global__ void columns(const __grid_constant__ Params p) {
  const i64 n = (i64)blockIdx.x * 128 + threadIdx.x;
  if (n >= p.N) return;
  f32 total = 0.0f;
  for (i64 r = 0; r < p.R; r++) total += p.products[r * p.N + n];
  put(p.grad_gate[n], total);
}
"""

UPDATE = """\
#include "spak/hand.cuh"
struct Params { float* p; const float* g; int N; float rate; };
extern "C" __global__ void update(const __grid_constant__ Params a) {
  const int i = blockIdx.x * 128 + threadIdx.x;
  if (i < a.N) a.p[i] += a.rate * a.g[i];
}
"""

MOMENTS = """\
#include "spak/hand.cuh"
struct Params { const float* x; float* total; float* squares; long long x0; int R, N; };
extern "C" __global__ void moments(const __grid_constant__ Params p) {
  extern __shared__ float terms[];
  float total = 0.0f, squares = 0.0f;
  for (int n = threadIdx.x; n < p.N; n += 64) {
    const float v = p.x[blockIdx.x * p.x0 + n];
    total += v;
    squares += v * v;
  }
  terms[threadIdx.x] = total;
  terms[64 + threadIdx.x] = squares;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int t = 1; t < 64; t++) { total += terms[t]; squares += terms[64 + t]; }
  p.total[blockIdx.x] = total;
  p.squares[blockIdx.x] = squares;
}
"""

MEAN = """\
#include "spak/hand.cuh"
struct Params { const float* x; float* y; long long x0; int R, N; float scale; };
extern "C" __global__ void mean(const __grid_constant__ Params p) {
  const int r = blockIdx.x * 128 + threadIdx.x;
  if (r >= p.R) return;
  float total = 0.0f;
  for (int n = 0; n < p.N; n++) total += p.x[r * p.x0 + n];
  p.y[r] = total * p.scale;
}
"""

AFFINE_MATH = """\
import torch

def forward(x, gate, mode, factor):
    v = x.float() * gate.float()
    if mode == "squared":
        v = v * v
    return {"y": v * factor}
"""

AFFINE_GRADIENT_MATH = """\
import torch

def forward(x, gate, grad_y, mode, factor):
    x, gate, grad_y = x.float(), gate.float(), grad_y.float()
    slope = 2.0 * x * gate if mode == "squared" else 1.0
    inner = grad_y * factor * slope
    return {"grad_x": inner * gate, "grad_gate": (inner * x).sum(0)}
"""

UPDATE_MATH = """\
def forward(p, g, rate):
    return {"p": p + rate * g}
"""

MOMENTS_MATH = """\
def forward(x):
    return {"total": x.sum(-1), "squares": (x * x).sum(-1)}
"""

MEAN_MATH = """\
def forward(x, scale):
    return {"y": x.sum(-1) * scale}
"""

FLOATS = ("bf16", "f16", "f32")
BOTH = ("row", "column")
R, N = ["dim", "R"], ["dim", "N"]
MODE = OptionSpec("mode", ("plain", "squared"), None, "plain", compiled_in=True)
FACTOR = OptionSpec("factor", (), "f32", 1.0, compiled_in=False)


def pointer(name: str) -> Param:
    return Param("pointer", "u64", name)


def stride(name: str, axis: int) -> Param:
    return Param("stride", "i64", name, axis)


def dim(name: str) -> Param:
    return Param("dim", "i32", name)


def _affine() -> KernelSpec:
    params = (
        *map(pointer, ("x", "gate", "y")),
        *(stride(tensor, axis) for tensor in ("x", "y") for axis in (0, 1)),
        *map(dim, ("R", "N")),
        Param("option", "f32", "factor"),
    )
    launch = Launch(
        "kernels/affine/each.cu",
        "affine",
        params,
        (["ceil_div", ["mul", R, N], ["knob", "threads"]], 1, 1),
        ["knob", "threads"],
        0,
    )
    even = Variant(
        "each/even",
        "each",
        {"threads": 256},
        ARCHS,
        {"KNOB_threads": "256"},
        ("DTYPE_x", "DTYPE_y", "PRESENT_gate", "OPTION_mode"),
        (
            Guard("even_rows", ["eq", ["mod", N, 8], 0], "rows of eight"),
            Guard("aligned", ["ge", ["alignment", "x"], 16], "16-byte rows"),
        ),
        (launch,),
        reason="the default",
    )
    # The second variant asks for a gate in full: it has no PRESENT_gate axis.
    any_call = replace(
        even,
        id="each/any",
        config={"threads": 64},
        defines={"KNOB_threads": "64", "PRESENT_gate": "1"},
        axes=("DTYPE_x", "DTYPE_y", "OPTION_mode"),
        guards=(),
        reason="without a guard",
    )
    tensors = (
        TensorSpec("x", "input", FLOATS, None, (R, N), BOTH),
        TensorSpec("gate", "input", (), "x", (N,), optional=True, default=1),
        TensorSpec("y", "output", ("f32",), "x", (R, N), BOTH),
    )
    return KernelSpec(
        "affine",
        "elementwise",
        {"R": None, "N": None},
        tensors,
        (MODE, FACTOR),
        (even, any_call),
        "kernels/affine/math.py",
        (GradientSpec("affine_gradient", ("y",), ("x", "gate")),),
    )


def _affine_gradient() -> KernelSpec:
    params = (
        *map(pointer, ("x", "gate", "grad_y", "grad_x", "grad_gate", "products")),
        *(stride(tensor, axis) for tensor in ("x", "grad_y") for axis in (0, 1)),
        *map(dim, ("R", "N")),
        Param("option", "f32", "factor"),
    )
    source = "kernels/affine_gradient/two.cu"
    launches = (
        Launch(source, "each", params, (["ceil_div", ["mul", R, N], 128], 1, 1), 128, 0),
        Launch(
            source, "columns", params, (["ceil_div", N, 128], 1, 1), 128, 0, adds={"grad_gate": "products"}
        ),
    )
    variant = Variant(
        "two",
        "two",
        {},
        ARCHS,
        {},
        ("DTYPE_x", "DTYPE_grad_y", "OPTION_mode"),
        (),
        launches,
        (TensorSpec("products", "workspace", ("f32",), None, (R, N)),),
    )
    tensors = (
        TensorSpec("x", "input", FLOATS, None, (R, N), BOTH),
        TensorSpec("gate", "input", (), "x", (N,), optional=True, default=1),
        TensorSpec("grad_y", "input", ("f32",), "x", (R, N), BOTH),
        TensorSpec("grad_x", "output", (), "x", (R, N)),
        TensorSpec("grad_gate", "output", (), "x", (N,)),
    )
    return KernelSpec(
        "affine_gradient",
        "rows",
        {"R": None, "N": None},
        tensors,
        (MODE, FACTOR),
        (variant,),
        "kernels/affine_gradient/math.py",
    )


def _update() -> KernelSpec:
    params = (pointer("p"), pointer("g"), dim("N"), Param("option", "f32", "rate"))
    launch = Launch("kernels/update/each.cu", "update", params, (["ceil_div", N, 128], 1, 1), 128, 0)
    tensors = (TensorSpec("p", "inout", ("f32",), None, (N,)), TensorSpec("g", "input", ("f32",), None, (N,)))
    rate = OptionSpec("rate", (), "f32", 0.5, compiled_in=False)
    variant = Variant("each", "each", {}, ARCHS, {}, (), (), (launch,))
    return KernelSpec(
        "update", "elementwise", {"N": None}, tensors, (rate,), (variant,), "kernels/update/math.py"
    )


def _moments() -> KernelSpec:
    params = (*map(pointer, ("x", "total", "squares")), stride("x", 0), dim("R"), dim("N"))
    launch = Launch("kernels/moments/block.cu", "moments", params, (R, 1, 1), 64, ["mul", 128, 4])
    tensors = (
        TensorSpec("x", "input", ("f32",), None, (R, N)),
        TensorSpec("total", "output", ("f32",), None, (R,)),
        TensorSpec("squares", "output", ("f32",), None, (R,)),
    )
    variant = Variant("block", "block", {}, ARCHS, {}, (), (), (launch,))
    return KernelSpec(
        "moments",
        "rows",
        {"R": None, "N": (32, 64)},
        tensors,
        (),
        (variant,),
        "kernels/moments/math.py",
    )


def _mean() -> KernelSpec:
    params = (
        *map(pointer, ("x", "y")),
        stride("x", 0),
        dim("R"),
        dim("N"),
        Param("option", "f32", "scale"),
    )
    launch = Launch("kernels/mean/thread.cu", "mean", params, (["ceil_div", R, 128], 1, 1), 128, 0)
    tensors = (
        TensorSpec("x", "input", ("f32",), None, (R, N)),
        TensorSpec("y", "output", ("f32",), None, (R,)),
    )
    scale = OptionSpec("scale", (), "f32", ["div", 1.0, N], compiled_in=False)
    variant = Variant("thread", "thread", {}, ARCHS, {}, (), (), (launch,))
    return KernelSpec(
        "mean", "rows", {"R": None, "N": None}, tensors, (scale,), (variant,), "kernels/mean/math.py"
    )


def manifest() -> Manifest:
    kernels = (_affine(), _affine_gradient(), _update(), _moments(), _mean())
    facts = {arch: {"smem_per_block": 99 * 1024} for arch in ARCHS}
    return Manifest("hand.spak", ARCHS, {kernel.name: kernel for kernel in kernels}, facts)


FILES = {
    "include/spak/hand.cuh": HEADER,
    "kernels/affine/each.cu": AFFINE,
    "kernels/affine/math.py": AFFINE_MATH,
    "kernels/affine_gradient/two.cu": AFFINE_GRADIENT,
    "kernels/affine_gradient/math.py": AFFINE_GRADIENT_MATH,
    "kernels/update/each.cu": UPDATE,
    "kernels/update/math.py": UPDATE_MATH,
    "kernels/moments/block.cu": MOMENTS,
    "kernels/moments/math.py": MOMENTS_MATH,
    "kernels/mean/thread.cu": MEAN,
    "kernels/mean/math.py": MEAN_MATH,
}


def write(folder: Path, content: Manifest | None = None, files: dict[str, str] | None = None) -> Path:
    """Writes the artifact; `files` replaces single files."""
    for name, text in (FILES | (files or {})).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "manifest.json").write_text((content or manifest()).to_json())
    return folder
