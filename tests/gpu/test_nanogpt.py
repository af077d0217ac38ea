"""nanoGPT's baby through generated kernels against a GPT that is written by hand in PyTorch: 500 steps of 64 × 256
characters, within the noise between two seeds of the latter."""

import pytest
import torch

import spak_runtime
from tests.gpu.conftest import EXAMPLES
from tests.unit.training.nanogpt_curves import curves

STEPS = 500


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    import spakc

    out = tmp_path_factory.mktemp("nanogpt")
    spakc.compile_file(EXAMPLES / "nanogpt" / "nanogpt.spak", out)
    return spak_runtime.load(out)


def test_500_steps_are_within_the_noise_of_two_seeds(artifact):
    folder, device = artifact.root / "models" / "baby", torch.device("cuda")
    ours, theirs = curves(folder, artifact, device, STEPS, 0)
    _, other = curves(folder, artifact, device, STEPS, 1)
    distance, noise = (ours - theirs).abs(), (other - theirs).abs()
    print(
        f"\nbaby: loss {ours[0]:.4f} to {ours[-1]:.4f}, by hand {theirs[-1]:.4f}; apart on average "
        f"{distance.mean():.2e}, at the end {distance[-50:].mean():.2e}; two seeds by hand "
        f"{noise.mean():.2e}, {noise[-50:].mean():.2e}"
    )
    assert ours[-1] < ours[0] - 1.0
    assert distance.mean() <= noise.mean()
    assert distance[-50:].mean() <= noise[-50:].mean()
