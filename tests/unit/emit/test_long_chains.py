"""A sum of as many terms as the language takes goes through every stage, and comes out right."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import spakc
from spakc.syntax.limits import MAX_OPERATORS
from tests.unit.cli.invoke import invoke

TERMS = MAX_OPERATORS - 1
TEXT = f"""spak 1
use std.devices
targets h100
let many = {" + ".join(["1"] * TERMS)}
law right: many == {TERMS} and {" and ".join(["many > 1"] * (TERMS - 1))}
kernel long: elementwise {{
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math {{ y[i] = {" + ".join(["x[i]"] * TERMS)} }}
  gradient y wrt x
  law wide: N + {" + ".join(["1"] * (TERMS - 1))} >= 2
  verify {{ tolerance {" + ".join(["library_error"] * TERMS)} + ulp(y)  shapes N in 1..20  cases 5 }}
  schedule grid_stride {{ knob vector in {{1, 4}} }}
}}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.spak"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("command", ["check", "status", "fmt", "verify"])
def test_every_command_takes_it(command: str, file: Path) -> None:
    result = invoke(command, file, *(("--on", "emulator") if command == "verify" else ()))
    assert result.exit_code == 0, result.output


def test_its_cuda_compiles(file: Path, tmp_path: Path) -> None:
    result = invoke("compile", file, "-o", tmp_path / "out", "--arch", "sm_90a")
    assert result.exit_code == 0, result.output


def test_its_values_and_gradients_are_right(file: Path) -> None:
    module = spakc.load(file)
    x = torch.arange(5.0, requires_grad=True)
    y = module.long(x)
    y.sum().backward()
    assert torch.equal(y.detach(), TERMS * torch.arange(5.0))
    assert torch.equal(x.grad, torch.full((5,), float(TERMS)))
