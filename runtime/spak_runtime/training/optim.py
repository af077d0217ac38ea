"""The optimizer and its schedules. What a step uses is a function of (step, steps): nothing to save but
AdamW's moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spak_runtime.training.meanings import AdamW
from spak_runtime.training.scopes import scope
from spak_runtime.training.spec import TrainingError

if TYPE_CHECKING:
    from spak_runtime.training.ops import Ops


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
    """AdamW with decay on `decayed` alone, its rate and decay set anew for every step. `ops` says who computes it: a
    kernel of the artifact, weight by weight, or torch.

    On a CUDA device nothing that a step uses comes from the host: the rates of all steps lie there in a table,
    with a counter that each step moves on, so that a step can be captured once and replayed."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        decayed: Iterable[nn.Parameter],
        optimizer: Mapping[str, Any],
        lr: Mapping[str, Any],
        ops: Ops,
    ) -> None:
        """Raises TrainingError for an optimizer that this runtime does not have."""
        if optimizer["name"] != "adamw":
            raise TrainingError(f"no optimizer {optimizer['name']}; there is adamw")
        self.decay = optimizer.get("weight_decay", 0.0)
        self.lr = lr
        self.decayed: list[Tensor] = list(decayed)
        self.on_device = ops.device.type == "cuda"
        self.ops = ops
        self.tables: Tables | None = None
        with_decay = {id(parameter) for parameter in self.decayed}
        every = list(parameters)
        first, second = optimizer.get("betas", (0.9, 0.95))
        self.scale: Tensor | None = None
        """Of the gradients of the step that comes next, where a kernel applies it."""
        self.betas, self.eps = (float(first), float(second)), float(optimizer.get("eps", 1e-8))
        self.adamw = torch.optim.AdamW(
            [
                {"params": [p for p in every if id(p) in with_decay]},
                {"params": [p for p in every if id(p) not in with_decay]},
            ],
            lr=torch.zeros((), device=every[0].device) if self.on_device else 0.0,
            betas=self.betas,
            eps=self.eps,
            weight_decay=0.0,
            fused=self.on_device,
            capturable=every[0].is_cuda,
        )

    def prepare(self, step: int, steps: int) -> None:
        """To be called before the first of a series of steps: `step` of `steps` comes next."""
        if self.on_device:
            device = self.adamw.param_groups[0]["params"][0].device
            self.tables = Tables.of(self.lr, self.decay, self.betas, step, steps, device)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps`."""
        return learning_rate(self.lr, step, steps)

    def clip(self, parameters: Sequence[Tensor], limit: float) -> Tensor:
        """Shortens the gradient of the next step to `limit`; returns the length that it had, float32 of no dimension. A
        kernel that multiplies gradients anyway shortens them as it reads them."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.on_device and self.ops.scales_gradients:
            self.scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        else:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm

    def step(self, step: int, steps: int) -> float:
        """Applies the gradients as step `step` of `steps`, clears them, and returns the rate used. On a device
        the steps are those that `prepare` announced, in order."""
        rate = self.rate(step, steps)
        if self.on_device:
            self.step_on_device()
            return rate
        self.ops.optimizer()  # asked, so that it is on record why torch computes this
        decays = (phased(self.decay, step, steps), 0.0)
        for group, decay in zip(self.adamw.param_groups, decays, strict=True):
            group["lr"], group["weight_decay"] = rate, decay
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        return rate

    @torch.no_grad()
    def step_on_device(self) -> None:
        """The step that the counter is at. Asks nothing of the host and nothing from it."""
        assert self.tables is not None, "prepare() comes first"
        with scope("schedule"):
            now = self.tables.take()
        kernel = self.ops.optimizer()
        if kernel is not None:
            self._by_kernel(kernel, now)
        else:
            for group in self.adamw.param_groups:
                group["lr"].copy_(now.rate)
            if self.decayed:
                torch._foreach_mul_(self.decayed, now.kept)
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def _by_kernel(self, kernel: Callable[..., None], now: Now) -> None:
        """Every weight by the kernel. The moments are where torch's AdamW would have them."""
        scale, self.scale = self.scale, None
        for group, decay in zip(self.adamw.param_groups, (now.decay, now.none), strict=True):
            settings = AdamW(now.rate, decay, now.c1, now.c2, *self.betas, self.eps, scale)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.adamw.state[parameter]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
                state["step"] = now.steps
                kernel(parameter, state["exp_avg"], state["exp_avg_sq"], parameter.grad, settings)


class Now(NamedTuple):
    """What a step uses, each of no dimension, float32: the rate, decay where there is some and where there is
    `none`, the corrections 1 - beta^t of both moments, and what decay leaves of a weight. `steps` counts from 1."""

    rate: Tensor
    decay: Tensor
    none: Tensor
    c1: Tensor
    c2: Tensor
    kept: Tensor
    steps: Tensor


@dataclass(frozen=True, slots=True)
class Tables:
    """For every step of a training, on its device: a row of what `Now` holds [steps, 7] float32. `step` [1] int64 is
    the step that comes next."""

    rows: Tensor
    step: Tensor

    @staticmethod
    def of(
        lr: Mapping[str, Any],
        decay: Any,
        betas: tuple[float, float],
        step: int,
        steps: int,
        device: torch.device,
    ) -> Tables:
        rows = []
        for n in range(steps):
            rate, share = learning_rate(lr, n, steps), phased(decay, n, steps)
            c1, c2 = (1.0 - beta ** (n + 1) for beta in betas)
            rows.append((rate, share, 0.0, c1, c2, 1.0 - rate * share, n + 1.0))
        return Tables(torch.tensor(rows, device=device), torch.tensor([step], device=device))

    def take(self) -> Now:
        """The row of the step that comes next; moves the counter."""
        row = self.rows.index_select(0, self.step)[0]
        self.step.add_(1)
        return Now(*row.unbind())
