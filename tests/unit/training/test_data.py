"""Drawn documents: right, aligned, reproducible, without leaks; judged by a parser of the test's own."""

import re
from pathlib import Path

import pytest
import torch

from spak_runtime.training import numbers, sanity, spec
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.gates import Form
from spak_runtime.training.numbers import Digits
from spak_runtime.training.seeds import Stream, mix
from tests.unit.models.compiled import adders, compile_text

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DocumentData:
    models = compile_text(adders()).write(tmp_path_factory.mktemp("adders"))
    return DocumentData(spec.read(models / "stack").data)


def value(number: Digits, row: int) -> int:
    return int("".join(map(str, reversed(number.digits[row, : int(number.length[row])].tolist()))))


def test_a_stream_is_that_of_the_reference():
    """SplitMix64 as its authors wrote it, in Python's integers."""
    mask, state = (1 << 64) - 1, mix("a", 7)
    drawn = Stream(CPU, "a", 7)
    found = [*drawn.bits(3, 100).flatten().tolist(), *drawn.bits(700).tolist()]
    for value in found:
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        assert value == (z ^ (z >> 31)) >> 1
        state = (state + 0x9E3779B97F4A7C15) & mask


def test_a_stream_is_uniform():
    drawn = Stream(CPU, "uniform", 0)
    counts = torch.bincount(drawn.integers(16, 64_000), minlength=16)
    assert ((counts - 4000) ** 2 / 4000).sum() < 37.7, "chi-squared of 15 degrees: once in a thousand"
    share = drawn.uniform(64_000)
    assert share.min() >= 0 and share.max() < 1
    assert abs(share.mean() - 0.5) < 4 / (12 * 64_000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([share[:-1], share[1:]]))[0, 1]) < 4 / 64_000**0.5


def test_arithmetic_of_digits():
    source = Stream(CPU, "test", 1)
    for width in (1, 3, 40, 1000):
        lengths = source.integers(width, 50) + 1
        a, b = numbers.draw(lengths, width, source), numbers.draw(lengths.flip(0), width, source)
        total = numbers.add(a, b)
        for row in range(50):
            assert len(str(value(a, row))) == lengths[row]
            assert value(total, row) == value(a, row) + value(b, row)
            assert len(str(value(total, row))) == total.length[row]
        if width <= 40:
            product = numbers.multiply(a, b)
            assert [value(product, r) for r in range(50)] == [value(a, r) * value(b, r) for r in range(50)]


def test_digits_are_uniform():
    drawn = numbers.draw(torch.ones(20_000, dtype=torch.int64), 1, Stream(CPU, "test", 2))
    counts = torch.bincount(drawn.digits.flatten(), minlength=10)
    assert (counts - 2000).abs().max() < 250
    long = numbers.draw(torch.full((20_000,), 3), 3, Stream(CPU, "test", 3))
    assert (long.digits[:, 2] > 0).all() and (torch.bincount(long.digits[:, 2])[1:] - 2222).abs().max() < 250


def test_text_mask_and_answer_line_up(data: DocumentData):
    documents = data.training(500, 7)
    batch = documents.batch()
    lengths = set()
    for row in range(500):
        text = data.vocabulary.decode(documents.tokens[row].tolist())
        found = re.fullmatch(r"(\d+)\+(\d+)=(\d+)<end>", text)
        assert found, text
        p, q, total = (int(run[::-1]) for run in found.groups())
        assert p + q == total
        lengths.add((len(found[1]), len(found[2])))
        counted = [t for t, m in zip(batch.targets[row].tolist(), batch.mask[row].tolist(), strict=True) if m]
        assert data.vocabulary.decode(counted) == found[3] + "<end>"
        assert torch.equal(batch.inputs[row, 1:], batch.targets[row, :-1])
    assert lengths == {(i, j) for i in range(1, 4) for j in range(1, 4)}


