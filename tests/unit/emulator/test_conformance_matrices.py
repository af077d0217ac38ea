"""Ldmatrix, stmatrix, mma, wgmma in all of its forms, and how their units round.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine
from tests.unit.emulator.primitive_kernels import WGMMA, Wgmma, encode16


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(machine: Machine, count: int, transposed: bool) -> None:
    source = """
    struct P { const u16* x; u32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 a = align_up(shared_base(), 128u), t = thread_index();
      store_shared_vector(a + t * 16, load_vector<8>(params.x + t * 8));
      sync_warp();
      Reg<u32, COUNT> r;
      LOAD(r, a + t * 16);
      SPAK_UNROLL
      for (u32 m = 0; m < COUNT; m++) store(params.y + m * 32 + t, r[m]);
    }
    """
    x = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    y = np.zeros((count, 32), np.uint32)
    load = f"ldmatrix_x{count}{'_trans' if transposed else ''}"
    params = Params().input("x", x).output("y", y)
    machine.run(source, params, {"COUNT": count, "LOAD": load}, shared=1024)
    matrices = x[:count].transpose(0, 2, 1) if transposed else x[:count]
    assert np.array_equal(y.view(np.uint16).reshape(count, 8, 8), matrices)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_stmatrix(hopper: Machine, count: int, transposed: bool) -> None:
    source = """
    struct P { const u32* x; u16* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 a = align_up(shared_base(), 128u), t = thread_index();
      Reg<u32, COUNT> r;
      SPAK_UNROLL
      for (u32 m = 0; m < COUNT; m++) r[m] = load(params.x + m * 32 + t);
      STORE(a + t * 16, r);
      sync_warp();
      if (t < 8 * COUNT) store_vector(params.y + t * 8, load_shared_vector<u16, 8>(a + t * 16));
    }
    """
    x = np.arange(64 * count, dtype=np.uint16).reshape(count, 8, 8)
    y = np.zeros_like(x)
    store = f"stmatrix_x{count}{'_trans' if transposed else ''}"
    params = Params().input("x", x.view(np.uint32)).output("y", y)
    hopper.run(source, params, {"COUNT": count, "STORE": store}, shared=1024)
    assert np.array_equal(y, x.transpose(0, 2, 1) if transposed else x)


MMA = """
struct P { const ELEMENT* a; const ELEMENT* b; f32* d; };
SPAK_KERNEL(kernel, P, 32) {
  const u32 g = lane_index() / 4, t = lane_index() % 4 * 2;
  Reg<u32, 4> a;
  Reg<u32, 2> b;
  Reg<f32, 4> d;
  SPAK_UNROLL
  for (u32 i = 0; i < 4; i++) {
    const ELEMENT* p = params.a + (g + (i & 1) * 8) * 16 + t + (i >> 1) * 8;
    a[i] = pack_bits(load(p), load(p + 1));
    d[i] = START;
  }
  SPAK_UNROLL
  for (u32 i = 0; i < 2; i++) {
    const ELEMENT* p = params.b + (t + i * 8) * 8 + g;
    b[i] = pack_bits(load(p), load(p + 8));
  }
  mma_m16n8k16<ELEMENT>(d, a, b);
  SPAK_UNROLL
  for (u32 i = 0; i < 4; i++) store(params.d + (g + (i >> 1) * 8) * 8 + t + (i & 1), d[i]);
}
"""
"""One product by a warp; `ELEMENT` of both operands, `START` of accumulator i."""


@pytest.mark.parametrize("element", ["bf16", "f16"])
def test_mma(machine: Machine, element: str) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-16, 17, (16, 16)), rng.integers(-16, 17, (16, 8))
    d = np.zeros((16, 8), np.float32)
    params = Params().input("a", encode16(a, element)).input("b", encode16(b, element)).output("d", d)
    machine.run(MMA, params, {"ELEMENT": element, "START": "f32(i)"})
    rows, columns = np.meshgrid(np.arange(16), np.arange(8), indexing="ij")
    assert np.array_equal(d, a @ b + (rows // 8) * 2 + columns % 2)


FORMS = [(major, swizzle) for major in ("k", "mn") for swizzle in (0, 32, 64, 128)]


def check_wgmma(machine: Machine, case: Wgmma) -> None:
    machine.run(WGMMA, case.params, case.defines, block=case.threads, shared=case.shared)
    assert np.array_equal(case.d, case.expected)


@pytest.mark.parametrize("element", ["bf16", "f16"])
@pytest.mark.parametrize("form", FORMS)
def test_wgmma_forms(hopper: Machine, form: tuple[str, int], element: str) -> None:
    check_wgmma(hopper, Wgmma(64, form, ("k", 128), element))
    check_wgmma(hopper, Wgmma(128, ("mn", 64), form, element))
    check_wgmma(hopper, Wgmma(64, None, form, element))


@pytest.mark.parametrize("n", [8, 24, 80, 176, 256])
def test_wgmma_widths(hopper: Machine, n: int) -> None:
    check_wgmma(hopper, Wgmma(n, ("k", 128), ("k", 128), "bf16"))


def test_a_matrix_unit_rounds_toward_zero(machine: Machine) -> None:
    """1 plus three quarters of the distance to the next number is 1, whichever sign both have."""
    a, b = np.zeros((16, 16)), np.zeros((16, 8))
    a[:8, 3], a[8:, 3], b[3] = 0.75, -0.75, 2.0**-23
    d = np.zeros((16, 8), np.float32)
    params = Params().input("a", encode16(a, "bf16")).input("b", encode16(b, "bf16")).output("d", d)
    machine.run(MMA, params, {"ELEMENT": "bf16", "START": "i < 2 ? 1.0f : -1.0f"})
    assert (d[:8] == 1).all() and (d[8:] == -1).all()


def test_register_budgets(hopper: Machine) -> None:
    """Two warpgroups give registers back, the third takes them; both compute."""
    source = """
    struct P { f32* y; };
    SPAK_KERNEL(kernel, P, 384, 1) {
      const u32 t = thread_index();
      if (t < 256) {
        register_decrease<40>();
        store(params.y + t, f32(t));
      } else {
        register_increase<232>();
        Reg<f32, 64> d;
        SPAK_UNROLL
        for (u32 i = 0; i < 64; i++) d[i] = f32(t * i);
        register_pin(d);
        f32 sum = 0;
        SPAK_UNROLL
        for (u32 i = 0; i < 64; i++) sum += d[i];
        order_before_wait(sum);
        store(params.y + t, sum);
      }
    }
    """
    y = np.zeros(384, np.float32)
    hopper.run(source, Params().output("y", y), block=384)
    t = np.arange(384)
    assert np.array_equal(y, np.where(t < 256, t, t * 2016))
