"""One run on several devices: each takes an equal part of every batch, and what the parts give is summed.

Every process draws the same batches and makes the same gates and decisions, so that nothing but gradients and losses
goes between them; the first one writes. Sums are taken in the order of the ranks, so a run with as many devices ends
in the same bits each time, and one with another number is another run.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from spak_runtime.processes import end_with_parent, spared
from spak_runtime.training.batch import Batch
from spak_runtime.training.spec import TrainingError


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a run; this one is number `rank` of `ranks`."""

    rank: int
    ranks: int

    def part(self, batch: Batch) -> Batch:
        """The rows of a batch that are this process's. Raises TrainingError where they do not share out evenly."""
        count = len(batch.inputs)
        if count % self.ranks:
            raise TrainingError(f"a batch of {count} documents does not share out over {self.ranks} devices")
        share = count // self.ranks
        rows = slice(self.rank * share, (self.rank + 1) * share)
        return Batch(batch.inputs[rows], batch.targets[rows], batch.mask[rows])

    def sum(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Replaces every gradient by its sum over all processes, and returns that of the losses."""
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mine = torch.cat([loss.reshape(1).float(), *(grad.flatten().float() for grad in grads)])
        parts = [torch.empty_like(mine) for _ in range(self.ranks)]
        distributed.all_gather(parts, mine)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        place = 1
        for grad in grads:
            grad.copy_(total[place : place + grad.numel()].view_as(grad))
            place += grad.numel()
        return total[0]


def together(call: Mapping[str, Any], artifact: Path | None, ranks: int) -> None:
    """Does `run_experiment(**call)` with `ranks` processes: on CUDA one a GPU, with `device = "cpu"` all on the host.
    Raises what a process raises, after all have ended."""
    spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    with tempfile.TemporaryDirectory(prefix="spak-ranks-") as folder:
        said = spawn.SimpleQueue()
        arguments = [(rank, ranks, f"{folder}/meet", artifact, dict(call), said) for rank in range(ranks)]
        workers = [spawn.Process(target=_work, args=each, daemon=True) for each in arguments]
        with spared():
            for worker in workers:
                worker.start()
        running = list(workers)
        try:
            while running:
                wait([worker.sentinel for worker in running])
                running = [worker for worker in running if worker.is_alive()]
                if any(worker.exitcode for worker in workers):
                    break
        finally:
            for worker in running:  # they wait for the one that failed, or are wanted no more
                worker.terminate()
                worker.join()
        failed = [worker.exitcode for worker in workers if worker.exitcode]
        if not said.empty():
            raise said.get()
        if failed:
            raise TrainingError(f"a process of the run ended with {failed[0]}")


def _work(rank: int, ranks: int, meet: str, artifact: Path | None, call: dict[str, Any], said: Any) -> None:
    from spak_runtime import artifact as artifacts
    from spak_runtime.training.run import run_experiment

    end_with_parent()
    host = str(call.get("device")) == "cpu"
    if host:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks))
    else:
        torch.cuda.set_device(rank)
        call["device"] = f"cuda:{rank}"
    try:
        distributed.init_process_group(
            "gloo" if host else "nccl", init_method=f"file://{meet}", rank=rank, world_size=ranks
        )
        loaded = None if artifact is None else artifacts.load(artifact)
        run_experiment(**call, artifact=loaded, group=Group(rank, ranks))
        distributed.destroy_process_group()
    except Exception as error:
        said.put(error)
        os._exit(1)
