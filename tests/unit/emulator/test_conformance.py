"""What each primitive computes, bit for bit against numpy: on the emulator and, if there is one, on a device.

pytest tests/unit/emulator/test_conformance.py              the emulator, in every asynchronous mode
pytest tests/unit/emulator/test_conformance.py -m gpu       the device: the PTX of the same calls
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spak_runtime.emulator import Buffer
from tests.unit.emulator.emulator_cases import KERNELS, Params, to_bf16
from tests.unit.emulator.machines import Machine, OnDevice, OnEmulator
from tests.unit.emulator.primitive_kernels import (
    ROUND_TRIP_THREADS,
    WGMMA,
    RoundTrip,
    Wgmma,
    encode16,
)

EMULATOR = OnEmulator()


def device() -> Machine:
    # torch is not asked first: loaded, it makes every later fork of the emulator ten times as slow.
    if not Path("/dev/nvidiactl").exists():
        pytest.skip("not run: no device")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("not run: no device")
    return OnDevice()


@pytest.fixture(scope="module", params=["emulator", pytest.param("device", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Machine:
    return EMULATOR if request.param == "emulator" else device()


@pytest.fixture
def hopper(machine: Machine) -> Machine:
    if not machine.has("sm_90a"):
        pytest.skip("not run: needs sm_90a")
    return machine


# ---- memory ----


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_accesses_of_each_width(machine: Machine, size: int) -> None:
    source = """
    struct P { const u8* x; u8* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index(), a = align_up(shared_base(), 128u) + t * SIZE;
      store_shared_vector(a, load_vector<SIZE>(params.x + t * SIZE));
      sync_threads();
      const u32 other = align_up(shared_base(), 128u) + (t ^ 37) * SIZE;
      store_vector(params.y + t * SIZE, load_shared_vector<u8, SIZE>(other));
      const auto next = load_vector_readonly<SIZE>(params.x + (t ^ 1) * SIZE);
      store_vector_streaming(params.y + (64 + t) * SIZE, next);
    }
    """
    x = np.random.default_rng(size).integers(0, 256, 64 * size).astype(np.uint8)
    y = np.zeros(128 * size, np.uint8)
    params = Params().input("x", x).output("y", y)
    machine.run(source, params, {"SIZE": size}, block=64, shared=2048)
    rows, t = x.reshape(64, size), np.arange(64)
    assert np.array_equal(y.reshape(128, size), np.concatenate([rows[t ^ 37], rows[t ^ 1]]))


@pytest.mark.parametrize("size", [4, 8, 16])
def test_a_vector_that_is_not_wanted_is_zeros(machine: Machine, size: int) -> None:
    source = """
    struct P { const u8* x; u8* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index();
      const bool wanted = t % 3 != 1;  // the others' addresses lie far outside
      store_vector(params.y + t * SIZE, load_vector_if<SIZE>(params.x + (wanted ? t : t << 20) * SIZE, wanted));
    }
    """
    x = np.random.default_rng(size).integers(1, 256, 64 * size).astype(np.uint8)
    y = np.full(64 * size, 255, np.uint8)
    machine.run(source, Params().input("x", x).output("y", y), {"SIZE": size}, block=64)
    wanted = np.arange(64) % 3 != 1
    assert np.array_equal(y.reshape(64, size), np.where(wanted[:, None], x.reshape(64, size), 0))


def test_cp_async_sizes_and_zero_fill(machine: Machine) -> None:
    source = """
    struct P { const u8* x; u8* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 t = thread_index(), a = align_up(shared_base(), 128u) + t * 32;
      cp_async_16(a, params.x + t * 32, t % 17);
      cp_async_commit();
      cp_async_8(a + 16, params.x + t * 32 + 16, t % 9);
      cp_async_4(a + 24, params.x + t * 32 + 24, t % 5);
      cp_async_4(a + 28, params.x + t * 32 + 28);
      cp_async_commit();
      cp_async_wait<1>();
      store_vector(params.y + t * 32, load_shared_vector<u8, 16>(a));
      cp_async_wait<0>();
      store_vector(params.y + t * 32 + 16, load_shared_vector<u8, 16>(a + 16));
    }
    """
    x = np.random.default_rng(0).integers(1, 256, (32, 32)).astype(np.uint8)
    y = np.zeros((32, 32), np.uint8)
    machine.run(source, Params().input("x", x).output("y", y), shared=2048)
    expected = x.copy()
    for t in range(32):
        for first, size, n in ((0, 16, t % 17), (16, 8, t % 9), (24, 4, t % 5)):
            expected[t, first + n : first + size] = 0
    assert np.array_equal(y, expected)


def test_atomics(machine: Machine) -> None:
    source = """
    struct P { f32* f; u32* u; i32* i; u64* l; u32* old; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index(), a = shared_base();
      atomic_add(params.f, 1.0f);
      atomic_add(params.u, 2u);
      atomic_max(params.i, i32(t) - 5);
      atomic_add(params.i + 1, -3);
      atomic_add(params.l, 1ull << 40);
      atomic_max(params.u + 1, t);
      atomic_compare_exchange(params.u + 2, 7u, 8u);
      atomic_exchange(params.u + 3, 9u);
      store(params.old + block_index_x() * 64 + t, atomic_add_acq_rel(params.u + 4, 1u));
      if (t == 0) { store_shared<f32>(a, 0.0f); store_shared<u32>(a + 4, 0u); store_shared<i32>(a + 8, 0); }
      sync_threads();
      shared_atomic_add(a, 0.5f);
      shared_atomic_add(a + 4, 2u);
      shared_atomic_add(a + 8, -1);
      sync_threads();
      if (t == 0) {
        atomic_add(params.f + 1, load_shared<f32>(a));
        atomic_add(params.u + 5, load_shared<u32>(a + 4));
        atomic_add(params.i + 2, load_shared<i32>(a + 8));
      }
    }
    """
    f, u, i = np.zeros(2, np.float32), np.zeros(6, np.uint32), np.full(3, -9, np.int32)
    wide, old = np.zeros(1, np.uint64), np.zeros(192, np.uint32)
    u[2] = 7

    params = Params().workspace("f", f).workspace("u", u).workspace("i", i).workspace("l", wide)
    params.workspace("old", old)
    machine.run(source, params, grid=(3, 1, 1), block=64, shared=16, same_bits=False)
    assert f.tolist() == [192, 96] and u.tolist() == [384, 63, 8, 9, 192, 384]
    assert i.tolist() == [58, -9 - 576, -9 - 192] and wide[0] == 192 << 40
    assert sorted(old) == list(range(192))


def test_blocks_take_turns(machine: Machine) -> None:
    source = """
    struct P { f32* sum; u32* turn; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index(), me = block_index_x();
      if (t == 0) semaphore_wait(params.turn, me);
      sync_threads();
      store(params.sum + t, load(params.sum + t) * 2.0f + f32(me));
      sync_threads();
      if (t == 0) semaphore_release(params.turn, me + 1);
    }
    """
    total, turn = np.ones(64, np.float32), np.zeros(1, np.uint32)
    params = Params().workspace("sum", total).workspace("turn", turn)
    machine.run(source, params, grid=(12, 1, 1), block=64)
    expected = 1.0
    for me in range(12):
        expected = expected * 2 + me
    assert (total == expected).all() and turn[0] == 12


# ---- conversions and functions ----


def interesting_floats() -> np.ndarray:
    bits = np.random.default_rng(0).integers(0, 2**32, 1 << 15, dtype=np.uint64).astype(np.uint32)
    bits[:8192] = 0x38000000 + np.arange(8192, dtype=np.uint32) * 4099  # around the smallest normal f16
    bits[8192:16384] = 0x33000000 + np.arange(8192, dtype=np.uint32) * 8191  # subnormal f16
    bits[16384:16392] = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x477FE000, 0x477FF000, 0x477FF001, 1]
    x = bits.view(np.float32)
    return np.where(np.isnan(x), np.float32(1), x)


def test_conversions(machine: Machine) -> None:
    import ml_dtypes

    source = """
    struct P { const f32* x; u16* h; u16* b; f32* back; u32* pairs; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      const f32 x = load(params.x + i);
      store(params.h + i, from_f32<f16>(x).bits);
      store(params.b + i, from_f32<bf16>(x).bits);
      store(params.back + i, to_f32(from_f32<f16>(x)));
      const u32 both = pack<f16>(x, -x), other = pack<bf16>(-x, x);
      const bool agrees = unpack_high<f16>(both) == -unpack_low<f16>(both) &&
                          unpack_low<bf16>(other) == -unpack_high<bf16>(other);
      store(params.pairs + i, agrees ? (both & 0xffffu) | (other & 0xffff0000u) : 0xdeadu);
    }
    """
    x = interesting_floats()
    h, b, pairs = np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint32)
    back = np.zeros(x.size, np.float32)
    params = Params().input("x", x).output("h", h).output("b", b).output("back", back).output("pairs", pairs)
    machine.run(source, params, grid=(x.size // 256, 1, 1), block=256)
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    brain = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(h, half.view(np.uint16)) and np.array_equal(b, brain)
    assert np.array_equal(back, half.astype(np.float32))
    assert np.array_equal(pairs, half.view(np.uint16).astype(np.uint32) | (brain.astype(np.uint32) << 16))


FUNCTIONS = {  # name: (numpy, lowest, highest, relative error allowed)
    "exp_f32": (np.exp, -80, 80, 4e-7),
    "exp2_f32": (np.exp2, -100, 100, 4e-7),
    "expm1_f32": (np.expm1, -1, 1, 4e-7),
    "log_f32": (np.log, 1.5, 1e6, 4e-7),
    "log2_f32": (np.log2, 1.5, 1e6, 4e-7),
    "log1p_f32": (np.log1p, 0.1, 10, 4e-7),
    "sin_f32": (np.sin, 0.1, 3, 4e-7),
    "cos_f32": (np.cos, -1.5, 1.5, 4e-7),
    "tanh_f32": (np.tanh, -5, 5, 4e-7),
    "sqrt_f32": (np.sqrt, 0, 1e9, 1e-7),
    "rsqrt_f32": (lambda x: 1 / np.sqrt(x), 1e-9, 1e9, 3e-7),
    "reciprocal_f32": (lambda x: 1 / x, 1e-9, 1e9, 1e-7),
    "floor_f32": (np.floor, -1e5, 1e5, 0),
    "ceil_f32": (np.ceil, -1e5, 1e5, 0),
    "round_f32": (np.rint, -1e5, 1e5, 0),
    "abs_f32": (np.abs, -1e5, 1e5, 0),
    "exp2_approx": (np.exp2, -125, 125, 4e-7),
    "exp_approx": (np.exp, -80, 80, 1e-5),
    "log2_approx": (np.log2, 2, 1e6, 4e-6),
    "reciprocal_approx": (lambda x: 1 / x, 1e-9, 1e9, 3e-7),
    "rsqrt_approx": (lambda x: 1 / np.sqrt(x), 1e-9, 1e9, 4e-7),
    "tanh_approx": (np.tanh, -5, 5, 2e-3),
    "exp2_polynomial": (np.exp2, -120, 0, 2e-4),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(machine: Machine, name: str) -> None:
    reference, low, high, tolerance = FUNCTIONS[name]
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      store(params.y + i, FUNCTION(load(params.x + i)));
    }
    """
    x = np.linspace(low, high, 1024, dtype=np.float32)
    y = np.zeros(1024, np.float32)
    machine.run(source, Params().input("x", x).output("y", y), {"FUNCTION": name}, grid=(4, 1, 1), block=256)
    expected = reference(x.astype(np.float64))
    assert np.all(np.abs(y - expected) <= tolerance * np.abs(expected) + 1e-37)


