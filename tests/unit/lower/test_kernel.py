"""Kernels: declarations, schedules, configs, mathematics."""

from __future__ import annotations

import pytest

from spakc.ir.ops import Apply, Const, Interval, Members, Ref, RefKind
from spakc.ir.types import BYTES, DType
from tests.unit.lower.front import COPY, DEVICES, kernel, kernel_text, lowered, marked, only

KNOBS = (
    "schedule base { knob tile in {32, 64} let bytes_ = tile * sizeof(x) "
    "law fits: bytes_ <= device.smem_per_block }"
)


def test_tensors_keep_their_order_types_and_defaults() -> None:
    found = kernel("input b: same(x) | f64 [N] optional = 0\n  math { y[m, n] = x[m, n] + b[n] }").tensors
    assert list(found) == ["x", "idx", "y", "b"]
    assert found["x"].dtypes == (DType.bf16, DType.f32) and found["idx"].dtypes == (DType.int32,)
    assert found["b"].same_as == "x" and found["b"].dtypes == (DType.f64,) and found["b"].default == Const(0)


def test_same_is_followed_to_the_tensor_whose_types_are_written_out() -> None:
    found = kernel(f"input a: same(b) [M]\n  input b: same(x) [M]\n  {COPY}").tensors
    assert found["a"].same_as == "x" and found["b"].same_as == "x"


def test_options() -> None:
    found = kernel(
        f"option a: gelu | relu = relu option b: bool = true option c: f32 = rsqrt(D) {COPY}"
    ).options
    assert found["a"].choices == ("gelu", "relu") and found["a"].dtype is None and found["a"].compiled_in
    assert found["b"].dtype is DType.bool and found["b"].compiled_in
    assert found["c"].default == Apply("rsqrt", (Ref("D", RefKind.dim),)) and not found["c"].compiled_in


def test_like_inherits_and_overrides_by_name() -> None:
    text = f"""{COPY} {KNOBS}
    schedule more like base needs device.tma {{ knob stages in 2..4 let bytes_ = stages * tile * sizeof(x) }}
      schedule most like more {{ knob tile in {{128}} law fits: bytes_ <= 48 KiB }}"""
    schedules = kernel(text).schedules
    assert set(schedules["more"].knobs) == {"tile", "stages"} and len(schedules["more"].needs) == 1
    (inherited,) = schedules["more"].laws
    assert inherited.scope == ("k", "more")
    assert Ref("stages", RefKind.knob) in inherited.proposition.args[0].args[0].args  # type: ignore[attr-defined]
    assert schedules["most"].knobs["tile"].domain == Members((Const(128),))
    limit = schedules["most"].laws[0].proposition.args[1]  # type: ignore[attr-defined]
    assert limit == Const(48 * 1024, unit=BYTES)
    assert schedules["most"].knobs["stages"].domain == Interval(Const(2), Const(4))


def test_domains_are_constant_folded_and_words_are_symbols() -> None:
    knobs = "knob t in {big, big + 1} knob m in {fast, slow} law l: t > 1 when m == fast"
    text = f"let big = 2 * 64 {COPY} schedule s {{ {knobs} }}"
    schedule = kernel(text).schedules["s"]
    assert schedule.knobs["t"].domain == Members((Const(128), Const(129)))
    assert schedule.knobs["m"].domain == Members((Ref("fast", RefKind.symbol), Ref("slow", RefKind.symbol)))
    assert schedule.laws[0].when == Apply("eq", (Ref("m", RefKind.knob), Ref("fast", RefKind.symbol)))


def test_configs() -> None:
    knobs = "knob t in 8..64 step 8 knob m in {fast, slow} config c on gpu { t = 4 * 6 m = slow }"
    text = kernel_text(f"{COPY} schedule s {{ {knobs} }}")
    module = lowered(f'spak 1\nuse "gpus.spak"\n{text[7:]}', gpus=DEVICES)
    config = module.kernels["k"].schedules["s"].configs[0]
    assert config.values == {"t": 24, "m": "slow"} and config.on == ("gpu",)
    assert config.value_spans["t"].text == "4 * 6"


def test_equations_are_put_in_the_order_of_their_needs() -> None:
    found = kernel("math { y[m, n] = b[m, n] + a[m, n]  b[m, n] = a[m, n] * 2  a[m, n] = x[m, n] }")
    assert [equation.target for equation in found.math] == ["a", "b", "y"]


def test_an_inout_tensor_is_read_as_it_was_unless_said_otherwise() -> None:
    body = "inout p, q: f32 [M]\n  math { y[m, n] = x[m, n] p[m] = new(q)[m] + p[m] q[m] = q[m] * 2 }"
    assert [equation.target for equation in kernel(body).math] == ["y", "q", "p"]


def test_an_index_may_have_the_name_of_something_in_the_file() -> None:
    found = kernel("math { y[k, row] = x[k, row] }").math[0]
    assert found.indices == (Ref("k", RefKind.index), Ref("row", RefKind.index))


def test_parts_of_a_tensor_may_be_assigned_by_several_equations() -> None:
    found = kernel("inout z: f32 [D]\n  math { y[m, n] = x[m, n] z[i] = 1.0 z[i + D // 2] = z[i] }")
    assert [equation.target for equation in found.math] == ["y", "z", "z"]


