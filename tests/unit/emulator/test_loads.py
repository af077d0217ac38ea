"""Loads that a kernel judges where they stand: no mistake is lost, and every figure is that of loads by call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spak_runtime.emulator import Report
from tests.unit.emulator.emulator_cases import Params, from_text, run

KERNEL = """
struct P { const f32* x; const bf16* z; f32* y; i32 n; };
SPAK_KERNEL(kernel, P, 64) {
  const u32 t = thread_index(), base = shared_base(), lane = lane_index(), warp = warp_index();
  const i32 n = params.n;
  BODY
}
"""
N = 96
SHARED = "store_shared(base + 4 * t, f32(t)); sync_threads(); f32 v = 0;\n"
ONCE = "store(params.y + t, v);"

CLEAN = {
    "one buffer after the other at one line": """
      f32 v = 0; for (u32 i = 0; i < 40; i++) {
        v += to_f32(load(params.z + (i * 3 + t) % 90)); v += load(params.x + (i * 7 + t * 2) % 96); }
      """,
    "lanes that go different ways": """
      f32 v = 0; for (u32 i = 0; i < t % 5; i++) v += load(params.x + i);
      if (t % 3) v += load(params.x + t); v += to_f32(load(params.z + t));""",
    "more than there is room for": """
      f32 v = 0; for (u32 i = 0; i < 1500 + (warp ? t % 2 : 0); i++) v += load(params.x + (i + t) % 96);""",
    "vectors": """
      f32 v = load_vector<4>(params.x + t % 24 * 4)[1] + load_vector_readonly<2>(params.x + t % 48 * 2)[0];
      v += to_f32(load_vector<8>(params.z + t % 12 * 8)[3]);""",
    "shared memory of others": SHARED
    + """
      for (u32 i = 0; i < 30; i++) v += load_shared<f32>(base + 4 * ((t * 2 + i) % 64));
      v += load_shared_vector<f32, 4>(base + t % 16 * 16)[2]; sync_threads();
      store_shared(base + 4 * t, v); sync_threads(); v = load_shared<f32>(base + 4 * (63 - t));""",
    "a warp that meets between": SHARED
    + """
      for (u32 i = 0; i < 8; i++) { v += load_shared<f32>(base + 4 * ((t ^ i) & 63)); v = shuffle_xor(v, 1);
        if (lane < 16) v += load(params.x + lane); }""",
    "bytes and halves": SHARED
    + """
      v += load_shared<u8>(base + t); v += load_shared<u16>(base + 2 * t); sync_threads();
      store_shared(base + 2 * t, u16(t)); sync_threads(); v += load_shared<u16>(base + 2 * (t ^ 1));""",
    "threads that end early": "if (t > 40) { store(params.y + t, 0.0f); return; } f32 v = load(params.x + t);",
}
# What each mistake is called. Loads before it have made its place known.
WRONG = {
    "behind the end by one": (
        "f32 v = 0; for (i32 i = 0; i <= n; i++) v += load(params.x + i);",
        "global-out-of-bounds",
    ),
    "before the beginning by one": (
        "f32 v = 0; for (i32 i = n - 1; i >= -1; i--) v += load(params.x + i);",
        "global-out-of-bounds",
    ),
    "a vector that sticks out": (
        "f32 v = 0; for (i32 i = 0; i < n; i += 2) v += load_vector<2>(params.x + i + (i == n - 2))[0];",
        "global-out-of-bounds",
    ),
    "a half of an element": (
        "f32 v = 0; for (u32 i = 0; i < 4; i++)"
        " v += load(reinterpret_cast<const f32*>(reinterpret_cast<const char*>(params.x) + i / 3 * 2));",
        "misaligned-global",
    ),
    "what nobody wrote": (
        SHARED + "for (u32 i = 0; i < 65; i++) v += load_shared<f32>(base + 4 * i);",
        "uninitialised-shared-read",
    ),
    "behind shared memory": (
        SHARED + "for (u32 i = 0; i < 64; i++) v += load_shared<f32>(base + 4 * i + (i == 63 ? 4 * n : 0));",
        "shared-out-of-bounds",
    ),
    "an odd address of shared memory": (
        SHARED + "for (u32 i = 0; i < 64; i++) v += load_shared<f32>(base + 4 * i - (i == 63 ? 2 : 0));",
        "misaligned-shared",
    ),
    "a write since the barrier": (
        SHARED + "v = load_shared<f32>(base + 4 * (t ^ 1)); if (t == 9) store_shared(base + 4 * 9, v);"
        " v += load_shared<f32>(base + 4 * (t ^ 1));",
        "race-read-after-write",
    ),
    "a write before everybody has read": (
        SHARED + "for (u32 i = 0; i < 4; i++) v += load_shared<f32>(base + 4 * ((t + i) & 63));"
        " store_shared(base + 4 * t, v);",
        "race-write-after-read",
    ),
    "a write to what is read": (
        "f32 v = load(params.x + t); v += load(params.x + 1); if (t == 3) store(const_cast<f32*>(params.x), v);",
        "write-to-readonly",
    ),
    "an output before it is written": (
        "f32 v = load(params.x + t); v += load(params.y + t);",
        "uninitialised-global-read",
    ),
    "an output that another thread has written": (
        "f32 v = load(params.x + t); store(params.y + t, v); v += load(params.y + (t + 32) % 64); return;",
        "global-race-read-after-write",
    ),
}


def launched(body: str, **options: Any) -> tuple[Report, Report, np.ndarray, np.ndarray]:
    """The reports and outputs of a body whose loads are judged where they stand, and of the same by call."""
    found: list[Any] = []
    for defines in ({}, {"SPAK_LOADS_BY_CALL": 1}):
        x, z, y = np.arange(N, dtype=np.float32), np.arange(N, dtype=np.uint16), np.zeros(64, np.float32)
        kernel = from_text(KERNEL.replace("BODY", body + ONCE), **defines)
        params = Params().input("x", x).input("z", z).output("y", y).i32(N)
        report = run(kernel, params, block=64, shared=512, **options)
        found.append((report, y))
    return found[0][0], found[1][0], found[0][1], found[1][1]


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("body", CLEAN.values(), ids=CLEAN.keys())
def test_figures_are_those_of_loads_by_call(body: str, seed: int) -> None:
    here, by_call, y, expected = launched(body, seed=seed)
    assert here.ok, here.errors
    assert here == by_call
    assert np.array_equal(y, expected)


@pytest.mark.parametrize(("body", "kind"), WRONG.values(), ids=WRONG.keys())
def test_no_mistake_is_lost(body: str, kind: str) -> None:
    here, by_call, _, _ = launched(body, seed=3)
    assert kind in here.kinds
    assert here == by_call
