"""Attention by TMA and mma on the emulator against the float64 oracle: points of its space, masks, soft cap, grouped
heads, ragged and unequal lengths, rows that stand apart."""

from __future__ import annotations

from typing import Any

import pytest

from spakc.plan.templates_attention_tma_mma import V3_TMA
from tests.unit.emit.planned import example
from tests.unit.emit.points import at, padded
from tests.unit.emit.test_attention_tma import PLAIN, SHAPES
from tests.unit.emit.test_emulated import agrees, case

ARCHS = ("sm_90a", "sm_120a")
NAMES = ("B", "H", "G", "Sq", "Sk", "D")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("arch", "knobs"),
    [
        ("sm_120a", {}),
        ("sm_120a", {"tile_q": 64, "tile_k": 32, "stages": 4}),
        ("sm_90a", {"tile_q": 32, "tile_k": 128, "stages": 2}),
        ("sm_90a", {"tile_q": 128, "tile_k": 64, "stages": 3}),
    ],
)
def test_points_of_the_space(arch: str, knobs: dict[str, Any], shape: tuple[Any, ...]) -> None:
    kernel = example("fmha", (arch,))["fmha"]
    *sizes, options = shape
    call = case(
        kernel, dict(zip(NAMES, sizes, strict=True)), {**PLAIN, **options}, {"Q": "f16" if knobs else "bf16"}
    )
    agrees(kernel, at(kernel, V3_TMA, **knobs), call, seed=3)


def test_more_slots_than_tiles_and_tiles_than_slots() -> None:
    kernel = example("fmha", ("sm_120a",))["fmha"]
    for keys in (5, 700):
        dims = dict(zip(NAMES, (1, 2, 1, 70, keys, 64), strict=True))
        for options in ({}, {"causal": True, "window": 100}):
            call = case(kernel, dims, {**PLAIN, **options}, {"Q": "bf16"})
            agrees(kernel, at(kernel, V3_TMA, tile_q=32, tile_k=16, stages=8), call)


def test_rows_that_stand_apart() -> None:
    """Maps know how far apart rows begin; a tile that ends behind the tensor reads zeros."""
    kernel = example("fmha", ("sm_120a",))["fmha"]
    dims = dict(zip(NAMES, (2, 4, 2, 77, 131, 64), strict=True))
    call = padded(kernel, dims, options={**PLAIN, "causal": True}, dtypes={"Q": "f16"})
    agrees(kernel, at(kernel, V3_TMA, tile_q=48, tile_k=48), call, seed=7)


def test_it_asks_for_what_maps_need() -> None:
    """Rows that begin at multiples of 16 bytes, and one key at least; a device without TMA gets no such variant."""
    kernel = example("fmha", ("sm_80", "sm_120a"))["fmha"]
    variant = next(v for v in kernel.spec.variants if v.schedule == "v3_tma")
    assert variant.archs == ("sm_120a",)
    assert {"keys", "aligned"} <= {guard.law for guard in variant.guards}
