"""Old values of tensors that are changed in place: who may read them, and in which order outputs are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc.diagnostics import Sink
from spakc.plan.launch import stores_of
from spakc.plan.plan import plan
from spakc.plan.problem import ElementwiseProblem, ProductProblem, RowsProblem
from spakc.plan.recognise import recognise
from tests.unit.emit.planned import checked

TEXT = """spak 1
use std.devices
targets a100
kernel k: {family} {{
  dim R, N
  inout  p: f32 [R, N]
  {more}
  math {{ {math} }}
}}
"""
PRODUCT = "input a: bf16 [R, R]  input b: bf16 [R, N]"
SUM = "sum[j](a[r, j] * b[j, i])"


def planned(folder: Path, family: str, math: str, more: str = "") -> tuple[list[str], list[str]]:
    """The tensors in the order in which the first launch stores them, and the codes of what is wrong."""
    path = folder / "k.spak"
    path.write_text(TEXT.format(family=family, math=math, more=more))
    sink, module = Sink(), checked(path)
    problem = recognise(module.module.kernels["k"], sink)
    codes = [diagnostic.code for diagnostic in sink.diagnostics]
    assert problem is None or isinstance(problem, (ElementwiseProblem, ProductProblem, RowsProblem))
    return [] if problem is None else [store.tensor for store in stores_of(problem)], codes


@pytest.mark.parametrize(
    ("family", "math", "more"),
    [
        ("elementwise", "p[r, i] = 2 * p[r, N - 1 - i]", ""),
        ("elementwise", "p[r, i] = q[r, i]  q[r, i] = p[R - 1 - r, i]", "inout q: f32 [R, N]"),
        ("product", f"p[r, i] = {SUM} + p[r, N - 1 - i]", PRODUCT),
        ("product", "p[r, i] = sum[j](a[r, j] * p[j, i])", "input a: f32 [R, R]"),
        (
            "product",
            f"p[r, i] = {SUM} + q[r, i]  q[r, i] = {SUM} + p[r, i]",
            f"{PRODUCT}  inout q: f32 [R, N]",
        ),
        ("rows", "s[r] = sum[i](p[r, i])  p[r, i] = p[r, N - 1 - i] / s[r]", ""),
        ("rows", "s[r] = sum[i](p[R - 1 - r, i])  p[r, i] = p[r, i] / s[r]", ""),
        ("rows", "m[r] = m[r] + sum[i](p[r, i])  p[r, i] = 2 * p[r, i]", "inout m: f32 [R]"),
        ("rows", "m[r] = sum[i](p[r, i])  p[r, i] = p[r, i] * m[r]", "inout m: f32 [R]"),
        ("rows", "m[r] = p[r, 0] + sum[i](p[r, i])  p[r, i] = 2 * p[r, i]", "output m: f32 [R]"),
    ],
)
def test_a_value_that_another_may_have_overwritten(tmp_path: Path, family: str, math: str, more: str) -> None:
    assert planned(tmp_path, family, math, more)[1] == ["SPAK419"]


@pytest.mark.parametrize(
    ("family", "math", "more", "order"),
    [
        ("elementwise", "p[r, i] = q[r, i]  q[r, i] = p[r, i]", "inout q: f32 [R, N]", ["p", "q"]),
        ("product", f"p[r, i] = p[r, i] + {SUM}", PRODUCT, ["p"]),
        (
            "product",
            f"p[r, i] = p[r, i] + {SUM}  y[r, i] = new(p)[r, i]",
            f"{PRODUCT}  output y: f32 [R, N]",
            ["y", "p"],
        ),
        ("rows", "s[r] = sum[i](p[r, i] * p[r, N - 1 - i])  p[r, i] = p[r, i] / s[r]", "", ["p"]),
        (
            "rows",
            "p[r, i] = p[r, i] + x[r, i]  s[r] = sum[i](new(p)[r, i])  y[r, i] = new(p)[r, i] / s[r]",
            "input x: f32 [R, N]  output y: f32 [R, N]",
            ["y", "p"],
        ),
    ],
)
def test_old_values_are_read_before_they_are_overwritten(
    tmp_path: Path, family: str, math: str, more: str, order: list[str]
) -> None:
    assert planned(tmp_path, family, math, more) == (order, [])


def test_a_launch_does_not_read_what_one_before_it_has_overwritten(tmp_path: Path) -> None:
    more = f"{PRODUCT}  output y: f32 [N]"
    math = f"p[r, i] = p[r, i] + {SUM}  y[i] = sum[r](p[r, i])"
    path = tmp_path / "k.spak"
    path.write_text(TEXT.format(family="chain", math=math, more=more))
    sink = Sink()
    plan(checked(path), (), sink)
    assert [diagnostic.code for diagnostic in sink.diagnostics] == ["SPAK419"]
    path.write_text(TEXT.format(family="chain", math=math.replace("(p[", "(new(p)["), more=more))
    sink = Sink()
    plan(checked(path), (), sink)
    assert "SPAK419" not in [diagnostic.code for diagnostic in sink.diagnostics]


def test_a_panel_does_not_read_what_other_blocks_overwrite(tmp_path: Path) -> None:
    """Norm, product and sum with what was there: each in a launch of its own."""
    more = "input b: bf16 [N, N]"
    math = "t[r, i] = gelu(p[r, i])  p[r, i] = p[r, i] + sum[j](t[r, j] * b[j, i])"
    path = tmp_path / "k.spak"
    path.write_text(TEXT.format(family="chain", math=math, more=more))
    sink = Sink()
    result = plan(checked(path), (), sink).kernels["k"]
    assert [diagnostic.code for diagnostic in sink.diagnostics] == ["SPAK416"]
    assert all(len(variant.launches) == 2 for variant in result.variants)
