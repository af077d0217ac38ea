"""Attention for sm_90a on the emulator against the float64 oracle: points of its space, masks, soft cap, grouped heads,
ragged and unequal lengths, several tiles a block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spak_runtime.manifest import Variant
from spakc.plan.launch import Signature
from spakc.plan.templates_attention_tma import V4_TMA
from tests.unit.emit.planned import Emitted, emitted, example
from tests.unit.emit.test_emulated import agrees, case

PLAIN = {"causal": False, "softcap": 0.0, "window": 0, "scale": 0.125}


def at(kernel: Emitted, **knobs: Any) -> Variant:
    """The variant at a point of the space, selected or not. Persistent blocks are few, so that each computes several
    tiles."""
    planned = next(v for v in kernel.plan.variants if v.schedule == "v4_tma")
    base = next(v for v in kernel.spec.variants if v.id == planned.id)
    config = {**V4_TMA.defaults, **knobs}
    problem, signature = planned.launches[0].problem, Signature(kernel.plan.kernel)
    assert V4_TMA.refuses(problem, signature, config) is None
    shape = V4_TMA.shape(problem, signature, config)
    (tiles, _, _) = shape.grid
    few = ["min", tiles[1], 3] if config["grid"] == "persistent" else tiles
    launch = replace(
        base.launches[0],
        params=V4_TMA.params(problem, signature, config),
        grid=(few, 1, 1),
        threads=shape.threads,
        shared_bytes=shape.shared_bytes,
    )
    defines = replace(planned, config=config).defines
    derived = dict(V4_TMA.derived(problem, signature, config))
    return replace(
        base, id=str(knobs), config=config, defines=defines, derived=derived, launches=(launch,), guards=()
    )


SHAPES = [
    # B, H, G, Sq, Sk, D, options
    (1, 4, 2, 300, 300, 64, {"causal": True}),
    (1, 2, 1, 200, 431, 128, {}),
    (2, 2, 2, 150, 70, 64, {"causal": True}),  # the first rows see no key
    (1, 1, 1, 1, 129, 64, {}),
    (1, 2, 2, 260, 260, 64, {"causal": True, "window": 17}),
    (1, 2, 2, 140, 140, 64, {"causal": True, "softcap": 3.0}),
    (1, 1, 1, 200, 200, 64, {"scale": -0.2}),
    (1, 7, 1, 129, 2, 64, {"causal": True}),  # the last tile has one row: other warpgroups pass over it
    (1, 3, 1, 450, 450, 64, {"causal": True}),  # tiles of keys that only the last warpgroup sees
    (1, 2, 1, 400, 400, 64, {"causal": True, "window": 40}),  # and some that only the first one sees
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"grid": "tiles", "tile_k": 96, "stages": 3},
        {"tile_q": 192, "consumers": 3, "polynomial": 8},
        {"tile_q": 64, "consumers": 1, "tile_k": 64},
    ],
)
def test_points_of_the_space(knobs: dict[str, Any], shape: tuple[Any, ...]) -> None:
    kernel = example("fmha", ("sm_90a",))["fmha"]
    *sizes, options = shape
    dims = dict(zip(("B", "H", "G", "Sq", "Sk", "D"), sizes, strict=True))
    if dims["D"] == 128 and knobs.get("consumers") == 3:
        knobs = {**knobs, "tile_k": 64}
    call = case(kernel, dims, {**PLAIN, **options}, {"Q": "f16" if knobs else "bf16"})
    agrees(kernel, at(kernel, **knobs), call, seed=3)


def test_the_largest_tile(tmp_path: Path) -> None:
    kernel = example("fmha", ("sm_90a",))["fmha"]
    dims = {"B": 1, "H": 2, "G": 1, "Sq": 257, "Sk": 400, "D": 128}
    call = case(kernel, dims, {**PLAIN, "causal": True}, {"Q": "bf16"})
    agrees(kernel, at(kernel, tile_k=176), call)


def test_more_than_32_tiles_of_keys() -> None:
    """The walk over tiles asks about 32 at a time; a window leaves whole words of them out."""
    kernel = example("fmha", ("sm_90a",))["fmha"]
    dims = {"B": 1, "H": 1, "G": 1, "Sq": 70, "Sk": 4300, "D": 64}
    for options in ({}, {"causal": True, "window": 100}):
        call = case(kernel, dims, {**PLAIN, **options}, {"Q": "bf16"})
        agrees(kernel, at(kernel, tile_q=64, consumers=1, tile_k=64), call)


BIASED = """spak 1
use std.devices
targets h100
kernel f: attention {
  dim B, H, S, T, D in {64}
  input  Q: bf16 [B, H, S, D]
  input  K, V: bf16 [B, H, T, D]
  input  bias: f32 [B, H, S, T]
  output O: bf16 [B, H, S, D]
  option causal: bool = true
  math {
    X[b, h, q, k] = sum[d](Q[b, h, q, d] * K[b, h, k, d]) * 0.125 + bias[b, h, q, k]
    M[b, h, q, k] = where(not causal or k <= q + T - S, X[b, h, q, k], -inf)
    O[b, h, q, d] = sum[k](softmax[k](M[b, h, q, k]) * V[b, h, k, d])
  }
}
"""


def test_scores_that_read_a_tensor_under_a_mask(tmp_path: Path) -> None:
    """What they ask is rendered deep inside of the kernel: directives to the mathematics still stand alone."""
    path = tmp_path / "biased.spak"
    path.write_text(BIASED)
    kernel = emitted(path, ("sm_90a",))["f"]
    call = case(kernel, {"B": 1, "H": 2, "S": 150, "T": 200, "D": 64}, {"causal": True}, {"Q": "bf16"})
    agrees(kernel, at(kernel), call)
