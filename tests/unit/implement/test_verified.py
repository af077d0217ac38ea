"""Hand-written kernels verified: what holds, what is violated and what only a device could say."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.cli import cli
from spakc.evidence import evidence_path, read_evidence
from spakc.status import StatementStatus, status
from spakc.subjects import subject_now
from tests.unit.implement.files import ON_PRIMITIVES, PLAIN, project


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def entry(path: Path, name: str) -> StatementStatus:
    checked = driver.check_file(path)
    now = subject_now(checked.module, driver.emit_files(driver.plan_file(checked)), BASE_OPTIONS)
    page = status(checked.module, read_evidence(evidence_path(path), checked.sink), now, checked.sink)
    (found,) = [each for each in page if each.statement.id == f"implement add as {name}"]
    return found


def test_what_is_right_holds_and_a_change_of_its_source_is_stale(tmp_path: Path) -> None:
    path = project(tmp_path, {"mine": ON_PRIMITIVES})
    result = command("verify", path)
    assert result.exit_code == 0, result.output
    assert "implement add as mine: holds (8 looked at)" in result.output
    known = entry(path, "mine")
    assert known.status.verdict.value == "holds" and known.status.fresh and known.device == "emulator"
    assert (
        "implement add as mine: not selected: not verified on a device"
        in command("compile", path, "-o", tmp_path / "out").output
    )
    others = {e for e in status_ids(path) if e.startswith("verify")}
    assert others == {"verify add"}
    (tmp_path / "lib" / "scaled.cuh").write_text(
        (tmp_path / "lib" / "scaled.cuh").read_text().replace("* by", "* by * 1")
    )
    assert not entry(path, "mine").status.fresh


def status_ids(path: Path) -> set[str]:
    lines = command("status", path).output.splitlines()
    return {line.split("  ")[0] for line in lines if line and not line.startswith(" ")}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("load(params.b + j)", "load(params.b + i)", "SPAK80"),
     ("if (j >= params.N) return;", "", "SPAK803"),
     ("if (j >= params.N) return;", "if (j >= params.N || i == 0) return;", "SPAK803"),
     ("const i32 j", "int* p = nullptr; if (params.N > 5) *p = 1; const i32 j", "SPAK803"),
     ("const i32 j", "nonsense; const i32 j", "SPAK752")],
)  # fmt: skip
def test_what_is_wrong_is_violated(tmp_path: Path, old: str, new: str, code: str) -> None:
    path = project(tmp_path, {"mine": ON_PRIMITIVES.replace(old, new)})
    result = command("verify", path, "--kernel", "add")
    assert result.exit_code == 3 and code in result.output, result.output
    assert entry(path, "mine").status.verdict.value == "violated"
    (said,) = [
        line
        for line in command("compile", path, "-o", tmp_path / "out").output.splitlines()
        if "selected: " in line
    ]
    assert "add as mine: not selected: 1 of " in said and "on a device" not in said, (
        "it was the emulator that found it"
    )


def test_a_law_of_the_kernel_binds_it(tmp_path: Path) -> None:
    path = project(tmp_path, {"mine": ON_PRIMITIVES})
    path.write_text(path.read_text().replace("cubin.registers <= 40", "cubin.registers <= 17"))
    loop = "SPAK_UNROLL for (u32 k = 0; k < 24; k++)"
    keeps = f"f32 kept[24]; {loop} kept[k] = load(params.x + (i * k) % params.N); f32 zero = 0;"
    keeps += f" for (i32 r = 0; r < params.M; r++) {loop} zero += 0.0f * kept[k] * r; store("
    greedy = ON_PRIMITIVES.replace("NAME", "mine").replace("store(", keeps)
    greedy = greedy.replace("+ load(params.b + j)", "+ load(params.b + j) + zero")
    (tmp_path / "mine.cu").write_text(greedy)
    result = command("verify", path, "--cases", "8")
    assert "implement add as mine: violated" in result.output, result.output
    assert "law add.few_registers on h100" in entry(path, "mine").status.note


def test_plain_cuda_needs_a_device(tmp_path: Path) -> None:
    path = project(tmp_path, {"plain": PLAIN})
    result = command("verify", path)
    assert result.exit_code == 5 and "only a device can run it" in result.output, result.output
    assert entry(path, "plain").status.verdict.value == "undecided"
    refused = project(tmp_path / "other", {"plain": PLAIN.replace('extern "C" ', "")})
    result = command("verify", refused)
    assert result.exit_code == 3 and 'no `extern "C"` kernel' in result.output, result.output


def test_a_failing_case_replays_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = project(tmp_path, {"mine": ON_PRIMITIVES.replace("* params.N + j)", "* params.N + j) + 1.0f", 1)})
    (tmp_path / "lib" / "scaled.cuh").write_text(
        (tmp_path / "lib" / "scaled.cuh").read_text().replace("* by", "+ by")
    )
    told = command("verify", path, "--cases", "3").output
    token = told.split("--replay ")[1].split()[0]
    again = command("verify", path, "--replay", token)
    assert again.exit_code == 3 and "SPAK802" in again.output, again.output
