"""Launching ring_of_rows.cu: rings of rows that are written plainly, right ones and one that nobody waits for."""

from __future__ import annotations

import numpy as np

from tests.unit.emulator.emulator_cases import KERNELS, Params

RIGHT = ("rows_by_one_lane", "rows_by_every_lane", "rows_once")
WRONG = "rows_unwaited"
SOURCE = (KERNELS / "ring_of_rows.cu").read_text()
SLOTS, ROWS, READERS = 2, 6, 4
LAUNCH = {"block": 32 * (READERS + 1), "shared": 1024}


def rows_of(entry: str) -> tuple[Params, np.ndarray, np.ndarray]:
    """The parameters of a kernel, what it writes, and what is right."""
    rows = SLOTS if entry == "rows_once" else ROWS
    x = np.random.default_rng(0).integers(-50, 51, (rows, 32)).astype(np.float32)
    y = np.zeros((rows, READERS, 32), np.float32)
    sums = np.roll(x, 1, axis=1) + np.roll(x, -1, axis=1)
    right = sums[:, None, :] + np.arange(READERS, dtype=np.float32)[:, None]
    return Params().input("x", x).output("y", y), y, right
