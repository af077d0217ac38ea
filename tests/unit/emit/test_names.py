"""Results follow the mathematics, whatever things are called and in whatever order they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.emit.planned import Emitted, emitted
from tests.unit.emit.test_emulated import agrees, case

RENAMED = """spak 1
use std.devices
targets a100
kernel int: product {
  dim    void, float, auto
  input  t_x: bf16 | f16  [void, auto]  layout row | column
  input  params: same(t_x) [auto, float]  layout row | column
  input  acc: same(t_x) [void]  optional = 1
  output accumulator: same(t_x) | f32 [void, float]
  option row: relu | silu | identity = identity
  math {
    accumulator[column, lane] = row(scores[column, lane]) * acc[column]
    scores[column, lane] = sum[depth](params[depth, lane] * t_x[column, depth])
  }
  schedule naive { knob block in {8, 16} }
  schedule pipelined needs device.cp_async {
    knob tile_m in {64}  knob tile_n in {64}  knob tile_k in {32}  knob stages in {3}
  }
}
kernel extra: rows {
  dim while, to
  input  thread: f32 [while, to]
  output group: f32 [while]
  output rank: f32 [while, to]
  option part_0: f32 = 2.0
  math {
    total[position]       = max[kept](thread[position, kept] * part_0)
    rank[position, kept]  = where(thread[position, kept] * part_0 == total[position], 1, part_0)
    group[position]       = total[position] + sum[kept](thread[position, kept])
  }
}
kernel first: elementwise {
  dim points, stride
  input  vector_0: f32 [points, stride]
  input  index: int [stride]
  output out_0: f32 [points, stride]
  math { out_0[lane, first] = vector_0[lane, index[first]] + vector_0[lane, first] * 3.0 }
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Emitted]:
    path: Path = tmp_path_factory.mktemp("names") / "odd names.spak"
    path.write_text(RENAMED)
    return emitted(path)


@pytest.mark.parametrize("option", ["relu", "silu", "identity"])
def test_a_product_with_other_names_and_a_gate(kernels: dict[str, Emitted], option: str) -> None:
    kernel = kernels["int"]
    dims = {"void": 40, "float": 24, "auto": 56}
    call = case(kernel, dims, {"row": option}, {"t_x": "bf16"}, {"t_x": "column"})
    for variant in kernel.spec.variants:
        agrees(kernel, variant, call)


def test_rows_with_names_of_the_template(kernels: dict[str, Emitted]) -> None:
    kernel = kernels["extra"]
    call = case(kernel, {"while": 5, "to": 77}, {"part_0": 2.0}, {})
    for variant in kernel.spec.variants:
        if not variant.schedule.endswith("held"):  # rows of 77 elements are no whole vectors
            agrees(kernel, variant, call)
    whole = case(kernel, {"while": 5, "to": 80}, {"part_0": 2.0}, {})
    for variant in kernel.spec.variants:
        agrees(kernel, variant, whole)


def test_elementwise_with_names_of_the_template(kernels: dict[str, Emitted]) -> None:
    kernel = kernels["first"]
    call = case(kernel, {"points": 3, "stride": 24}, {}, {}, limits={"index": 24})
    for variant in kernel.spec.variants:
        agrees(kernel, variant, call)


def test_no_template_mentions_an_example() -> None:
    from tests.unit.emit.planned import TEMPLATES

    text = "\n".join(p.read_text() for p in TEMPLATES.rglob("*.j2")).lower()
    for name in (
        "matmul",
        "fmha",
        "rms_norm",
        "cross_entropy",
        "rope",
        "adamw",
        "bias",
        "logits",
        "addition",
    ):
        assert name not in text, f"a template mentions {name}"
