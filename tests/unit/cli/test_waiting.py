"""Threads of torch that wait for each other leave the cores to whoever can use them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from spakc.commands import run
assert "torch" not in sys.modules, "the policy is read when torch is loaded"
try:
    run.run(None, (), None, None, False, False, 1, 1, "text")
except Exception:
    pass  # no file
import torch
torch.set_num_threads(2)
torch.ones(1 << 20).add(1).sum()
"""


@pytest.mark.parametrize(
    ("own", "said"),
    [({}, "'20000'"), ({"GOMP_SPINCOUNT": "300"}, "'300'"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "'0'")],
)
def test_threads_of_a_run_soon_sleep(own: dict[str, str], said: str) -> None:
    unset = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=unset | {"OMP_DISPLAY_ENV": "VERBOSE"} | own,
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch has no OpenMP that tells its settings")
    assert f"GOMP_SPINCOUNT = {said}" in done.stderr
