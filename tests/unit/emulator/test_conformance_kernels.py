"""Whole products, by mma and by TMA with wgmma, and rings of rows.

Bit for bit as numpy says, on the emulator in every mode and, with `-m gpu`, on a device.
"""

from __future__ import annotations

import numpy as np
import pytest

from spak_runtime.emulator import Buffer
from tests.unit.emulator.emulator_cases import KERNELS, Params, from_text, run, to_bf16
from tests.unit.emulator.machines import Machine
from tests.unit.emulator.primitive_kernels import encode16
from tests.unit.emulator.rings import LAUNCH, RIGHT, SOURCE, WRONG, rows_of


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


@pytest.mark.parametrize("entry", RIGHT)
def test_rings_of_rows(hopper: Machine, entry: str) -> None:
    params, y, right = rows_of(entry)
    hopper.run(SOURCE, params, entry=entry, **LAUNCH)
    assert np.array_equal(y, right)


def test_a_ring_that_nobody_waits_for_is_a_race() -> None:
    for seed, mode in enumerate(("late", "eager", "random")):
        params, _, _ = rows_of(WRONG)
        report = run(from_text(SOURCE), params, entry=WRONG, seed=seed, async_mode=mode, **LAUNCH)
        assert {"race-read-after-write", "race-write-after-read"} & report.kinds, report.errors
