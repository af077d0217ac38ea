"""Places in the grid, shuffles, votes, barriers, reductions.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import numpy as np

from tests.unit.emulator.emulator_cases import Params
from tests.unit.emulator.machines import Machine


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
