"""The product for sm_90a on the emulator against the float64 oracle: points of its space, all layouts, ragged
sizes, batches, several outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spak_runtime.expressions import Environment, evaluate
from spakc.plan.templates_warp_specialized import WARP_SPECIALIZED
from tests.unit.emit.emulate import rows_apart
from tests.unit.emit.planned import emitted, example
from tests.unit.emit.points import at, batched, padded
from tests.unit.emit.test_emulated import LAYOUTS, agrees, case

BIG = {"tile_m": 128, "tile_n": 256, "tile_k": 64, "stages": 4, "consumers": 2, "cluster": 2}


def outputs(call: Any, **shapes: tuple[tuple[int, ...], Any]) -> Any:
    """The case with outputs whose rows are a multiple of 16 bytes apart."""
    made = {name: rows_apart(np.full(shape, -77, dtype), 8) for name, (shape, dtype) in shapes.items()}
    return replace(call, tensors={**call.tensors, **made})


@pytest.mark.parametrize("layouts", LAYOUTS)
def test_every_layout(layouts: tuple[str, str]) -> None:
    """Several tiles a block, in clusters, and the last ones ragged in all three sizes."""
    kernel = example("matmul", ("sm_90a",))["matmul"]
    how = {"options": {"activation": "gelu"}, "layouts": dict(zip("AB", layouts, strict=True))}
    call = padded(kernel, {"M": 700, "N": 536, "K": 131}, dtypes={"A": "bf16", "C": "bf16"}, **how)
    agrees(
        kernel, at(kernel, WARP_SPECIALIZED, **BIG), outputs(call, C=((700, 536), call.tensors["A"].dtype))
    )


@pytest.mark.parametrize("layouts", [("row", "column"), ("column", "row")])
@pytest.mark.parametrize(
    "knobs",
    [
        {"mode": "pingpong", "tile_n": 160, "stages": 4, "cluster": 2},
        {"mode": "pingpong", "tile_m": 64, "tile_n": 80, "stages": 6},
        {"tile_m": 256, "tile_n": 128, "cluster": 2},
        {"tile_m": 192, "tile_n": 128, "consumers": 3},
        {"tile_m": 64, "tile_n": 256, "consumers": 1, "stages": 3},
        {"tile_m": 64, "tile_n": 64, "consumers": 1, "stages": 8},
        {"tile_n": 128, "stages": 4, "split_k": 2},
        {"tile_m": 64, "tile_n": 64, "consumers": 1, "stages": 3, "split_k": 4},
    ],
)
def test_points_of_the_space(knobs: dict[str, Any], layouts: tuple[str, str]) -> None:
    kernel = example("matmul", ("sm_90a",))["matmul"]
    how = {"options": {"activation": "identity"}, "layouts": dict(zip("AB", layouts, strict=True))}
    call = case(kernel, {"M": 520, "N": 328, "K": 328}, dtypes={"A": "f16"}, **how)
    agrees(kernel, at(kernel, WARP_SPECIALIZED, **knobs), call, seed=3)


@pytest.mark.parametrize("dims", [(1, 8, 8), (8, 8, 1), (64, 16, 64), (129, 264, 64)])
@pytest.mark.parametrize("output", ["bf16", "f32"])
def test_outputs_of_either_width(output: str, dims: tuple[int, int, int]) -> None:
    kernel = example("matmul", ("sm_90a",))["matmul"]
    m, n, k = dims
    how = {"options": {"activation": "silu"}, "absent": ("bias",)}
    call = padded(kernel, {"M": m, "N": n, "K": k}, dtypes={"A": "bf16", "C": output}, **how)
    call = outputs(call, C=((m, n), "float32" if output == "f32" else call.tensors["A"].dtype))
    agrees(kernel, at(kernel, WARP_SPECIALIZED, **{**BIG, "stages": 2}), call)


def test_batches_and_several_outputs(tmp_path: Path) -> None:
    """Grouped heads: two axes of batch, one of them through an expression; outputs of two widths."""
    path = tmp_path / "heads.spak"
    knobs = "knob tile_m in {128} knob tile_n in {64} knob stages in {3} knob mode in {pingpong} knob consumers in {2}"
    path.write_text(batched("warp_specialized", knobs))
    kernel = emitted(path, ("sm_90a",))["heads"]
    (variant,) = [v for v in kernel.spec.variants if v.schedule == "warp_specialized"]
    dims = {"B": 2, "H": 4, "G": 2, "M": 136, "N": 72, "K": 72}
    agrees(kernel, variant, case(kernel, dims, {}, {"X": "bf16"}))


def test_the_named_config_serves_wide_outputs_too() -> None:
    """The slabs that outputs go through are reused, so that four stages of 128 x 256 leave room for f32."""
    kernel = example("matmul", ("sm_90a",))["matmul"]
    big = next(v for v in kernel.spec.variants if v.id == "warp_specialized.big")
    assert {k: big.config[k] for k in BIG} == BIG
    assert "KNOB_raster" not in big.defines and "KNOB_stages" in big.defines
    call = case(kernel, {"M": 256, "N": 512, "K": 64}, {"activation": "identity"}, {"A": "bf16"})
    agrees(kernel, big, call)
    agrees(kernel, big, replace(call, output_dtypes={"C": "f32"}))


def test_rows_that_end_within_16_bytes_are_left_to_others() -> None:
    """TMA stores whole pieces of 16 bytes: what stands behind such a row is not the call's."""
    kernel = example("matmul", ("sm_90a",))["matmul"]
    variant = next(v for v in kernel.spec.variants if v.schedule == "warp_specialized")
    for columns, fits in ((64, True), (61, False)):
        call = padded(
            kernel,
            {"M": 64, "N": columns, "K": 64},
            options={"activation": "identity"},
            dtypes={"A": "bf16", "C": "bf16"},
        )
        call = outputs(call, C=((64, columns), call.tensors["A"].dtype))
        if fits:
            agrees(kernel, variant, call)
        else:
            with pytest.raises(AssertionError, match="whole_pieces"):
                agrees(kernel, variant, call)


