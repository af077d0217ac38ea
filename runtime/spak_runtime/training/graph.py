"""A training step as a CUDA graph: captured once, replayed for every batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from spak_runtime.training.batch import Batch

Work = Callable[[Batch], tuple[Tensor, Tensor | None]]
"""A whole step from batch to new weights: the loss and, if it was clipped, the norm of the gradient."""


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """Inside, work on a CUDA device goes to a stream of its own, behind what was asked for before and before
    what is asked for after; None on a CPU. A graph can be captured on no default stream, and gradients are
    accumulated on the stream of the forward pass."""
    if device.type != "cuda":
        yield None
        return
    before = torch.cuda.current_stream(device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            yield stream
    finally:
        before.wait_stream(stream)


class CapturedStep:
    """`work` on a batch at a fixed place. A call copies a batch there and replays; the loss and the norm it
    returns are overwritten by the next call."""

    def __init__(self, work: Work, batch: Batch, stream: torch.cuda.Stream) -> None:
        """Captures; nothing is computed. Raises RuntimeError where a step does what a graph cannot hold."""
        self._batch = Batch(batch.inputs.clone(), batch.targets.clone(), batch.mask.clone())
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._result = work(self._batch)

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        self._batch.inputs.copy_(batch.inputs)
        self._batch.targets.copy_(batch.targets)
        self._batch.mask.copy_(batch.mask)
        self._graph.replay()
        return self._result
