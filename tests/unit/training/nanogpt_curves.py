"""Losses of `baby` of examples/nanogpt by the product and by a model that is written by hand: same weights at the
beginning, same text, same schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from spak_runtime.artifact import Artifact
from spak_runtime.training import build, spec
from tests.unit.training.plain_gpt import PlainGPT, train


def curves(
    folder: Path,
    artifact: Artifact | None,
    device: torch.device,
    steps: int,
    seed: int,
    profile: str | None = None,
    **other: int,
) -> tuple[Tensor, Tensor]:
    """(the product's, the other's) losses [steps]; `other` are settings of the training in place of the file's."""
    experiment = spec.read(folder)
    settings = experiment.point(profile)
    settings = replace(settings, train={**settings.train, **other})
    data = build.build_data(experiment, folder)
    ops = build.build_ops(experiment, artifact, device)
    model = build.build_model(experiment, settings, data, ops, device, seed)
    shape = settings.config
    plain = PlainGPT(len(data.vocabulary), shape["n_layer"], shape["n_head"], shape["n_embd"]).to(device)
    plain.take(model.state_dict())
    size, context = int(settings.train["batch"]), int(settings.train["context"])

    def batches():  # type: ignore[no-untyped-def]
        return data.batches(size, seed, context, device=device)  # type: ignore[call-arg]

    trainer = build.build_trainer(experiment, settings, model, ops, device, seed)
    ours, stream = [], batches()
    for step in range(1, steps + 1):
        trainer.train(stream, step, schedule=steps)
        ours.append(trainer.loss)
    rate, optimizer = settings.lr, settings.optimizer
    theirs = train(
        plain,
        ((batch.inputs.to(device), batch.targets.to(device)) for batch in batches()),
        steps,
        rate["peak"],
        rate["floor"],
        rate["warmup"],
        tuple(optimizer["betas"]),
        optimizer["weight_decay"],
        settings.train["clip"],
    )
    return torch.tensor(ours), torch.tensor(theirs)
