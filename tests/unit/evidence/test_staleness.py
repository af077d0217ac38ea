"""One edit at a time, and exactly which rows of status become stale by it.

A small project is emitted in memory: its sources cite `.spak` lines, so that moving a line must not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from spakc.check.statements import experiment_core, kernel_core, statements
from spakc.diagnostics import Sink
from spakc.driver import check_file
from spakc.evidence import MAIN, Part, Row, Subject, hash_source, hash_text, row_of_run
from spakc.figures import key_of
from spakc.ir.canonical import canonical, meaning
from spakc.status import StatementStatus, render, status, summary

TEXT = """spak 1
targets gpu
device gpu {
  arch = sm_90a  kind = gpu  cp_async = true  l2 = 50 MiB
  smem_per_block = 227 KiB  registers_per_sm = 65_536
}
let spill_limit = 0
let register_share = 4
kernel product: product {
  dim M, N, K
  input  A: bf16 [M, K]
  input  B: bf16 [K, N]
  output C: bf16 [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) }
  law no_spills: cubin.spill_bytes <= spill_limit
  law registers: cubin.registers * 128 * register_share <= device.registers_per_sm
  schedule naive { knob block in {8, 16, 32} }
  schedule tiled {
    knob tile_m in {32, 64}  knob tile_n in {32, 64}  knob tile_k in {16, 32}
    law fits: (tile_m + tile_n) * tile_k * sizeof(A) <= device.smem_per_block
    law quiet: bank_conflicts(A.shared) == 0
    prefer tile_m == 64
  }
  verify { tolerance 1e-2  shapes M in 1..64, N in 1..64, K in 1..64  cases 50 }
}
model Net {
  hyper width = 8
  uses product for linear
  part block(x: [B, T, width]) -> y: [B, T, width] { y = x + mlp(norm(x), hidden = width, activation = gelu) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {
    x = block(embed(tokens))
    logits = unembed(norm(x), tied = true)
  }
}
dataset sums {
  sample a: digits(n)
  text reverse(a), "=", reverse(a), end
  loss after "="
  split train n in 1..4
  split far n in {5} size 100
  law copy: number(answer(text)) == a
}
protocol p { gate smoke { train(steps = 10, batches = 1)  require loss < 0.1 } }
experiment small {
  model Net
  data sums
  protocol p
  train(steps = 100, batch = 8, seeds = {0})
  optimizer adamw(betas = (0.9, 0.95), weight_decay = 0.1)
  lr constant(1e-3)
  profile cpu { train.steps = 10 }
}
claim accurate: accuracy(small, far) >= 90% with confidence 95%
claim fast on gpu: speed(product, M = 4096, N = 4096, K = 4096) >= 100 TFLOP/s
claim lean on gpu: memory(small) <= 1 GiB
"""


@dataclass(frozen=True)
class Project:
    text: str = TEXT
    template: str = "mma(A, B);"
    header: str = "#pragma once\nvoid mma();"
    flags: str = "-std=c++17"
    oracle: str = "float64"
    emulator: str = "fibers"
    runtime: str = "loop"

    def page(self, rows: list[Row], folder: Path) -> list[StatementStatus]:
        path = folder / "project.spak"
        path.write_text(self.text)
        sink = Sink()
        checked = check_file(path).module
        found = status(checked, rows, self.parts(checked), sink)
        assert not sink.diagnostics
        return found

    def parts(self, checked: Any) -> Subject:
        module = checked.module
        parts = [Part("oracle", "", "oracle.py", hash_text(self.oracle))]
        parts += [Part("emulator", "", "fibers.cpp", hash_text(self.emulator))]
        parts += [Part("cases", "", "strategies.py", hash_text("hypothesis"))]
        parts += [Part("runtime", "", "loop.py", hash_text(self.runtime))]
        for kernel in module.kernels.values():
            parts.append(Part("math", kernel.name, "", meaning(kernel_core(kernel))))
            for schedule in kernel.schedules.values():
                config = list(checked.spaces[kernel.name, schedule.name, "gpu"].lawful_configs())[-1]
                line = kernel.span.line
                code = f'#line {line} "project.spak"\n{self.template} // project.spak:{line}\n'
                source = hash_source(f"// {canonical(kernel_core(kernel))}\n{code}{config}")
                made = {"variant": schedule.name, "arch": "sm_90a"}
                parts.append(Part("source", kernel.name, "k.cu", source, **made))
                parts.append(Part("header", kernel.name, "spak/mma.cuh", hash_text(self.header), **made))
                parts.append(Part("flags", kernel.name, "nvrtc", hash_text(self.flags), **made))
        for experiment in module.experiments.values():
            for profile in (MAIN, *experiment.profiles):
                settings = (experiment_core(module, experiment)[0], experiment.profiles.get(profile, {}))
                text = f"class Net: pass  # project.spak:{module.models['Net'].span.line}\n"
                parts.append(Part("settings", experiment.name, "", meaning(*settings), profile))
                parts.append(Part("model", experiment.name, "model.py", hash_source(text), profile))
        parts += [
            Part("data", d.name, "", meaning(replace(d, laws=(), lets=()))) for d in module.datasets.values()
        ]
        return Subject.of(parts)


OBSERVED = {"cubin.spill_bytes": 0, "cubin.registers": 96, "bank_conflicts(A.shared)": 0, "loss": 0.05}
FIGURES: dict[str, dict[str, Any]] = {
    "law": {
        "observations": [
            {"at": {"sample a": 7}, "queries": OBSERVED | {"number(answer(text))": 7}, "count": 5}
        ]
    },
    "gate": {"observations": [{"queries": OBSERVED}]},
    "verify": {"checks": {"cases": 50, "failures": 0, "tripwires": {"zeros": True}}},
}
QUANTITIES = {
    "claim accurate": {"hits": [990], "totals": [1000]},
    "claim fast": {"samples": [7.0e14, 7.1e14]},
    "claim lean": {"exact": 2**29},
}


def evidence(project: Project, folder: Path, only: str = "") -> list[Row]:
    """Everything established now, as the writers of evidence would record it."""
    path = folder / "project.spak"
    path.write_text(project.text)
    checked = check_file(path).module
    now = project.parts(checked)
    rows = []
    for each in statements(checked.module):
        if not each.fact or each.kind == "prefer" or not each.id.startswith(only):
            continue
        figures = FIGURES.get(each.kind)
        if figures is None:
            query = key_of(each.body.proposition.args[0])
            figures = {"quantities": [{"query": query, "at": {}, **QUANTITIES[each.id]}]}
        rows.append(row_of_run(each, now, figures, target="gpu", arch="sm_90a", date="2026-11-22"))
    return rows


ALL = {
    "law product.no_spills",
    "law product.registers",
    "law product.tiled.quiet",
    "verify product",
    "law sums.copy",
    "gate p.smoke of small",
    "claim accurate",
    "claim fast",
    "claim lean",
}
COMPILED = {"law product.no_spills", "law product.registers"}
VALUES = {"gate p.smoke of small", "claim accurate"}
COST = {"claim fast", "claim lean"}
EMULATED = {"law product.tiled.quiet", "verify product"}


def stale(page: list[StatementStatus]) -> set[str]:
    return {entry.statement.id for entry in page if not entry.status.fresh}


def known(page: list[StatementStatus]) -> set[str]:
    return {
        e.statement.id
        for e in page
        if e.status.fresh and e.status.verdict.value == "holds" and e.statement.fact
    }


def in_text(old: str, new: str) -> Callable[[Project], Project]:
    def edit(project: Project) -> Project:
        assert old in project.text
        return replace(project, text=project.text.replace(old, new))

    return edit


def test_everything_is_known_to_begin_with(tmp_path: Path) -> None:
    project = Project()
    page = project.page(evidence(project, tmp_path), tmp_path)
    assert known(page) == ALL and stale(page) == set()


EDITS: dict[str, tuple[Callable[[Project], Project], set[str]]] = {
    "a comment": (in_text("dataset", "# more data\n\n\ndataset"), set()),
    "a comment above the kernel": (in_text("kernel product", "# text\nkernel product"), set()),
    "a blank line": (in_text("targets gpu\n", "targets gpu\n\n\n"), set()),
    "the origin comments of a template": (
        lambda p: replace(p, template="mma(A, B); // product.spak:7"),
        set(),
    ),
    "a template": (lambda p: replace(p, template="mma(B, A);"), COMPILED | EMULATED | VALUES | COST),
    "a header": (
        lambda p: replace(p, header="#pragma once\nint mma();"),
        COMPILED | EMULATED | VALUES | COST,
    ),
    "a flag": (lambda p: replace(p, flags="-use_fast_math"), COMPILED | VALUES | COST),
    "the oracle": (lambda p: replace(p, oracle="float32"), {"verify product"}),
    "the emulator": (lambda p: replace(p, emulator="threads"), EMULATED),
    "the training runtime": (lambda p: replace(p, runtime="new loop"), VALUES | {"claim lean"}),
    "a device fact that a law mentions": (in_text("65_536", "131_072"), {"law product.registers"}),
    "a device fact that nothing mentions": (in_text("50 MiB", "60 MiB"), set()),
    "a device fact that changes the chosen config": (
        in_text("227 KiB", "3 KiB"),
        COMPILED | EMULATED | VALUES | COST,
    ),
    "a let": (in_text("let spill_limit = 0", "let spill_limit = 8"), {"law product.no_spills"}),
    "the name of a let": (in_text("register_share", "share"), set()),
    "a dataset": (in_text("n in 1..4", "n in 1..3"), VALUES | {"law sums.copy", "claim lean"}),
    "prose": (in_text("model Net {", 'model Net {\n  intent "small"'), set()),
    "a profile": (in_text("train.steps = 10 }", "train.steps = 20 }"), set()),
    "a gate's threshold": (in_text("loss < 0.1", "loss < 0.2"), VALUES | {"claim lean"}),
    "a tolerance": (in_text("1e-2", "2e-2"), {"verify product"}),
    "a claim": (in_text(">= 90%", ">= 95%"), {"claim accurate"}),
}


@pytest.mark.parametrize("name", EDITS)
def test_one_edit_makes_exactly_these_rows_stale(name: str, tmp_path: Path) -> None:
    edit, expected = EDITS[name]
    project = Project()
    rows = evidence(project, tmp_path)
    page = edit(project).page(rows, tmp_path)
    assert stale(page) == expected
    assert all(entry.stale_because for entry in page if not entry.status.fresh)
    assert known(page) == ALL - expected


def test_values_outlive_a_change_of_kernel_that_is_verified_again_time_and_memory_do_not(
    tmp_path: Path,
) -> None:
    project = Project()
    rows = evidence(project, tmp_path)
    changed = replace(project, template="faster_mma(A, B);")
    rows += evidence(changed, tmp_path, only="verify")
    assert stale(changed.page(rows, tmp_path)) == COMPILED | {"law product.tiled.quiet"} | COST


def test_a_failed_verification_does_not_vouch_for_values(tmp_path: Path) -> None:
    project = Project()
    rows = evidence(project, tmp_path)
    changed = replace(project, template="faster_mma(A, B);")
    (again,) = evidence(changed, tmp_path, only="verify")
    rows.append(
        replace(again, figures={"checks": {"cases": 50, "failures": 1, "tripwires": {"zeros": True}}})
    )
    page = changed.page(rows, tmp_path)
    assert stale(page) >= VALUES
    assert [e.status.verdict.value for e in page if e.statement.id == "verify product"] == ["violated"]


def test_what_changed_is_said(tmp_path: Path) -> None:
    project = Project()
    rows = evidence(project, tmp_path)
    page = replace(project, header="// new").page(rows, tmp_path)
    entry = next(e for e in page if e.statement.id == "law product.tiled.quiet")
    assert entry.stale_because == ("header spak/mma.cuh of product.tiled changed",)


def test_a_change_of_one_schedule_leaves_laws_of_another_alone(tmp_path: Path) -> None:
    project = Project()
    rows = evidence(project, tmp_path)
    page = replace(project, text=TEXT.replace("{8, 16, 32}", "{8, 16}")).page(rows, tmp_path)
    assert "law product.tiled.quiet" not in stale(page) and "law product.no_spills" in stale(page)


def test_a_profile_run_decides_nothing_and_is_shown(tmp_path: Path) -> None:
    project = Project()
    (main,) = evidence(project, tmp_path, only="claim accurate")
    checked = check_file(tmp_path / "project.spak").module
    claim = next(s for s in statements(checked.module) if s.id == "claim accurate")
    subject = project.parts(checked).about(claim, profile="cpu", arch="sm_90a")
    assert subject != main.subject
    rows = [replace(main, profile="cpu", subject=subject)]
    (entry,) = [e for e in project.page(rows, tmp_path) if e.statement.id == "claim accurate"]
    assert entry.status.verdict.value == "undecided" and entry.status.fresh
    assert entry.status.note.startswith("profile cpu: 0.99 >= 0.9")


def test_what_ran_under_a_profile_becomes_stale_and_stays_on_the_page(tmp_path: Path) -> None:
    project = Project()
    (main,) = evidence(project, tmp_path, only="claim accurate")
    checked = check_file(tmp_path / "project.spak").module
    claim = next(s for s in statements(checked.module) if s.id == "claim accurate")
    row = replace(main, profile="cpu", subject=project.parts(checked).about(claim, profile="cpu"))
    for edit in ("train.steps = 20 }", "train.steps = 10 }\n  profile tpu { train.steps = 10 }"):
        edited = in_text("train.steps = 10 }", edit)(project)
        (entry,) = [e for e in edited.page([row], tmp_path) if e.statement.id == "claim accurate"]
        stays = "tpu" in edit  # another profile is none of its business
        assert entry.status.verdict.value == "undecided" and entry.status.fresh is stays
        assert entry.status.note.startswith("profile cpu: 0.99 >= 0.9") and entry.device == row.device
        assert entry.stale_because == (() if stays else ("settings of small.cpu changed",))
    gone = in_text("profile cpu {", "profile other {")(project)
    (entry,) = [e for e in gone.page([row], tmp_path) if e.statement.id == "claim accurate"]
    assert not entry.status.fresh and "settings of small.cpu is gone" in entry.stale_because
    assert "1 is stale" in summary([entry]) and "stale: " in render([entry])
