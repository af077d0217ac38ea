"""Every operation of the mathematics, computed by a generated kernel and by the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spakc.emit.expressions import CannotEmit, identifier
from spakc.emit.source_map import resolve_returns
from spakc.evidence import hash_source
from spakc.ir.ops import ACTIVATIONS
from spakc.verify.oracle import evaluate as oracle
from tests.unit.emit.emulate import Case, run
from tests.unit.emit.planned import Emitted, emitted
from tests.unit.emit.test_emulated import agrees, case

FLOATS = {
    "arithmetic": "x[i] * y[i] - x[i] / (y[i] * y[i] + 1) + -x[i]",
    "powers": "pow(abs(x[i]) + 0.5, y[i]) + exp(x[i]) + log(abs(x[i]) + 1)",
    "roots": "sqrt(abs(y[i])) + rsqrt(abs(y[i]) + 1)",
    "waves": "sin(x[i]) * cos(y[i]) + tanh(x[i]) + erf(y[i])",
    "choices": "where(x[i] > y[i] and not x[i] == 0, min(x[i], 1), max(y[i], -1))",
    "comparisons": "where(x[i] <= y[i] or x[i] != x[i], 1, 2) + where(x[i] >= 0, 3, 4)",
    "conversions": "f32(k[i]) + f32(x[i])",
    "integers": "k[i] // 3 + k[i] % 3 + k[i] // (0 - 3) + k[i] % 5 * (i - 7) + i // 4 + N",
    "division": "(i + 1) / (N + 2)",
    "guarded": "where(i > 0, x[max(i - 1, 0)], 7)",
    "gathers": "x[p[i]] * y[i]",
    "options": "where(flag, x[i], y[i]) * scale + where(mode == second, 1, 2) + shift",
    "functions": "mode_function(x[i])",
}
TEXT = """spak 1
use std.devices
targets a100
kernel f: elementwise {{
  dim N
  input  x, y: f32 [N]
  input  k, p: int [N]
  output z: f32 [N]
  option flag: bool = true
  option mode: first | second = second
  option scale: f32 = 0.5
  option shift: int = 3
  option mode_function: {activations} = gelu
  math {{ z[i] = {value} }}
}}
"""
OPTIONS = {"flag": False, "mode": "first", "scale": 1.5, "shift": -2, "mode_function": "gelu"}


def kernel_of(folder: Path, value: str) -> Emitted:
    path = folder / "f.spak"
    path.write_text(TEXT.format(value=value, activations=" | ".join(ACTIVATIONS)))
    return emitted.__wrapped__(path)["f"]


def call_of(kernel: Emitted, size: int, **options: object) -> Case:
    call = case(kernel, {"N": size}, OPTIONS | options, {}, limits={"k": 10, "p": size})
    call.tensors["k"][...] -= 5  # type: ignore[index]
    return call


@pytest.mark.parametrize("name", FLOATS)
def test_operations(tmp_path: Path, name: str) -> None:
    kernel = kernel_of(tmp_path, FLOATS[name])
    used = {axis.removeprefix("OPTION_") for variant in kernel.spec.variants for axis in variant.axes}
    for size in (16, 33):
        call = call_of(kernel, size)
        for variant in kernel.spec.variants:
            if size % int(variant.config["vector"]) == 0:
                agrees(kernel, variant, call)
    assert used <= {"flag", "mode", "mode_function"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(tmp_path: Path, name: str) -> None:
    kernel = kernel_of(tmp_path, "mode_function(x[i])")
    agrees(kernel, kernel.spec.variants[0], call_of(kernel, 64, mode_function=name))


def test_values_that_are_no_numbers_travel_through(tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path, "relu(x[i]) + min(y[i], 2)")
    call = call_of(kernel, 16)
    call.tensors["x"][:3] = [np.inf, -np.inf, 0.0]  # type: ignore[index]
    call.tensors["y"][3:5] = [np.inf, -np.inf]  # type: ignore[index]
    found = run(kernel.spec, kernel.spec.variants[0], kernel.files, call)["z"]
    given = {name: array for name, array in call.tensors.items() if array is not None}
    np.testing.assert_allclose(
        found, oracle(kernel.plan.kernel, given, call.options, call.dims)["z"], rtol=1e-5
    )


def test_only_identifiers_reach_the_source() -> None:
    assert identifier("t", "while") == "t_while"
    for name in ('x"; #include "secret', "a b", "", "é", "x\n", "1x"):
        with pytest.raises(CannotEmit):
            identifier("t", name)


def test_every_line_of_mathematics_cites_its_source(tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path, "x[i] * y[i]")
    (text,) = kernel.files.values()
    lines = text.split("\n")
    cited = [n for n, line in enumerate(lines) if line.startswith("#line 14 ")]
    assert cited, text
    for number in cited:
        back = lines[number + 2]
        assert back == f'#line {number + 4} "kernels/f/grid_stride.cu"'
    assert hash_source(text) == hash_source(text.replace("#line 14 ", "#line 99 "))


def test_returns_name_the_line_after_them() -> None:
    assert resolve_returns("a\n#line @generated\nb", "k.cu") == 'a\n#line 3 "k.cu"\nb'


def test_directives_begin_their_line_wherever_a_template_puts_them() -> None:
    text = 'a\n  #line 7 "f.spak"\n  b\n  #line @generated\nc'
    assert resolve_returns(text, "k.cu") == 'a\n#line 7 "f.spak"\n  b\n#line 5 "k.cu"\nc'