def test_a_batch_is_a_function_of_seed_and_step(data: DocumentData):
    stream = data.batches(6, 3)
    first = [next(stream) for _ in range(70)]  # over the border of a block
    again = data.batches(6, 3, start=66)
    for step in range(66, 70):
        assert torch.equal(first[step].inputs, next(again).inputs)
    assert not torch.equal(first[0].inputs, first[1].inputs)
    assert not torch.equal(first[0].inputs, next(data.batches(6, 4)).inputs)
    assert len({mix(1, 2), mix(2, 1), mix(12), mix("a", 1), mix("b", 1)}) == 5


def test_training_never_draws_what_is_held(data: DocumentData):
    assert data.dataset.exclude == ("held",), "`long` is apart by its digits"
    held = set(data.evaluation("held").key.tolist())
    drawn = data.training(20_000, 0)
    assert not held & set(drawn.key.tolist())
    free = data.draw("train", 20_000, 0)
    assert held & set(free.key.tolist()), "without the exclusion some would be drawn"


def test_evaluation_documents_are_frozen(data: DocumentData):
    again = DocumentData(data.dataset)
    assert torch.equal(data.evaluation("long").tokens, again.evaluation("long").tokens)
    assert len(again.evaluation("held").tokens) == 40


def test_a_mixture_has_its_shares(tmp_path: Path):
    text = adders().replace(
        "m in 1..3\n  split held", "m in 1..3\n  split rare n in {4}, m in {4} weight 20%\n  split held"
    )
    dataset = DocumentData(spec.read(compile_text(text).write(tmp_path) / "stack").data)
    assert dataset.dataset.train == ("train", "rare")
    share = float((dataset.training(20_000, 0).digits == 4).float().mean())
    assert share == pytest.approx(0.2, abs=0.02)


class TestSanity:
    def test_sound_data_pass(self, data: DocumentData):
        splits = {name: data.evaluation(name) for name in ("held", "long")}
        for law in data.dataset.laws:
            assert sanity.check_law(law, data, {**splits, "train": data.training(300, 1)}).holds
        assert all(sanity.check_alignment(data, name, documents).holds for name, documents in splits.items())

    def planted(self, data: DocumentData, change) -> DocumentData:
        documents = data.draw("long", 20, "planted")
        tokens = documents.tokens.clone()
        change(tokens, documents)
        object.__setattr__(documents, "tokens", tokens)
        return documents

    def test_a_wrong_digit_is_found(self, data: DocumentData):
        def change(tokens, documents):
            at = int(documents.prompt[11])
            tokens[11, at] = (
                data.vocabulary.number("3") if tokens[11, at] != data.vocabulary.number("3") else 2
            )

        documents = self.planted(data, change)
        law = next(law for law in data.dataset.laws if law.name == "right")
        assert not sanity.check_law(law, data, {"long": documents}).holds
        assert not sanity.check_alignment(data, "long", documents).holds

    def test_rows_that_slipped_are_found(self, data: DocumentData):
        documents = data.draw("long", 20, "slipped")
        object.__setattr__(documents, "tokens", documents.tokens.roll(1, 0))
        assert not sanity.check_alignment(data, "long", documents).holds

    def test_a_mask_that_slipped_is_found(self, data: DocumentData):
        documents = data.draw("long", 20, "mask")
        object.__setattr__(documents, "prompt", documents.prompt - 1)
        assert not sanity.check_alignment(data, "long", documents).holds

    def test_a_leak_is_found(self, data: DocumentData):
        law = next(law for law in data.dataset.laws if law.name == "apart")
        held = data.evaluation("held")
        assert sanity.check_law(law, data, {"held": held, "long": data.evaluation("long")}).holds
        assert not sanity.check_law(law, data, {"held": held, "long": held}).holds

    def test_formats(self, data: DocumentData, tmp_path: Path):
        assert sanity.form_of(data.training(300, 1), data.vocabulary) == "~+~=~<end>"
        text = adders().replace("reverse(p), ", "p, ")
        other = DocumentData(spec.read(compile_text(text).write(tmp_path) / "stack").data)
        turned = sanity.form_of(other.evaluation("long"), other.vocabulary)
        single = sanity.form_of(
            data.evaluation("held").select(data.evaluation("held").digits == 1), data.vocabulary
        )
        forms = [Form(frozenset((form,))) for form in ("~+~=~<end>", turned, single)]
        assert forms[0] != forms[1] and forms[0] == forms[2]
