"""compute-sanitizer over every kernel that is for this device. What it cannot see, and what it sees in error, is said
in docs/emulator.md; the emulator looks for both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 900


def sanitizer() -> str:
    places = (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda")
    found = shutil.which("compute-sanitizer") or next(
        (str(p) for place in places if place and (p := Path(place, "bin", "compute-sanitizer")).exists()),
        None,
    )
    if found is None:
        pytest.skip("not run: compute-sanitizer is not installed")
    return found


LAUNCH = (sys.executable, "-m", "tests.gpu.launch_every_kernel")


@pytest.fixture(scope="module")
def built() -> None:
    subprocess.run([*LAUNCH, "--build"], cwd=ROOT, check=True, timeout=SECONDS)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
@pytest.mark.usefixtures("built")
def test_every_kernel_is_clean(tool: str) -> None:
    command = [sanitizer(), "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9"]
    done = subprocess.run(
        [*command, *LAUNCH], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    said = done.stdout[-6000:] + done.stderr[-2000:]
    assert done.returncode == 0, said
    assert " cases launched, 0 wrong" in done.stdout, said
