"""Ranges of index variables, accesses, coverage of outputs."""

from __future__ import annotations

import pytest

from spakc.check.infer_shapes import infer_shapes
from spakc.diagnostics import Sink
from spakc.ir.ops import Apply, Const, Ref, RefKind
from tests.unit.lower.front import diagnostics, kernel, kernel_text, marked, only

N, D = Ref("N", RefKind.dim), Ref("D", RefKind.dim)


def test_ranges_follow_axes_and_intermediates_get_theirs_from_where_they_are_read() -> None:
    found = infer_shapes(kernel("math { y[m, n] = x[m, n] * f[n] f[i] = 1.0 * i }"), Sink())
    assert found is not None
    assert found.shapes["f"] == (N,)


def test_an_offset_shortens_a_range() -> None:
    body = "input z: f32 [N, D] output w: f32 [N, D]\n  math { y[m, n] = x[m, n]"
    body += " w[n, i] = z[n, i + D // 2] w[n, i + D // 2] = z[n, i] }"
    found = infer_shapes(kernel(body), Sink())
    assert found is not None
    assert found.variables[1]["i"] == Apply("floordiv", (D, Const(2)))


@pytest.mark.parametrize(
    "math",
    [
        "y[m, n] = x[m, n // 2] + x[m // 3, n]",
        "y[m, n] = where(n < N - 1, x[m, min(n + 1, N - 1)], 0)",
        "y[m, n] = x[m, idx[m]]",
        "y[m, n] = x[m, N - 1 - n]",
        "y[m, n] = sum[j](x[m, j]) + sum[j](x[m, j])",
        "y[m, n] = d[m] d[m] = sum[j](x[m, j])",
        "y[m, n] = softmax[n](x[m, n])",
    ],
)
def test_what_stays_inside(math: str) -> None:
    assert diagnostics(kernel_text(f"math {{ {math} }}"), checked=True) == []


@pytest.mark.parametrize(
    ("body", "code", "places"),
    [
        ("math { y[m, n] = x[m] }", "SPAK301", ["x[m]", "x"]),
        ("math { y[m] = x[m, 0] }", "SPAK301", ["y[m] = x[m, 0]", "y"]),
        ("math { y[m, n] = a[m, n] a[m] = x[m, 0] }", "SPAK301", ["a[m, n]", "a[m] = x[m, 0]"]),
        ("math { y[m, n] = x[n, m] }", "SPAK302", ["x[n, m]", "y[m, n] = x[n, m]", "x"]),
        ("math { y[m, n] = sum[j](x[m, j] * idx[j]) }", "SPAK302", ["idx[j]", "x[m, j]", "idx"]),
        ("math { y[m, n] = sum[j](x[m, j]) + sum[j](idx[j]) }", "SPAK302", ["idx[j]", "x[m, j]", "idx"]),
        ("math { y[m, n] = x[m, n + 1] }", "SPAK303", ["n + 1", "x"]),
        ("math { y[m, n] = x[m, n - 1] }", "SPAK303", ["n - 1", "x"]),
        ("math { y[m, n] = x[m, n // (M // 2)] }", "SPAK303", ["n // (M // 2)", "x"]),
        ("math { y[m, n] = x[m, 1] }", "SPAK303", ["1", "x"]),
        (
            "math { y[m, n] = x[m, 999_999_999_999_999_999] }",
            "SPAK303",
            ["999_999_999_999_999_999", "x"],
        ),
        ("math { y[m, n] = x[m, 1.5] }", "SPAK316", ["1.5"]),
        ("math { y[m, n] = x[m, n * relu] }", "SPAK317", ["relu"]),
        ("math { y[m, n] = x[m, n] * a[n] a[i] = sum[j](1.0 * j) }", "SPAK308", ["sum[j](1.0 * j)"]),
        ("math { y[m, n] = x[m, n] } law l: every[r](r < 3)", "SPAK308", ["every[r](r < 3)"]),
        (
            "output z: f32 [M] math { y[m, n] = x[m, n] z[m + 1] = x[m, 0] }",
            "SPAK307",
            ["z[m + 1] = x[m, 0]", "z"],
        ),
    ],
)
def test_a_mistake_has_a_code_and_all_its_places(body: str, code: str, places: list[str]) -> None:
    found = only(kernel_text(body), checked=True)
    assert (found.code, marked(found)) == (code, places)


def test_a_counterexample_respects_the_laws_about_dims() -> None:
    grouped = "math {{ y[m, n] = x[m // (M // N), n] }}{law}"
    assert only(kernel_text(grouped.format(law="")), checked=True).code == "SPAK303"
    assert diagnostics(kernel_text(grouped.format(law=" law groups: M % N == 0")), checked=True) == []


def test_a_counterexample_is_small_and_told() -> None:
    found = only(kernel_text("math { y[m, n] = x[m, n + 1] }"), checked=True)
    assert "N = 1" in found.labels[0].text and "reaches 1" in found.labels[0].text


def test_parts_must_neither_overlap_nor_leave_gaps() -> None:
    parts = "output z: f32 [D]\n  math {{ y[m, n] = x[m, n] z[i] = 1.0 {rest} }}"
    assert diagnostics(kernel_text(parts.format(rest="z[i + D // 2] = 2.0")), checked=True) == []
    overlap = only(kernel_text(parts.format(rest="z[i + 1] = 2.0 z[i + 2] = 3.0")), checked=True)
    assert overlap.code == "SPAK309"


def test_an_enormous_index_does_not_take_long() -> None:
    variables = [f"v{i}" for i in range(12)]
    shape = ", ".join("N" for _ in variables)
    body = f"input z: f32 [N] output w: f32 [{shape}]\n  math {{ y[m, n] = x[m, n]"
    body += f" w[{', '.join(variables)}] = z[({' + '.join(variables)}) // 12] }}"
    assert diagnostics(kernel_text(body), checked=True) == []
