"""The product by TMA and mma on the emulator against the float64 oracle: points of its space, all layouts, ragged
sizes, batches, what stands behind rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spakc.plan.templates_tma import TMA_PIPELINED
from tests.unit.emit.planned import emitted, example
from tests.unit.emit.points import at, batched, padded
from tests.unit.emit.test_emulated import LAYOUTS, agrees, case

ARCH = ("sm_120a",)


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize(
    "knobs",
    [
        {"tile_m": 128, "tile_n": 128, "stages": 3},
        {"tile_m": 64, "tile_n": 128, "stages": 2},
        {"tile_m": 32, "tile_n": 64, "stages": 4},
        {"tile_m": 96, "tile_n": 32, "stages": 3},
    ],
)
def test_points_of_the_space(knobs: dict[str, Any], layouts: tuple[str, str]) -> None:
    """Several blocks, ragged in all three sizes; panels of 128 and of 64 bytes."""
    kernel = example("matmul", ARCH)["matmul"]
    how = {"options": {"activation": "gelu"}, "layouts": dict(zip("AB", layouts, strict=True))}
    call = padded(kernel, {"M": 150, "N": 137, "K": 195}, dtypes={"A": "f16"}, **how)
    agrees(kernel, at(kernel, TMA_PIPELINED, **knobs), call, seed=5)


@pytest.mark.parametrize("dims", [(1, 8, 1), (8, 8, 64), (65, 72, 64)])
@pytest.mark.parametrize("output", ["bf16", "f32"])
def test_outputs_of_either_width(output: str, dims: tuple[int, int, int]) -> None:
    """Plain stores: rows may end and begin anywhere."""
    kernel = example("matmul", ARCH)["matmul"]
    m, n, k = dims
    how = {"options": {"activation": "silu"}, "absent": ("bias",), "dtypes": {"A": "bf16", "C": output}}
    call = padded(kernel, {"M": m, "N": n, "K": k}, **how)
    agrees(kernel, at(kernel, TMA_PIPELINED, tile_m=64, tile_n=64, stages=2), call)


@pytest.mark.parametrize(
    ("schedule", "knobs"),
    [
        ("tma_pipelined", "knob tile_m in {64}  knob tile_n in {32}  knob stages in {3}"),
        ("pipelined", "knob tile_m in {64}  knob tile_n in {64}  knob tile_k in {32}  knob stages in {3}"),
    ],
)
def test_batches_and_several_outputs(schedule: str, knobs: str, tmp_path: Path) -> None:
    """Grouped heads: two axes of batch, one of them through an expression. A warp that stores its second output, of
    another width, stays out of the slab that its neighbour still stores the first one through."""
    path = tmp_path / "heads.spak"
    path.write_text(batched(schedule, knobs))
    kernel = emitted(path, ARCH)["heads"]
    variant = next(v for v in kernel.spec.variants if v.schedule == schedule)
    dims = {"B": 2, "H": 4, "G": 2, "M": 72, "N": 40, "K": 72}
    agrees(kernel, variant, case(kernel, dims, {}, {"X": "bf16"}))
