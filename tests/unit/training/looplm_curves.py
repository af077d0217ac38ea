"""Losses of `looplm_12` of examples/looplm by the product and by a model that is written by hand: same weights at the
beginning, same additions, same schedule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spak_runtime.artifact import Artifact
from spak_runtime.training import build, spec
from spak_runtime.training.loop import Log, Trainer
from tests.unit.training.plain_loop import PlainLoop, train


@dataclass
class Pair:
    """The product's trainer and the other model, with the weights of one seed."""

    settings: Any
    trainer: Trainer
    plain: PlainLoop
    data: Any
    seed: int
    device: torch.device

    def batches(self) -> Iterator[Any]:
        return self.data.batches(int(self.settings.train["batch"]), self.seed, device=self.device)  # type: ignore[no-any-return]

    def plain_batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in self.batches():
            yield tuple(part.to(self.device) for part in (batch.inputs, batch.targets, batch.mask))  # type: ignore[misc]


def pair(
    folder: Path,
    artifact: Artifact | None,
    device: torch.device,
    seed: int,
    profile: str | None = None,
    **other: int,
) -> Pair:
    """`other` are settings of the training in place of the file's."""
    experiment = spec.read(folder)
    settings = experiment.point(profile)
    settings = replace(settings, train={**settings.train, **other})
    data = build.build_data(experiment, folder)
    ops = build.build_ops(experiment, artifact, device)
    model = build.build_model(experiment, settings, data, ops, device, seed)
    shape, tokens = settings.config, data.vocabulary.tokens
    plain = PlainLoop(
        len(tokens),
        range(tokens.index("0"), tokens.index("9") + 1),
        (tokens.index("+"), tokens.index("=")),
        shape["n_embd"],
        shape["n_head"],
        shape["num_loops"],
        shape["clip"],
    )
    plain.to(device).take(model.state_dict())
    trainer = build.build_trainer(experiment, settings, model, ops, device, seed)
    return Pair(settings, trainer, plain, data, seed, device)


def ours(both: Pair, steps: int) -> Tensor:
    """The product's losses [steps]."""
    losses, stream = [], both.batches()
    for step in range(1, steps + 1):
        both.trainer.train(stream, step, schedule=steps)
        losses.append(both.trainer.loss)
    return torch.tensor(losses)


def logged(both: Pair, steps: int, log: Path) -> Tensor:
    """The product's losses of every LOG_EVERY-th step, trained as `spakc run` trains: on a device by a CUDA graph."""
    written = Log(log, 0)
    both.trainer.train(both.batches(), steps, log=written)
    written.close()
    return torch.tensor([json.loads(row)["loss"] for row in log.read_text().splitlines()])


def theirs(both: Pair, steps: int) -> Tensor:
    """The other's losses [steps]."""
    rate, optimizer = both.settings.lr, both.settings.optimizer
    decay = optimizer["weight_decay"]
    assert decay["from"] == 0.5
    found = train(
        both.plain,
        both.plain_batches(),
        steps,
        rate["peak"],
        rate["warmup"],
        tuple(optimizer["betas"]),
        (decay["first"], decay["second"]),
        both.settings.train["clip"],
    )
    return torch.tensor(found)
