"""The ends of declared sizes: every run has cases there, and says which sizes it did not come to."""

from __future__ import annotations

import dataclasses

import pytest

from spakc.emulator_runner import OnEmulator
from spakc.verify.campaign import verify_variant
from spakc.verify.case import Case
from spakc.verify.ends import cases_at_ends
from spakc.verify.examine import Observed
from spakc.verify.report import variant_text
from spakc.verify.sizes import SHARE, WORK, Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import allows
from spakc.verify.tested import UnderTest
from tests.unit.verify.kernels import SCALED, example, of_text

LONG = """spak 1
kernel long: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = x[i] + 1 }
  verify { tolerance ulp(y)  shapes N in 4..3000  cases 100 }
}
"""


def at_ends(tested: UnderTest, most: int = 50, seed: int = 0) -> list[Case]:
    shapes = Shapes(tested)
    return [case for case, _ in cases_at_ends(tested, pool(tested), shapes, most, seed)]


def without_the_last(files: dict[str, str], size: int) -> object:
    """A runner of a kernel that leaves out the last ten elements of the largest call."""
    run = OnEmulator(files)

    def runs(tested: UnderTest, case: Case, given: dict[str, object]) -> Observed:
        seen = run(tested, case, given)
        if case.dims["N"] < size:
            return seen
        outputs = {name: array.copy() for name, array in seen.outputs.items()}
        outputs["y"][-10:] = 0
        return dataclasses.replace(seen, outputs=outputs)

    return runs


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_only_the_largest_size_shows_is_found(count: int, seed: int) -> None:
    (tested, *_), files = of_text(LONG)
    outcome = verify_variant(tested, without_the_last(files, 3000), count, seed, 5)  # type: ignore[arg-type]
    assert outcome.failure is not None and outcome.failure.case is not None
    assert outcome.failure.code == "SPAK802" and outcome.failure.case.dims == {"N": 3000}


def test_both_ends_are_in_every_run_and_told() -> None:
    (tested, *_), files = of_text(LONG)
    outcome = verify_variant(tested, OnEmulator(files), 3, 0)
    assert outcome.holds and outcome.cases == 3
    assert outcome.sizes == {"N": (4, 3000)} and "N 4 to 3,000" in variant_text(outcome)
    assert not any("asks for" in text for text in outcome.not_covered)
    alone = verify_variant(tested, OnEmulator(files), 1, 0)
    assert alone.cases == 1 and any("N below 3,000" in text for text in alone.not_covered)


def test_sizes_beyond_the_work_of_a_case_are_named() -> None:
    (tested, *_), files = of_text(LONG.replace("[N]", "[N, N]").replace("[i]", "[i, j]"))
    outcome = verify_variant(tested, OnEmulator(files), 3, 0)
    (low, high) = outcome.sizes["N"]
    assert low == 4 and 100 < high < 3000
    (text,) = (text for text in outcome.not_covered if "asks for" in text)
    assert text.startswith(f"N above {high:,}, of 4 to 3,000, which `verify` asks for")


@pytest.mark.parametrize(
    ("tested", "largest"),
    [
        (of_text(SCALED)[0][0], {"M": 20, "N": 20, "K": 20}),
        (example("matmul", "matmul", "pipelined"), {"M": 300, "N": 320, "K": 640}),
        (example("fmha", "fmha", "v2_online"), {"B": 3, "G": 3, "H": 12, "Sq": 300, "Sk": 600}),
    ],
    ids=["small", "matmul", "fmha"],
)
def test_every_dim_is_at_both_of_its_ends(tested: UnderTest, largest: dict[str, int]) -> None:
    found = at_ends(tested)
    assert len(found) < 8
    for name, size in largest.items():
        assert size in {case.dims[name] for case in found}, name
    assert any(max(case.dims[name] for name in largest) <= 8 for case in found), "all the smallest at once"
    shapes = Shapes(tested)
    assert all(allows(tested, case) and shapes.cost(case.dims) <= SHARE * WORK for case in found)
    assert found == at_ends(tested) != at_ends(tested, seed=1)
    assert at_ends(tested, 2) == found[:2]


def test_a_case_at_an_end_leaves_room_for_the_other_dims() -> None:
    longest = [case for case in at_ends(example("matmul", "matmul", "pipelined")) if case.dims["M"] == 300]
    assert longest and all(case.dims["K"] > 8 for case in longest)


PAIRS = SCALED.replace("M in 1..20, N in 1..20, K in 1..20", "(M, N) in {(3, 9), (8, 2), (5, 5)}, K in 1..20")


def test_the_ends_of_sizes_that_come_together() -> None:
    (tested, *_), _ = of_text(PAIRS)
    found = {(case.dims["M"], case.dims["N"]) for case in at_ends(tested)}
    assert {(3, 9), (8, 2)} <= found <= {(3, 9), (8, 2), (5, 5)}
