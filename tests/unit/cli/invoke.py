"""The command as a user starts it: in this process, or in one of its own where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from spakc.cli import cli

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
MATMUL = EXAMPLES / "kernels" / "matmul.spak"
ADDITION = EXAMPLES / "looplm" / "addition.spak"

PRODUCT = """spak 1
use std.devices
targets h100
kernel outer_sum: product {
  dim I, J, L
  input  p: f32 [I, L]
  input  q: f32 [L, J]
  output r: f32 [I, J]
  math { r[i, j] = sum[l](p[i, l] * q[l, j]) }
  schedule naive { knob block in {8, 16} }
}
"""

TWICE = """spak 1
targets card
device card { arch = sm_80  kind = emulator }
kernel twice: elementwise {
  dim N
  input  x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
  law generous: bytes(x) == 1
  law thrifty: bytes(x) == N * sizeof(x)
  law few: cubin.registers <= 64
  schedule grid_stride { knob threads in {128} }
  verify { tolerance ulp(y)  shapes N in 1..64  cases 3 }
}
"""
"""A kernel for the emulator: one law of it does not hold."""


def invoke(*arguments: str | Path) -> Result:
    """One command in this process. `stdout`, `stderr` and `exit_code` of the result are what a shell sees."""
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def spawn(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, started in `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "spakc", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def rows(text: str) -> list[dict[str, Any]]:
    """JSON lines, each an object with the name of its schema and a version."""
    found = [json.loads(line) for line in text.splitlines()]
    for row in found:
        name, version = row["schema"].split("/")
        assert name.startswith("spak-") and int(version) >= 1
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
