"""For each code of verification, a smallest thing to do that earns it: the codes that it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from spakc.cli import cli
from spakc.emulator_runner import OnEmulator
from spakc.ir.ops import Apply, Const
from spakc.verify.campaign import verify_math, verify_variant
from spakc.verify.case import Case
from spakc.verify.examine import Observed, Run
from spakc.verify.failure import Failure
from spakc.verify.tested import UnderTest
from tests.unit.verify.kernels import SCALED, damaged, example, of_text

SHIFT = """spak 1
kernel shift: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  input pick: int32 [N]
  math { y[i] = x[pick[i] + 1] }
  verify { tolerance ulp(y) shapes N in 1..20 cases 10 }
}
"""


def _codes(failure: Failure | None) -> list[str]:
    return [] if failure is None else [failure.code]


def _damaged(old: str, new: str) -> Callable[[Path], list[str]]:
    def fixture(_: Path) -> list[str]:
        (tested, *_rest), files = of_text(SCALED)
        return _codes(verify_variant(tested, damaged(files, old, new), 5, 0, 5).failure)

    return fixture


def _by_order(_: Path) -> list[str]:
    (tested, *_rest), files = of_text(SCALED)
    run: Run = OnEmulator(files)

    def moody(under: UnderTest, case: Case, given: dict[str, object]) -> Observed:
        seen = run(under, case, given)
        changed = {n: np.where(a == 0, np.float32(-0.0), a) for n, a in seen.outputs.items()}
        return seen if case.seed % 2 else replace(seen, outputs=changed)

    return _codes(verify_variant(tested, moody, 60, 0, 5).failure)


def _not_admitted(_: Path) -> list[str]:
    (tested, *_rest), files = of_text(SHIFT)
    return _codes(verify_variant(tested, OnEmulator(files), 20, 0, 5).failure)


def _not_the_derivative(_: Path) -> list[str]:
    tested = example("train", "rms_norm_gradient")
    first, *rest = tested.kernel.math
    wrong = replace(first, value=Apply("mul", (first.value, Const(1.01))))
    bent = replace(tested, kernel=replace(tested.kernel, math=(wrong, *rest)))
    return [failure.code for failure in verify_math(bent, 0).failures]


def _accepts(_: Path) -> list[str]:
    (tested, *_rest), _files = of_text(SCALED.replace("2 * library_error", "1000 + library_error"))
    return [failure.code for failure in verify_math(tested, 0).failures]


def _command(*arguments: str, command: str = "verify") -> Callable[[Path], list[str]]:
    def fixture(folder: Path) -> list[str]:
        path = folder / "small.spak"
        path.write_text(SCALED)
        result = CliRunner().invoke(cli, [command, str(path), *arguments])
        assert result.exit_code == 1, result.output
        return [word[6:13] for word in result.stderr.split("\n") if word.startswith("error[")]

    return fixture


VERIFICATION: dict[str, Callable[[Path], list[str]]] = {
    "SPAK801": _command("--replay", "v1.abc"),
    "SPAK802": _damaged("accumulator = fma_f32(", "accumulator = 1.0f + fma_f32("),
    "SPAK803": _damaged("accumulator = fma_f32(", "accumulator = fma_f33("),
    "SPAK804": _by_order,
    "SPAK805": _not_admitted,
    "SPAK806": _not_the_derivative,
    "SPAK807": _accepts,
    "SPAK808": _command("--kernel", "scale"),
    "SPAK809": _command("fast", command="bench"),
}
"""Code to what earns it."""
