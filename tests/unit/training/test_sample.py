"""Text that a model writes: drawn as asked, the same for the same seed, and never what no text has."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spak_runtime.training.batch import END, PAD, Vocabulary
from spak_runtime.training.run import run_experiment
from spak_runtime.training.sample import Sampling, draw, sample_experiment, write
from spak_runtime.training.spec import TrainingError
from tests.unit.models.compiled import adders, compile_text

LOGITS = torch.tensor([0.0, 1.0, 2.0, 3.0])
GREEDY = Sampling(tokens=40, temperature=0, top_k=None, seed=0)


class Counting(nn.Module):
    """Says that each token is followed by the next in the vocabulary; keeps how many tokens it saw."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(tokens).roll(1, 1))
        self.widths: list[int] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.widths.append(tokens.shape[1])
        return self.weight[tokens]


def shares(how: Sampling, count: int = 4000) -> Tensor:
    source = torch.Generator().manual_seed(how.seed)
    drawn = torch.tensor([draw(LOGITS, how, source) for _ in range(count)])
    return torch.bincount(drawn, minlength=4) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature(temperature: float):
    expected = (LOGITS / temperature).softmax(0)
    assert (shares(Sampling(1, temperature, None, 1)) - expected).abs().max() < 0.03


def test_only_the_likeliest():
    found = shares(Sampling(1, 1.0, 2, 1))
    assert found[:2].tolist() == [0, 0]
    assert (found[2:] - LOGITS[2:].softmax(0)).abs().max() < 0.03
    assert draw(LOGITS, GREEDY, torch.Generator()) == 3


def test_a_document_ends():
    vocabulary = Vocabulary(("a", "b", "c", END, PAD))
    assert write(Counting(5), vocabulary, "a", GREEDY, None) == f"bc{END}"


def test_what_no_text_has_is_never_written():
    vocabulary = Vocabulary(("a", "b", "<unused 2>", "<unused 3>"))
    hot = Sampling(tokens=200, temperature=1e6, top_k=None, seed=0)
    assert set(write(Counting(4), vocabulary, "b", hot, None)) == {"a", "b"}


def test_the_context_is_that_of_training():
    model = Counting(3)
    write(model, Vocabulary(("a", "b", "c")), "ab", Sampling(6, 1.0, None, 0), 4)
    assert model.widths == [2, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("prompt", ["", "aé"])
def test_a_prompt_that_cannot_be_gone_on_from(prompt: str):
    with pytest.raises(TrainingError):
        write(Counting(2), Vocabulary(("a", "b")), prompt, GREEDY, None)


def test_a_run_is_sampled(tmp_path: Path):
    models = compile_text(adders()).write(tmp_path)
    run_experiment(models / "stack", tmp_path / "out", profile="tiny")
    weights = tmp_path / "out" / "model.safetensors"
    hot = Sampling(tokens=12, temperature=1.0, top_k=5, seed=3)
    texts = [
        sample_experiment(models / "stack", weights, ["12+3=", "12+3="], hot, profile="tiny") for _ in "ab"
    ]
    assert texts[0] == texts[1], "the same seed"
    assert texts[0][0] != texts[0][1], "each prompt draws for itself"
    with pytest.raises(TrainingError, match="another model"):
        sample_experiment(models / "wheel", weights, ["1"], hot, profile="tiny")
    with pytest.raises(TrainingError, match="no checkpoint"):
        sample_experiment(models / "stack", models / "stack" / "model.py", ["1"], hot, profile="tiny")
