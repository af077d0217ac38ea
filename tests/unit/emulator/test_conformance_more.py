"""More of `test_conformance`: places in the grid, orders between threads and blocks, multicast, register budgets,
rounding of matrix units. The same bits on the emulator and, if there is one, on a device."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spak_runtime.emulator import Buffer
from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine
from tests.unit.emulator.primitive_kernels import encode16
from tests.unit.emulator.test_conformance import hopper, machine

__all__ = ["hopper", "machine"]


def test_places_in_the_grid(machine: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 x = block_index_x(), y = block_index_y(), z = block_index_z();
      const u32 block = (z * grid_size_y() + y) * grid_size_x() + x;
      const u32 sizes = grid_size_x() * 100 + grid_size_y() * 10 + grid_size_z();
      const u32 at = align_down(thread_index() + 7, 8u) == align_up(thread_index(), 8u) ? 0u : 1u;
      store(params.y + block * block_threads() + thread_index(), block * 10000 + sizes + at);
    }
    """
    y = np.zeros((24, 64), np.uint32)
    machine.run(source, Params().output("y", y), grid=(2, 3, 4), block=64)
    assert np.array_equal(y, np.broadcast_to(np.arange(24)[:, None] * 10000 + 234, (24, 64)))


@pytest.mark.parametrize(
    ("call", "reference", "low", "high", "error"),
    [
        ("erf_f32(x)", lambda x: np.vectorize(math.erf)(x), -3, 3, 4e-7),
        ("pow_f32(x, 2.5f)", lambda x: x**2.5, 0.1, 50, 2e-6),
        ("divide_f32(3.0f, x)", lambda x: 3 / x, 0.1, 1e6, 1e-7),
        ("opaque(x)", lambda x: x, -5, 5, 0),
        ("minimum(x, maximum(x - 1.0f, x))", lambda x: x, -5, 5, 0),
    ],
)
def test_more_functions(
    machine: Machine, call: str, reference: object, low: float, high: float, error: float
) -> None:
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 256) {
      const u32 i = block_index_x() * 256 + thread_index();
      f32 x = load(params.x + i);
      store_streaming(params.y + i, f32(CALL));
    }
    """.replace("CALL", call).replace(
        "opaque(x)", "__builtin_bit_cast(f32, opaque(__builtin_bit_cast(u32, x)))"
    )
    x, y = np.linspace(low, high, 1024, dtype=np.float32), np.zeros(1024, np.float32)
    machine.run(source, Params().input("x", x).output("y", y), grid=(4, 1, 1), block=256)
    expected = reference(x.astype(np.float64))  # type: ignore[operator]
    assert np.all(np.abs(y - expected) <= error * np.abs(expected))


def test_the_last_block_adds_up(machine: Machine) -> None:
    """Relaxed atomics with a fence of the device before and after, as many blocks as there are."""
    source = """
    struct P { f32* partial; u32* arrived; f32* sum; i32 blocks; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 t = thread_index(), me = block_index_x(), flag = shared_base();
      store(params.partial + me * 64 + t, f32(me + 1));
      fence_block();
      sync_threads();
      if (t == 0) {
        fence_device();
        store_shared<u32>(flag, atomic_add(params.arrived, 1u));
        fence_device();
      }
      sync_threads();
      if (load_shared<u32>(flag) + 1 != u32(params.blocks)) return;
      f32 sum = 0;
      for (i32 i = 0; i < params.blocks; i++) sum += load(params.partial + i * 64 + t);
      store(params.sum + t, sum);
    }
    """
    total = np.zeros(64, np.float32)
    params = Params().workspace("partial", np.zeros(64 * 30, np.float32), uninitialised=True)
    params.workspace("arrived", np.zeros(1, np.uint32)).output("sum", total).i32(30)
    machine.run(source, params, grid=(30, 1, 1), block=64, shared=16, same_bits=False)
    assert (total == 465).all()


def test_bytes_that_are_announced_apart(hopper: Machine) -> None:
    """An arrival, and the bytes to come in two calls."""
    source = """
    struct P { const f32* x; f32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index();
      if (t == 0) { mbarrier_init(base, 2); mbarrier_init_fence(); }
      sync_threads();
      if (t == 0) {
        mbarrier_expect(base, 128);
        mbarrier_arrive_expect(base, 128);
        bulk_load(base + 128, params.x, 256, base);
      }
      if (t == 5) mbarrier_arrive(base);
      mbarrier_wait(base, 0);
      store(params.y + t, load_shared<f32>(base + 128 + t * 8));
    }
    """
    x, y = np.arange(64, dtype=np.float32), np.zeros(32, np.float32)
    hopper.run(source, Params().input("x", x).output("y", y), shared=1024)
    assert np.array_equal(y, x[::2])


def test_a_peer_says_that_it_has_read(hopper: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 32, 1, 2, 1, 1) {
      const u32 base = align_up(shared_base(), 128u), t = thread_index(), rank = cluster_rank();
      if (t == 0) { mbarrier_init(base, 32); mbarrier_init_fence(); }
      store_shared<u32>(base + 128 + t * 4, 1000 * rank + t);
      cluster_sync();
      const u32 x = load_shared_remote<u32>(base + 128 + t * 4, rank ^ 1);
      mbarrier_arrive_remote(base, rank ^ 1);
      mbarrier_wait(base, 0);
      store_shared<u32>(base + 128 + t * 4, 7u);
      store(params.y + rank * 32 + t, x);
      cluster_sync();
    }
    """
    y = np.zeros((2, 32), np.uint32)
    hopper.run(source, Params().output("y", y), grid=(2, 1, 1), shared=1024, cluster=(2, 1, 1))
    assert np.array_equal(y, np.array([[1000], [0]]) + np.arange(32))


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_multicast(hopper: Machine, rank: int) -> None:
    """Each of two blocks loads half of a box for both; stores read their shared memory before it is reused."""
    source = """
    struct P { TensorMap in, out; };
    SPAK_KERNEL(kernel, P, 32, 1, 2, 1, 1) {
      const u32 base = align_up(shared_base(), 1024u), box = base + 1024, t = thread_index(), me = cluster_rank();
      if (t == 0) { mbarrier_init(base, 1); mbarrier_init_fence(); tma_prefetch(&params.in); }
      cluster_sync();
      if (t == 0) {
        mbarrier_arrive_expect(base, 2 * 8 * 128);
        tma_load_RANKd_multicast(box + me * 1024, &params.in, base, 0, i32(me * 8) MORE, 3);
      }
      mbarrier_wait(base, 0);
      if (t == 0) {
        tma_store_RANKd(&params.out, box + me * 1024, i32(me * 32), 0 MORE);
        tma_store_RANKd(&params.out, box + (1 - me) * 1024, i32(me * 32), 8 MORE);
        tma_commit();
        tma_wait_read<0>();
        tma_wait<0>();
      }
      cluster_sync();
    }
    """.replace("RANK", str(rank)).replace("MORE", ", 1" * (rank - 2))
    shape = (2,) * (rank - 2) + (16, 32)
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    out = np.zeros((*shape[:-1], 64), np.float32)
    box = (32, 8) + (1,) * (rank - 2)
    params = (
        Params().map(Buffer("in", x), "f32", box, 128).map(Buffer("out", out, writable=True), "f32", box, 128)
    )
    hopper.run(source, params, grid=(2, 1, 1), shared=1024 + 1024 + 2048 + 1024, cluster=(2, 1, 1))
    index = (1,) * (rank - 2)
    halves = x[index].reshape(2, 8, 32)
    assert np.array_equal(out[index][:, :32], np.concatenate([halves[0], halves[1]]))
    assert np.array_equal(out[index][:, 32:], np.concatenate([halves[1], halves[0]]))


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


