"""Accesses of global and shared memory of every width, cp.async, atomics, orders between blocks.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine


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
