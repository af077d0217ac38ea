"""What the figures of a hand-written kernel say: of its values, and of the laws that bind what computes its kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spakc.check.statements import Held
from spakc.check.verdict import Verdict, means_of_law
from spakc.figures import objects
from spakc.ir.constraint import Env
from spakc.ir.module import Law
from spakc.ir.queries import Means
from spakc.verdicts import Judgement, judge_checks, judge_law


def judge_held(held: Held, figures: Sequence[Mapping[str, Any]]) -> Judgement:
    """Holds where every case was right and no law over the compiled kernel is violated or was not looked at.

    Raises Malformed."""
    checks = held.kernel.verification
    values = judge_checks((checks.cases or 0) if checks is not None else 0, figures)
    if values.verdict is Verdict.violated:
        return values
    for name, judged in laws_of(held, figures):
        if judged.verdict is Verdict.violated:
            return Judgement(Verdict.violated, values.witnesses, f"law {name}: {judged.note}")
        if judged.verdict is Verdict.undecided and values.verdict is Verdict.holds:
            why = judged.note or "not looked at"
            values = Judgement(Verdict.undecided, values.witnesses, f"law {name}: {why}")
    return values


def compiled_laws(held: Held) -> tuple[Law, ...]:
    """The laws of its kernel that the machine code decides."""
    return tuple(law for law in held.kernel.laws if means_of_law(law, held.kernel) is Means.compiled)


def laws_of(held: Held, figures: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Judgement]]:
    """The verdict of each such law on each target that the kernel is for."""
    recorded = list(objects(figures, "laws"))
    for law in compiled_laws(held):
        for device in held.devices:
            base = Env().facts(device.facts)
            seen = [r for r in recorded if (r.get("law"), r.get("target")) == (law.qualified, device.name)]
            yield f"{law.qualified} on {device.name}", judge_law(law, seen, base)
