"""Times of calls on a CUDA device, taken in turns so that a ratio holds while clocks and neighbours change.

Every subject runs on several sets of buffers, so that the cache is as cold as in use; a round runs each
subject once for a few milliseconds, in an order of its own: a board that is limited by power runs faster after
a subject that drew little, so that no subject may always follow the same one. The figure of a subject is a list
of seconds a call, one a round: the i-th of two subjects saw the same machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from spak_runtime.args import Signature, strides_of
from spak_runtime.dtypes import TORCH
from spak_runtime.manifest import KernelSpec

SETS_BYTES = 160e6
"""All sets of buffers together are at least so large: three times the second-level cache of an H100."""

FEWEST_SETS, MOST_SETS = 3, 24


@dataclass(frozen=True, slots=True)
class Effort:
    """`rounds` of at least `seconds` a subject each, after `warm` seconds of all."""

    rounds: int = 15
    seconds: float = 0.02
    warm: float = 0.2


def operands(
    spec: KernelSpec,
    dims: Mapping[str, int],
    dtype: str | None,
    layouts: Mapping[str, str],
    seed: int,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Tensors for one call: inputs and inouts that are not optional. Floats are standard normal, integers lie
    between 0 and the smallest size (they may be indices). `dtype` goes to every tensor that allows it, others
    have their first."""
    signature = Signature(spec)
    generator = torch.Generator(device).manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    words: dict[str, str] = {}
    smallest = min(dims.values(), default=1)
    for tensor in spec.tensors:
        own = dtype if dtype in tensor.dtypes else next(iter(tensor.dtypes), "f32")
        words[tensor.name] = words[tensor.same_as] if tensor.same_as is not None else own
        if tensor.role not in ("input", "inout") or tensor.optional:
            continue
        shape = signature.shape_of(tensor.name, dims)
        layout = layouts.get(tensor.name, (tensor.layouts or ("row",))[0])
        kind = TORCH[words[tensor.name]]
        memory = torch.empty_strided(shape, strides_of(shape, layout), dtype=kind, device=device)
        if kind.is_floating_point:
            memory.normal_(generator=generator)
        else:
            memory.random_(0, 2 if kind is torch.bool else smallest, generator=generator)
        found[tensor.name] = memory
    return found


def sets_for(one: Mapping[str, torch.Tensor]) -> int:
    """How many sets of such tensors push each other out of the cache."""
    size = sum(t.numel() * t.element_size() for t in one.values())
    return int(min(MOST_SETS, max(FEWEST_SETS, -(-SETS_BYTES // max(1, size)))))


def interleaved(
    subjects: Mapping[str, Callable[[int], object]], sets: int, effort: Effort
) -> dict[str, list[float]]:
    """Seconds a call of each subject, one a round. A subject is called with the number of a set of buffers.

    One pass over all sets is captured in a CUDA graph and replayed, so that the time is the device's: what
    the host needs to launch is another figure."""
    passes = {name: captured(call, sets) for name, call in subjects.items()}
    repeats = {name: _repeats(graph, effort) for name, graph in passes.items()}
    found: dict[str, list[float]] = {name: [] for name in subjects}
    names: Sequence[str] = list(subjects)
    shuffle = random.Random(0)
    for _ in range(effort.rounds):
        for name in shuffle.sample(names, len(names)):
            found[name].append(seconds_of_pass(passes[name], repeats[name]) / sets)
    return found


def captured(call: Callable[[int], object], sets: int) -> torch.cuda.CUDAGraph:
    """One call on every set. The first calls, outside of the capture, build and load what is needed."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call(0)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for number in range(sets):
            call(number)
    return graph


def _repeats(graph: torch.cuda.CUDAGraph, effort: Effort) -> int:
    """Passes that fill a round; warms up on the way."""
    seconds_of_pass(graph, 1)
    once = seconds_of_pass(graph, 2)
    seconds_of_pass(graph, max(1, int(effort.warm / once)))
    return max(1, round(effort.seconds / seconds_of_pass(graph, max(1, int(effort.seconds / once)))))


def seconds_of_pass(graph: torch.cuda.CUDAGraph, repeats: int) -> float:
    """Seconds a pass, by events around all of them."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(repeats):
        graph.replay()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3 / repeats
