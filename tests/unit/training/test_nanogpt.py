"""The generated GPT learns as one that is written by hand. On a CPU both are float32, so that they agree far better
than two seeds do; 500 steps of the whole model through kernels are in tests/gpu/test_nanogpt.py."""

from pathlib import Path

import torch

from tests.unit.models.compiled import NANOGPT, compile_path
from tests.unit.training.nanogpt_curves import curves

STEPS = 12


def test_the_curve_is_that_of_a_model_written_by_hand(tmp_path: Path) -> None:
    folder = compile_path(NANOGPT).write(tmp_path) / "baby"
    small = {"batch": 4, "context": 48}
    ours, theirs = curves(folder, None, torch.device("cpu"), STEPS, 0, profile="cpu", **small)
    _, other = curves(folder, None, torch.device("cpu"), STEPS, 1, profile="cpu", **small)
    assert theirs[-1] < theirs[0] - 0.1, "the model learns, so that the curves can differ"
    assert (ours - theirs).abs().max() <= 0.02 * (other - theirs).abs().mean()
