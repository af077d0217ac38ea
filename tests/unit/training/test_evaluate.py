"""Exact match counts what it says: planted errors exactly, the end token too, both ways of decoding alike."""

from pathlib import Path

import pytest
import torch

from spak_runtime.training import evaluate, spec
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.spec import Readout
from tests.unit.models.compiled import adders, compile_text

CPU = torch.device("cpu")
LAST = Readout("last", "last", None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DocumentData:
    models = compile_text(adders()).write(tmp_path_factory.mktemp("adders"))
    return DocumentData(spec.read(models / "stack").data)


class Oracle(torch.nn.Module):
    """Continues each document as it is. `wrong` marks tokens [N, T] that it gets wrong; `peeks` says that
    it reads the token it is to predict, as a model that is not causal would."""

    def __init__(
        self, data: DocumentData, split: str, wrong: torch.Tensor | None = None, *, peeks: bool = False
    ):
        super().__init__()
        self.documents, self.data, self.peeks = data.evaluation(split), data, peeks
        self.wrong = torch.zeros_like(self.documents.tokens, dtype=torch.bool) if wrong is None else wrong
        self.known = {self.prompt(row): i for i, row in enumerate(self.documents.tokens.tolist())}
        self.calls = 0

    def prompt(self, row: list[int]) -> str:
        return self.data.vocabulary.decode(row).partition("=")[0]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits = torch.zeros(*tokens.shape, len(self.data.vocabulary))
        for row, ids in enumerate(tokens.tolist()):
            index = self.known[self.prompt(ids)]
            truth = self.documents.tokens[index].tolist()
            for place in range(len(ids)):
                guess = truth[place + 1] if place + 1 < len(truth) else 0
                if self.peeks:
                    guess = ids[place + 1] if place + 1 < len(ids) else 0
                if place + 1 < len(truth) and self.wrong[index, place + 1]:
                    guess = (guess + 1) % 12
                logits[row, place, guess] = 1
        return logits


def test_an_oracle_is_always_right(data: DocumentData):
    for split in ("held", "long"):
        answers = evaluate.exact_match(Oracle(data, split), data.evaluation(split), LAST, data.pad, CPU)
        assert answers.correct.all() and answers.loops is None


@pytest.mark.parametrize("where", ["first digit", "end token"])
def test_planted_errors_are_counted_exactly(data: DocumentData, where: str):
    documents = data.evaluation("long")
    wrong = torch.zeros_like(documents.tokens, dtype=torch.bool)
    rows = torch.arange(0, len(documents.tokens), 3)
    wrong[rows, documents.prompt[rows] if where == "first digit" else documents.length[rows] - 1] = True
    answers = evaluate.exact_match(Oracle(data, "long", wrong), documents, LAST, data.pad, CPU)
    assert torch.nonzero(~answers.correct).flatten().tolist() == rows.tolist()


def test_errors_before_the_answer_do_not_count(data: DocumentData):
    documents = data.evaluation("long")
    wrong = torch.arange(documents.tokens.shape[1])[None] < documents.prompt[:, None]
    assert evaluate.exact_match(Oracle(data, "long", wrong), documents, LAST, data.pad, CPU).correct.all()


def test_a_model_that_peeks_is_caught(data: DocumentData):
    """Behind the true text it looks perfect; token by token it is not, and that is what counts."""
    model = Oracle(data, "long", peeks=True)
    answers = evaluate.exact_match(model, data.evaluation("long"), LAST, data.pad, CPU)
    assert not answers.correct.any()


def test_both_ways_of_decoding_agree_on_a_real_model(data: DocumentData, tmp_path: Path):
    from spak_runtime.training import build

    experiment = spec.read(compile_text(adders()).write(tmp_path) / "wheel")
    settings = experiment.point("tiny")
    ops = build.build_ops(experiment, None, CPU)
    trained = build.build_model(experiment, settings, data, ops, CPU, 0)
    trainer = build.build_trainer(experiment, settings, trained, ops, CPU, 0)
    trainer.optimizer.lr = {"name": "constant", "rate": 5e-3}
    trainer.train(data.batches(32, 0), 200)
    trained.eval()
    documents = data.draw("train", 1000, "both")
    for mode in ("last", "exit", "freeze"):
        read = evaluate.reader(trained, Readout(mode, mode, None))
        with torch.no_grad():
            one = evaluate._behind_the_truth(read, documents, 100, CPU)[0]
            other = evaluate._token_by_token(read, documents, 100, data.pad, CPU)[0]
        assert torch.equal(one, other)
        assert 0 < int(one.sum()) < 1000, "some right and some wrong, or nothing is compared"


def test_wilson():
    """Known values."""
    assert evaluate.wilson(997, 1000) == pytest.approx((0.9912, 0.9990), abs=1e-4)
    assert evaluate.wilson(1000, 1000)[0] == pytest.approx(0.9962, abs=1e-4)
    assert evaluate.wilson(0, 1000) == pytest.approx((0.0, 0.0038), abs=1e-4)
    assert evaluate.wilson(13, 21) == pytest.approx((0.409, 0.792), abs=1e-3)
    assert evaluate.wilson(0, 0) == (0.0, 1.0)


def test_keys_that_are_named_are_the_keys_that_are_met():
    """All keys, in an order of their own for every query: what attention over all of them gives."""
    from spak_runtime.training.ops import Ops

    B, T, H, D = 2, 9, 4, 8
    draw = torch.Generator().manual_seed(1)
    qkv = torch.randn(B, T, 3 * H * D, generator=draw)
    bias = torch.randn(B, H, T, T, generator=draw).masked_fill(
        torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf
    )
    keys = torch.rand(B, T, T, generator=draw).argsort(-1)
    ops = Ops({}, (), None, CPU)
    found = ops.attention(
        qkv, heads=H, bias=bias.gather(3, keys[:, None].expand(B, H, T, T)), keys=keys, causal=False
    )
    torch.testing.assert_close(found, ops.attention(qkv, heads=H, bias=bias, causal=False))
