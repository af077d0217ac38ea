"""The process in which a hand-written kernel is timed beside what is generated, on the CUDA device.

The first line of JSON says what to load and what to call; every further one asks for the race, or for passes by the
clock of whoever asks. Inputs are drawn here, from a seed that comes with the request; outputs are poisoned before each
comparison, the one behind the timing included; both run on so many sets of buffers that they push each other out of
the second-level cache.

Whoever keeps results, or finds those of the other in the output, is fast on what it saw before. So each is also timed
on values that no call has seen, written over the old ones in the same memory, with poisoned outputs, and its result
there is compared."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spakc.device_child import Answer, Request, serve

if TYPE_CHECKING:
    import torch

ROUNDS, SECONDS, WARM = 15, 0.02, 0.1

FRESH_ROUNDS = 9
"""How often both are timed on values that no call has seen, one pass over all sets each."""

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
        self.graphs: dict[str, Any] = {}

    def race(self) -> dict[str, Any]:
        """Seconds a call of both, one figure a round, replayed and on fresh values. Raises ValueError where they do not
        compute the same."""
        from spak_runtime import bench

        self._compare(self.sets[0])
        subjects = {"ours": self._subject(self.mine), "theirs": self._subject(self.theirs)}
        found = bench.interleaved(subjects, len(self.sets), bench.Effort(ROUNDS, SECONDS, WARM))
        fresh = self._fresh()
        self._compare(self._operands())  # nothing that was kept from the timed calls can be right here
        moved = sum(t.numel() * t.element_size() for each in self.sets for t in each.values())
        l2 = f"cold: {len(self.sets)} sets of inputs, {moved / 1e6:.0f} MB, in turns"
        return {**found, "fresh": fresh, "rival": self.rival, "l2": l2}

    def passes(self, count: int) -> dict[str, Any]:
        """So many passes over all sets, finished before the answer; `calls` is how many calls that were."""
        import torch

        graph = self._graph("ours")
        for _ in range(count):
            graph.replay()
        torch.cuda.synchronize()
        return {"calls": count * len(self.sets)}

    def _graph(self, side: str) -> Any:
        from spak_runtime import bench

        if side not in self.graphs:
            call = self.mine if side == "ours" else self.theirs
            self.graphs[side] = bench.captured(self._subject(call), len(self.sets))
        return self.graphs[side]

    def _fresh(self) -> dict[str, list[float]]:
        """Seconds a call of both where every input is new and every output poisoned, one figure a round."""
        import torch

        from spak_runtime import bench

        found: dict[str, list[float]] = {"ours": [], "theirs": []}
        for side in found:
            bench.seconds_of_pass(self._graph(side), 1)
        shuffle = random.Random(0)
        for number in range(FRESH_ROUNDS):
            for side in shuffle.sample(list(found), 2):
                self._refill()
                looked_at = number % len(self.sets)
                given = {name: tensor.clone() for name, tensor in self.sets[looked_at].items()}
                torch.cuda.synchronize()
                found[side].append(bench.seconds_of_pass(self._graph(side), 1) / len(self.sets))
                if side == "ours":
                    _alike(self._left_in(looked_at), self._results(self.theirs, given))
        return found

    def _refill(self) -> None:
        """Other values in the same memory; nobody's in the outputs."""
        for operands, outputs in zip(self.sets, self.outputs, strict=True):
            for name, tensor in self._operands().items():
                operands[name].copy_(tensor)
            for tensor in outputs.values():
                _poison(tensor)

    def _left_in(self, number: int) -> dict[str, torch.Tensor]:
        """What the last pass left in one set."""
        changed = {t.name for t in self.spec.tensors if t.role == "inout"}
        inouts = {name: tensor for name, tensor in self.sets[number].items() if name in changed}
        return {**self.outputs[number], **inouts}

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
        _alike(self._results(self.mine, operands), self._results(self.theirs, operands))

    def _results(self, call: Any, operands: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What a call leaves in poisoned outputs and in what it changes in place."""
        given = {name: tensor.clone() for name, tensor in operands.items()}
        out = {name: _poisoned(tensor) for name, tensor in self.outputs[0].items()}
        call(**given, **self.options, **({"out": out} if out else {}))
        changed = {t.name: given[t.name] for t in self.spec.tensors if t.role == "inout" and t.name in given}
        return {**out, **changed}


def _alike(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError where two results are apart."""
    for name, expected in theirs.items():
        apart = (ours[name].double() - expected.double()).abs().max().item()
        if not apart <= ALLOWED * expected.double().abs().max().item():
            raise ValueError(f"{name} is {apart:.3g} apart from what the generated kernel computes")


def _poisoned(like: torch.Tensor) -> torch.Tensor:
    import torch

    made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
    return _poison(made)


def _poison(made: torch.Tensor) -> torch.Tensor:
    import torch

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
