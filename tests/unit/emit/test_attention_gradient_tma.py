"""The gradient of attention for sm_90a on the emulator against the float64 oracle: masks, soft cap, grouped heads,
ragged and unequal lengths, several tiles of keys a block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spak_runtime.manifest import Variant
from spakc.plan.launch import Signature
from spakc.plan.templates_attention_gradient_tma import GRADIENT_TMA
from tests.unit.emit.planned import Emitted, example
from tests.unit.emit.test_emulated import agrees, case

PLAIN = {"causal": False, "softcap": 0.0, "window": 0, "scale": 0.125}


def at(kernel: Emitted, **knobs: Any) -> Variant:
    """The variant at a point of the space, selected or not. Blocks that stay are few, so that each computes several
    tiles."""
    planned = next(v for v in kernel.plan.variants if v.schedule == "joined_gradient_tma")
    base = next(v for v in kernel.spec.variants if v.id == planned.id)
    config = {**planned.config, **knobs}
    (number,) = (i for i, launch in enumerate(planned.launches) if launch.family == GRADIENT_TMA.family)
    problem, signature = (
        planned.launches[number].problem,
        Signature(kernel.plan.kernel, planned.signature.carried),
    )
    assert problem is not None and GRADIENT_TMA.refuses(problem, signature, config) is None
    shape = GRADIENT_TMA.shape(problem, signature, config)
    (tiles, _, _) = shape.grid
    few = ["min", tiles[1], 3] if config["grid"] == "persistent" else tiles
    launches = list(base.launches)
    launches[number] = replace(
        launches[number],
        params=GRADIENT_TMA.params(problem, signature, config),
        grid=(few, 1, 1),
        threads=shape.threads,
        shared_bytes=shape.shared_bytes,
    )
    defines = replace(planned, config=config).defines
    derived = dict(GRADIENT_TMA.derived(problem, signature, config))
    return replace(
        base,
        id=str(knobs),
        config=config,
        defines=defines,
        derived=derived,
        launches=tuple(launches),
        guards=(),
    )


SHAPES = [
    # B, H, G, Sq, Sk, D, options
    (1, 4, 2, 200, 300, 64, {"causal": True}),
    (2, 2, 1, 150, 270, 128, {}),
    (2, 2, 2, 150, 70, 64, {"causal": True}),  # the first rows see no key
    (1, 1, 1, 1, 129, 64, {}),
    (1, 2, 2, 260, 260, 64, {"causal": True, "window": 17}),
    (1, 1, 1, 140, 140, 128, {"causal": True, "softcap": 3.0}),
    (1, 1, 1, 130, 200, 64, {"scale": -0.2}),
    (1, 1, 1, 70, 70, 64, {"scale": 0.0}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "knobs", [{}, {"grid": "tiles"}, {"tile_k": 64, "consumers": 1, "tile_q": 128, "stages": 3}]
)
def test_points_of_the_space(knobs: dict[str, Any], shape: tuple[Any, ...]) -> None:
    kernel = example("fmha", ("sm_90a",))["fmha_gradient"]
    *sizes, options = shape
    dims = dict(zip(("B", "H", "G", "Sq", "Sk", "D"), sizes, strict=True))
    word = "f16" if knobs else "bf16"
    call = case(kernel, dims, {**PLAIN, **options}, dict.fromkeys(("Q", "K", "V", "O", "grad_O"), word))
    agrees(kernel, at(kernel, **knobs), call, seed=3)
