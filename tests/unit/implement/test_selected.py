"""When a hand-written kernel is in the portfolio, for which calls, and what the artifact says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spak_runtime.choose import Chooser, Target
from spak_runtime.errors import ArchError
from spak_runtime.expressions import Environment, TensorFacts
from spak_runtime.manifest import KernelSpec, Manifest
from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.bench.questions import Call
from spakc.check.statements import statements
from spakc.diagnostics import Sink
from spakc.evidence import append_evidence, evidence_path, read_evidence, row_of_run
from spakc.implement.bench import Raced, races
from spakc.implement.candidates import Candidate
from spakc.subjects import subject_now
from spakc.tune.rows import Where
from tests.unit.implement.files import ON_PRIMITIVES, PLAIN, project
from tests.unit.implement.test_verified import command

SIZES = (64, 256)
WHERE = Where("sm_90a", "NVIDIA H100 80GB HBM3", "h100", "nvrtc", "driver")


def call(m: int) -> Call:
    return Call("add", {"M": m, "N": 4096}, {}, "f32", {})


def timed(
    path: Path, ours: Mapping[int, float], failing: str = "", fresh: Mapping[int, float] | None = None
) -> list[Raced]:
    """Races whose times are made up, as a device would give them; recorded like those of a device."""

    def run(
        _candidate: Candidate, asked: Call, _options: Mapping[str, Any], artifact: Path, rivals: Sequence[str]
    ) -> dict[str, Any] | str:
        manifest = Manifest.from_json((artifact / "manifest.json").read_text())
        assert any(v.by_hand for v in manifest.kernels["add"].variants), "the artifact of a race holds both"
        seconds = ours[asked.dims["M"]]
        return failing or {
            "call": {"dims": dict(asked.dims), "options": {}, "dtype": "f32", "layouts": {}},
            "ours": [seconds] * 3, "theirs": [1e-5] * 3, "rival": rivals[0], "l2": "cold: 3 sets",
            "fresh": {"ours": [(fresh or ours)[asked.dims["M"]]] * 3, "theirs": [1e-5] * 3},
        }  # fmt: skip

    checked = driver.check_file(path)
    rows = read_evidence(evidence_path(path), Sink())
    found = list(races(checked, rows, lambda _: [call(m) for m in SIZES], WHERE, run))
    append_evidence(evidence_path(path), [each.row for each in found if each.row is not None])
    return found


def spec_of(path: Path) -> KernelSpec:
    files = driver.emit_files(driver.plan_file(driver.check_file(path)))
    spec = Manifest.from_json(files["manifest.json"]).kernels["add"]
    assert all(launch.source in files for variant in spec.variants for launch in variant.launches)
    return spec


def answers(spec: KernelSpec, m: int, n: int = 4096, pad: int = 0) -> str:
    dense = {"x": (n + pad, 1), "b": (1,), "y": (n, 1)}
    tensors = {name: TensorFacts("f32", 4, strides) for name, strides in dense.items()}
    environment = Environment({"M": m, "N": n}, {}, {"alpha": 1.0}, {}, tensors)
    return Chooser(spec).choose(Target("H100", ("sm_90a",), {"sms": 132}), environment).variant.id


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = project(tmp_path_factory.mktemp("by_hand"), {"mine": ON_PRIMITIVES})
    assert command("verify", path).exit_code == 0
    return path


@pytest.fixture
def emulated(verified: Path, tmp_path: Path) -> Path:
    """A project of its own whose kernel was verified on the emulator."""
    path = project(tmp_path, {"mine": ON_PRIMITIVES})
    evidence_path(path).write_bytes(evidence_path(verified).read_bytes())
    return path


@pytest.fixture
def known_right(emulated: Path) -> Path:
    """And on a device: the row of the emulator, as one of a device."""
    checked = driver.check_file(emulated)
    files = driver.emit_files(driver.plan_file(checked, by_hand=False))
    now = subject_now(checked.module, files, BASE_OPTIONS)
    (statement,) = [s for s in statements(checked.module.module) if s.kind == "implement"]
    (seen,) = [r for r in read_evidence(evidence_path(emulated), Sink()) if r.statement == statement.id]
    there = row_of_run(
        statement, now, seen.figures, fact="device_cases", device=WHERE.device, date=seen.date, seed=seen.seed
    )
    append_evidence(evidence_path(emulated), [there])
    return emulated


def test_right_and_faster_everywhere_it_answers_what_lies_between(known_right: Path) -> None:
    assert [str(each).count("2.000 times as fast") for each in timed(known_right, {64: 5e-6, 256: 5e-6})] == [
        1,
        1,
    ]
    spec = spec_of(known_right)
    assert [answers(spec, m) for m in (64, 100, 256)] == ["mine.by_hand"] * 3
    assert answers(spec, 32) != "mine.by_hand" and answers(spec, 64, n=8192) != "mine.by_hand"
    assert answers(spec, 64, pad=4) != "mine.by_hand", "it takes tensors without gaps"
    (mine,) = [variant for variant in spec.variants if variant.by_hand]
    assert mine.by_hand == "mine.cu" and "written by hand in mine.cu; measured 2.000" in mine.reason
    told = command("compile", known_right, "-o", known_right.parent / "out").output
    assert "implement add as mine: selected: measured 2.000 to 2.000 times as fast as grid_stride" in told, (
        told
    )
    with pytest.raises(ArchError):
        Chooser(spec).choose(Target("A100", ("sm_80",)), Environment())


def test_faster_at_one_call_it_answers_that_call(known_right: Path) -> None:
    timed(known_right, {64: 5e-6, 256: 2e-5})
    spec = spec_of(known_right)
    assert answers(spec, 64) == "mine.by_hand" and answers(spec, 100) != "mine.by_hand"
    timed(known_right, {64: 2e-5, 256: 2e-5})
    assert not any(variant.by_hand for variant in spec_of(known_right).variants), "the last timing counts"


def test_what_is_not_known_to_be_right_is_neither_timed_nor_chosen(tmp_path: Path) -> None:
    path = project(tmp_path, {"mine": ON_PRIMITIVES, "plain": PLAIN})
    found = timed(path, {64: 5e-6, 256: 5e-6})
    assert [each.row for each in found] == [None, None] and "not verified" in found[0].why
    assert not any(variant.by_hand for variant in spec_of(path).variants)


def test_what_only_the_emulator_found_right_is_not_timed(emulated: Path) -> None:
    """A source can tell a device from the emulator."""
    (found,) = {each.why for each in timed(emulated, {64: 5e-6, 256: 5e-6})}
    assert found == "not verified on a device"


def test_the_same_cases_again_are_no_more_cases(known_right: Path) -> None:
    """Nor does a run that is right take back one that failed."""
    path = evidence_path(known_right)
    rows = read_evidence(path, Sink())
    (mine,) = [row for row in rows if row.kind == "device_cases"]
    few = replace(mine, figures={**mine.figures, "checks": {**mine.figures["checks"], "cases": 2}})
    failed = replace(few, figures={**few.figures, "checks": {**few.figures["checks"], "failures": 1}})
    for wrong, why in (([few] * 5, "2 of 8 cases"), ([failed, mine], "1 of 18 cases fail")):
        path.unlink()
        append_evidence(path, [*(row for row in rows if row is not mine), *wrong])
        (found,) = {each.why for each in timed(known_right, {64: 5e-6, 256: 5e-6})}
        assert why in found, found


def test_times_of_another_device_choose_nothing(known_right: Path) -> None:
    path = evidence_path(known_right)
    rows = read_evidence(path, Sink())
    moved = [replace(r, device="NVIDIA A100") if r.kind == "device_cases" else r for r in rows]
    path.unlink()
    append_evidence(path, moved)
    timed(known_right, {64: 5e-6, 256: 5e-6})
    assert not any(variant.by_hand for variant in spec_of(known_right).variants)


def test_what_is_fast_only_where_it_was_before_is_not_chosen(known_right: Path) -> None:
    """It kept its results, or found those of its rival in the output."""
    found = timed(known_right, {64: 1e-6, 256: 1e-6}, fresh={64: 2e-5, 256: 2e-5})
    assert "10.000 times as fast, 0.500 on values never seen before" in str(found[0])
    assert not any(variant.by_hand for variant in spec_of(known_right).variants)


def test_times_of_another_source_choose_nothing(known_right: Path) -> None:
    timed(known_right, {64: 5e-6, 256: 5e-6})
    assert any(variant.by_hand for variant in spec_of(known_right).variants)
    source = known_right.parent / "mine.cu"
    source.write_text(source.read_text() + "// another\n")
    assert not any(variant.by_hand for variant in spec_of(known_right).variants)


def test_a_race_without_times_is_told_and_not_recorded(known_right: Path) -> None:
    before = evidence_path(known_right).read_bytes()
    found = timed(known_right, {64: 5e-6, 256: 5e-6}, failing="its process says 1 us a call")
    assert {each.why for each in found} == {"its process says 1 us a call"}
    assert evidence_path(known_right).read_bytes() == before


def test_what_is_chosen_leaves_the_rest_as_known_as_it_was(known_right: Path) -> None:
    """The generated kernels are what they were: their verification stays fresh, and so does that of the chosen one."""
    timed(known_right, {64: 5e-6, 256: 5e-6})
    page = command("status", known_right).output
    assert "stale" not in page and "are stale" not in page, page
    assert command("verify", known_right).exit_code == 0
