"""The process in which a hand-written kernel is timed beside what is generated, on the CUDA device.

The first line of JSON says what to load and what to call; every further one asks for the race, or for passes by the
clock of whoever asks. Inputs are drawn here, from a seed that comes with the request; outputs are poisoned before each
comparison, the one behind the timing included; both run on so many sets of buffers that they push each other out of
the second-level cache."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spakc.device_child import Answer, Request, serve

if TYPE_CHECKING:
    import torch

ROUNDS, SECONDS, WARM = 15, 0.02, 0.1

ALLOWED = 0.02
"""By how much, of the largest element, the two results may differ: whether either is right is for `spakc verify`."""


class Session:
    """The operands of one call on several sets of buffers, the hand-written kernel and the generated ones."""

    def __init__(self, opening: Mapping[str, Any]) -> None:
        import torch

        import spak_runtime
        from spak_runtime import bench

        self.opening = opening
        self.device = torch.device("cuda")
        kernel = spak_runtime.load(Path(opening["artifact"]))[opening["kernel"]]
        self.spec = kernel.spec
        self.options = opening["options"]
        self.mine = kernel.only(opening["mine"])
        self.theirs = kernel.only(*opening["theirs"])
        self.seed = int(opening["seed"])
        first = self._operands()
        self.sets = [first, *(self._operands() for _ in range(1, bench.sets_for(first)))]
        self.outputs = [self._outputs(each) for each in self.sets]
        self.rival = self.theirs.explain(**first, **self.options).variant
        self.graph: Any = None

    def race(self) -> dict[str, Any]:
        """Seconds a call of both, one figure a round. Raises ValueError where they do not compute the same."""
        from spak_runtime import bench

        self._compare(self.sets[0])
        subjects = {"ours": self._subject(self.mine), "theirs": self._subject(self.theirs)}
        found = bench.interleaved(subjects, len(self.sets), bench.Effort(ROUNDS, SECONDS, WARM))
        self._compare(self._operands())  # nothing that was kept from the timed calls can be right here
        moved = sum(t.numel() * t.element_size() for each in self.sets for t in each.values())
        l2 = f"cold: {len(self.sets)} sets of inputs, {moved / 1e6:.0f} MB, in turns"
        return {**found, "rival": self.rival, "l2": l2}

    def passes(self, count: int) -> dict[str, Any]:
        """So many passes over all sets, finished before the answer; `calls` is how many calls that were."""
        import torch

        from spak_runtime import bench

        if self.graph is None:
            self.graph = bench.captured(self._subject(self.mine), len(self.sets))
        for _ in range(count):
            self.graph.replay()
        torch.cuda.synchronize()
        return {"calls": count * len(self.sets)}

    def _operands(self) -> dict[str, torch.Tensor]:
        from spak_runtime import bench

        self.seed += 1
        call = self.opening
        return bench.operands(self.spec, call["dims"], call["dtype"], call["layouts"], self.seed, self.device)

    def _outputs(self, operands: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Memory for what a call writes anew, like that which the generated kernel makes."""
        names = [tensor.name for tensor in self.spec.tensors if tensor.role == "output"]
        made = self.theirs(**{n: t.clone() for n, t in operands.items()}, **self.options)
        results = list(made) if isinstance(made, tuple) else [made]
        return dict(zip(names, results, strict=True)) if names else {}

    def _subject(self, call: Any) -> Any:
        def one(number: int) -> Any:
            out = self.outputs[number]
            return call(**self.sets[number], **self.options, **({"out": out} if out else {}))

        return one

    def _compare(self, operands: Mapping[str, torch.Tensor]) -> None:
        ours, theirs = self._results(self.mine, operands), self._results(self.theirs, operands)
        for name, expected in theirs.items():
            apart = (ours[name].double() - expected.double()).abs().max().item()
            if not apart <= ALLOWED * expected.double().abs().max().item():
                raise ValueError(f"{name} is {apart:.3g} apart from what the generated kernel computes")

    def _results(self, call: Any, operands: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What a call leaves in poisoned outputs and in what it changes in place."""
        given = {name: tensor.clone() for name, tensor in operands.items()}
        out = {name: _poisoned(tensor) for name, tensor in self.outputs[0].items()}
        call(**given, **self.options, **({"out": out} if out else {}))
        changed = {t.name: given[t.name] for t in self.spec.tensors if t.role == "inout" and t.name in given}
        return {**out, **changed}


def _poisoned(like: torch.Tensor) -> torch.Tensor:
    import torch

    made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
    if made.is_floating_point():
        return made.fill_(float("nan"))
    return made.fill_(True) if made.dtype is torch.bool else made.fill_(torch.iinfo(made.dtype).min // 2)


def opened(request: Request) -> tuple[Session, Answer]:
    session = Session(request)
    return session, {"opened": True}


def asked(session: Session, request: Request) -> Answer:
    return session.passes(request["passes"]) if "passes" in request else session.race()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout, opened, asked)
