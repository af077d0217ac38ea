"""The generated LoopLM computes and learns as one that is written by hand. On a CPU both are float32, so that they
agree far better than two seeds do; 500 steps of the whole model through kernels are in tests/gpu/test_looplm.py."""

from pathlib import Path

import pytest
import torch

from spak_runtime.training.loop import LOG_EVERY, answer_loss
from tests.unit.models.compiled import compile_path
from tests.unit.training.looplm_curves import logged, ours, pair, theirs

LOOPLM = Path(__file__).parents[3] / "examples" / "looplm" / "addition.spak"
CPU = torch.device("cpu")
STEPS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_path(LOOPLM).write(tmp_path_factory.mktemp("looplm")) / "looplm_12"


def test_loss_and_gradients_of_the_whole_model_are_those_of_one_written_by_hand(folder: Path) -> None:
    """256 wide, 12 loops: every weight's gradient, each of its elements within float32's rounding of the largest."""
    both = pair(folder, None, CPU, 0, batch=24)
    assert sum(p.numel() for p in both.plain.parameters()) == 793_896
    model, batch = both.trainer.model, next(both.batches())
    with both.trainer.ops.one_forward():
        loss = answer_loss(model, batch, both.trainer.ops)
    loss.backward()
    other = both.plain.loss(batch.inputs, batch.targets, batch.mask)
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-6)
    mine = dict(model.named_parameters())
    assert sorted(both.plain.named_as().values()) == sorted(mine)
    for name, parameter in both.plain.named_parameters():
        gradient = mine[both.plain.named_as()[name]].grad
        assert gradient is not None and parameter.grad is not None
        largest = parameter.grad.abs().max()
        assert largest > 0, name
        assert (gradient - parameter.grad).abs().max() <= 2e-5 * largest, name


def test_the_curve_is_that_of_a_model_written_by_hand(folder: Path) -> None:
    """On a schedule so short that rates rise, fall and the decay changes."""
    both, another = (pair(folder, None, CPU, seed, profile="cpu", batch=16) for seed in (0, 1))
    for each in (both, another):
        each.settings.lr["warmup"] = 3
    mine, first, other = ours(both, STEPS), theirs(both, STEPS), theirs(another, STEPS)
    assert first[-1] < first[0] - 0.05, "the model learns, so that the curves can differ"
    assert (mine - first).abs().max() <= 0.02 * (other - first).abs().mean()


def test_a_run_that_is_logged_has_the_same_losses(folder: Path, tmp_path: Path) -> None:
    step_by_step, at_once = (pair(folder, None, CPU, 0, profile="cpu", batch=8) for _ in range(2))
    found = logged(at_once, 2 * LOG_EVERY, tmp_path / "log.jsonl")
    assert found.tolist() == ours(step_by_step, 2 * LOG_EVERY)[LOG_EVERY - 1 :: LOG_EVERY].tolist()
