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


@pytest.mark.parametrize(("own", "said"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_run_has_threads_wait_asleep(own: str | None, said: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | {
        "OMP_DISPLAY_ENV": "TRUE"
    }
    if own is not None:
        environment["OMP_WAIT_POLICY"] = own
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this torch has no OpenMP that tells its settings")
    assert f"OMP_WAIT_POLICY = '{said}'" in done.stderr
