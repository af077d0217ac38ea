"""Where masks begin: what conditions over indices compare, and cases that lie there."""

from __future__ import annotations

import numpy as np
import pytest

from spakc.ir.ops import RefKind
from spakc.verify.borders import Corner, Lone, borders_of, corners_of, masks_of, sides_of
from spakc.verify.search import some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import cases
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


WHOLLY = {"causal": False, "scale": 1.0, "softcap": 0.0, "window": 0}


def corners(options: dict[str, bool | int | float | str], sizes: dict[str, int] = SIZES) -> set[Corner]:
    (mask,) = masks_of(example("fmha", "fmha").kernel)
    assert list(mask.extents) == ["k", "q"]
    truth = mask.truth(sizes, options)
    assert truth is not None and truth.shape == (sizes["Sk"], sizes["Sq"])
    return set(corners_of(truth, (16, 64)))


def test_a_mask_that_leaves_nothing_out_has_no_corners() -> None:
    assert corners(WHOLLY) == set()


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("tile", [(16, 16), (64, 16), (64, 64)])
def test_a_window_that_leaves_one_element_of_a_tile_alone(counts: bool, tile: tuple[int, int]) -> None:
    _, window = borders_of(example("fmha", "fmha").kernel)
    wanted = Lone(dict(zip(("k", "q"), tile, strict=True)), counts)
    passing = window.alone((RefKind.option, "window"), SIZES, WHOLLY, wanted)
    shown = {n: {(c.tile, c.counts) for c in corners({**WHOLLY, "window": n})} for n in passing if n > 0}
    assert shown and all((tile, counts) in found for found in shown.values())
    one_less = [corners({**WHOLLY, "window": n - 1}) for n in shown if n > 1 and n - 1 not in shown]
    assert one_less and all(
        (tile, counts, True) not in {(c.tile, c.counts, c.whole) for c in found} for found in one_less
    )


@pytest.mark.parametrize("counts", [True, False])
def test_a_difference_of_lengths_that_does(counts: bool) -> None:
    causal, _ = borders_of(example("fmha", "fmha").kernel)
    wanted = Lone({"k": 64, "q": 16}, counts)
    passing = [
        n for n in causal.alone((RefKind.dim, "Sk"), {**SIZES, "Sk": 300}, {}, wanted) if 64 < n <= 300
    ]
    assert passing
    for n in passing:
        found = corners({**WHOLLY, "causal": True}, {**SIZES, "Sk": n})
        assert ((64, 16), counts) in {(c.tile, c.counts) for c in found}, n


def test_what_is_alone_is_at_a_corner_and_counts_only_with_others() -> None:
    truth = np.zeros((4, 6), bool)
    truth[1, 3] = True
    assert list(corners_of(truth, (2,))) == [], "nothing beyond the tile counts"
    truth[1, 2] = truth[2, 3] = True
    truth[1, 2] = False
    assert list(corners_of(truth, (2,))) == [
        Corner((2, 2), True, True, (True, True), (True, False)),
        Corner((2, 2), True, True, (False, True), (True, False)),
    ]
    rest = np.ones((4, 6), bool)
    rest[0, 5] = rest[3, 0] = False  # the former where a tile is cut off
    assert list(corners_of(rest, (4,))) == [Corner((4, 4), True, False, (True, False), (False, False))]


def test_parts_of_warpgroups_are_sides_of_tiles() -> None:
    assert sides_of({"tile_q": 192, "tile_k": 176, "stages": 3, "grid": "tiles"}) == (64, 176, 192)
    assert sides_of({"tile_q": 64, "tile_k": 32}) == (32, 64)


@pytest.mark.parametrize("schedule", ["v2_online", "v4_tma"])
def test_cases_leave_elements_alone(schedule: str) -> None:
    """In tiles of both tilings, at both borders, with either truth."""
    tested = example("fmha", "fmha", schedule)
    drawn = some(cases(tested, pool(tested), Shapes(tested)), 400, 0)
    (mask,) = masks_of(tested.source)
    found = [
        {(c.counts, c.last) for c in corners_of(truth, sides_of(tested.variant.config))}
        for case in drawn
        if (truth := mask.truth(case.dims, case.options)) is not None
    ]
    for kind in [(counts, last) for counts in (True, False) for last in ((True, False), (False, True))]:
        assert sum(kind in each for each in found) >= 3, kind
