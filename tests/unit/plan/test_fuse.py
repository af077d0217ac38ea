"""Which chains stay on chip, whatever things are called, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import Sink
from spakc.plan.plan import KernelPlan, plan
from tests.unit.emit.planned import checked

TEXT = """spak 1
use std.devices
targets a100
kernel k: chain {{
  dim M, N, K
  input  a: bf16 [M, K]
  input  b: bf16 [K, N]
  input  c: bf16 [N, K]
  output out: bf16 [M, N]
  {more}
  math {{ {math} }}
  {schedule}
}}
"""
SCHEDULE = (
    "schedule panel needs device.cp_async { knob tile_m in {64} knob tile_n in {64} knob tile_k in {32} "
    "knob stages in {3} knob depth in {256} knob wide in {1, 4} }"
)
SUM = (
    "s[r] = sum[i](a[r, i] * a[r, i])  t[r, i] = a[r, i] * rsqrt(s[r])  out[r, j] = sum[i](t[r, i] * b[i, j])"
)
THREE = (
    "h[r, j] = sum[i](a[r, i] * b[i, j])  g[r, i] = sum[j](h[r, j] * c[j, i])  "
    "out[r, j] = sum[i](g[r, i] * b[i, j])"
)


def planned(folder: Path, math: str, more: str = "", schedule: str = "") -> tuple[KernelPlan, list[str]]:
    path = folder / "k.spak"
    path.write_text(TEXT.format(math=math, more=more, schedule=schedule))
    sink = Sink()
    result = plan(checked(path), (), sink).kernels["k"]
    return result, [diagnostic.code for diagnostic in sink.diagnostics]


@pytest.mark.parametrize(
    "math",
    [
        SUM,
        "t[r, i] = gelu(a[r, i])  out[r, j] = sum[i](t[r, i] * b[i, j])",
        "out[r, j] = relu(2 * sum[i](t[r, i] * c[j, i]))  t[r, i] = a[r, i] - max[v](a[r, v])",
    ],
    ids=["norm", "element", "transposed"],
)
def test_rows_and_the_product_that_reads_them(tmp_path: Path, math: str) -> None:
    result, codes = planned(tmp_path, math)
    assert codes == []
    first = result.variants[0]
    assert first.schedule == "panel"
    assert len(first.launches) == 1 and not first.workspace
    apart = [variant for variant in result.variants if variant.schedule.startswith("unfused_")]
    assert apart and all(len(variant.launches) == 2 and variant.workspace for variant in apart)
    assert not result.variants[-1].guards, "rows of any length have an answer"


@pytest.mark.parametrize(
    ("math", "more"),
    [(THREE, ""), (SUM + "  kept[r, i] = t[r, i]", "output kept: bf16 [M, K]")],
    ids=["products", "rows that leave"],
)
def test_other_chains_run_apart(tmp_path: Path, math: str, more: str) -> None:
    result, codes = planned(tmp_path, math, more)
    assert codes == ["SPAK416"]
    assert all(variant.schedule != "panel" for variant in result.variants)


def test_a_schedule_for_a_chain_that_cannot_have_it(tmp_path: Path) -> None:
    result, codes = planned(tmp_path, THREE, schedule=SCHEDULE)
    assert codes == ["SPAK416", "SPAK704"]
    assert "joins a pass over rows with the product" in result.undecided[0].reason


def test_the_configs_of_a_schedule(tmp_path: Path) -> None:
    result, codes = planned(tmp_path, SUM, schedule=SCHEDULE)
    assert codes == []
    panels = [variant for variant in result.variants if variant.schedule == "panel"]
    assert [variant.config["wide"] for variant in panels] == [4]
    (depth,) = [guard for guard in panels[0].guards if guard.law == "depth"]
    assert depth.condition == ["le", ["dim", "K"], 256]
