"""The child of `spakc tune`: times variants of one artifact on the CUDA device, a line of JSON each.

The first line says what to load and what to call; every further one names a variant. A variant is timed in turns with
the first that was, so that its figure holds while clocks change; what computes something else than the reference of the
artifact is not timed.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spakc.device_child import Answer, Request, serve

ROUNDS, SECONDS, WARM = 5, 0.01, 0.02

ALLOWED = 0.02
"""By how much, of the largest element, a result may differ from the reference's: rounding does by far less."""


class Session:
    """The operands of one call on several sets of buffers, and the variants that are timed with them."""

    def __init__(self, opening: Mapping[str, Any]) -> None:
        import torch

        import spak_runtime
        from spak_runtime import bench

        self.kernel = spak_runtime.load(Path(opening["artifact"]))[opening["kernel"]]
        self.options = opening["options"]
        _build_all(opening["artifact"], opening["kernel"], opening)
        device, spec = torch.device("cuda"), self.kernel.spec
        first = bench.operands(spec, opening["dims"], opening["dtype"], opening["layouts"], 0, device)
        self.sets = [first]
        for seed in range(1, bench.sets_for(first)):
            made = bench.operands(spec, opening["dims"], opening["dtype"], opening["layouts"], seed, device)
            self.sets.append(made)
        self.expected = self._results(self.kernel.only(opening["reference"]))
        self.anchor: Any = None
        self.anchor_seconds = 0.0

    def time(self, variant: str) -> list[float]:
        """Seconds a call, one a round. Raises ValueError for a wrong result."""
        from spak_runtime import bench

        call = self.kernel.only(variant)
        self._compare(self._results(call))
        self.anchor = self.anchor or call
        subjects = {"": self.anchor, variant: call}
        found = bench.interleaved(
            {name: self._subject(each) for name, each in subjects.items()},
            len(self.sets),
            bench.Effort(ROUNDS, SECONDS, WARM),
        )
        self.anchor_seconds = self.anchor_seconds or statistics.median(found[""])
        return [
            self.anchor_seconds * own / anchor for own, anchor in zip(found[variant], found[""], strict=True)
        ]

    def _subject(self, call: Any) -> Any:
        return lambda number: call(**self.sets[number], **self.options)

    def _results(self, call: Any) -> list[Any]:
        found = call(**self.sets[0], **self.options)
        return list(found) if isinstance(found, tuple) else [found]

    def _compare(self, results: Sequence[Any]) -> None:
        for own, expected in zip(results, self.expected, strict=True):
            apart = (own.float() - expected.float()).abs().max().item()
            if not apart <= ALLOWED * expected.float().abs().max().item():
                raise ValueError(f"its result is wrong by {apart:.3g}")


def _build_all(artifact: str, kernel: str, opening: Mapping[str, Any]) -> None:
    """Fills the cache of kernels on every processor: one after the other would take most of the budget."""
    jobs = [(artifact, kernel, variant, opening) for variant in opening["variants"]]
    with multiprocessing.get_context("spawn").Pool(min(len(jobs) or 1, os.cpu_count() or 1)) as pool:
        pool.map(_build, jobs, chunksize=1)


def _build(job: tuple[str, str, str, Mapping[str, Any]]) -> None:
    """One variant for the call. What cannot be built says so when it is timed."""
    import spak_runtime
    from spak_runtime.cache import KernelCache
    from spak_runtime.errors import SpakRuntimeError
    from spak_runtime.specialise import Binding, build_request

    artifact, kernel, wanted, opening = job
    function = spak_runtime.load(Path(artifact))[kernel]
    spec, sources = function.spec, function._shared.sources
    variant = next(each for each in spec.variants if each.id == wanted)
    words: dict[str, str] = {}
    for tensor in spec.tensors:
        own = opening["dtype"] if opening["dtype"] in tensor.dtypes else next(iter(tensor.dtypes), "f32")
        words[tensor.name] = words[tensor.same_as] if tensor.same_as is not None else own
    layouts = {t.name: opening["layouts"].get(t.name, (t.layouts or ("row",))[0]) for t in spec.tensors}
    present = {t.name: not t.optional for t in spec.tensors}
    options = {o.name: opening["options"].get(o.name, o.default) for o in spec.options}
    binding = Binding(words, layouts, present, options, opening["dims"])
    arch = next(a for a in opening["archs"] if a in variant.archs)
    try:
        for launch in variant.launches:
            KernelCache().build(
                build_request(sources.kernels, sources.headers, variant, launch, binding, arch)
            )
    except SpakRuntimeError:
        return


def opened(request: Request) -> tuple[Session, Answer]:
    session = Session(request)
    return session, {"opened": len(session.sets)}


def asked(session: Session, request: Request) -> Answer:
    return {"seconds": session.time(request["time"])}


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout, opened, asked)
