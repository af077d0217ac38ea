"""Where masks begin: what conditions over indices compare, and cases that lie there."""

from __future__ import annotations

from spakc.verify.borders import borders_of
from spakc.verify.search import some
from spakc.verify.specialisations import pool
from spakc.verify.strategies import Shapes, cases
from tests.unit.verify.kernels import example

SIZES = {"B": 1, "H": 1, "G": 1, "Sq": 130, "Sk": 200, "D": 64}


def test_the_borders_of_a_mask() -> None:
    causal, window = borders_of(example("fmha", "fmha").kernel)
    assert (causal.dims, causal.options) == ({"Sq", "Sk"}, frozenset())
    assert (window.dims, window.options) == ({"Sq", "Sk"}, {"window"})
    options = {"causal": True, "scale": 1.0, "softcap": 0.0, "window": 33}
    assert causal.at(SIZES, options) == 130 - 200
    assert window.at(SIZES, options) == 200 - 130 - 33


def test_a_product_has_none() -> None:
    assert borders_of(example("matmul", "matmul").kernel) == ()


def test_cases_lie_there() -> None:
    tested = example("fmha", "fmha", "v4_tma")
    tile = tested.variant.config["tile_k"]
    assert isinstance(tile, int)
    drawn = some(cases(tested, pool(tested), Shapes(tested)), 150, 0)
    causal, window = borders_of(tested.kernel)
    at_causal = [c for c in drawn if (causal.at(c.dims, c.options) or 0) % tile in (0, 1, tile - 1)]
    at_window = [
        c
        for c in drawn
        if c.options["window"] and (window.at(c.dims, c.options) or 0) % tile in (0, 1, tile - 1)
    ]
    whole = [c for c in drawn if c.dims["Sq"] % tile == 0 and c.dims["Sk"] % tile]
    unseen = [c for c in drawn if c.options["causal"] and c.dims["Sq"] - c.dims["Sk"] >= tile]
    assert min(map(len, (at_causal, at_window, whole, unseen))) >= 3
    assert {c.options["scale"] < 0 for c in drawn} == {True, False}
