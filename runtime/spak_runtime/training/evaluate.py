"""Exact match: the whole answer with its end token, decoded greedily in float32.

A greedy answer is right if and only if every token is right behind the true ones before it, as long as no
token sees what follows it. So one pass over the true text reads all tokens of all answers; some documents
are decoded token by token as well, and unless both agree on every one of them, all are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn

from spak_runtime.training.documents import Documents
from spak_runtime.training.spec import Readout

CHECKED = 100
"""Documents of a split that are decoded token by token in any case; fewer, but at least 8, where they are long."""
_READ = 1 << 25  # tokens that may be read for that
_TOKENS = 1 << 15  # of a batch of decoding: enough to fill a device, little enough for attention's scores
_SCORES = 1 << 24  # entries [rows, T, T] of it

Reader = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""tokens [B, T] to logits [B, T, V] and, where tokens halt early, the loop [B, T] at which they did."""

Decoded = tuple[Tensor, float, int]
"""Which answers are right [N], the sum of the loops at which their tokens halted, and how many tokens that
was."""


@dataclass(frozen=True, slots=True)
class Answers:
    """`correct` [N] bool. `loops` is the mean loop at which an answer's tokens halted, if they do."""

    correct: Tensor
    loops: float | None


def reader(model: nn.Module, readout: Readout) -> Reader:
    """How a readout turns tokens into logits."""

    def read(tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        if readout.mode == "last":
            return (model(tokens) if readout.loops is None else model(tokens, readout.loops)), None
        logits, halted = model.halt(tokens, readout.loops, readout.mode)  # type: ignore[operator]
        return logits, halted

    return read


@torch.no_grad()
def exact_match(
    model: nn.Module, documents: Documents, readout: Readout, pad: int, device: torch.device
) -> Answers:
    """Which answers are right, each with its end token. See the module's docstring for how they are
    decoded."""
    was_training = model.training
    model.eval()
    read = reader(model, readout)
    size = _batch_size(model, documents)
    correct, halted, steps = _behind_the_truth(read, documents, size, device)
    spread = torch.linspace(0, len(correct) - 1, _checked(documents)).long()
    if not torch.equal(
        _token_by_token(read, documents.select(spread), size, pad, device)[0], correct[spread]
    ):
        correct, halted, steps = _token_by_token(read, documents, size, pad, device)
    model.train(was_training)
    return Answers(correct, halted / steps if readout.mode != "last" and steps else None)


def _checked(documents: Documents) -> int:
    """How many documents are decoded token by token: each is read once a token of its answer."""
    answer = int((documents.length - documents.prompt).max())
    affordable = max(8, _READ // (answer * documents.tokens.shape[1]))
    return min(CHECKED, affordable, len(documents.tokens))


def _behind_the_truth(read: Reader, documents: Documents, size: int, device: torch.device) -> Decoded:
    """Every token of an answer is read behind the true ones."""
    correct = torch.zeros(len(documents.tokens), dtype=torch.bool)
    halted, steps = 0.0, 0
    for rows in _batches(documents, size):
        batch = documents.select(rows).batch().to(device)
        logits, loops = read(batch.inputs)
        counts = batch.mask > 0
        correct[rows] = ((logits.argmax(-1) == batch.targets) | ~counts).all(1).cpu()
        if loops is not None:
            halted += float(loops[counts].sum())
            steps += int(counts.sum())
    return correct, halted, steps


def _token_by_token(read: Reader, documents: Documents, size: int, pad: int, device: torch.device) -> Decoded:
    """Every token is read behind those written before it. A row stops at its first wrong token: what it
    would write after that cannot make it right."""
    correct = torch.zeros(len(documents.tokens), dtype=torch.bool)
    halted, steps = 0.0, 0
    for rows in _batches(documents, size):
        tokens = documents.tokens[rows].to(device)
        prompt, length = documents.prompt[rows].to(device), documents.length[rows].to(device)
        right, loops, written = _decode(read, tokens, prompt, length, pad)
        correct[rows] = right.cpu()
        halted, steps = halted + loops, steps + written
    return correct, halted, steps


def _decode(read: Reader, truth: Tensor, prompt: Tensor, length: Tensor, pad: int) -> Decoded:
    """Which rows are answered right; the sum of the loops at which tokens halted, and how many were
    written."""
    right = torch.ones(len(truth), dtype=torch.bool, device=truth.device)
    place = torch.arange(truth.shape[1], device=truth.device)[None]
    written = truth.masked_fill(place >= prompt[:, None], pad)
    at = prompt.clone()
    halted, steps = 0.0, 0
    while True:
        open_rows = torch.nonzero(right & (at < length)).flatten()
        if not len(open_rows):
            return right, halted, steps
        now = at[open_rows]
        logits, loops = read(written[open_rows, : int(now.max())])
        row = torch.arange(len(now), device=truth.device)
        choice = logits[row, now - 1].argmax(-1)
        if loops is not None:
            halted += float(loops[row, now - 1].sum())
        steps += len(now)
        written[open_rows, now] = choice
        right[open_rows] = choice == truth[open_rows, now]
        at[open_rows] = now + 1


def _batch_size(model: nn.Module, documents: Documents) -> int:
    """Documents read at once. `model.dense` are the tokens up to which each query is held against every key."""
    width = documents.tokens.shape[1]
    met = min(width, getattr(model, "dense", width))
    return max(1, min(_TOKENS // width, _SCORES // (width * met)))


def _batches(documents: Documents, size: int) -> tuple[Tensor, ...]:
    """Rows in batches of a size, those with prompts of one length together so that a batch writes its answers
    abreast."""
    return torch.split(torch.argsort(documents.prompt, stable=True), size)


def wilson(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a share of `count` independent samples."""
    if not count:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, unit = correct / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / unit
    half = z / unit * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == count else min(1.0, middle + half)
    return low, high
