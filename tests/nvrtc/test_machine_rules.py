"""Machine code that no selected variant may have: small kernels that really earn each message."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spak_runtime.cache import KernelCache
from spak_runtime.disassemble import disassemble
from spak_runtime.machine_rules import ADVISORIES, broken_rules
from spak_runtime.nvrtc import BuildRequest, Compiled, compile_cubin
from spakc import cubins
from spakc.cubins import build_cubins
from spakc.diagnostics import Diagnostic, SpakError
from spakc.driver import check_file, emit_files, plan_file
from spakc.machine_rules import (
    barriers_between_products,
    broken_order,
    exponentials_after_products,
)
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

OVERLAP = """
#include "spak/primitives.cuh"
using namespace spak;
struct P { f32* y; u32 n; };
SPAK_KERNEL(kernel, P, 128) {
  const u64 tile = wgmma_descriptor(align_up(shared_base(), 1024u), 16, 1024, Swizzle::b128);
  Reg<f32, 32> s, o;
  fill(s, 0.0f);
  fill(o, 0.0f);
  for (u32 k = 0; k < params.n; k++) {
    wgmma_fence();
    register_pin(s);
    register_pin(o);
    wgmma_ss<bf16, Major::k, Major::k>(s, tile, tile, false);
    wgmma_commit();
    wgmma_ss<bf16, Major::k, Major::k>(o, tile, tile, true);
    wgmma_commit();
    wgmma_wait<1>();
    register_pin(s);
    f32 total = 0;
    for (u32 i = 0; i < 32; i++) total += exp2_approx(s[i]);
    HOLD
    wgmma_wait<0>();
    register_pin(o);
    store(params.y + k, total);
  }
  for (u32 i = 0; i < 32; i++) store(params.y + thread_index() * 32 + i, o[i]);
}
"""

SERIAL = """
#include "spak/primitives.cuh"
using namespace spak;
__device__ f32 (*far)(f32);
struct P { f32* y; u32 n; };
SPAK_KERNEL(kernel, P, 128) {
  const u64 tile = wgmma_descriptor(align_up(shared_base(), 1024u), 16, 1024, Swizzle::b128);
  Reg<f32, 32> d;
  fill(d, 0.0f);
  Reg<u32, 4> a;
  fill(a, thread_index());
  for (u32 k = 0; k < params.n; k++) {
    register_pin(d);
    wgmma_fence();
    wgmma_ss<bf16, Major::k, Major::k>(d, tile, tile, true);
    wgmma_commit();
    PIPELINE
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


LOSS = "ptxas info    : ({}) Potential Performance Loss: wgmma.mma_async instructions are serialized due to {} in the "
ADDED = (
    "ptxas info    : ({}) {} is injected in around line 42 by compiler to allow use of registers {} GMMA in "
)
SAYINGS = {
    "C7508": "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum register",
    "C7510": LOSS.format("C7510", "wgmma pipeline crossing function boundary at a function call"),
    "C7511": LOSS.format("C7511", "insufficient register resources for the wgmma pipeline"),
    "C7512": LOSS.format("C7512", "insufficient register resources for the wgmma pipeline"),
    "C7513": LOSS.format("C7513", "non wgmma instructions defining input registers of a wgmma"),
    "C7514": LOSS.format("C7514", "non wgmma instructions reading accumulator registers of a wgmma"),
    "C7517": ADDED.format("C7517", "wgmma.wait_group", "defined by"),
    "C7519": ADDED.format("C7519", "warpgroup.arrive", "in"),
    "C7602": "ptxas info    : (C7602) Insufficient registers (128) to compile instruction at line 575 in ",
}
"""What the assembler says, as its log has it."""


@pytest.mark.parametrize("code", sorted(ADVISORIES))
def test_each_message_of_the_assembler_fails_the_build(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(None) == ()
    plain = KernelCache.build_unjudged

    def said(self: KernelCache, request: BuildRequest) -> Compiled:
        made = plain(self, request)
        return Compiled.from_log(made.cubin, made.log + SAYINGS[code] + "\n")

    monkeypatch.setattr(cubins.KernelCache, "build_unjudged", said)
    (first, *_) = build(None)
    assert first.code == "SPAK705" and code in first.message
    assert first.labels and first.labels[0].span.source.text == KERNEL


PIPELINES = {
    "C7510": "params.y[k] = far(k); wgmma_wait<0>(); register_pin(d);",
    "C7511": "wgmma_wait<0>(); d[0] += 1.0f; wgmma_ss<bf16, Major::k, Major::k>(d, tile, tile, true); "
    "wgmma_commit(); wgmma_wait<0>();",
    "C7513": "wgmma_rs<bf16, Major::k>(d, a, tile, true); wgmma_commit(); wgmma_wait<1>(); "
    "for (u32 i = 0; i < 4; i++) a[i] += __float_as_uint(params.y[i]);",
    "C7514": "if (k & 1) wgmma_wait<0>();",
    "C7517": "",
}
"""What follows on a product in a kernel that earns each message: nothing waits, or not in time."""


@pytest.mark.parametrize("code", sorted(PIPELINES))
def test_a_kernel_that_earns_the_message(code: str) -> None:
    found = build(SERIAL.replace("PIPELINE", PIPELINES[code]))
    assert {each.code for each in found} == {"SPAK705"}
    assert any(code in each.message for each in found), [each.message for each in found]


def test_a_loss_that_nobody_has_listed_fails_the_build() -> None:
    """By the words of the assembler: code C7516 is in no table."""
    assert "C7516" not in ADVISORIES
    said = LOSS.format("C7516", "ill formed pipeline stage")
    assert list(
        broken_rules(Compiled.from_log(b"", f"ptxas info    : 0 bytes gmem\n{said}function 'k'"))
    ) == ["C7516: wgmma.mma_async instructions are serialized due to ill formed pipeline stage"]
    assert not list(
        broken_rules(Compiled.from_log(b"", "ptxas info    : (C7999) all is well in function 'k'"))
    )


def test_a_product_that_needs_more_registers_than_a_thread_has_fails_the_build() -> None:
    tall = SERIAL.replace("Reg<f32, 32> d", "Reg<f32, 128> d").replace("i < 32", "i < 128")
    source = tall.replace("kernel, P, 128", "kernel, P, 512").replace(
        "PIPELINE", "wgmma_wait<0>(); register_pin(d);"
    )
    (first, *_) = build(source)
    assert first.code == "SPAK752" and "C7602" in first.message


@pytest.mark.parametrize(
    ("fence", "found"), [("fence_proxy_async_shared", False), ("fence_proxy_async", True)]
)
def test_a_device_wide_barrier_between_products_is_seen(fence: str, found: bool) -> None:
    made = compile_cubin(BuildRequest("k.cu", PRODUCTS, headers(), (f"-DFENCE={fence}",), "sm_90a"))
    instructions = disassemble(made.cubin).instructions
    assert sum(name.startswith("HGMMA") for name in instructions) >= 2, "the loop is unrolled"
    assert (barriers_between_products(instructions) > 0) is found


HELD = "if (total < -1.0f) __nanosleep(0);"
"""Never taken; the device compiler moves nothing across the branch."""


@pytest.mark.parametrize(("hold", "broken"), [(HELD, False), ("", True)])
def test_a_softmax_behind_the_second_wait_is_seen(hold: str, broken: bool) -> None:
    made = compile_cubin(BuildRequest("k.cu", OVERLAP.replace("HOLD", hold), headers(), (), "sm_90a"))
    code = disassemble(made.cubin)
    between, after = exponentials_after_products(code)
    assert not made.advisories and between + after >= 32
    assert bool(list(broken_order(code))) is broken, (between, after)


def test_a_bad_order_fails_the_build() -> None:
    for source in (OVERLAP.replace("HOLD", ""), PRODUCTS.replace("FENCE", "fence_proxy_async")):
        (first, *_) = build(source)
        assert first.code == "SPAK705" and first.labels, first.message
    assert build(OVERLAP.replace("HOLD", HELD)) == ()


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
