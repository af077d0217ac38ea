"""Blocks that work together through global memory: semaphores, arrival counters, and their absence."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.emulator.emulator_cases import Params, from_text, run

TURNSTILE = """
// Each block adds its numbers to the sum in the order of the blocks.
struct P { f32* sum; u32* turn; };
SPAK_KERNEL(kernel, P, 64) {
  const u32 t = thread_index(), me = block_index_x();
  if (WAIT) { if (t == 0) semaphore_wait(params.turn, me); }
  if (SYNC_IN) sync_threads();
  store(params.sum + t, load(params.sum + t) + f32(me + 1));
  if (SYNC_OUT) sync_threads();
  if (t == 0) semaphore_release(params.turn, me + 1);
}
"""
RIGHT = {"WAIT": 1, "SYNC_IN": 1, "SYNC_OUT": 1}


def turnstile(blocks: int, seed: int, **defines: int) -> tuple:
    kernel = from_text(TURNSTILE, **(RIGHT | defines))
    total, turn = np.zeros(64, np.float32), np.zeros(1, np.uint32)
    params = Params().workspace("sum", total).workspace("turn", turn)
    return run(kernel, params, grid=(blocks, 1, 1), block=64, seed=seed), total


def test_turnstile_is_right() -> None:
    for seed in range(6):
        report, total = turnstile(9, seed)
        assert report.ok, report.errors
        assert (total == 45).all()


@pytest.mark.parametrize("missing", ["WAIT", "SYNC_IN", "SYNC_OUT"])
def test_each_part_of_the_turnstile_matters(missing: str) -> None:
    for seed in range(3):
        report, _ = turnstile(5, seed, **{missing: 0})
        assert any(k.startswith("global-race") for k in report.kinds), (missing, report.errors)


def test_waiting_for_what_never_comes() -> None:
    body = TURNSTILE.replace("semaphore_wait(params.turn, me)", "semaphore_wait(params.turn, me + 1)")
    kernel = from_text(body, **RIGHT)
    params = Params().workspace("sum", np.zeros(64, np.float32)).workspace("turn", np.zeros(1, np.uint32))
    report = run(kernel, params, grid=(3, 1, 1), block=64)
    assert report.kinds == {"deadlock"}
    assert "semaphore_wait(0x0, 1)" in report.errors[0].message


LAST_BLOCK = """
// Every block writes a partial result; the one that arrives last adds them up.
struct P { f32* partial; u32* arrived; f32* sum; i32 blocks; };
SPAK_KERNEL(kernel, P, 64) {
  const u32 t = thread_index(), me = block_index_x(), flag = shared_base();
  store(params.partial + me * 64 + t, f32(me + 1));
  BEFORE
  if (t == 0) store_shared<u32>(flag, ARRIVE(params.arrived, 1u));
  AFTER
  if (load_shared<u32>(flag) + 1 != u32(params.blocks)) return;
  f32 sum = 0;
  for (i32 i = 0; i < params.blocks; i++) sum += load(params.partial + i * 64 + t);
  store(params.sum + t, sum);
}
"""


def last_block(before: str, after: str, arrive: str, seed: int) -> tuple:
    source = LAST_BLOCK.replace("BEFORE", before).replace("AFTER", after).replace("ARRIVE", arrive)
    n = 7
    total = np.zeros(64, np.float32)
    params = Params().workspace("partial", np.zeros(64 * n, np.float32), uninitialised=True)
    params.workspace("arrived", np.zeros(1, np.uint32)).output("sum", total).i32(n)
    return run(from_text(source), params, grid=(n, 1, 1), block=64, shared=16, seed=seed), total


@pytest.mark.parametrize(
    ("before", "after", "arrive", "right"),
    [
        ("sync_threads();", "sync_threads();", "atomic_add_acq_rel", True),
        ("fence_device(); sync_threads();", "sync_threads(); fence_device();", "atomic_add", False),
        (
            "sync_threads(); if (t == 0) fence_device();",
            "if (t == 0) fence_device(); sync_threads();",
            "atomic_add",
            True,
        ),
        ("", "sync_threads();", "atomic_add_acq_rel", False),
        ("sync_threads();", "sync_threads();", "atomic_add", False),
        ("sync_threads(); if (t == 0) fence_device();", "sync_threads();", "atomic_add", False),
    ],
)
def test_last_block_pattern(before: str, after: str, arrive: str, right: bool) -> None:
    for seed in range(4):
        report, total = last_block(before, after, arrive, seed)
        if right:
            assert report.ok, report.errors
            assert (total == 28).all()
        else:
            assert "global-race-read-after-write" in report.kinds


def test_atomic_on_a_write_once_output() -> None:
    source = (
        "struct P { f32* y; };\nSPAK_KERNEL(kernel, P, 32) { atomic_add(params.y + thread_index(), 1.0f); }"
    )
    report = run(from_text(source), Params().output("y", np.zeros(32, np.float32)))
    assert "atomic-on-write-once" in report.kinds


def test_shared_atomics() -> None:
    source = """
    struct P { f32* y; };
    SPAK_KERNEL(kernel, P, 64) {
      const u32 base = shared_base(), t = thread_index();
      if (t == 0) { store_shared<f32>(base, 0.0f); store_shared<u32>(base + 4, 0u); }
      SYNC
      shared_atomic_add(base, 1.0f); shared_atomic_add(base + 4, 2u);
      sync_threads();
      if (t == 0) store(params.y, load_shared<f32>(base));
      if (t == 0) { store(params.y + 1, f32(load_shared<u32>(base + 4))); }
    }
    """
    y = np.zeros(2, np.float32)
    report = run(
        from_text(source.replace("SYNC", "sync_threads();")), Params().workspace("y", y), block=64, shared=8
    )
    assert report.ok, report.errors
    assert y.tolist() == [64, 128]
    report = run(from_text(source.replace("SYNC", "")), Params().workspace("y", y), block=64, shared=8)
    assert report.kinds & {"race-write-after-write", "uninitialised-shared-read"}


def test_two_blocks_writing_one_element() -> None:
    source = "struct P { f32* y; };\nSPAK_KERNEL(kernel, P, 32) { store(params.y + thread_index(), 1.0f); }"
    report = run(from_text(source), Params().output("y", np.zeros(32, np.float32)), grid=(2, 1, 1))
    assert report.kinds == {"double-write-between-blocks"}
    report = run(from_text(source), Params().workspace("y", np.zeros(32, np.float32)), grid=(2, 1, 1))
    assert report.kinds == {"global-race-write-after-write"}
