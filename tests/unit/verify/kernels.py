"""Variants under test: of the example kernels, and of a small file whose generated CUDA tests damage."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from spakc import driver
from spakc.commands.verify import variants_of
from spakc.emulator_runner import OnEmulator
from spakc.verify.tested import UnderTest

EXAMPLES = Path(__file__).parents[3] / "examples" / "kernels"

SCALED = """spak 1
kernel scaled: product {
  dim M, N, K
  input  A: bf16 | f16 [M, K]
  input  B: same(A) [K, N]
  input  gate: f32 [M] optional = 1
  output C: f32 [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) * gate[m] }
  schedule naive { knob block in {8} }
  verify {
    tolerance 2 * library_error + ulp(C)
    values    normal, integers
    shapes    M in 1..20, N in 1..20, K in 1..20
    cases     10
  }
}
"""


@functools.cache
def of_file(path: Path) -> tuple[tuple[UnderTest, ...], dict[str, str]]:
    """Every variant of a file, and everything that is emitted for it."""
    decided = driver.plan_file(driver.check_file(path))
    files = driver.emit_files(decided)
    return tuple(variants_of(decided, files)), files


@functools.cache
def of_text(text: str) -> tuple[tuple[UnderTest, ...], dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.spak")
        path.write_text(text)
        return of_file(path)


def example(name: str, kernel: str, schedule: str | None = None) -> UnderTest:
    """The first variant of an example's kernel, or of one of its schedules."""
    variants, _ = of_file(EXAMPLES / f"{name}.spak")
    return next(t for t in variants if t.spec.name == kernel and schedule in (None, t.variant.schedule))


def damaged(files: Mapping[str, str], old: str, new: str, folder: Path | None = None) -> OnEmulator:
    """A runner of the same sources with every `old` replaced; there must be one. Changed headers are put into `folder`,
    without which none is changed."""
    changed = {name: text.replace(old, new) for name, text in files.items() if old in text}
    sources = {name: text for name, text in changed.items() if name.endswith(".cu")}
    headers = {name: text for name, text in changed.items() if name.endswith(".cuh")} if folder else {}
    assert sources or headers, f"no source holds {old!r}"
    for name, text in headers.items():
        path = Path(folder or "", name.removeprefix("include/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return OnEmulator({**files, **sources}, (folder,) if folder else ())