@pytest.mark.parametrize("layouts", [("row", "column"), ("column", "row")])
def test_sums_in_parts(layouts: tuple[str, str]) -> None:
    """Parts of 4 steps, the last with steps beyond the sum; what reads the sum is computed by the second launch."""
    kernel = example("matmul", ("sm_90a",))["matmul"]
    how = {"options": {"activation": "gelu"}, "layouts": dict(zip("AB", layouts, strict=True))}
    call = case(kernel, {"M": 200, "N": 136, "K": 648}, dtypes={"A": "bf16"}, **how)
    for variant in _in_parts(kernel):
        agrees(kernel, variant, call, seed=3, sms=132)
        assert _parts(variant, call, 132) == 3


@pytest.mark.parametrize(
    ("dims", "sms", "parts"), [((61, 80, 1000), 5, 5), ((61, 80, 1000), 1, 1), ((72, 64, 8), 132, 1)]
)
def test_as_many_parts_as_there_is_room_for(dims: tuple[int, int, int], sms: int, parts: int) -> None:
    """The output has rows of a length that TMA could not store."""
    kernel = example("matmul", ("sm_90a",))["matmul"]
    variant = next(v for v in _in_parts(kernel) if v.config["cluster"] == 1)
    sizes = dict(zip("MNK", dims, strict=True))
    call = padded(kernel, sizes, options={"activation": "identity"}, dtypes={"A": "bf16"})
    call = replace(call, output_dtypes={"C": "f32"})
    agrees(kernel, variant, call, sms=sms)
    assert _parts(variant, call, sms) == parts


def _in_parts(kernel: Any) -> list[Any]:
    found = [v for v in kernel.spec.variants if v.schedule == "in_parts"]
    assert found and all(len(variant.launches) == 2 for variant in found)
    return found


def _parts(variant: Any, call: Any, sms: int) -> int:
    (space,) = variant.workspace
    return int(
        evaluate(space.shape[0], Environment(dims=call.dims, knobs=variant.config, facts={"sms": sms}))
    )
