"""The optimizer and its schedules. What a step uses is a function of (step, steps): nothing to save but
AdamW's moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    """AdamW with decay on `decayed` alone, its rate and decay set anew for every step.

    On a CUDA device nothing that a step uses comes from the host: the rates of all steps lie there in a table,
    with a counter that each step moves on, so that a step can be captured once and replayed."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        decayed: Iterable[nn.Parameter],
        optimizer: Mapping[str, Any],
        lr: Mapping[str, Any],
        on_device: bool | None = None,
    ) -> None:
        """`on_device`: rates come from tables (default: where all parameters are on a CUDA device). Raises
        TrainingError for an optimizer that this runtime does not have."""
        if optimizer["name"] != "adamw":
            raise TrainingError(f"no optimizer {optimizer['name']}; there is adamw")
        self.decay = optimizer.get("weight_decay", 0.0)
        self.lr = lr
        self.decayed: list[Tensor] = list(decayed)
        with_decay = {id(parameter) for parameter in self.decayed}
        every = list(parameters)
        self.on_device = all(p.is_cuda for p in every) if on_device is None else on_device
        self.tables: Tables | None = None
        first, second = optimizer.get("betas", (0.9, 0.95))
        self.adamw = torch.optim.AdamW(
            [
                {"params": [p for p in every if id(p) in with_decay]},
                {"params": [p for p in every if id(p) not in with_decay]},
            ],
            lr=torch.zeros((), device=every[0].device) if self.on_device else 0.0,
            betas=(float(first), float(second)),
            eps=float(optimizer.get("eps", 1e-8)),
            weight_decay=0.0,
            fused=self.on_device,
            capturable=self.on_device and every[0].is_cuda,
        )

    def prepare(self, step: int, steps: int) -> None:
        """To be called before the first of a series of steps: `step` of `steps` comes next."""
        if self.on_device:
            device = self.adamw.param_groups[0]["params"][0].device
            self.tables = Tables.of(self.lr, self.decay, step, steps, device)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps`."""
        return learning_rate(self.lr, step, steps)

    def step(self, step: int, steps: int) -> float:
        """Applies the gradients as step `step` of `steps`, clears them, and returns the rate used. On a device
        the steps are those that `prepare` announced, in order."""
        rate = self.rate(step, steps)
        if self.on_device:
            self.step_on_device()
            return rate
        decays = (phased(self.decay, step, steps), 0.0)
        for group, decay in zip(self.adamw.param_groups, decays, strict=True):
            group["lr"], group["weight_decay"] = rate, decay
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return rate

    def step_on_device(self) -> None:
        """The step that the counter is at. Asks nothing of the host and nothing from it."""
        assert self.tables is not None, "prepare() comes first"
        rate, kept = self.tables.take()
        for group in self.adamw.param_groups:
            group["lr"].copy_(rate)
        if self.decayed:
            with torch.no_grad():
                torch._foreach_mul_(self.decayed, kept)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)


@dataclass(frozen=True, slots=True)
class Tables:
    """For every step of a training, on its device: the rate, and what decay leaves of a weight, both [steps]
    float32. `step` [1] int64 is the step that comes next."""

    rates: Tensor
    kept: Tensor
    step: Tensor

    @staticmethod
    def of(lr: Mapping[str, Any], decay: Any, step: int, steps: int, device: torch.device) -> Tables:
        rates = [learning_rate(lr, n, steps) for n in range(steps)]
        kept = [1.0 - rate * phased(decay, n, steps) for n, rate in enumerate(rates)]
        return Tables(
            torch.tensor(rates, device=device),
            torch.tensor(kept, device=device),
            torch.tensor([step], device=device),
        )

    def take(self) -> tuple[Tensor, Tensor]:
        """The rate and what is kept at the step that comes next, both of no dimension; moves the counter."""
        rate, kept = (table.index_select(0, self.step)[0] for table in (self.rates, self.kept))
        self.step.add_(1)
        return rate, kept
