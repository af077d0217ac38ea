"""What a verification established: statements of the file, judged from its figures, and rows of evidence.
An edge."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spak_runtime.cache import KernelCache
from spak_runtime.emulator.toolchain import compiler
from spak_runtime.errors import BuildError
from spak_runtime.nvrtc import BASE_OPTIONS
from spak_runtime.nvrtc import version as nvrtc_version
from spakc.check.checked import CheckedModule
from spakc.check.statements import Statement, statements
from spakc.evidence import Row
from spakc.figures import key_of
from spakc.ir.constraint import Env
from spakc.ir.module import Law
from spakc.machine_code import compile_one
from spakc.plan.plan import Plan
from spakc.record import record
from spakc.subjects import subject_now
from spakc.verdicts import Judgement, judge_checks, judge_law, witnesses_of
from spakc.verify.campaign import MathOutcome, VariantOutcome
from spakc.verify.failure import Failure
from spakc.verify.laws import (
    Observation,
    about_values,
    at,
    cases_of,
    instructions_of,
    merged,
    queries_of,
    tested_on,
)
from spakc.verify.tested import UnderTest

SPECIALISATIONS = 4
"""Of each selected config, as many specialisations are compiled for the laws over machine code."""


@dataclass(frozen=True)
class Finished:
    """One kernel of the plan, verified."""

    name: str
    variants: tuple[VariantOutcome, ...]
    math: MathOutcome | None

    @property
    def failures(self) -> list[Failure]:
        found = [o.failure for o in self.variants if o.failure is not None]
        return [*found, *(self.math.failures if self.math is not None else ())]

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What no case of this kernel shows, each with the kernel's name."""
        found = dict.fromkeys(text for o in self.variants for text in o.not_covered)
        untried = [w.name for w in self.math.tripwires if w.rejected is None] if self.math is not None else []
        texts = [*found, *(f"whether the check sees {name}" for name in untried)]
        return tuple(f"{self.name}: {text}" for text in texts)

    @property
    def checks(self) -> dict[str, Any]:
        """The figures of a comparison with the oracle. `cases`: as many as every variant was right in."""
        failures = len(self.failures)
        fewest = min((o.cases for o in self.variants if not o.why_not and not o.left_out), default=0)
        wires = self.math.rejected if self.math is not None else {}
        return {"cases": max(fewest, failures), "failures": failures, "tripwires": wires}

    def to_json(self) -> dict[str, Any]:
        variants = [
            {"id": o.tested.variant.id, "cases": o.cases, "holds": o.holds, "why_not": o.why_not}
            | ({"left_out": o.left_out} if o.left_out else {})
            for o in self.variants
        ]
        return {"kernel": self.name, "variants": variants, **self.checks}


@record
class Established:
    """A statement with its figures and what they say of it; `failures` of machine code that was seen on the way."""

    statement: Statement
    figures: Mapping[str, Any]
    judgement: Judgement
    fact: str
    failures: tuple[Failure, ...] = ()

    def __str__(self) -> str:
        target = f" on {self.statement.target}" if self.statement.target else ""
        note = f": {self.judgement.note}" if self.judgement.note else ""
        count = f" ({self.judgement.witnesses:,} looked at)"
        return f"{self.statement.id}{target}: {self.judgement.verdict.value}{count}{note}"

    def to_json(self) -> dict[str, Any]:
        return {
            "statement": self.statement.id,
            "target": self.statement.target,
            "verdict": self.judgement.verdict.value,
            "witnesses": self.judgement.witnesses,
            "note": self.judgement.note,
        }


def establish(
    checked: CheckedModule, decided: Plan, files: Mapping[str, str], finished: Sequence[Finished], on: str
) -> Iterator[Established]:
    """Every statement about the finished kernels that code or cases establish, judged.

    Raises ToolError where a tool is missing."""
    module = checked.module
    done = {each.name: each for each in finished}
    gradients = {g.kernel: name for name, plan in decided.kernels.items() for g in plan.gradients}
    inapplicable = {(s.law.qualified, s.status.target) for s in checked.laws if not s.status.applicable}
    builder = _Builder(files)
    for statement in statements(module):
        if statement.kind == "verify":
            (name,) = statement.kernels & done.keys() or ("",)
            if name:
                checks = {"checks": done[name].checks}
                yield Established(
                    statement, checks, judge_checks(statement.body.cases or 0, [checks]), _fact(on)
                )
        elif statement.kind == "gradient":
            for plan in (p for p in decided.kernels.values() if p.kernel.name in statement.kernels):
                for gradient in plan.gradients:
                    text = f"{', '.join(gradient.outputs)} wrt {', '.join(gradient.inputs)}"
                    if text == statement.text and gradient.kernel in done:
                        checks = {"checks": done[gradient.kernel].checks}
                        wanted = plan.kernel.verification
                        required = (wanted.cases or 0) if wanted is not None else 0
                        yield Established(statement, checks, judge_checks(required, [checks]), _fact(on))
        elif statement.kind == "law" and statement.fact in ("compiled", "counters", "cases"):
            if (statement.body.qualified, statement.target) in inapplicable:
                continue
            about = [
                each
                for n, each in done.items()
                if n in statement.kernels or gradients.get(n) in statement.kernels
            ]
            outcomes = [
                o for each in about for o in each.variants if concerns(statement, o.tested, gradients)
            ]
            if not about or not statement.kernels:
                continue
            figures = _figures(statement, outcomes, about, builder, on)
            if figures is None:
                continue
            device = module.devices.get(statement.target)
            base = Env().facts(device.facts) if device is not None else Env()
            judged = judge_law(statement.body, [figures], base, witnesses_of(statement))
            yield Established(statement, figures, judged, statement.fact, builder.broken())