@pytest.mark.parametrize(
    ("body", "code", "places"),
    [
        ("math { y[m, n] = x[m, n] x[m, n] = 1 }", "SPAK134", ["x", "x"]),
        ("math { y[m, n] = x[m, n] M[m] = 1 }", "SPAK134", ["M", "M"]),
        ("math { y[m, n] = x[m, n] y[a, b] = 1 }", "SPAK134", ["y[a, b] = 1", "y[m, n] = x[m, n]"]),
        ("math { y[m, n] = a[m] a[m] = 1 a[m + 1] = 2 }", "SPAK134", ["a[m + 1] = 2", "a[m] = 1"]),
        ("math { y[m, m] = x[m, m] }", "SPAK135", ["m"]),
        ("math { y[2 * m, n] = x[m, n] }", "SPAK135", ["2 * m"]),
        ("math { y[m, n] = a[m] a[m] = y[m, 0] }", "SPAK137", ["y[m, n] = a[m]", "a[m] = y[m, 0]"]),
        ("math { a[m] = x[m, 0] }", "SPAK307", ["y", "k"]),
        (f"{COPY} math {{ }}", "SPAK122", ["math", "math"]),
        (f"{COPY} gradient x wrt x", "SPAK138", ["x", "x"]),
        (f"{COPY} gradient y wrt idx", "SPAK138", ["idx", "idx"]),
        (f"{COPY} gradient y wrt xx", "SPAK138", ["xx"]),
        (f"{COPY} accumulate int32", "SPAK310", ["int32"]),
        (f"input z: float [M] {COPY}", "SPAK310", ["float"]),
        (f"input z: same(w) [M] {COPY}", "SPAK311", ["w"]),
        (f"input z: same(w) [M] input w: same(z) [M] {COPY}", "SPAK311", ["w", "z"]),
        (f"input z: f32 [M, N] layout rows {COPY}", "SPAK312", ["rows"]),
        (f"input z: f32 [M] layout row {COPY}", "SPAK312", ["row", "z"]),
        (f"input z: f32 [M] optional = x {COPY}", "SPAK313", ["x"]),
        (f"input z: f32 [M + 0.5] {COPY}", "SPAK321", ["0.5"]),
        (f"option o: bool | f32 = true {COPY}", "SPAK322", ["bool | f32"]),
        (f"option o: gelu | relu = silu {COPY}", "SPAK322", ["silu", "gelu | relu"]),
        (f"option o: int = 0.5 {COPY}", "SPAK322", ["0.5", "int"]),
        (f"{COPY} schedule s {{ knob t in {{}} }}", "SPAK305", ["{}"]),
        (f"{COPY} schedule s {{ knob t in {{1, fast}} }}", "SPAK305", ["{1, fast}"]),
        (f"{COPY} schedule s {{ knob t in 1..999_999_999 }}", "SPAK305", ["1..999_999_999"]),
        (f"{COPY} schedule s {{ knob t in 1..8 step 0 }}", "SPAK305", ["1..8 step 0"]),
        (f"{COPY} schedule s {{ knob t in {{M}} }}", "SPAK305", ["M"]),
        (f"{COPY} schedule s {{ knob t in {{1 // 0}} }}", "SPAK305", ["1 // 0"]),
        (f"{COPY} schedule s {{ knob t in 4 }}", "SPAK304", ["4"]),
        (f"{COPY} schedule s {{ knob t in {{1}} config c {{ t = 2 }} }}", "SPAK306", ["2", "{1}"]),
        (f"{COPY} schedule s {{ knob t in {{1}} config c {{ t = 1 u = 1 }} }}", "SPAK133", ["u"]),
        (f"{COPY} schedule s {{ knob t in {{1}} config c {{ }} }}", "SPAK133", ["c", "t"]),
        (f"{COPY} schedule s {{ knob t in {{1}} config c {{ t = 1 t = 1 }} }}", "SPAK133", ["t", "t"]),
        (f"{COPY} schedule s {{ }} schedule s {{ }}", "SPAK122", ["s", "s"]),
        (f"{COPY} schedule s like z {{ }}", "SPAK132", ["z"]),
        (f"{COPY} schedule a like b {{ }} schedule b like a {{ }}", "SPAK132", ["b", "a"]),
        (f"{COPY} law l: true law l: true", "SPAK122", ["l", "l"]),
        (f"{COPY} verify {{ values normal, odd }}", "SPAK139", ["odd"]),
        (f"{COPY} verify {{ shapes Z in {{1}} }}", "SPAK120", ["Z"]),
        (f"{COPY} verify {{ cases 0 }}", "SPAK305", ["cases 0"]),
        (f"{COPY} verify {{ shapes M in {{1}}, M in {{2}} }}", "SPAK122", ["M", "M"]),
    ],
)
def test_a_mistake_has_a_code_and_all_its_places(body: str, code: str, places: list[str]) -> None:
    found = only(kernel_text(body))
    assert (found.code, marked(found)) == (code, places)


def test_an_unknown_family_offers_the_nearest() -> None:
    found = only(kernel_text(COPY).replace("elementwise", "element_wise"))
    assert found.code == "SPAK139" and "`elementwise`" in found.help[0]
