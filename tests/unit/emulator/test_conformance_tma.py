"""TMA of every rank and swizzle, bulk copies, mbarriers, clusters and multicast.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import numpy as np
import pytest

from spak_runtime.emulator import Buffer
from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine
from tests.unit.emulator.primitive_kernels import ROUND_TRIP_THREADS, RoundTrip


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
