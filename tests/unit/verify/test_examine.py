"""Kernels damaged on purpose: each is found, shrunk, placed, and found again by its token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spakc.emulator_runner import OnEmulator
from spakc.verify.campaign import verify_math, verify_variant
from spakc.verify.case import case_of
from spakc.verify.examine import Run, examine
from spakc.verify.failure import Failure
from spakc.verify.report import failure_text
from spakc.verify.search import some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import cases
from spakc.verify.tested import UnderTest
from tests.unit.verify.code_fixtures import VERIFICATION
from tests.unit.verify.kernels import EXAMPLES, SCALED, damaged, example, of_file, of_text


def scaled() -> tuple[UnderTest, dict[str, str]]:
    variants, files = of_text(SCALED)
    return variants[0], files


def failing(tested: UnderTest, run: Run, count: int = 30) -> Failure:
    outcome = verify_variant(tested, run, count, 5, shrink_seconds=15)
    assert outcome.failure is not None
    return outcome.failure


def test_a_right_kernel_is_right() -> None:
    tested, files = scaled()
    outcome = verify_variant(tested, OnEmulator(files), 25, 1)
    assert outcome.holds and outcome.cases > 20
    assert len(outcome.seen) == outcome.cases
    assert all(counters.bytes["C"] > 0 for _, counters in outcome.seen)


def test_other_math_is_found_and_shrunk() -> None:
    tested, files = scaled()
    run = damaged(files, "accumulator = fma_f32(", "accumulator = 1.0f + fma_f32(")
    failure = failing(tested, run)
    assert failure.code == "SPAK802" and failure.case is not None
    assert max(failure.case.dims.values()) <= 2, "the simplest case has single elements"
    again = examine(tested, case_of(failure.case.token), run)
    assert again is not None and again.messages == failure.messages
    text = failure_text(failure, "small.spak", "emulator", run.sources)
    assert "small.spak:8" in text and "naive.cu:" in text, "the line of the math and the CUDA made of it"
    assert f"spakc verify small.spak --replay {failure.case.token}" in text


def test_a_missing_bound_is_found() -> None:
    tested, files = scaled()
    source = next(text for name, text in files.items() if name.endswith("naive.cu"))
    guard = next(line for line in source.splitlines() if "return;" in line)
    failure = failing(tested, damaged(files, guard, ""))
    assert failure.code == "SPAK803", failure


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    sync_threads();  // everyone's copies", "    // everyone's copies"),
        ("cp_async_wait<Slots - 2>();", "cp_async_wait<Slots - 1>();"),
        (
            "const i32 k0 = step * static_cast<i32>(TILE_K);",
            "const i32 k0 = step * static_cast<i32>(TILE_K) + 8;",
        ),
    ],
)
def test_mistakes_in_a_pipeline_are_found(old: str, new: str, tmp_path: Path) -> None:
    tested = example("matmul", "matmul", "pipelined")
    _, files = of_file(EXAMPLES / "matmul.spak")
    run = damaged(files, old, new, tmp_path)
    (member, *_) = pool(tested)
    found = some(cases(tested, [member], Shapes(tested)), 8, 0)
    failures = [failure for case in found if (failure := examine(tested, case, run)) is not None]
    assert failures and all(failure.lines for failure in failures)


def test_a_source_that_does_not_build_is_a_failure_and_no_crash() -> None:
    tested, files = scaled()
    failure = failing(tested, damaged(files, "accumulator = fma_f32(", "accumulator = fma_f33("), 2)
    assert failure.code == "SPAK803" and "fma_f33" in failure.messages[0]


def test_writes_between_the_rows_of_an_output_are_found() -> None:
    tested, files = scaled()
    run = damaged(files, "write(params.t_C + ", "write(params.t_C + 1 + ")
    codes = {failing(tested, run).code}
    assert codes <= {"SPAK802", "SPAK803"}


def test_absence_of_cases_is_told() -> None:
    tested, files = scaled()
    impossible = replace(tested.variant.guards[0] if tested.variant.guards else _never(), condition=False)
    never = replace(tested, variant=replace(tested.variant, guards=(impossible,)))
    assert verify_variant(never, OnEmulator(files), 5, 0).why_not


def _never() -> object:
    from spak_runtime.manifest import Guard

    return Guard("never", False, "")


# ---- the check itself ---------------------------------------------------------------------------------


def test_tripwires_are_rejected() -> None:
    tested, _ = scaled()
    outcome = verify_math(tested, 0)
    assert not outcome.failures and set(outcome.rejected.values()) == {True}
    assert {"zeros", "one number", "an earlier output", "tail not written"} <= outcome.rejected.keys()


def test_a_check_that_accepts_anything_fails() -> None:
    variants, _ = of_text(SCALED.replace("2 * library_error + ulp(C)", "1000 + library_error"))
    outcome = verify_math(variants[0], 0)
    assert {failure.code for failure in outcome.failures} == {"SPAK807"}
    assert outcome.rejected["tail not written"], "NaN is never accepted"


def test_a_term_left_out_is_rejected() -> None:
    outcome = verify_math(example("matmul", "matmul", "naive"), 0)
    assert outcome.rejected["C without `bias[n]`"] and outcome.rejected["C without its activation"]


def test_a_gradient_is_the_derivative_and_another_is_not() -> None:
    tested = example("train", "rms_norm_gradient")
    assert not verify_math(tested, 0).failures
    first, *rest = tested.kernel.math
    from spakc.ir.ops import Apply, Const

    wrong = replace(first, value=Apply("mul", (first.value, Const(1.01))))
    bent = replace(tested, kernel=replace(tested.kernel, math=(wrong, *rest)))
    assert "SPAK806" in {failure.code for failure in verify_math(bent, 0).failures}


@pytest.mark.parametrize("code", sorted(VERIFICATION))
def test_each_code_has_a_fixture_that_earns_it(code: str, tmp_path: Path) -> None:
    assert code in VERIFICATION[code](tmp_path)
