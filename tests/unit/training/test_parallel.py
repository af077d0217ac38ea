"""Answers given all at once, numbers of other kinds, samples that a split gives, loops that the input counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spak_runtime.training import build, evaluate, sanity, spec
from spak_runtime.training.batch import BLANK
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.run import run_experiment
from spak_runtime.training.sample import Sampling, write
from spak_runtime.training.spec import Readout
from tests.unit.models.compiled import compile_text, diagnostics

CPU = torch.device("cpu")
FILE = """
spak 1
model Wheel {
  hyper wide = 16
  part floor(x: [B, T, wide]) -> y: [B, T, wide] {
    h = x + attention(norm(x), heads = 2, causal = true, window = 2, positions = rope(100))
    y = h + mlp(norm(h), hidden = 2 * wide)
  }
  forward(tokens: int [B, T]) -> scores: [B, T, vocab] {
    first = embed(tokens)
    loop t in 1..LOOPS carry u = first { u = floor(u + first) }
    scores = unembed(norm(u), tied = true)
  }
}
dataset d {
  sample p: digits(n, below = 2)
  sample q: digits(m)
  text p, "+", q, "=", TEXT, end
  loss after "="
  answer ANSWER
  split train n in 1..3, m in 1..3
  split nines n in 1..3 weight 25% with q = complement(p)
  split long n in {6}, m in {5} size 30
  law right: number(answer(text)) == TEXT
}
protocol g { gate sane { require laws(data) } gate alike { require format(train) == format(eval) } }
experiment e {
  model Wheel   data d   protocol g
  train(steps = 30, batch = 32, seeds = {0}, clip = 1.0)
  optimizer adamw()
  lr constant(1e-2)
}
"""


def text(numbers: str = "p + q", answer: str = "parallel", loops: str = "longest_run(tokens) + 1") -> str:
    return FILE.replace("TEXT", numbers).replace("ANSWER", answer).replace("LOOPS", loops)


def read(folder: Path, **how: str) -> spec.Experiment:
    return spec.read(compile_text(text(**how)).write(folder) / "e")


@pytest.mark.parametrize(
    "numbers, meaning",
    (
        ("digit_sum(p) % 2", lambda p, q: str(p).count("1") % 2),
        ("digit_sum(p * q) + q", lambda p, q: sum(map(int, str(p * q))) + q),
        ("complement(q) + p", lambda p, q: 10 ** len(str(q)) - 1 - q + p),
        ("p * q % 97", lambda p, q: p * q % 97),
        ("(p + q) % 1", lambda p, q: 0),
    ),
)
def test_numbers_are_what_they_say(tmp_path: Path, numbers: str, meaning: Any) -> None:
    data = DocumentData(read(tmp_path, numbers=numbers).data)
    for name in ("train", "long"):
        documents = data.draw(name, 200, "check")
        for reading in sanity.read(documents, data.vocabulary):
            p, q = reading.samples["p"], reading.samples["q"]
            assert set(str(p)) <= {"0", "1"}
            assert reading.answer == f"{meaning(p, q)}<end>"
        assert sanity.check_alignment(data, name, documents).holds


def test_a_sample_that_a_split_gives_follows_from_the_others(tmp_path: Path) -> None:
    data = DocumentData(read(tmp_path).data)
    for reading in sanity.read(data.draw("nines", 200, "check"), data.vocabulary):
        assert set(str(reading.samples["p"] + reading.samples["q"])) == {"9"}
    drawn = sanity.read(data.training(2000, 0), data.vocabulary, 2000)
    nines = sum(set(str(reading.samples["p"] + reading.samples["q"])) == {"9"} for reading in drawn)
    assert 400 < nines < 640, "a quarter of the mixture, and what happens to be one"


def test_nothing_of_an_answer_is_among_the_inputs(tmp_path: Path) -> None:
    """Two documents that differ in nothing but the answer and its length have the same inputs."""
    data = DocumentData(read(tmp_path).data)
    documents = data.draw("train", 300, "check")
    batch, blank = documents.batch(), data.vocabulary.number(BLANK)
    for row in range(300):
        prompt = int(documents.prompt[row])
        assert torch.equal(batch.inputs[row, :prompt], documents.tokens[row, :prompt])
        assert (batch.inputs[row, prompt:] == blank).all()
        counted = batch.targets[row][batch.mask[row] > 0].tolist()
        assert (
            data.vocabulary.decode(counted)
            == str(sum(sanity.read(documents, data.vocabulary)[row].samples.values())) + "<end>"
        )


def built(experiment: spec.Experiment) -> tuple[DocumentData, Any]:
    data = DocumentData(experiment.data)
    ops = build.build_ops(experiment, None, CPU)
    return data, build.build_model(experiment, experiment.point(None), data, ops, CPU, 0)


def test_every_document_takes_the_loops_that_it_needs(tmp_path: Path) -> None:
    """In a batch with others, and in training, what it would give alone with as many loops."""
    data, model = built(read(tmp_path))
    inputs = data.training(40, 3).batch().inputs
    needed = [
        max(len(n) for n in reading.prompt.rstrip("=").split("+")) + 1
        for reading in sanity.read(data.training(40, 3), data.vocabulary)
    ]
    assert len(set(needed)) > 1
    for training in (False, True):
        model.train(training)
        together = model(inputs)
        for row, loops in enumerate(needed):
            alone = model.eval()(inputs[row : row + 1], loops)
            assert torch.allclose(together[row], alone[0], atol=1e-5)
    assert not torch.allclose(model(inputs, 1), model(inputs), atol=1e-3)


def test_arithmetic_is_counted_for_the_longest_document_trained_on(tmp_path: Path) -> None:
    by_input, fixed = (
        compile_text(text(loops=loops)).experiments["e"].points["default"][0].count
        for loops in ("longest_run(tokens) + 1", "4")
    )
    assert by_input is not None and by_input == fixed


def test_training_evaluation_and_sampling(tmp_path: Path) -> None:
    compile_text(text()).write(tmp_path)
    figures = run_experiment(tmp_path / "models/e", tmp_path / "out")
    assert figures["passed"], figures["gates"]
    assert {row["split"]: row["n"] for row in figures["rows"]}["long"] == 30
    data, model = built(read(tmp_path))
    how = Sampling(tokens=8, temperature=0, top_k=None, seed=0)
    written = write(model, data.vocabulary, "101+12=", how, None)
    assert len(written) >= 1 and BLANK not in written
    documents = data.draw("train", 64, "x")
    answers = evaluate.exact_match(model, documents, Readout("last", "last", None), data.pad, CPU)
    logits = model.eval()(documents.batch().inputs).argmax(-1)
    batch = documents.batch()
    assert torch.equal(answers.correct, ((logits == batch.targets) | (batch.mask == 0)).all(1))


@pytest.mark.parametrize(
    "code, changed",
    (
        ("SPAK555", text(answer="autoregressive")),
        ("SPAK513", text(loops="norm(tokens)")),
        ("SPAK513", text(loops="longest_run(first)")),
        ("SPAK513", text().replace("floor(u + first)", "floor(u + step(t))")),
        (
            "SPAK517",
            text().replace("scores = unembed(norm(u)", "scores = unembed(longest_run(tokens) * norm(u)"),
        ),
        ("SPAK522", text().replace('loss after "="', "")),
        ("SPAK526", text().replace("below = 2", "below = 11")),
        ("SPAK526", text().replace("below = 2", "below = 2.0")),
        ("SPAK527", text(numbers="p % q")),
        ("SPAK527", text(numbers="p % 0")),
        ("SPAK527", text().replace("complement(p)", "reverse(p)")),
        ("SPAK541", text().replace("law right:", "law apart: disjoint(train, long) and 1 < 2  law right:")),
        ("SPAK553", text().replace("with q =", "with r =")),
        ("SPAK553", text().replace("complement(p)", "complement(q)")),
        ("SPAK553", text().replace("complement(p)", "p, q = p")),
    ),
)
def test_mistakes_have_their_codes(code: str, changed: str) -> None:
    found = [each for each, _ in diagnostics(changed)]
    assert code in found, found


@pytest.mark.parametrize(
    "loops, code",
    (
        ("where(longest_run(tokens) > 1, 3, 4)", "SPAK513"),
        ("max(longest_run(tokens), 3)", "SPAK513"),
        ("12 // longest_run(tokens)", "SPAK513"),
        ("20 - longest_run(tokens)", "SPAK513"),
        ("longest_run(tokens) % 3 + 1", "SPAK513"),
        ("(0 - 1) * longest_run(tokens) + 20", "SPAK552"),
    ),
)
def test_loops_that_a_batch_cannot_count(loops: str, code: str) -> None:
    """A training step runs as often as the longest document trained on needs, so a longer one never needs less."""
    assert [found for found, _ in diagnostics(text(loops=loops))] == [code]
