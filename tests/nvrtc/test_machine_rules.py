"""Machine code that no selected variant may have: small kernels that really earn each message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spak_runtime.disassemble import disassemble
from spak_runtime.nvrtc import BuildRequest, Compiled, compile_cubin
from spakc.cubins import build_cubins
from spakc.diagnostics import Diagnostic, SpakError
from spakc.driver import check_file, emit_files, plan_file
from spakc.machine_rules import ADVISORIES, barriers_between_products, broken_rules
from tests.unit.emit.planned import headers

KERNEL = """spak 1
kernel double: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
}
"""
_LIVE = "".join(f"float v{i} = x[{i} * 77 + threadIdx.x];" for i in range(96))
_USED = "".join(f"x[{i}] = v{i} * v{95 - i};" for i in range(96))
SPILLS = (
    'extern "C" __global__ void __launch_bounds__(1024, 2) k(float* x) '
    f"{{ {_LIVE} __syncthreads(); {_USED} }}"
)
BUDGET = """
extern "C" __global__ void k(float* x) {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
  x[threadIdx.x] = 1.0f;
}
"""
PRODUCTS = """
#include "spak/primitives.cuh"
using namespace spak;
struct P { f32* y; };
SPAK_KERNEL(kernel, P, 128) {
  const u64 tile = wgmma_descriptor(align_up(shared_base(), 1024u), 16, 1024, Swizzle::b128);
  Reg<f32, 32> d;
  fill(d, 0.0f);
  for (u32 k = 0; k < 2; k++) {
    store_shared<f32>(shared_base() + thread_index() * 4, f32(k));
    FENCE();
    wgmma_fence();
    wgmma_ss<bf16, Major::k, Major::k>(d, tile, tile, k != 0);
    wgmma_commit();
    wgmma_wait<0>();
    register_pin(d);
  }
  for (u32 i = 0; i < 32; i++) store(params.y + thread_index() * 32 + i, d[i]);
}
"""

ACCESSES = """
#include "spak/primitives.cuh"
using namespace spak;
struct P { const T* x; T* y; };
SPAK_KERNEL(kernel, P, 32) {
  const u32 first = thread_index() * COUNT;
  store_vector(params.y + first, load_vector<COUNT>(params.x + first));
}
"""


def compiled(source: str, arch: str = "sm_90a") -> Compiled:
    return compile_cubin(BuildRequest("k.cu", source, {}, (), arch))


def build(source: str | None) -> tuple[Diagnostic, ...]:
    """What building the cubins of a small file reports, its generated sources replaced by `source`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "double.spak")
        path.write_text(KERNEL)
        decided = plan_file(check_file(path), ("sm_90a",))
    files = dict(emit_files(decided))
    if source is not None:
        files |= {name: source for name in files if name.endswith(".cu")}
    try:
        build_cubins(decided, files)
    except SpakError as error:
        return tuple(error.diagnostics)
    return ()


def codes_of_build(source: str) -> list[str]:
    return [diagnostic.code for diagnostic in build(source)]


def test_a_spill_fails_the_build_at_its_schedule() -> None:
    (first, *_) = build(SPILLS)
    assert first.code == "SPAK705" and "spills" in first.message and "sm_90a" in first.message
    assert first.labels and first.labels[0].span.source.text == KERNEL


def test_an_ignored_register_budget_fails_the_build() -> None:
    (first, *_) = build(BUDGET)
    assert first.code == "SPAK705" and "C7508" in first.message


def test_the_generated_source_breaks_no_rule() -> None:
    assert build(None) == ()


@pytest.mark.parametrize("code", sorted(ADVISORIES))
def test_each_message_of_the_assembler_is_a_broken_rule(code: str) -> None:
    clean = compiled('extern "C" __global__ void k(float* x) { x[0] = 1.0f; }')
    assert list(broken_rules(clean)) == []
    (told,) = broken_rules(replace(clean, advisories=(code,)))
    assert told.startswith(code)


@pytest.mark.parametrize(
    ("fence", "found"), [("fence_proxy_async_shared", False), ("fence_proxy_async", True)]
)
def test_a_device_wide_barrier_between_products_is_seen(fence: str, found: bool) -> None:
    made = compile_cubin(BuildRequest("k.cu", PRODUCTS, headers(), (f"-DFENCE={fence}",), "sm_90a"))
    instructions = disassemble(made.cubin).instructions
    assert sum(name.startswith("HGMMA") for name in instructions) >= 2, "the loop is unrolled"
    assert (barriers_between_products(instructions) > 0) is found


@pytest.mark.parametrize(
    ("kind", "count", "width"),
    [("bf16", 8, ".128"), ("f16", 4, ".64"), ("f32", 4, ".128"), ("f32", 1, ""), ("bf16", 1, ".U16")],
)
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_a_vector_is_one_access(arch: str, kind: str, count: int, width: str) -> None:
    options = (f"-DT={kind}", f"-DCOUNT={count}")
    made = compile_cubin(BuildRequest("k.cu", ACCESSES, headers(), options, arch))
    names = disassemble(made.cubin).instructions
    assert [name for name in names if name.startswith(("LDG", "STG"))] == [f"LDG.E{width}", f"STG.E{width}"]
