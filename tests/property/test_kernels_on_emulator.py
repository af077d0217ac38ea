"""Every variant of the example kernels against its mathematics: a slice of what `spakc verify` does."""

from __future__ import annotations

import pytest

from spakc.emulator_runner import OnEmulator
from spakc.verify.campaign import verify_math, verify_variant
from spakc.verify.tested import UnderTest
from tests.unit.verify.kernels import EXAMPLES, of_file

CASES = 3
FILES = ("matmul", "fmha", "train", "chain")
VARIANTS = [
    pytest.param(name, tested, id=f"{name}:{tested.name}")
    for name in FILES
    for tested in of_file(EXAMPLES / f"{name}.spak")[0]
    if name != "chain"
    or tested.variant.schedule == "panel"  # the others are launches of templates seen elsewhere
]


@pytest.mark.parametrize(("name", "tested"), VARIANTS)
def test_variant(name: str, tested: UnderTest) -> None:
    run = OnEmulator(of_file(EXAMPLES / f"{name}.spak")[1])
    outcome = verify_variant(tested, run, CASES, 0, shrink_seconds=20)
    assert outcome.failure is None, outcome.failure
    assert outcome.cases == CASES


@pytest.mark.parametrize("kernel", sorted({tested.spec.name for _, tested in (p.values for p in VARIANTS)}))
def test_the_check_rejects_what_is_wrong(kernel: str) -> None:
    tested = next(t for _, t in (p.values for p in VARIANTS) if t.spec.name == kernel)
    outcome = verify_math(tested, 0)
    assert not outcome.failures, outcome.failures
    assert len(outcome.rejected) >= 5
