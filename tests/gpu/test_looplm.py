"""LoopLM-12 through generated kernels against one that is written by hand in PyTorch: 500 steps of 512 additions,
within the noise between two seeds of the latter."""

import pytest
import torch

import spak_runtime
from spak_runtime.training.loop import LOG_EVERY
from tests.gpu.conftest import EXAMPLES
from tests.unit.training.looplm_curves import logged, pair, theirs

STEPS = 500


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    import spakc

    out = tmp_path_factory.mktemp("looplm")
    spakc.compile_file(EXAMPLES / "looplm" / "addition.spak", out)
    return spak_runtime.load(out)


def test_500_steps_are_within_the_noise_of_two_seeds(artifact, tmp_path):
    """In the mean over the curve and over its last fifth, of every tenth step."""
    folder, device = artifact.root / "models" / "looplm_12", torch.device("cuda")
    both, another = (pair(folder, artifact, device, seed) for seed in (0, 1))
    shape = both.settings.config
    assert (shape["n_embd"], shape["num_loops"], both.settings.train["batch"]) == (256, 12, 512)
    mine = logged(both, STEPS, tmp_path / "log.jsonl")
    assert both.trainer.captured == "yes"
    first, other = (theirs(each, STEPS)[LOG_EVERY - 1 :: LOG_EVERY] for each in (both, another))
    distance, noise = (mine - first).abs(), (other - first).abs()
    print(
        f"\nlooplm_12: loss {mine[0]:.4f} to {mine[-1]:.4f}, by hand {first[-1]:.4f}, another seed {other[-1]:.4f}; "
        f"apart on average {distance.mean():.2e}, at the end {distance[-10:].mean():.2e}; two seeds by hand "
        f"{noise.mean():.2e}, {noise[-10:].mean():.2e}"
    )
    assert mine[-1] < mine[0] - 0.5
    assert distance.mean() <= noise.mean()
    assert distance[-10:].mean() <= noise[-10:].mean()