def test_dependent_launch_is_harmless_alone(hopper: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      grid_dependency_wait();
      store(params.y + thread_index(), thread_index());
      fence_proxy_async();
      grid_dependency_launch();
    }
    """
    y = np.zeros(32, np.uint32)
    hopper.run(source, Params().output("y", y))
    assert np.array_equal(y, np.arange(32))


def test_a_matrix_unit_rounds_toward_zero(machine: Machine) -> None:
    """1 plus three quarters of the distance to the next number is 1, whichever sign both have."""
    source = """
    struct P { const bf16* a; const bf16* b; f32* d; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 g = lane_index() / 4, t = lane_index() % 4 * 2;
      Reg<u32, 4> a;
      Reg<u32, 2> b;
      Reg<f32, 4> d;
      SPAK_UNROLL
      for (u32 i = 0; i < 4; i++) {
        const bf16* p = params.a + (g + (i & 1) * 8) * 16 + t + (i >> 1) * 8;
        a[i] = pack_bits(load(p), load(p + 1));
        d[i] = i < 2 ? 1.0f : -1.0f;
      }
      SPAK_UNROLL
      for (u32 i = 0; i < 2; i++) {
        const bf16* p = params.b + (t + i * 8) * 8 + g;
        b[i] = pack_bits(load(p), load(p + 8));
      }
      mma_m16n8k16<bf16>(d, a, b);
      SPAK_UNROLL
      for (u32 i = 0; i < 4; i++) store(params.d + (g + (i >> 1) * 8) * 8 + t + (i & 1), d[i]);
    }
    """
    a, b = np.zeros((16, 16)), np.zeros((16, 8))
    a[:8, 3], a[8:, 3], b[3] = 0.75, -0.75, 2.0**-23
    d = np.zeros((16, 8), np.float32)
    params = Params().input("a", encode16(a, "bf16")).input("b", encode16(b, "bf16")).output("d", d)
    machine.run(source, params)
    assert (d[:8] == 1).all() and (d[8:] == -1).all()


@pytest.mark.parametrize("bits", [16, 32, 64, 128])
def test_untyped_accesses(machine: Machine, bits: int) -> None:
    source = """
    struct P { const u8* x; u8* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 t = thread_index(), a = align_up(shared_base(), 128u) + t * BYTES;
      store_shared_BITS(a, load_global_BITS(params.x + t * BYTES));
      sync_threads();
      store_global_BITS(params.y + t * BYTES, load_shared_BITS(a ^ BYTES));
    }
    """.replace("BITS", str(bits)).replace("BYTES", f"{bits // 8}u")
    x = np.random.default_rng(bits).integers(0, 256, 32 * bits // 8).astype(np.uint8)
    y = np.zeros_like(x)
    machine.run(source, Params().input("x", x).output("y", y), shared=1024)
    assert np.array_equal(y.reshape(32, -1), x.reshape(32, -1)[np.arange(32) ^ 1])


def test_single_bytes_of_shared_memory(machine: Machine) -> None:
    source = """
    struct P { u32* y; };
    SPAK_KERNEL(kernel, P, 32) {
      const u32 a = shared_base();
      store_shared_8(a + thread_index(), static_cast<u8>(thread_index() * 7));
      sync_threads();
      store(params.y + thread_index(), u32(load_shared_8(a + 31 - thread_index())));
    }
    """
    y = np.zeros(32, np.uint32)
    machine.run(source, Params().output("y", y), shared=32)
    assert np.array_equal(y, (31 - np.arange(32)) * 7)
