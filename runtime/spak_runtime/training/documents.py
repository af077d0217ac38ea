"""Drawn documents: samples, their text, and the tokens of it, a batch at a time.

One row of a batch is one document, from its first token on, padded on the right; tokens, targets, loss mask
and answer of a row belong together, and `sanity.py` checks that with a parser of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spak_runtime.training import numbers
from spak_runtime.training.batch import END, PAD, Batch, Vocabulary
from spak_runtime.training.numbers import Digits
from spak_runtime.training.seeds import Stream
from spak_runtime.training.spec import Dataset, Expression, Split, TrainingError

EVALUATION_SIZE = 1000
"""Documents by which a split without a `size` is evaluated."""

_HOST = torch.device("cpu")
_BLOCK_TOKENS = 1 << 21
_REDRAWS = 200


@dataclass(frozen=True, slots=True)
class Documents:
    """`tokens` [B, T] int64; `prompt` [B] is the number of tokens up to the answer, `length` [B] with the
    answer and its end. `samples` are the drawn numbers, `key` [B] a 64-bit hash of them, `digits` [B] of
    the longest one."""

    tokens: Tensor
    prompt: Tensor
    length: Tensor
    samples: Mapping[str, Digits]
    key: Tensor
    digits: Tensor

    def select(self, rows: Tensor) -> Documents:
        return Documents(
            self.tokens[rows],
            self.prompt[rows],
            self.length[rows],
            {name: value.select(rows) for name, value in self.samples.items()},
            self.key[rows],
            self.digits[rows],
        )

    def batch(self) -> Batch:
        """For training: every token predicts the next, the answer and its end count."""
        place = torch.arange(1, self.tokens.shape[1], device=self.tokens.device)[None]
        mask = (place >= self.prompt[:, None]) & (place < self.length[:, None])
        return Batch(self.tokens[:, :-1], self.tokens[:, 1:], mask.float())


class DocumentData:
    """Draws documents of a dataset: the same seed gives the same documents on every device. Those to look at
    are drawn on the host, those to train on where the training is."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.vocabulary = Vocabulary(dataset.vocabulary)
        self.pad = self.vocabulary.number(PAD)
        self.end = self.vocabulary.number(END)
        self._ids = {token: index for index, token in enumerate(self.vocabulary.tokens)}
        self._evaluation: dict[str, Documents] = {}
        self._excluded: Tensor | None = None

    def max_length(self) -> int:
        """Tokens of the longest document of any split."""
        return max(self._width(split) for split in self.dataset.splits.values())

    def max_digits(self) -> int:
        """Digits of the longest number of any text of any split."""
        return max(
            max((self._number_width(piece, split) for piece in self.dataset.text), default=0)
            for split in self.dataset.splits.values()
        )

    def evaluation(self, name: str) -> Documents:
        """The frozen documents of a split: a function of the dataset alone, so the same for every model and
        seed."""
        if name not in self._evaluation:
            split = self.dataset.splits[name]
            count = split.size or EVALUATION_SIZE
            self._evaluation[name] = self._draw(
                split, count, Stream(_HOST, "evaluation", self.dataset.name, name)
            )
        return self._evaluation[name]

    def training(self, count: int, *seed: int | str, device: torch.device = _HOST) -> Documents:
        """`count` fresh documents of the training mixture, none of which is in an excluded split. Waits for the
        device only where there is a mixture or an exclusion."""
        source = Stream(device, "training", *seed)
        splits = [self.dataset.splits[name] for name in self.dataset.train]
        if len(splits) == 1:
            return self._fresh(splits[0], count, source)
        ends = torch.tensor(_weights(splits), device=device).cumsum(0)[:-1]
        choice = torch.searchsorted(ends, source.uniform(count), right=True)
        parts = [self._fresh(split, int((choice == i).sum()), source) for i, split in enumerate(splits)]
        order = torch.argsort(torch.argsort(choice, stable=True))
        return _join(parts, self.pad).select(order)

    def batches(
        self, count: int, seed: int, start: int = 0, *, device: torch.device = _HOST
    ) -> Iterator[Batch]:
        """The endless stream of training batches of `count` documents from step `start` on, made on the device.
        A batch is a function of (seed, step), so that a resumed run sees what the interrupted one would have
        seen. Batches are drawn by the block, for many steps at once."""
        width = max(self._width(self.dataset.splits[name]) for name in self.dataset.train)
        steps = max(1, min(64, _BLOCK_TOKENS // (count * width)))
        block = start // steps
        while True:
            whole = self.training(count * steps, seed, block, device=device).batch()
            for step in range(max(0, start - block * steps), steps):
                rows = slice(step * count, (step + 1) * count)
                yield Batch(whole.inputs[rows], whole.targets[rows], whole.mask[rows])
            block += 1

    def draw(self, name: str, count: int, *seed: int | str) -> Documents:
        """`count` documents of one split, for checks."""
        return self._draw(self.dataset.splits[name], count, Stream(_HOST, "check", *seed))

    # ---- drawing ------------------------------------------------------------------------------------

    def _fresh(self, split: Split, count: int, source: Stream) -> Documents:
        documents = self._draw(split, count, source)
        if not self.dataset.exclude or not count:
            return documents
        if self._excluded is None:
            self._excluded = torch.cat([self.evaluation(name).key for name in self.dataset.exclude])
        for _ in range(_REDRAWS):
            leaked = torch.isin(documents.key, self._excluded.to(source.device))
            if not bool(leaked.any()):
                return documents
            kept = documents.select(torch.nonzero(~leaked).flatten())
            documents = _join([kept, self._draw(split, int(leaked.sum()), source)], self.pad)
        held = ", ".join(self.dataset.exclude)
        raise TrainingError(
            f"split {split.name} of {self.dataset.name} holds hardly a sample that is not in {held}"
        )

    def _draw(self, split: Split, count: int, source: Stream) -> Documents:
        parameters: dict[str, Tensor] = {}
        for names, values in split.binders:
            table = torch.tensor(values, device=source.device)
            row = source.integers(len(values), count)
            for column, name in enumerate(names):
                parameters[name] = table[row, column]
        samples: dict[str, Digits] = {}
        for name, expression in self.dataset.samples.items():
            length = self._length(expression[1], parameters, count, source)
            samples[name] = numbers.draw(length, self._number_width(expression, split), source)
        tokens, prompt, total = self._assemble(samples, split, count)
        digits = torch.stack([value.length for value in samples.values()]).amax(0)
        return Documents(tokens, prompt, total, samples, _keys(samples), digits)

    def _length(
        self, expression: Expression, parameters: Mapping[str, Tensor], count: int, source: Stream
    ) -> Tensor:
        if isinstance(expression, list) and expression[0] == "param":
            return parameters[expression[1]]
        if isinstance(expression, list) and expression[0] == "interval":
            first, last = (self._length(bound, parameters, count, source) for bound in expression[1:])
            return first + (source.uniform(count) * (last - first + 1)).long()
        return torch.full((count,), int(expression), device=source.device)

    # ---- text ---------------------------------------------------------------------------------------

    def _assemble(
        self, samples: Mapping[str, Digits], split: Split, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        width = self._width(split)
        device = next(iter(samples.values())).digits.device
        # the last column takes what is not written
        tokens = torch.full((count, width + 1), self.pad, device=device)
        end = torch.zeros(count, dtype=torch.int64, device=device)
        prompt = torch.zeros(count, dtype=torch.int64, device=device)
        for expression in self.dataset.text:
            piece, length = self._piece(expression, samples, count, device)
            place = torch.arange(piece.shape[1], device=device)[None]
            target = torch.where(place < length[:, None], end[:, None] + place, width)
            tokens.scatter_(1, target, piece)
            marker = self.dataset.loss_after
            if marker is not None and expression[0] == "text" and marker in expression[1]:
                prompt = end + expression[1].index(marker) + len(marker)
            end = end + length
        return tokens[:, :width], prompt.clamp(min=1), end

    def _piece(
        self, expression: Expression, samples: Mapping[str, Digits], count: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, W] of one piece of the text, and how many of them are its own."""
        if expression[0] in ("text", "end"):
            ids = (
                [self.end]
                if expression[0] == "end"
                else [self._ids[character] for character in expression[1]]
            )
            row = torch.tensor(ids, device=device)
            return row[None].expand(count, -1), torch.full((count,), len(ids), device=device)
        turned = expression[0] == "reverse"
        value = _evaluate(expression[1] if turned else expression, samples, count, device)
        digits = value.digits
        if not turned:
            place = value.length[:, None] - 1 - torch.arange(value.width, device=device)[None]
            digits = digits.gather(1, place.clamp(min=0))
        table = torch.tensor([self._ids[str(digit)] for digit in range(10)], device=device)
        return table[digits], value.length

    # ---- sizes known before drawing -----------------------------------------------------------------

    def _width(self, split: Split) -> int:
        """Tokens of the longest document of a split."""
        width = 0
        for piece in self.dataset.text:
            fixed = {"text": len(str(piece[-1])), "end": 1}.get(piece[0])
            width += self._number_width(piece, split) if fixed is None else fixed
        return width

    def _number_width(self, expression: Expression, split: Split) -> int:
        """The most digits a number expression can have in a split; 0 for other pieces of a text."""
        if not isinstance(expression, list):
            return len(str(expression))
        match expression[0]:
            case "sample":
                return self._number_width(self.dataset.samples[expression[1]], split)
            case "digits":
                return _largest(expression[1], split)
            case "reverse":
                return self._number_width(expression[1], split)
            case "add":
                return max(self._number_width(side, split) for side in expression[1:]) + 1
            case "mul":
                return sum(self._number_width(side, split) for side in expression[1:])
        return 0


def _evaluate(
    expression: Expression, samples: Mapping[str, Digits], count: int, device: torch.device
) -> Digits:
    if not isinstance(expression, list):
        return numbers.constant(int(expression), count, device)
    if expression[0] == "sample":
        return samples[expression[1]]
    left, right = (_evaluate(side, samples, count, device) for side in expression[1:])
    return numbers.add(left, right) if expression[0] == "add" else numbers.multiply(left, right)


def _largest(expression: Expression, split: Split) -> int:
    if not isinstance(expression, list):
        return int(expression)
    if expression[0] == "interval":
        return _largest(expression[2], split)
    for names, values in split.binders:
        if expression[1] in names:
            column = names.index(expression[1])
            return max(row[column] for row in values)
    raise TrainingError(f"split {split.name} does not bind {expression[1]}")


def _weights(splits: list[Split]) -> list[float]:
    """Shares of a mixture: what is stated, and an equal part of the rest for the others."""
    stated = sum(split.weight or 0.0 for split in splits)
    silent = sum(split.weight is None for split in splits)
    rest = (1.0 - stated) / silent if silent else 0.0
    return [rest if split.weight is None else split.weight for split in splits]


def _keys(samples: Mapping[str, Digits]) -> Tensor:
    """A 64-bit polynomial hash of all samples of a row. A collision can only make training avoid one sample
    more."""
    key = torch.zeros_like(next(iter(samples.values())).length)
    for value in samples.values():
        number = torch.zeros_like(key)
        for column in reversed(value.digits.unbind(1)):  # leading zeros, and so the width, leave no trace
            number = number * 6364136223846793005 + column
        key = key * 1442695040888963407 + number * 31 + value.length
    return key


def _join(parts: list[Documents], pad: int) -> Documents:
    width = max(part.tokens.shape[1] for part in parts)
    names = parts[0].samples.keys()
    return Documents(
        torch.cat(
            [
                torch.nn.functional.pad(part.tokens, (0, width - part.tokens.shape[1]), value=pad)
                for part in parts
            ]
        ),
        torch.cat([part.prompt for part in parts]),
        torch.cat([part.length for part in parts]),
        {name: _join_numbers([part.samples[name] for part in parts]) for name in names},
        torch.cat([part.key for part in parts]),
        torch.cat([part.digits for part in parts]),
    )


def _join_numbers(parts: list[Digits]) -> Digits:
    width = max(part.width for part in parts)
    digits = [torch.nn.functional.pad(part.digits, (0, width - part.width)) for part in parts]
    return Digits(torch.cat(digits), torch.cat([part.length for part in parts]))
