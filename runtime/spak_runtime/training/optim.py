"""The optimizer and its schedules. What a step uses is a function of (step, steps): nothing to save but
AdamW's moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from spak_runtime.training.spec import TrainingError


def learning_rate(lr: Mapping[str, Any], step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`. `cosine`: linear warm-up to `peak`, then half a cosine
    down to `floor` (0). `constant`: `rate` after its warm-up."""
    warmup = int(lr.get("warmup", 0))
    peak = float(lr["peak"] if lr["name"] == "cosine" else lr["rate"])
    if step < warmup:
        return peak * (step + 1) / warmup
    if lr["name"] == "constant":
        return peak
    floor = float(lr.get("floor", 0.0))
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def phased(value: Any, step: int, steps: int) -> float:
    """A setting at a step: a number, or {"first", "second", "from"} with `from` a share of the steps."""
    if isinstance(value, Mapping):
        return float(value["second"] if step >= value["from"] * steps else value["first"])
    return float(value)


class Optimizer:
    """AdamW with decay on `decayed` alone, its rate and decay set anew for every step."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        decayed: Iterable[nn.Parameter],
        optimizer: Mapping[str, Any],
        lr: Mapping[str, Any],
    ) -> None:
        """Raises TrainingError for an optimizer that this runtime does not have."""
        if optimizer["name"] != "adamw":
            raise TrainingError(f"no optimizer {optimizer['name']}; there is adamw")
        self.decay = optimizer.get("weight_decay", 0.0)
        self.lr = lr
        with_decay = {id(parameter) for parameter in decayed}
        every = list(parameters)
        first, second = optimizer.get("betas", (0.9, 0.95))
        self.adamw = torch.optim.AdamW(
            [
                {"params": [p for p in every if id(p) in with_decay]},
                {"params": [p for p in every if id(p) not in with_decay]},
            ],
            lr=0.0,
            betas=(float(first), float(second)),
            eps=float(optimizer.get("eps", 1e-8)),
            fused=all(p.is_cuda for p in every),
        )

    def step(self, step: int, steps: int) -> float:
        """Applies the gradients as step `step` of `steps`, clears them, and returns the rate used."""
        rate = learning_rate(self.lr, step, steps)
        decays = (phased(self.decay, step, steps), 0.0)
        for group, decay in zip(self.adamw.param_groups, decays, strict=True):
            group["lr"], group["weight_decay"] = rate, decay
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return rate