def _fact(on: str) -> str:
    return "cases" if on == "emulator" else "device_cases"


def concerns(statement: Statement, tested: UnderTest, gradients: Mapping[str, str]) -> bool:
    """Whether a variant is one of those that a law speaks of. A law of a schedule is not about gradients."""
    if statement.schedule and (
        tested.variant.schedule != statement.schedule or tested.spec.name in gradients
    ):
        return False
    return not statement.arch or statement.arch in tested.variant.archs


def _figures(
    statement: Statement,
    outcomes: Sequence[VariantOutcome],
    about: Sequence[Finished],
    builder: _Builder,
    on: str,
) -> dict[str, Any] | None:
    """What was seen of a law; None where this run cannot see it."""
    law: Law = statement.body
    if statement.fact == "compiled":
        if not statement.arch:  # the file names no target, so there is nothing to compile for
            return {"observations": []}
        found = [seen for o in outcomes for seen in builder.observed(law, o, statement.arch)]
        return {"observations": merged(found)}
    if about_values(law):
        own = [each.math for each in about if each.math is not None and each.math.tested.derived is None]
        return {"tested": tested_on(law, own[0].tested.kernel, own[0].prepared)} if own else None
    if on != "emulator":
        return None
    seen = [s for o in outcomes for s in cases_of(law, o.tested.variant, o.tested.kernel, o.seen)]
    return {"observations": merged(seen)}


class _Builder:
    """Compiles specialisations once, whatever laws ask about them, and keeps which rules of machine code they break."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.cache = KernelCache()
        self._broken: dict[Failure, bool] = {}  # whether it was told

    def broken(self) -> tuple[Failure, ...]:
        """What was not told yet."""
        new = tuple(failure for failure, told in self._broken.items() if not told)
        self._broken.update(dict.fromkeys(new, True))
        return new

    def observed(self, law: Law, outcome: VariantOutcome, arch: str) -> Iterator[Observation]:
        tested = outcome.tested
        counts = instructions_of([law])
        for chosen in _spread(outcome, SPECIALISATIONS):
            try:
                made = compile_one(tested, chosen, self.files, arch, counts, self.cache)
            except BuildError:
                continue  # no kernel, so nothing to say; the driver reports what the compiler refuses
            for rule in made.broken:
                about = f"{arch}, {chosen}: {rule}"
                self._broken.setdefault(Failure("SPAK705", tested.name, (about,)), False)
            answers: dict[str, Any] = {}
            for query in queries_of(law):
                if query.name == "cubin.registers":
                    answers[key_of(query)] = made.registers
                elif query.name == "cubin.spill_bytes":
                    answers[key_of(query)] = made.spill_bytes
                elif query.name == "cubin.count":
                    answers[key_of(query)] = made.instructions[str(getattr(query.args[0], "value", ""))]
                elif query.name == "launch.shared_bytes" and made.shared_bytes is not None:
                    answers[key_of(query)] = made.shared_bytes
                elif query.name == "launch.threads" and made.threads is not None:
                    answers[key_of(query)] = made.threads
            words = {name: dtype.value for name, dtype in chosen.dtypes.items()}
            yield {"at": at(law, tested.variant, words, chosen.options, chosen.dims), "queries": answers}


def _spread(outcome: VariantOutcome, count: int) -> list[Any]:
    """The default specialisation and others far from it."""
    members = [m for m in outcome.pool if m.contract] or list(outcome.pool)
    step = max(1, len(members) // count)
    return members[::step][:count]


def rows_of(
    checked: CheckedModule,
    files: Mapping[str, str],
    finished: Sequence[Finished],
    established: Sequence[Established],
    seed: int,
    on: str,
    device: str,
) -> list[Row]:
    """Rows of evidence: what was seen, with the seed, the cases, and what was not covered."""
    now = subject_now(checked, files, BASE_OPTIONS)
    toolchain = _toolchain(on)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    left = [text for each in finished for text in each.not_covered]
    outcomes = [o for each in finished for o in each.variants if not o.left_out]
    counts = {o.tested.name: o.cases for o in outcomes}
    sizes = {o.tested.name: {dim: list(ends) for dim, ends in o.sizes.items()} for o in outcomes}
    rows = []
    for each in established:
        figures = dict(each.figures)
        if "checks" in figures:
            figures |= {"variants": counts, "sizes": sizes, "not_covered": left}
        target = checked.module.devices.get(each.statement.target)
        arch = target.arch if target is not None else ""
        subject = now.about(each.statement, fact=each.fact, arch=arch)
        rows.append(
            Row(
                each.statement.id,
                each.fact,
                each.statement.meaning,
                subject,
                figures,
                each.statement.target,
                device=device if each.fact != "compiled" else "",
                toolchain=toolchain,
                date=date,
                seed=seed,
            )
        )
    return rows


def _toolchain(on: str) -> str:
    nvrtc = "nvrtc " + ".".join(map(str, nvrtc_version()))
    return f"{compiler()[1]}, {nvrtc}" if on == "emulator" else f"{nvrtc}, {platform.platform(terse=True)}"
