"""Laws: by which means each is established, and the verdict of those that need no code, run or measurement.

A law of a schedule restricts its space; anywhere else a law asserts, and one that is refuted is an error. A
guard holds as soon as it is emitted. A law that waits for code, a run or a measurement is `undecided`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from spakc.check.check_space import SpaceKey, is_present, targets_of, vacuous
from spakc.check.findings import Finding, Findings
from spakc.check.problems import Problem, bind_problem, problems_of
from spakc.check.space import Space, missing_facts, true_at
from spakc.check.verdict import LawStatus, Status, Verdict, means_of, means_of_law
from spakc.diagnostics import Sink
from spakc.ir.constraint import (
    Env,
    TooMany,
    Unknown,
    evaluate,
    explain,
    implication,
    lanes,
    mentions,
    names_of,
)
from spakc.ir.lanes import np
from spakc.ir.module import Device, Kernel, Law, Module, Schedule
from spakc.ir.ops import Query, Ref, RefKind
from spakc.ir.queries import Means


def check_laws(
    module: Module,
    spaces: Mapping[SpaceKey, Space],
    sink: Sink,
    counted: Callable[[Query], float | None] = lambda _: None,
) -> tuple[LawStatus, ...]:
    """The status of every law of the file, of kernels and of schedules, on every target.

    Needs the spaces of `check_space`, and what is `counted` of experiments and data for the laws of the file. Reports
    an asserted law that is refuted, with the counterexample (203), a law that never applies (206) or has no truth value
    (208), a preference over what is known only after the launch (209) and a need that is not a fact of the device
    (210). Leaves the laws of models, datasets and experiments to those who instantiate them (`prove`)."""
    findings = Findings()
    found: list[LawStatus] = []
    for law in module.laws:
        found.extend(_asserted(module, law, None, findings, counted))
    for kernel in module.kernels.values():
        for law in kernel.laws:
            found.extend(_asserted(module, law, kernel, findings))
        for schedule in kernel.schedules.values():
            _check_needs(schedule, findings)
            _check_prefers(kernel, schedule, findings)
            for law in schedule.laws:
                found.extend(_restricting(module, kernel, schedule, law, spaces, findings))
    findings.report(sink)
    return tuple(found)


def prove(law: Law, env: Env, findings: Findings, subject: str) -> Status:
    """Decides a law by evaluating it where every hyper-parameter has its value, as an experiment does.

    Finds SPAK203 where it is refuted and SPAK208 where it has no truth value. `subject` names what was
    instantiated. A law that waits for later means is `undecided`, without a diagnostic."""
    means = means_of_law(law, None)
    if means is not Means.proof:
        return Status(Verdict.undecided, means)
    return _decide(law, env, findings, f"for `{subject}`")


# ---- laws that assert ---------------------------------------------------------------------------------


def _asserted(
    module: Module,
    law: Law,
    kernel: Kernel | None,
    findings: Findings,
    counted: Callable[[Query], float | None] = lambda _: None,
) -> Iterator[LawStatus]:
    means = means_of_law(law, kernel)
    if means is Means.guard:
        yield LawStatus(law, Status(Verdict.holds, means, witnesses=1, note="checked at every call"))
        return
    devices = targets_of(module) if _differs_by_target(law, means) else (None,)
    applied = means is not Means.proof
    statuses: list[Status] = []
    for device in devices:
        target = device.name if device is not None else ""
        if means is Means.compiled and device is not None and device.facts.get("kind") == "emulator":
            note = f"`{target}` compiles no kernel"
            statuses.append(Status(Verdict.undecided, means, target, note=note, applicable=False))
            continue
        missing = missing_facts(law, device) if device is not None else frozenset()
        if missing:
            applied = True
            statuses.append(_inapplicable(means, target, missing))
            continue
        if means is not Means.proof:
            statuses.append(Status(Verdict.undecided, means, target))
            continue
        status = _proved(law, kernel, device, findings, counted)
        applied = applied or status.applicable
        statuses.append(status)
    if not applied:
        findings.add(vacuous(law, "this is never true"))
    yield from (LawStatus(law, status) for status in statuses)


def _differs_by_target(law: Law, means: Means) -> bool:
    return means is Means.compiled or bool(names_of(mentions(law.proposition, law.when), RefKind.fact))


def _inapplicable(means: Means, target: str, missing: frozenset[str]) -> Status:
    facts = ", ".join(f"`{name}`" for name in sorted(missing))
    note = f"`{target}` does not state {facts}" if target else "the file names no targets"
    return Status(Verdict.undecided, means, target, note=note, applicable=False)


def _proved(
    law: Law,
    kernel: Kernel | None,
    device: Device | None,
    findings: Findings,
    counted: Callable[[Query], float | None],
) -> Status:
    """By every choice of dtypes, compiled dims and options that the law can tell apart."""
    target = device.name if device is not None else ""
    base = Env().facts(device.facts if device is not None else {})
    if kernel is None:
        asked = {e: counted(e) for e in mentions(law.proposition, law.when) if isinstance(e, Query)}
        known = {query: value for query, value in asked.items() if value is not None}
        return _decide(law, base.bind(queries=known), findings, target)
    problems = problems_of(kernel, mentions(law.proposition, law.when))
    if isinstance(problems, TooMany):
        findings.add(
            Finding(
                "SPAK205",
                f"law `{law.name}` ranges over too many dtypes, compiled dims and options",
                law.proposition.span or law.span,
                f"{problems.count:,} combinations",
                help=("narrow the domain of a compiled dim",),
            )
        )
        return Status(Verdict.undecided, Means.proof, target)
    witnesses = 0
    for problem in problems:
        status = _decide(law, bind_problem(base, problem), findings, target, _where(problem))
        if status.applicable and status.verdict is not Verdict.holds:
            return status  # one counterexample is enough
        witnesses += status.witnesses
    if not witnesses:
        note = "its condition is never true"
        return Status(Verdict.undecided, Means.proof, target, note=note, applicable=False)
    return Status(Verdict.holds, Means.proof, target, witnesses)


def _where(problem: Problem) -> str:
    text = str(problem)
    return f" for {text}" if text else ""


def _decide(law: Law, env: Env, findings: Findings, place: str, where: str = "") -> Status:
    """One instance of a law. A refutation and a missing truth value are findings at the `place`, a target or what was
    instantiated."""
    target = "" if place.startswith("for ") else place
    if law.when is not None and evaluate(law.when, env) is False:
        return Status(Verdict.undecided, Means.proof, target, note="its condition is false", applicable=False)
    whole = implication(law.proposition, law.when)
    truth = evaluate(whole, env)
    if truth is True:
        return Status(Verdict.holds, Means.proof, target, 1)
    why = explain(whole, env)
    span = why.expr.span or law.proposition.span or law.span
    if truth is False:
        findings.add(
            Finding(
                "SPAK203",
                f"law `{law.name}` is refuted{where}{{on}}",
                span,
                why.text,
                help=("correct the law or what it speaks about",),
                mistake=law.qualified,
            ),
            place,
        )
        return Status(Verdict.violated, Means.proof, target, 1, note=why.text)
    reason = str(truth) if isinstance(truth, Unknown) else "a truth value expected"
    if isinstance(truth, Unknown) and not truth.reasons:
        return Status(Verdict.undecided, Means.proof, target, note=f"waits for {reason}")
    findings.add(
        Finding(
            "SPAK208",
            f"law `{law.name}` has no truth value{where}{{on}}",
            span,
            reason,
            help=("say with `when` under which condition the law is meant",),
            mistake=law.qualified,
        ),
        place,
    )
    return Status(Verdict.undecided, Means.proof, target, note=reason)


# ---- laws of schedules --------------------------------------------------------------------------------


def _restricting(
    module: Module,
    kernel: Kernel,
    schedule: Schedule,
    law: Law,
    spaces: Mapping[SpaceKey, Space],
    findings: Findings,
) -> Iterator[LawStatus]:
    means = means_of_law(law, kernel)
    for device in targets_of(module):
        if not is_present(schedule, device):
            note = f"`{schedule.name}` is absent on `{device.name}`"
            yield LawStatus(law, Status(Verdict.undecided, means, device.name, note=note, applicable=False))
            continue
        missing = missing_facts(law, device)
        if missing:
            yield LawStatus(law, _inapplicable(means, device.name, missing))
            continue
        space = spaces.get((kernel.name, schedule.name, device.name))
        if means is Means.guard:
            note = "a call that breaks it goes to another schedule"
            yield LawStatus(law, Status(Verdict.holds, means, device.name, 1, note=note))
        elif means is not Means.proof or space is None:
            yield LawStatus(law, Status(Verdict.undecided, means, device.name))
        else:
            yield LawStatus(law, _restricted(law, space, findings))


def _restricted(law: Law, space: Space, findings: Findings) -> Status:
    """It holds at every lawful point by construction; the witnesses are the lawful points it speaks about."""
    target = space.device.name
    cut = next(cut for cut in space.cuts if cut.law is law)
    if cut.undefined == space.points:
        findings.add(
            Finding(
                "SPAK208",
                f"law `{law.name}` has no truth value at any point{{on}}",
                law.proposition.span or law.span,
                ", ".join(sorted(cut.reasons)) or "unknown",
            ),
            target,
        )
        return Status(Verdict.undecided, Means.proof, target)
    witnesses = space.lawful_points if law.when is None else _lawful_where(space, law)
    note = f"of {space.points:,} points, {cut.alone:,} break this law alone and {cut.among:,} among others"
    if cut.undefined:
        note += f"; at {cut.undefined:,} it has no value ({', '.join(sorted(cut.reasons))})"
    if not witnesses:
        return Status(
            Verdict.undecided, Means.proof, target, note=note + "; no lawful point meets its condition"
        )
    return Status(Verdict.holds, Means.proof, target, witnesses, note=note)


def _lawful_where(space: Space, law: Law) -> int:
    assert law.when is not None
    mask = space.lawful & true_at(lanes(law.when, space.env), space.lawful.ndim)
    return int(np.count_nonzero(mask)) * (space.points // int(np.size(mask)))


# ---- needs and preferences ----------------------------------------------------------------------------


def _check_needs(schedule: Schedule, findings: Findings) -> None:
    """A need decides whether a schedule exists on a device, so only facts of the device may say it."""
    for need in schedule.needs:
        others = [e for e in mentions(need) if not (isinstance(e, Ref) and e.kind is RefKind.fact)]
        if others:
            findings.add(
                Finding(
                    "SPAK210",
                    f"what `{schedule.name}` needs is not a fact of the device",
                    min(others, key=lambda e: e.span.start if e.span else 0).span or schedule.span,
                    "known only after the schedule is chosen",
                    help=("a condition over knobs or sizes is a `law` inside the schedule",),
                )
            )


_KNOWN_LATER = {
    Means.compiled: "known once the kernel is compiled",
    Means.cases: "known once the kernel has run",
    Means.measurement: "known once it is measured",
    Means.none: "nothing establishes this",
}


def _check_prefers(kernel: Kernel, schedule: Schedule, findings: Findings) -> None:
    """A preference ranks before anything is built: it speaks of knobs, sizes, dtypes, options and facts."""
    for prefer in schedule.prefers:
        means = means_of(prefer.proposition, prefer.when, dims=kernel.dims, options=kernel.options)
        if means not in (Means.proof, Means.guard):
            findings.add(
                Finding(
                    "SPAK209",
                    "a preference over what is not known when it ranks",
                    prefer.proposition.span or prefer.span,
                    _KNOWN_LATER[means],
                    help=("prefer a knob, or state a law or a claim",),
                )
            )
