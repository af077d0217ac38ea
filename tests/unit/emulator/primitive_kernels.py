"""Kernels that exercise one primitive each, as text, and the numpy that says what they compute."""

from __future__ import annotations

import numpy as np

from spak_runtime.emulator import Buffer
from tests.unit.emulator.emulator_cases import Params, to_bf16

ROUND_TRIP = """
// One box in, every element through plain code, one box out. The box's inner side fills the swizzle.
struct P { TensorMap in, out; f32* seen; i32 column, row; };
SPAK_KERNEL(kernel, P, 128) {
  const u32 base = align_up(shared_base(), 1024u), box = base + 1024, t = thread_index();
  if (t == 0) { mbarrier_init(base, 1); INIT_FENCE }
  sync_threads();
  if (t == 0) { mbarrier_arrive_expect(base, BYTES); LOAD; }
  mbarrier_wait(base, 0);
  for (u32 i = t; i < BYTES / 4; i += 128) {
    const f32 x = load_shared<f32>(box + i * 4);
    store(params.seen + i, x);
    store_shared<f32>(box + i * 4, x * 2.0f);
  }
  PROXY_FENCE
  sync_threads();
  if (t == 0) { STORE; tma_commit(); WAIT }
}
"""
ROUND_TRIP_THREADS = 128


