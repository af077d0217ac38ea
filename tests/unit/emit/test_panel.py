"""A norm and the product that reads it, on chip, on the emulator against the float64 oracle."""

from __future__ import annotations

from typing import Any

import pytest

from spakc.plan.templates_chain import PANEL
from tests.unit.emit.planned import example
from tests.unit.emit.points import at, padded
from tests.unit.emit.test_emulated import agrees


@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize(
    "knobs",
    [
        {"tile_m": 64, "tile_n": 128, "lanes": 8},
        {"tile_m": 32, "tile_n": 64, "lanes": 16, "tile_k": 64, "wide": 1},
        {
            "tile_m": 160,
            "tile_n": 192,
            "lanes": 8,
            "tile_k": 64,
        },  # the last rows of a round are not the tile's
        {"tile_m": 64, "tile_n": 64, "lanes": 32, "stages": 4, "wide": 8},
    ],
)
def test_points_of_the_space(knobs: dict[str, Any], layout: str) -> None:
    """Ragged in all three sizes, several blocks of rows and of columns."""
    kernel = example("chain", ("sm_90a",))["norm_linear"]
    how = {"options": {"activation": "gelu", "eps": 1e-3}, "layouts": {"w": layout}, "dtypes": {"x": "bf16"}}
    call = padded(kernel, {"M": 170, "N": 200, "K": 72}, **how)
    agrees(kernel, at(kernel, PANEL, **knobs), call, seed=2)
