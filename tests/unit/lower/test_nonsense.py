"""What is well formed and means nothing: each is one diagnostic; what only looks odd is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from spakc import driver
from spakc.diagnostics import SpakError

KERNEL = """spak 1
use std.devices
targets h100
kernel mix: product {{
  dim I, J, L
  dim D in {D}
  input  p: {p} [I, L] layout {layout}
  input  q: same(p) [L, J] layout row | column
  output r: bf16 [I, J]
  {option}
  math {{ r[i, j] = sum[l](p[i, l] * q[l, j]) }}
  verify {{ tolerance {tolerance}  values {values}  shapes {shapes}  cases 10 }}
  schedule naive {{ knob block in {block} }}
}}
"""
SOUND = {
    "D": "{64}",
    "p": "bf16 | f16",
    "layout": "row | column",
    "option": "",
    "tolerance": "2 * library_error + ulp(r)",
    "values": "normal",
    "shapes": "I in 1..300",
    "block": "{8, 16}",
}


def codes(folder: Path, **changes: str) -> list[str]:
    path = folder / "mix.spak"
    path.write_text(KERNEL.format(**{**SOUND, **changes}))
    try:
        return [d.code for d in driver.check_file(path).sink.diagnostics]
    except SpakError as error:
        return [d.code for d in error.diagnostics]


@pytest.mark.parametrize(
    ("what", "text", "code"),
    [
        *(("block", text, "SPAK706") for text in ("{-8}", "{0}", "{12}", "{-8, 8}", "-8..8 step 8", "{8.0}")),
        *(("block", text, "SPAK706") for text in ("{true}", "{fast}")),
        *(("block", text, "SPAK140") for text in ("{8, 8}", "{8, 4 + 4}")),
        ("D", "{64, 64}", "SPAK140"),
        ("p", "bf16 | bf16", "SPAK140"),
        ("layout", "row | row", "SPAK140"),
        ("option", "option act: relu | relu = relu", "SPAK140"),
        ("values", "normal, normal", "SPAK140"),
        ("shapes", "I in {4, 4}", "SPAK140"),
        ("shapes", "(I, J) in {(1, 2), (1, 2)}", "SPAK140"),
        ("block", "{(8, 16)}", "SPAK305"),
        ("D", "{(1, 2)}", "SPAK305"),
        ("option", "option act: f32 = (1, 2)", "SPAK322"),
        ("shapes", "I in {(1, 2)}", "SPAK305"),
        ("shapes", "(I, J) in {(1, 2, 3)}", "SPAK305"),
        ("shapes", "(I, J) in 1..2", "SPAK305"),
        ("shapes", "(I, J) in {((1, 2), 3)}", "SPAK305"),
        ("shapes", "I in -3..4", "SPAK305"),
        ("shapes", "D in {32}", "SPAK306"),
        ("shapes", "D in 64..65", "SPAK306"),
        ("shapes", "(I, D) in {(1, 64), (1, 32)}", "SPAK306"),
        ("tolerance", "-2 * library_error", "SPAK305"),
        ("tolerance", "-2 * library_error + ulp(r)", "SPAK305"),
        ("tolerance", "library_error - 1", "SPAK305"),
        ("tolerance", "1e-3 - 1e-6 * L", "SPAK305"),
    ],
)
def test_nonsense_is_told_once(tmp_path: Path, what: str, text: str, code: str) -> None:
    assert codes(tmp_path, **{what: text}) == [code]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("block", "{8, 12}"),  # the template leaves 8; points with 12 are counted as what cannot be built
        ("tolerance", "0"),
        ("tolerance", "max(library_error - 1e-3, 1e-6)"),
        ("tolerance", "abs(library_error - ulp(r)) / 2"),
        ("tolerance", "1e-6 * L"),
        ("shapes", "I in 0..300"),  # an empty tensor is a legal call
        ("shapes", "D in {64}"),
    ],
)
def test_what_only_looks_odd(tmp_path: Path, what: str, text: str) -> None:
    assert codes(tmp_path, **{what: text}) == []