def test_special_values(machine: Machine) -> None:
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 t = thread_index();
      const f32 a = load(params.x + t), b = load(params.x + 31 - t);
      store(params.y + t, max_f32(a, b));
      store(params.y + 32 + t, min_f32(a, b));
      store(params.y + 64 + t, max_nan_f32(a, b));
      store(params.y + 96 + t, exp2_approx(a));
      store(params.y + 128 + t, a * infinity_f32());
      store(params.y + 160 + t, fma_f32(a, b, -1.0f));
      store(params.y + 192 + t, reciprocal_approx(a));
    }
    """
    x = np.tile(np.float32([0, -1, 2, np.nan, np.inf, -np.inf, -130, 1e-40]), 4)
    y = np.zeros(32 * 7, np.float32)
    machine.run(source, Params().input("x", x).output("y", y))
    largest, smallest, strict, power, scaled, fused, inverse = y.reshape(7, 32)
    other = x[::-1]
    assert np.array_equal(largest, np.fmax(x, other), equal_nan=True)
    assert np.array_equal(smallest, np.fmin(x, other), equal_nan=True)
    assert np.array_equal(strict, np.maximum(x, other), equal_nan=True)
    assert np.array_equal(power[:8], np.float32([1, 0.5, 4, np.nan, np.inf, 0, 0, 1]), equal_nan=True)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(scaled, x * np.float32(np.inf), equal_nan=True)
        exact = (x.astype(np.float64) * other - 1).astype(np.float32)
    assert np.array_equal(fused, exact, equal_nan=True)
    assert inverse[0] == np.inf and inverse[7] == np.inf and inverse[4] == 0, "subnormals are flushed"


# ---- warps and barriers ----


def test_shuffles_and_votes(machine: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index(), lane = lane_index();
      store(params.y + t, shuffle(t, (lane + 1) & 31));
      store(params.y + 64 + t, shuffle_xor(t, 5u));
      store(params.y + 128 + t, shuffle_up(t, 3));
      store(params.y + 192 + t, shuffle_down(t, 3));
      store(params.y + 256 + t, vote_ballot(lane % 3 == 0));
      store(params.y + 320 + t, u32(vote_any(lane == 9)));
      store(params.y + 384 + t, u32(vote_all(lane < 31)));
      store(params.y + 448 + t, bits_as<u32>(shuffle_xor(f32(t), 1u)));
      store(params.y + 512 + t, u32(shuffle(u64(t) << 33, 2) >> 33));
      store(params.y + 576 + t, warp_index());
    }
    """
    y = np.zeros((10, 64), np.uint32)
    machine.run(source, Params().output("y", y), block=64)
    t = np.arange(64)
    lane, first = t % 32, t // 32 * 32
    assert np.array_equal(y[0], first + (lane + 1) % 32) and np.array_equal(y[1], first + (lane ^ 5))
    assert np.array_equal(y[2], first + np.where(lane >= 3, lane - 3, lane))
    assert np.array_equal(y[3], first + np.where(lane < 29, lane + 3, lane))
    assert (y[4] == sum(1 << i for i in range(0, 32, 3))).all()
    assert (y[5] == 1).all() and (y[6] == 0).all()
    assert np.array_equal(y[7].view(np.float32), first + (lane ^ 1))
    assert np.array_equal(y[8], first + 2) and np.array_equal(y[9], t // 32)


def test_named_barriers_hand_over(machine: Machine) -> None:
    source = """
    // Warp 0 fills two buffers in turn, warp 1 empties them; ids 1, 2: full, ids 3, 4: empty.
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 base = align_up(shared_base(), 128u), lane = lane_index();
      for (u32 i = 0; i < 8; i++) {
        const u32 s = i & 1, a = base + s * 128 + lane * 4;
        if (warp_index() == 0) {
          if (i >= 2) named_barrier_sync(3 + s, 64);
          store_shared<u32>(a, i * 100 + lane);
          named_barrier_arrive(1 + s, 64);
        } else {
          named_barrier_sync(1 + s, 64);
          store(params.y + i * 32 + lane, load_shared<u32>(a));
          if (i < 6) named_barrier_arrive(3 + s, 64);
        }
      }
    }
    """
    y = np.zeros((8, 32), np.uint32)
    machine.run(source, Params().output("y", y), block=64, shared=512)
    assert np.array_equal(y, np.arange(8)[:, None] * 100 + np.arange(32))


def test_block_reduction(machine: Machine) -> None:
    source = """
    // The sum of each row of 1000: lanes by shuffles, warps through shared memory.
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 128) {
      const u32 t = thread_index(), row = block_index_x(), base = align_up(shared_base(), 128u);
      const u32 warp = warp_index();
      f32 sum = 0.0f;
      for (u32 i = t; i < 1000; i += 128) sum += load_readonly(params.x + row * 1000 + i);
      SPAK_UNROLL
      for (u32 mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
      if (lane_index() == 0) store_shared<f32>(base + warp * 4, sum);
      sync_threads();
      if (t < 32) {
        f32 part = t < 4 ? load_shared<f32>(base + t * 4) : 0.0f;
        part += shuffle_xor(part, 1u);
        part += shuffle_xor(part, 2u);
        if (t == 0) store(params.y + row, part);
      }
    }
    """
    x = np.random.default_rng(0).integers(-50, 51, (5, 1000)).astype(np.float32)
    y = np.zeros(5, np.float32)
    machine.run(source, Params().input("x", x).output("y", y), grid=(5, 1, 1), block=128, shared=256)
    assert np.array_equal(y, x.sum(1))


# ---- matrices ----


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


@pytest.mark.parametrize("element", ["bf16", "f16"])
def test_mma(machine: Machine, element: str) -> None:
    source = """
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
        d[i] = f32(i);
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
    rng = np.random.default_rng(1)
    a, b = rng.integers(-16, 17, (16, 16)), rng.integers(-16, 17, (16, 8))
    d = np.zeros((16, 8), np.float32)
    params = Params().input("a", encode16(a, element)).input("b", encode16(b, element)).output("d", d)
    machine.run(source, params, {"ELEMENT": element})
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


# ---- TMA, mbarriers, clusters ----


@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_tma_there_and_back(hopper: Machine, rank: int, swizzle: int) -> None:
    for start, column in ((0, 0), (8, 0), (-3, 0), (2, -4), (6, 4)):
        case = RoundTrip(rank, swizzle, start, column)
        stores = start >= 0 and column >= 0  # a device stops at a store that begins before the tensor
        if not stores:
            place = case.source.index("tma_store")
            case.source = case.source[:place] + case.source[case.source.index(";", place) + 1 :]
        hopper.run(case.source, case.params, block=ROUND_TRIP_THREADS, shared=case.shared)
        assert np.array_equal(case.seen, case.in_shared_memory())
        assert np.array_equal(case.out, case.stored() if stores else np.zeros_like(case.out))


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_tma_reduce_add(hopper: Machine, rank: int) -> None:
    twice = "tma_commit(); STORE; tma_commit(); tma_wait<0>();"
    case = RoundTrip(rank, 128, 3, store="tma_reduce_add")
    case.source = case.source.replace("tma_wait<0>();", twice)
    store = case.source[case.source.index("tma_reduce_add") :].split(";")[0]
    case.source = case.source.replace("STORE", store)
    case.out[...] = 1
    hopper.run(case.source, case.params, block=ROUND_TRIP_THREADS, shared=case.shared)
    assert np.array_equal(case.out, 1 + 2 * case.stored())


def test_bulk_copies(hopper: Machine) -> None:
    source = """
    struct P { const f32* x; f32* y; f32* z; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index();
      if (t == 0) { mbarrier_init(base, 1); mbarrier_init_fence(); }
      sync_threads();
      if (t == 0) { mbarrier_arrive_expect(base, 256); bulk_load(base + 128, params.x, 256, base); }
      mbarrier_wait(base, 0);
      if (elect_one()) {
        bulk_store(params.y, base + 128, 256);
        bulk_reduce_add_f32(params.z, base + 128, 128);
        bulk_reduce_add_f32(params.z, base + 256, 128);
        tma_commit();
        tma_wait<0>();
      }
    }
    """
    x, y, z = np.arange(64, dtype=np.float32), np.zeros(64, np.float32), np.ones(32, np.float32)
    params = Params().input("x", x).output("y", y).workspace("z", z)
    hopper.run(source, params, shared=1024)
    assert np.array_equal(y, x) and np.array_equal(z, 1 + x[:32] + x[32:])


def test_cp_async_arrives_at_an_mbarrier(hopper: Machine) -> None:
    source = """
    struct P { const u32* x; u32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index();
      if (t == 0) mbarrier_init(base, 64);
      sync_threads();
      for (u32 i = 0; i < 3; i++) {
        cp_async_4(base + 128 + t * 4, params.x + i * 64 + t);
        cp_async_mbarrier_arrive(base);
        mbarrier_wait(base, i & 1);
        store(params.y + i * 64 + t, load_shared<u32>(base + 128 + (t ^ 33) * 4));
        sync_threads();
      }
    }
    """
    x, y = np.arange(192, dtype=np.uint32), np.zeros((3, 64), np.uint32)
    hopper.run(source, Params().input("x", x).output("y", y), block=64, shared=1024)
    assert np.array_equal(y, x.reshape(3, 64)[:, np.arange(64) ^ 33])


def test_cluster_exchange(hopper: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 64, 1, 2, 2, 1) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index();
      const u32 rank = cluster_rank(), next = (rank + 1) & 3;
      store_shared<u32>(base + t * 4, 1000 * rank + t);
      cluster_sync();
      const u32 x = load_shared_remote<u32>(base + t * 4, next);
      store_shared_remote<u32>(base + 512 + t * 4, next, x + 7);
      cluster_arrive();
      cluster_wait();
      store(params.y + rank * 64 + t, load_shared<u32>(base + 512 + t * 4));
    }
    """
    y = np.zeros((4, 64), np.uint32)
    hopper.run(source, Params().output("y", y), grid=(2, 2, 1), block=64, shared=1024, cluster=(2, 2, 1))
    assert np.array_equal(y, np.arange(4)[:, None] * 1000 + np.arange(64) + 7)


# ---- whole kernels ----


@pytest.mark.parametrize("element", ["bf16", "f16"])
@pytest.mark.parametrize("shape", [(128, 128, 128), (200, 136, 72)])
def test_gemm_mma(machine: Machine, shape: tuple[int, int, int], element: str) -> None:
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = rng.integers(-3, 4, (m, k)), rng.integers(-3, 4, (k, n))
    c = np.zeros((m, n), np.uint16)
    params = (
        Params().input("a", encode16(a, element)).input("b", encode16(b, element)).output("c", c).i32(*shape)
    )
    machine.run(
        (KERNELS / "gemm_mma.cu").read_text(),
        params,
        {"ELEMENT": element},
        entry="gemm",
        grid=(-(-n // 128), -(-m // 128), 1),
        block=256,
        shared=49152,
    )
    assert np.array_equal(c, encode16(a @ b, element))


@pytest.mark.parametrize(("cluster", "a_mn", "b_mn"), [(1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1), (2, 0, 0)])
def test_gemm_wgmma(hopper: Machine, cluster: int, a_mn: int, b_mn: int) -> None:
    m, n, k = 200, 136, 328
    rng = np.random.default_rng(k)
    a, b = rng.integers(-3, 4, (m, k)), rng.integers(-3, 4, (n, k))
    c = np.zeros((m, n), np.uint16)
    stored_a, stored_b = (np.ascontiguousarray(x.T if t else x) for x, t in ((a, a_mn), (b, b_mn)))
    params = Params().map(Buffer("a", to_bf16(stored_a)), "bf16", (64, 64 if a_mn else 128), 128)
    params.map(Buffer("b", to_bf16(stored_b)), "bf16", (64, 64 if b_mn else 128 // cluster), 128)
    params.map(Buffer("c", c, writable=True, write_once=True, uninitialised=True), "bf16", (64, 64), 128)
    hopper.run(
        (KERNELS / "gemm_wgmma.cu").read_text(),
        params.i32(m, n, k),
        {"CLUSTER": cluster, "A_MN": a_mn, "B_MN": b_mn},
        entry="gemm",
        grid=(2, 2, 1),
        block=384,
        shared=1024 + 4 * 32768 + 32768 + 128,
        cluster=(1, cluster, 1),
    )
    assert np.array_equal(c, to_bf16(a @ b.T))
