"""Every proposition of a module, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from spakc.ir.experiment import Claim, Dataset, Experiment
from spakc.ir.model import Model
from spakc.ir.module import Kernel, Law, Module
from spakc.ir.ops import Expr
from spakc.record import record

Owner: TypeAlias = Kernel | Model | Dataset | Experiment | None
"""What a proposition stands in; None at the top of a file."""


@record
class Proposition:
    """`what` names it in a message; `owner` is what it stands in, whose names it uses. `is_value`: not true or false
    but a number (a tolerance); `claim` is the one that it is; `of_gate`: a gate requires it."""

    expr: Expr
    what: str
    owner: Owner = None
    is_value: bool = False
    claim: Claim | None = None
    of_gate: bool = False

    @property
    def kernel(self) -> Kernel | None:
        """The kernel whose names it uses, if it is about one."""
        return self.owner if isinstance(self.owner, Kernel) else None


def propositions(module: Module) -> Iterator[Proposition]:
    """The laws of files, kernels, schedules, models, data and experiments with their conditions, needs,
    preferences, tolerances, requirements of gates, claims; in the order of the module."""
    yield from _laws(module.laws, None)
    for kernel in module.kernels.values():
        yield from _of_kernel(kernel)
    for implementation in module.implementations:
        for need in implementation.needs:
            yield Proposition(need, "what an implementation needs")
    for owner in (module.models, module.datasets, module.experiments):
        for declared in owner.values():
            yield from _laws(declared.laws, declared)
    for protocol in module.protocols.values():
        for gate in protocol.gates:
            for requirement in gate.require:
                yield Proposition(requirement.proposition, "what a gate requires", of_gate=True)
    for claim in module.claims.values():
        yield Proposition(claim.proposition, f"claim `{claim.name}`", claim=claim)


def _laws(laws: tuple[Law, ...], owner: Owner) -> Iterator[Proposition]:
    for law in laws:
        yield Proposition(law.proposition, f"law `{law.name}`", owner)
        if law.when is not None:
            yield Proposition(law.when, f"the condition of law `{law.name}`", owner)


def _of_kernel(kernel: Kernel) -> Iterator[Proposition]:
    yield from _laws(kernel.laws, kernel)
    for schedule in kernel.schedules.values():
        for need in schedule.needs:
            yield Proposition(need, "what a schedule needs", kernel)
        for prefer in schedule.prefers:
            yield Proposition(prefer.proposition, "a preference", kernel)
            if prefer.when is not None:
                yield Proposition(prefer.when, "the condition of a preference", kernel)
        yield from _laws(schedule.laws, kernel)
    if kernel.verification is not None and kernel.verification.tolerance is not None:
        yield Proposition(kernel.verification.tolerance, "a tolerance", kernel, is_value=True)
