"""Kinds of values, and units."""

from __future__ import annotations

import pytest

from spakc.check.check_dtypes import check_math_dtypes
from spakc.diagnostics import Sink
from spakc.ir.types import DType
from tests.unit.lower.front import COPY, diagnostics, kernel, kernel_text, marked, only

KNOBS = (
    "schedule s {{ knob tile in {{32, 64}} knob room in {{16 KiB, 32 KiB}} "
    "knob mode in {{fast, slow}} {law} }}"
)


def test_intermediates_are_real_integer_or_boolean() -> None:
    body = "accumulate f64 math { y[m, n] = where(b[m], x[m, n] * c[m], 0)"
    body += " b[m] = idx[m] > 0 c[m] = idx[m] + 1 d[m] = x[m, 0] }"
    assert check_math_dtypes(kernel(body), Sink()) == {"b": DType.bool, "c": DType.int32, "d": DType.f64}


@pytest.mark.parametrize(
    ("body", "code", "places"),
    [
        ("math { y[m, n] = x[m, n // 999_999_999_999] }", "SPAK316", ["999_999_999_999"]),
        ("math { y[m, n] = x[m, n / 2] }", "SPAK316", ["n / 2"]),
        ("math { y[m, n] = x[m, n] * (n > 1) }", "SPAK317", ["n > 1"]),
        ("math { y[m, n] = where(n, x[m, n], 0) }", "SPAK317", ["n"]),
        ("math { y[m, n] = where(n > 1, x[m, n], false) }", "SPAK317", ["x[m, n]", "false"]),
        ("math { y[m, n] = x[m, n] // 2 }", "SPAK317", ["x[m, n]"]),
        ("math { y[m, n] = x[m, n] + {{7}} }", "SPAK317", ["{7}"]),
        ("math { y[m, n] = sum[j](x[m, j] > 0) }", "SPAK317", ["x[m, j] > 0"]),
        ("math { y[m, n] = x[m, n] > 0 }", "SPAK318", ["x[m, n] > 0", "y"]),
        ("output z: int32 [M] math { y[m, n] = x[m, n] z[m] = x[m, 0] }", "SPAK318", ["x[m, 0]", "z"]),
        (f"{COPY} law l: M + 1", "SPAK320", ["M + 1"]),
        (f"{COPY} law l: M > 1 when N", "SPAK320", ["N"]),
        (f"{COPY} law l: M and true", "SPAK317", ["M"]),
        (f"{COPY} law l: device.tma > 1", "SPAK317", ["device.tma"]),
        (f"{COPY} law l: x + 1 > 2", "SPAK317", ["x"]),
        (f"{COPY} option o: gelu | relu = relu law l: o == 1", "SPAK317", ["o", "1"]),
        (f"{COPY} verify {{ tolerance M > 1 }}", "SPAK317", ["M > 1"]),
        (f"{COPY} {KNOBS.format(law='law l: tile == fast')}", "SPAK317", ["tile", "fast"]),
        (f"{COPY} {KNOBS.format(law='prefer tile')}", "SPAK320", ["tile"]),
    ],
)
def test_values_of_the_wrong_kind(body: str, code: str, places: list[str]) -> None:
    found = only(kernel_text(body), checked=True)
    assert (found.code, marked(found)) == (code, places)


@pytest.mark.parametrize(
    "law",
    [
        "tile * sizeof(x) <= device.smem_per_block",
        "tile * 4 <= device.smem_per_block",
        "2 * tile * sizeof(x) // 4 + 1 KiB <= 227 KiB",
        "room <= device.smem_per_block",
        "device.smem_per_block >= 1024",
        "where(mode == fast, sizeof(x), 2 * sizeof(y)) * tile <= 1 KiB",
        "bytes(x) == M * N * sizeof(x)",
        "min(room, 1 KiB) in {1 KiB, 2 KiB}",
        "device.smem_per_block / device.bandwidth < 2 sec",
    ],
)
def test_quantities_that_fit(law: str) -> None:
    codes = [
        d.code for d in diagnostics(kernel_text(f"{COPY} {KNOBS.format(law=f'law l: {law}')}"), checked=True)
    ]
    assert "SPAK319" not in codes and "SPAK317" not in codes


@pytest.mark.parametrize(
    ("law", "places"),
    [
        ("1 KiB == 2 ms", ["1 KiB", "2 ms"]),
        ("tile <= device.smem_per_block", ["tile", "device.smem_per_block"]),
        ("(tile + 2 * tile) * D <= 1 KiB", ["tile + 2 * tile) * D", "1 KiB"]),
        ("sizeof(x) + device.bandwidth > 0", ["sizeof(x)", "device.bandwidth"]),
        ("room * room < 1 KiB", ["room * room", "1 KiB"]),
        ("room in {1 KiB, 2 ms}", ["room", "2 ms"]),
        ("cubin.registers <= 1 KiB", ["cubin.registers", "1 KiB"]),
    ],
)
def test_quantities_that_do_not(law: str, places: list[str]) -> None:
    found = only(kernel_text(f"{COPY} {KNOBS.format(law=f'law l: {law}')}"), checked=True)
    assert found.code == "SPAK319" and [text.lstrip("(") for text in marked(found)] == places


def test_the_deepest_expression_that_is_allowed_is_checked() -> None:
    lets = "let a0 = M\n" + "".join(f"let a{i + 1} = a{i} + 1\n" for i in range(57))
    nested = "min(1, " * 25 + "a57" + ")" * 25
    assert diagnostics(kernel_text(f"{COPY} {lets} law l: {nested} >= 0"), checked=True) == []
