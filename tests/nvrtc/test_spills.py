"""The products that need the most registers do not spill: the largest tiles that a plan holds for an architecture, with
a bias and SiLU, whose values the compiler likes to compute far ahead. For all others: `make spills`."""

from __future__ import annotations

import pytest

from spak_runtime.manifest import Variant
from spak_runtime.specialise import bindings
from tests.nvrtc.spills import complaints
from tests.unit.emit.planned import example


def results(variant: Variant) -> int:
    """How many results a block computes at once."""
    rows, columns = variant.config["tile_m"], variant.config["tile_n"]
    assert isinstance(rows, int) and isinstance(columns, int)
    return rows * columns


@pytest.mark.parametrize(
    ("arch", "schedule"),
    [
        ("sm_80", "pipelined"),
        ("sm_89", "pipelined"),
        ("sm_90a", "pipelined"),
        ("sm_90a", "warp_specialized"),
        ("sm_120a", "pipelined"),
        ("sm_120a", "tma_pipelined"),
    ],
)
def test_the_largest_product_does_not_spill(arch: str, schedule: str) -> None:
    kernel = example("matmul", (arch,))["matmul"]
    largest = max((v for v in kernel.spec.variants if v.schedule == schedule), key=results)
    (launch,) = largest.launches
    wrong, asked = [], 0
    for binding in bindings(kernel.spec, largest):
        rows = set(binding.layouts.values()) == {"row"}
        types = binding.dtypes["A"], binding.dtypes["C"]
        with_all = binding.present["bias"] and binding.options["activation"] == "silu"
        if rows and types == ("bf16", "f32") and with_all:
            asked += 1
            wrong += complaints(kernel, largest, launch, binding, arch)
    assert asked == 1
    assert wrong == []