class RoundTrip:
    """ROUND_TRIP of an f32 tensor: a box of 16 rows, from row `start` and column `column` on."""

    def __init__(
        self,
        rank: int,
        swizzle: int,
        start: int = 0,
        column: int = 0,
        store: str = "tma_store",
        **change: str,
    ) -> None:
        self.inner = (swizzle or 64) // 4
        shape = {2: (20, self.inner), 3: (3, 20, self.inner), 4: (4, 2, 20, self.inner)}[rank]
        self.index = {2: (), 3: (1,), 4: (2, 1)}[rank]
        self.swizzle, self.start, self.column = swizzle, start, column
        self.x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
        self.out, self.seen = np.zeros(shape, np.float32), np.zeros(16 * self.inner, np.float32)
        coordinates = ", ".join(["params.column", "params.row", *map(str, reversed(self.index))])
        parts = {
            "LOAD": f"tma_load_{rank}d(box, &params.in, base, {coordinates})",
            "STORE": f"{store}_{rank}d(&params.out, box, {coordinates})",
            "BYTES": f"{16 * self.inner * 4}u",
            "INIT_FENCE": "mbarrier_init_fence();",
            "PROXY_FENCE": "fence_proxy_async_shared();",
            "WAIT": "tma_wait<0>();",
        }
        self.source = ROUND_TRIP
        for name, text in (parts | change).items():
            self.source = self.source.replace(name, text)
        box = (self.inner, 16) + (1,) * (rank - 2)
        self.params = Params().map(Buffer("in", self.x), "f32", box, swizzle)
        self.params.map(Buffer("out", self.out, writable=True), "f32", box, swizzle).output(
            "seen", self.seen
        ).i32(column, start)
        self.shared = 1024 + 1024 + 16 * self.inner * 4 + 1024

    def box(self) -> np.ndarray:
        """The 16 rows that the load brings, with zeros for what lies outside."""
        padded = np.zeros((20 + 64, self.inner + 64), np.float32)
        padded[32:52, 32 : 32 + self.inner] = self.x[self.index]
        rows, columns = 32 + self.start, 32 + self.column
        return padded[rows : rows + 16, columns : columns + self.inner]

    def in_shared_memory(self) -> np.ndarray:
        """The box as it lies there: 16-byte chunk c of row r at c ^ f(r), f as the swizzle says."""
        chunks = self.box().reshape(16, self.inner // 4, 4)
        placed = np.empty_like(chunks)
        mask = {0: 0, 32: 1, 64: 3, 128: 7}[self.swizzle]
        for r in range(16):
            for c in range(self.inner // 4):
                placed[r, c ^ (((r * self.inner * 4) >> 7) & mask)] = chunks[r, c]
        return placed.reshape(-1)

    def stored(self) -> np.ndarray:
        """The whole output after the store of twice the box."""
        padded = np.zeros((20 + 64, self.inner + 64), np.float32)
        rows, columns = 32 + self.start, 32 + self.column
        padded[rows : rows + 16, columns : columns + self.inner] = 2 * self.box()
        result = np.zeros_like(self.x)
        result[self.index] = padded[32:52, 32 : 32 + self.inner]
        return result


WGMMA = """
struct P { const ELEMENT* a; const ELEMENT* b; f32* d; const u32* a_at; const u32* b_at; };
SPAK_KERNEL(kernel, P, 128) {
  // The host says where each element goes, so the test states the layout and not the kernel.
  const u32 base = align_up(shared_base(), 1024u), a = base, b = base + 8192, t = thread_index();
  for (u32 i = t; i < 64 * 32; i += 128) store_shared(a + load(params.a_at + i), load(params.a + i));
  for (u32 i = t; i < COLUMNS * 32; i += 128) store_shared(b + load(params.b_at + i), load(params.b + i));
  if (FENCE) fence_proxy_async_shared();
  sync_threads();
  Reg<f32, COLUMNS / 2> d;
  fill(d, 0.0f);
  const u32 warp = warp_index(), lane = lane_index();
  Reg<u32, 2, 4> r;
  SPAK_UNROLL
  for (u32 k = 0; k < 2; k++)
    SPAK_UNROLL
    for (u32 i = 0; i < 4; i++) {
      const u32 row = warp * 16 + lane / 4 + (i & 1) * 8, column = k * 16 + (lane & 3) * 2 + (i >> 1) * 8;
      r[k][i] = pack_bits(load(params.a + row * 32 + column), load(params.a + row * 32 + column + 1));
    }
  wgmma_fence();
  SPAK_UNROLL
  for (u32 k = 0; k < 2; k++) {
    const u64 db = wgmma_descriptor(b + k * B_STEP, B_LEADING, B_STRIDE, Swizzle::B_SWIZZLE);
    if constexpr (FROM_REGISTERS) {
      wgmma_rs<ELEMENT, Major::B_MAJOR>(d, r[k], db, k != 0);
    } else {
      wgmma_ss<ELEMENT, Major::A_MAJOR, Major::B_MAJOR>(
          d, wgmma_descriptor(a + k * A_STEP, A_LEADING, A_STRIDE, Swizzle::A_SWIZZLE), db, k != 0);
    }
  }
  wgmma_commit();
  wgmma_wait<0>();
  register_pin(d);
  SPAK_UNROLL
  for (u32 i = 0; i < COLUMNS / 2; i++)
    store(params.d + (warp * 16 + lane / 4 + ((i >> 1) & 1) * 8) * COLUMNS + (i >> 2) * 8 + (lane & 3) * 2 +
              (i & 1), d[i]);
}
"""


def tile_layout(rows: int, k: int, major: str, swizzle: int) -> tuple[np.ndarray, dict[str, int]]:
    """Byte offset of each element [row, k] of a packed wgmma operand, and the numbers of its descriptor."""
    r, c = np.meshgrid(np.arange(rows), np.arange(k), indexing="ij")
    if swizzle == 0:  # 8 x 8 matrices of 128 contiguous bytes, those along k beside each other
        blocks = k // 8
        inside = (r % 8) * 16 + (c % 8) * 2 if major == "k" else (c % 8) * 16 + (r % 8) * 2
        at = ((r // 8) * blocks + c // 8) * 128 + inside
        return at, {"LEADING": 128, "STRIDE": blocks * 128, "STEP": 256}
    width = swizzle // 2
    if major == "k":  # rows of `swizzle` bytes, in slabs of `width` k
        plain = (c // width) * rows * swizzle + r * swizzle + (c % width) * 2
        numbers = {"LEADING": 16, "STRIDE": 8 * swizzle, "STEP": 32 if width > 16 else rows * swizzle}
    else:  # one row of `swizzle` bytes a k, in slabs of `width` rows of the operand
        plain = (r // width) * k * swizzle + c * swizzle + (r % width) * 2
        numbers = {"LEADING": k * swizzle, "STRIDE": 8 * swizzle, "STEP": 16 * swizzle}
    mask = {32: 1, 64: 3, 128: 7}[swizzle]
    return plain ^ (((plain >> 7) & mask) << 4), numbers


class Wgmma:
    """WGMMA on integers: A 64 x 32 (in registers if a_form is None) times B of n columns; forms are (major,
    swizzle)."""

    threads = 128

    def __init__(
        self, n: int, a_form: tuple[str, int] | None, b_form: tuple[str, int], element: str, fence: int = 1
    ) -> None:
        rng = np.random.default_rng(n)
        a, b = rng.integers(-8, 9, (64, 32)), rng.integers(-8, 9, (n, 32))
        self.expected = (a @ b.T).astype(np.float32)
        self.d = np.zeros((64, n), np.float32)
        self.defines: dict[str, str | int] = {"ELEMENT": element, "COLUMNS": n, "FENCE": fence}
        self.defines["FROM_REGISTERS"] = int(a_form is None)
        self.params = (
            Params().input("a", encode16(a, element)).input("b", encode16(b, element)).output("d", self.d)
        )
        for name, rows, form in (("A", 64, a_form or ("k", 128)), ("B", n, b_form)):
            at, numbers = tile_layout(rows, 32, *form)
            self.params.input(f"{name}_at", at.astype(np.uint32))
            self.defines |= {f"{name}_{key}": value for key, value in numbers.items()}
            self.defines |= {
                f"{name}_MAJOR": form[0],
                f"{name}_SWIZZLE": f"b{form[1]}" if form[1] else "none",
            }
        self.shared = 1024 + 8192 + n * 128 + 1024


def encode16(x: np.ndarray, element: str) -> np.ndarray:
    """Integers as bf16 or f16 bits."""
    return to_bf16(x) if element == "bf16" else x.astype(np.float16).view(np.uint16)
