"""The training loop: batches, loss at the supervised loops, AdamW; a log and checkpoints that survive a kill.

A step is a function of (weights, moments, seed, step), so a run that is killed at any moment and started
again ends in the same bits: the checkpoint holds the weights, the moments and the step, and how long the
log was.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from spak_runtime.training import checkpoint
from spak_runtime.training.batch import Batch
from spak_runtime.training.graph import CapturedStep, own_stream
from spak_runtime.training.ops import Ops
from spak_runtime.training.optim import Optimizer
from spak_runtime.training.progress import Progress
from spak_runtime.training.scopes import scope
from spak_runtime.training.seeds import mix
from spak_runtime.training.together import Group

LOG_EVERY = 10
SAVE_SECONDS = 5.0
"""Between checkpoints that take up to `QUICK_SAVE` seconds to write; proportionally more between others, so that a
twentieth of the time goes into them at most."""
QUICK_SAVE = 0.25
EAGER_STEPS = 8
"""Steps before one is captured: kernels are built and loaded, memory is allocated, one step is profiled."""


class Log:
    """JSON lines. `length` is what a checkpoint remembers; `cut` drops what was written after one."""

    def __init__(self, path: Path, length: int) -> None:
        """Opens the log and cuts it to `length` bytes."""
        path.touch()
        os.truncate(path, min(length, path.stat().st_size))
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, **row: Any) -> None:
        self._file.write(json.dumps(row, sort_keys=True) + "\n")
        self._file.flush()

    @property
    def length(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class Trainer:
    """Trains one model. `precision` "bf16" means autocast, on CUDA alone; weights and sums stay float32.
    `random` says that the model itself draws (dropout, random offsets), from a generator seeded anew for
    every step. `group` are the processes that share out the batches; each has the same weights.

    On CUDA the steps run on a stream of their own. After the first few, a step is captured in a CUDA graph and
    replayed from then on, unless `capture` is false or the model draws; `captured` is "yes", or "no: " and why.

    `state` is kept in checkpoints; `seconds` of training and `measured` stand beside them, since they differ between
    runs that end in the same bits."""

    model: nn.Module
    ops: Ops
    optimizer: Optimizer
    device: torch.device
    seed: int
    precision: str
    clip: float | None
    random: bool = False
    group: Group | None = None
    capture: bool = True
    step: int = 0
    loss: float = float("nan")
    seconds: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    captured: str = "no: too few steps, or no CUDA device"

    def train(
        self,
        batches: Iterator[Batch],
        steps: int,
        *,
        schedule: int | None = None,
        progress: Progress | None = None,
        log: Log | None = None,
        save_to: Path | None = None,
        save_seconds: float = SAVE_SECONDS,
        every: Mapping[int, Callable[[int], dict[str, Any]]] | None = None,
        around: Callable[[int], AbstractContextManager[None]] | None = None,
    ) -> None:
        """Goes on from `self.step` to `steps`; `batches` starts at that step. `schedule` is the number of
        steps that rates and phases are laid out over (default `steps`). `every[n](step)` is called after
        every n-th step and its answer is logged. Checkpoints are written to `save_to` at the end and every
        `save_seconds` (longer where writing one takes long, see `QUICK_SAVE`). Each step runs inside of
        `around(step)`."""
        with own_stream(self.device) as stream:
            self._train(
                batches, steps, schedule or steps, progress, log, save_to, save_seconds, every, around, stream
            )

    def _train(
        self,
        batches: Iterator[Batch],
        steps: int,
        schedule: int,
        progress: Progress | None,
        log: Log | None,
        save_to: Path | None,
        save_seconds: float,
        every: Mapping[int, Callable[[int], dict[str, Any]]] | None,
        around: Callable[[int], AbstractContextManager[None]] | None,
        stream: torch.cuda.Stream | None,
    ) -> None:
        self.model.train()
        self.optimizer.prepare(self.step, schedule)
        first, replay = self.step, None
        saved = started = time.monotonic()
        wait = save_seconds
        while self.step < steps:
            with around(self.step) if around is not None else contextlib.nullcontext():
                with scope("data"):
                    batch = next(batches).to(self.device)
                if stream is not None and self.step == first + EAGER_STEPS:
                    replay = self._captured(batch, stream)
                if replay is not None:
                    loss, norm = replay(batch)
                    rate = self.optimizer.rate(self.step, schedule)
                else:
                    loss, norm = self._forward_backward(batch)
                    with scope("optimizer"):
                        rate = self.optimizer.step(self.step, schedule)
            self.step += 1
            last = self.step == steps
            if self.step % LOG_EVERY == 0 or last:
                self.loss = float(loss)
                if log is not None:
                    log.write(
                        step=self.step, loss=self.loss, lr=rate, norm=None if norm is None else float(norm)
                    )
                if progress is not None:
                    progress.advance(self.step, f"loss {self.loss:.4f}")
            for period, call in (every or {}).items():
                if self.step % period == 0 and not last:
                    answer = call(self.step)
                    self.model.train()
                    if log is not None:
                        log.write(step=self.step, **answer)
            now = time.monotonic()
            if save_to is not None and (last or now - saved >= wait):
                self.seconds += now - started
                started = saved = now
                self.save(save_to, log)
                wait = save_seconds * max(1.0, (time.monotonic() - now) / QUICK_SAVE)

    def _captured(self, batch: Batch, stream: torch.cuda.Stream) -> CapturedStep | None:
        """A step as a graph; None where it cannot be one, and `captured` says why."""
        if self.random or not self.capture or self.group is not None:
            why = (
                "the model draws"
                if self.random
                else "not asked for"
                if not self.capture
                else "several devices"
            )
            self.captured = f"no: {why}"
            return None

        def work(static: Batch) -> tuple[Tensor, Tensor | None]:
            result = self._forward_backward(static)
            self.optimizer.step_on_device()
            return result

        try:
            step = CapturedStep(work, batch, stream)
        except RuntimeError as error:
            self.optimizer.adamw.zero_grad(set_to_none=True)
            self.captured = f"no: {str(error).splitlines()[0]}"
            return None
        self.captured = "yes"
        return step

    def _forward_backward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        with self._randomness(), self.autocast(), self.ops.one_forward(), scope("mean"):
            counted = batch.mask.sum()
            mine = batch if self.group is None else self.group.part(batch)
            loss = answer_loss(self.model, mine, self.ops, counted)
        with scope("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        if self.group is not None:
            with scope("sum"):
                loss = self.group.sum(loss.detach(), self.model.parameters())
        norm = None
        if self.clip is not None:
            with scope("clip"):
                norm = self.optimizer.clip(list(self.model.parameters()), self.clip)
        return loss.detach(), norm

    @contextlib.contextmanager
    def _randomness(self) -> Iterator[None]:
        if not self.random:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            ranked = () if self.group is None else (self.group.rank,)
            torch.manual_seed(mix("model", self.seed, self.step, *ranked))
            yield

    def autocast(self) -> torch.autocast:
        enabled = self.precision == "bf16" and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    # ---- checkpoints --------------------------------------------------------------------------------

    def save(self, path: Path, log: Log | None) -> None:
        state = {
            "step": self.step,
            "loss": self.loss,
            "log": log.length if log is not None else 0,
            **self.state,
        }
        checkpoint.save_measured(path, {**self.state, **self.measured, "seconds": self.seconds})
        checkpoint.save(path, self.model, self.optimizer, state)

    def resume(self, path: Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
        """Continues from a checkpoint whose state has all of `expected` (the fingerprint of the run), and
        returns that state; None, and nothing changed, if there is none such."""
        state = checkpoint.read_state(path)
        if state is None or any(state.get(key) != value for key, value in expected.items()):
            return None
        checkpoint.load(path, self.model, self.optimizer)
        self.step, self.loss = state["step"], state["loss"]
        self.state = {k: v for k, v in state.items() if k not in ("step", "loss", "log")}
        measured = checkpoint.read_measured(path)
        if all(measured.get(key) == value for key, value in expected.items()):
            self.seconds = measured.pop("seconds", 0.0)
            self.measured = {key: value for key, value in measured.items() if key not in self.state}
        return state


def answer_loss(model: nn.Module, batch: Batch, ops: Ops, counted: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of the tokens that count, averaged over the supervised loops of a model that has
    such. `counted` is how many tokens count where the batch is a part of another."""
    supervised = getattr(model, "supervised", None)
    readings = [model(batch.inputs)] if supervised is None else model(batch.inputs, read_at=supervised)
    targets, mask = batch.targets.flatten(), batch.mask.flatten()
    each = [ops.loss(logits, targets) for logits in readings]
    total = ((each[0] if len(each) == 1 else torch.stack(each)) * mask).sum()
    return total / ((mask.sum() if counted is None else counted) * len(readings))
