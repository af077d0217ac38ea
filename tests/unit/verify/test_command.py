"""`spakc verify` from outside: exit codes, what is printed, what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spak_runtime.cache import KernelCache
from spak_runtime.nvrtc import BASE_OPTIONS, BuildRequest, Compiled
from spakc import driver
from spakc.cli import cli
from spakc.diagnostics import Sink
from spakc.evidence import evidence_path, read_evidence
from spakc.status import StatementStatus, status
from spakc.subjects import subject_now
from spakc.verification import Finished
from spakc.verify.campaign import left_out
from spakc.verify.report import variant_text
from tests.unit.verify.kernels import EXAMPLES, SCALED, of_file


def write(folder: Path, text: str = SCALED) -> Path:
    path = folder / "small.spak"
    path.write_text(text)
    return path


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def entries(path: Path) -> dict[str, StatementStatus]:
    checked = driver.check_file(path)
    now = subject_now(checked.module, driver.emit_files(driver.plan_file(checked)), BASE_OPTIONS)
    page = status(checked.module, read_evidence(evidence_path(path), checked.sink), now, checked.sink)
    return {entry.statement.id: entry for entry in page}


def test_all_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = verify(path, "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "naive.8: 10 cases" in result.output and "verify scaled: holds" in result.output
    assert "not covered" in result.output
    (row,) = read_evidence(evidence_path(path), Sink())
    assert (row.statement, row.kind, row.seed) == ("verify scaled", "cases", 3)
    assert row.figures["checks"]["cases"] == 10 and row.figures["not_covered"]
    assert all(row.figures["checks"]["tripwires"].values())
    known = entries(path)["verify scaled"].status
    assert known.verdict.value == "holds" and known.fresh and known.witnesses == 10
    assert list(Path.cwd().iterdir()) == []


def test_fewer_cases_than_the_file_asks_establish_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    result = verify(path, "--cases", "2")
    assert result.exit_code == 5
    assert "2 of 10 cases" in result.output
    assert entries(path)["verify scaled"].status.verdict.value == "undecided"


def test_a_tolerance_that_is_too_wide_fails(tmp_path: Path) -> None:
    path = write(tmp_path, SCALED.replace("2 * library_error", "1000 + library_error"))
    result = verify(path, "--cases", "2")
    assert result.exit_code == 3
    assert "SPAK807" in result.output
    assert entries(path)["verify scaled"].status.verdict.value == "violated"


@pytest.mark.parametrize("sizes", ["2000000000..2000000001", "{20000}"])
def test_calls_that_are_too_large_for_a_case_are_told(tmp_path: Path, sizes: str) -> None:
    path = write(tmp_path, SCALED.replace("1..20", sizes))
    result = verify(path)
    assert result.exit_code == 5, result.output
    assert "naive.8: not run: a call has 8,0" in result.output
    assert entries(path)["verify scaled"].status.verdict.value == "undecided"


def test_laws_over_traffic_and_machine_code(tmp_path: Path) -> None:
    laws = """  law reads_all: bytes(A) >= M * K * sizeof(A)
  law wrong: bytes(C) == 2 * M * N * sizeof(C)
  law no_spills: cubin.spill_bytes == 0
"""
    text = SCALED.replace("  schedule naive", laws + "  schedule naive").replace(
        "spak 1\n", "spak 1\nuse std.devices\ntargets a100\n"
    )
    path = write(tmp_path, text)
    result = verify(path, "--cases", "10")
    assert result.exit_code == 3, result.output
    found = entries(path)
    assert found["law scaled.reads_all"].status.verdict.value == "holds"
    assert found["law scaled.no_spills"].status.witnesses > 1
    assert found["law scaled.wrong"].status.verdict.value == "violated"


def test_what_was_compiled_for_a_law_is_held_to_the_rules_of_machine_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the law asks: here of the second specialisation alone, and of registers."""
    plain, said = KernelCache.build_unjudged, "ptxas info    : (C7514) Potential Performance Loss: wgmma"

    def built(self: KernelCache, request: BuildRequest) -> Compiled:
        made = plain(self, request)
        return made if "f32" in str(request.options) else Compiled.from_log(made.cubin, f"{made.log}\n{said}")

    text = SCALED.replace("  schedule naive", "  law few: cubin.registers < 255\n  schedule naive")
    path = write(tmp_path, text.replace("spak 1\n", "spak 1\nuse std.devices\ntargets a100\n"))
    assert "SPAK705" not in verify(path, "--cases", "2").output
    monkeypatch.setattr(KernelCache, "build_unjudged", built)
    result = verify(path, "--cases", "10")
    assert result.exit_code == 3, result.output
    assert "law scaled.few on a100: holds" in result.output
    assert result.output.count("SPAK705: scaled.naive.8") > 0 and "C7514" in result.output, result.output


def test_a_law_over_machine_code_of_no_target_is_not_established(tmp_path: Path) -> None:
    text = SCALED.replace("  schedule naive", "  law no_spills: cubin.spill_bytes == 0\n  schedule naive")
    result = verify(write(tmp_path, text))
    assert result.exit_code == 5 and "SPAK" not in result.output, result.output
    assert "law scaled.no_spills: undecided (0 looked at)" in result.output
    assert "verify scaled: holds" in result.output


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    result = verify(write(tmp_path), "--cases", "2", "--format", "json")
    data = [json.loads(line) for line in result.stdout.splitlines()]
    assert data[-1]["schema"] == "spak-verification/1" and data[-1]["kernels"][0]["kernel"] == "scaled"


def test_a_token_replays(tmp_path: Path) -> None:
    from spakc.verify.search import some
    from spakc.verify.sizes import Shapes
    from spakc.verify.specialisations import pool
    from spakc.verify.strategies import cases
    from tests.unit.verify.kernels import of_text

    (tested, *_), _ = of_text(SCALED)
    (case, *_) = some(cases(tested, pool(tested), Shapes(tested)), 1, 0)
    path = write(tmp_path)
    result = verify(path, "--replay", case.token)
    assert result.exit_code == 0 and "all right" in result.output
    assert not evidence_path(path).exists(), "a single case establishes nothing"
    other = write(tmp_path, SCALED.replace("gate", "door"))
    assert verify(other, "--replay", case.token).exit_code == 1
    vast = verify(write(tmp_path), "--replay", replace(case, dims=dict.fromkeys(case.dims, 2**20 - 1)).token)
    assert vast.exit_code == 1 and "more points than a case may have" in vast.output, vast.output


def test_without_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spakc.commands.verify.device_name", lambda: None)
    result = verify(write(tmp_path), "--on", "gpu")
    assert result.exit_code == 5 and "not run: no device" in result.output


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spak_runtime.emulator import toolchain
    from spak_runtime.errors import ToolError

    def missing() -> None:
        raise ToolError("no C++ compiler")

    monkeypatch.setattr(toolchain, "compiler", missing)
    result = verify(write(tmp_path), "--cases", "1")
    assert result.exit_code == 1 and "SPAK753" in result.output


def test_a_variant_for_other_devices_is_left_out() -> None:
    tested = next(t for t in of_file(EXAMPLES / "matmul.spak")[0] if t.variant.archs == ("sm_90a",))
    outcome = left_out(tested, ("sm_80",))
    assert outcome is not None and not outcome.why_not and outcome.failure is None
    assert variant_text(outcome).endswith("left out: needs sm_90a")
    assert left_out(tested, ("sm_90a", "sm_90")) is None
    verified = replace(outcome, left_out="", cases=7)
    assert Finished("matmul", (verified, outcome), None).checks == {
        "cases": 7,
        "failures": 0,
        "tripwires": {},
    }
