"""The tuning spaces of every schedule on every target, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from spakc.check.findings import Finding, Findings
from spakc.check.space import Space, Unbounded, build_space, missing_facts
from spakc.check.verdict import means_of_law
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, evaluate, explain, implication, mentions, show
from spakc.ir.module import Config, Device, Kernel, Law, Module, Schedule
from spakc.ir.queries import Means
from spakc.source import SourceFile, Span

if TYPE_CHECKING:
    from spakc.check.conflict import Reach

SpaceKey: TypeAlias = tuple[str, str, str]
"""kernel, schedule, target"""


def targets_of(module: Module) -> tuple[Device, ...]:
    """The devices that the file is for, in the order written; without any, one nameless device without facts,
    so that what needs no fact is checked all the same."""
    found = tuple(module.devices[name] for name in module.targets if name in module.devices)
    return found or (Device("", {}, span=Span(SourceFile(module.root, ""), 0, 0)),)


def is_present(schedule: Schedule, device: Device) -> bool:
    """Whether every `needs` of a schedule is known to hold on a device. A fact that the device does not state
    is a need that is not met."""
    env = Env().facts(device.facts)
    return all(evaluate(need, env) is True for need in schedule.needs)


def laws_by(schedule: Schedule, kernel: Kernel, means: Means, device: Device) -> tuple[Law, ...]:
    """The laws of a schedule that are established by `means` and apply on a device."""
    return tuple(
        law for law in schedule.laws if means_of_law(law, kernel) is means and not missing_facts(law, device)
    )


def check_space(module: Module, sink: Sink) -> dict[SpaceKey, Space]:
    """Lays out the space of every schedule that is present on a target.

    Needs domains and configs as lowering leaves them: constant, bounded, and every config a point of its
    domains. Reports a config that breaks a law (201) or stands for a target without its schedule (204), an
    empty space (202), one too large (205), a law that never applies (206), and a kernel without a guard-free
    schedule (207). A schedule whose needs fail on a target has no space there; that is no mistake."""
    spaces: dict[SpaceKey, Space] = {}
    findings = Findings()
    for kernel in module.kernels.values():
        for schedule in kernel.schedules.values():
            for device in targets_of(module):
                if not is_present(schedule, device):
                    continue
                laws = laws_by(schedule, kernel, Means.proof, device)
                space = build_space(kernel, schedule, device, laws)
                if isinstance(space, Unbounded):
                    findings.add(_unbounded(space, schedule), device.name)
                    continue
                spaces[kernel.name, schedule.name, device.name] = space
                if not space.lawful.any() and not any(cut.undefined == space.points for cut in space.cuts):
                    findings.add(_empty(space), device.name)
            _never_applies(spaces, kernel, schedule, findings)
            for config in schedule.configs:
                _check_config(module, kernel, schedule, config, spaces, findings)
        _check_guard_free(module, kernel, spaces, findings)
    findings.report(sink)
    return spaces


def _unbounded(found: Unbounded, schedule: Schedule) -> Finding:
    return Finding(
        "SPAK205",
        f"the space of `{schedule.name}` is too large to be laid out{{on}}",
        schedule.span,
        f"{found.count:,} {found.what}",
        help=("narrow the domain of a knob that the laws mention, or split the schedule",),
        mistake="too large",
    )


def _empty(space: Space) -> Finding:
    from spakc.check.conflict import smallest_conflict

    conflict = smallest_conflict(space)
    names = [f"`{reach.law.name}`" for reach in conflict]
    together = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    verb = "leave" if len(names) > 1 else "leaves"
    return Finding(
        "SPAK202",
        f"no point of schedule `{space.schedule.name}` is lawful{{on}}: {together} {verb} none",
        space.schedule.span,
        f"{space.points:,} points, none lawful",
        also=tuple((_reached_span(reach), reach.label) for reach in conflict),
        notes=() if len(conflict) > 1 else ("this law alone rejects every point",),
        help=("loosen one of these laws, or widen the domain of a knob that they mention",),
        mistake="empty",
    )


def _reached_span(reach: Reach) -> Span:
    part = reach.comparison.span if reach.comparison is not None else None
    return part or _proposition_span(reach.law)


def _proposition_span(law: Law) -> Span:
    return law.proposition.span or law.span


def _never_applies(
    spaces: Mapping[SpaceKey, Space], kernel: Kernel, schedule: Schedule, findings: Findings
) -> None:
    """A law whose `when` holds at no point anywhere says nothing: no witness is an error."""
    cuts = [
        cut
        for (k, s, _), space in spaces.items()
        if (k, s) == (kernel.name, schedule.name)
        for cut in space.cuts
    ]
    for law in schedule.laws:
        mine = [cut for cut in cuts if cut.law is law]
        if mine and not any(cut.applies for cut in mine):
            findings.add(vacuous(law, "no point of the space makes this true"))


def vacuous(law: Law, label: str) -> Finding:
    """SPAK206."""
    when = law.when.span if law.when is not None and law.when.span is not None else law.span
    return Finding(
        "SPAK206",
        f"law `{law.name}` never applies, so it says nothing",
        when,
        label,
        help=("correct the condition, or delete the law",),
    )


# ---- configs ------------------------------------------------------------------------------------------


def _check_config(
    module: Module,
    kernel: Kernel,
    schedule: Schedule,
    config: Config,
    spaces: Mapping[SpaceKey, Space],
    findings: Findings,
) -> None:
    for device in targets_of(module):
        if config.on and device.name not in config.on:
            continue
        if not is_present(schedule, device):
            if config.on:
                findings.add(_absent(schedule, config, device), device.name)
            continue
        space = spaces.get((kernel.name, schedule.name, device.name))
        if space is not None and space.lawful.any():
            _check_point(space, config, findings)


def _value_span(config: Config, knob: str) -> Span:
    return config.value_spans.get(knob, config.span)


def _absent(schedule: Schedule, config: Config, device: Device) -> Finding:
    env = Env().facts(device.facts)
    failing = [need for need in schedule.needs if evaluate(need, env) is not True]
    return Finding(
        "SPAK204",
        f"config `{config.name}`{{on}} is never used: `{schedule.name}` is absent there",
        config.span,
        "for a device without its schedule",
        also=tuple((need.span, "this is needed") for need in failing if need.span is not None),
        help=("leave this device out of `on`",),
    )


def _check_point(space: Space, config: Config, findings: Findings) -> None:
    values = config.values
    index = space.index_of(values)
    if index is None or space.at(space.lawful, index).any():
        return
    for i in _laws_to_blame(space, index):
        findings.add(_broken(space, i, config), space.device.name)


def _laws_to_blame(space: Space, index: tuple[int, ...]) -> list[int]:
    """The laws that hold for no problem at the point; if each holds for some, those broken for the first."""
    at = [space.at(holds, index) for holds in space.holds]
    never = [i for i, holds in enumerate(at) if not holds.any()]
    return never or [i for i, holds in enumerate(at) if not holds[0]]


def _broken(space: Space, which: int, config: Config) -> Finding:
    """SPAK201: both places, what the sides are worth, what the law cuts, and what would be lawful."""
    from spakc.check.conflict import nearest_point, nearest_values

    law, cut, values = space.laws[which], space.cuts[which], config.values
    env = space.bind(space.problems[0], values)
    why = explain(implication(law.proposition, law.when), env)
    near = nearest_values(space, values)
    if near:
        span, label = _value_span(config, near[0].axis.name), near[0].label
        help_ = near[0].advice(True) + "".join(f", or {n.advice(False)}" for n in near[1:2])
    else:
        span, label = config.span, "no change of a single knob makes this lawful"
        point = nearest_point(space, values)
        changed = {k: v for k, v in (point or {}).items() if values.get(k) != v}
        help_ = (
            "the nearest lawful point has " + ", ".join(f"`{k} = {show(v)}`" for k, v in changed.items())
            if changed
            else "no point of this space is lawful"
        )
    return Finding(
        "SPAK201",
        f"law `{law.name}` does not hold{{on}}",
        span,
        label,
        also=((why.expr.span or _proposition_span(law), why.text),),
        notes=(
            f"of {space.points:,} points, {cut.alone:,} break this law alone "
            f"and {cut.among:,} break it among others",
        ),
        help=(help_,),
    )


# ---- an answer for every legal call -------------------------------------------------------------------


def _check_guard_free(
    module: Module, kernel: Kernel, spaces: Mapping[SpaceKey, Space], findings: Findings
) -> None:
    """Every choice of dtypes, compiled dims and options must have a lawful point without a guard, in some
    schedule, on every GPU. Kernels without a schedule are generated from the family's own, which has none."""
    if not kernel.schedules:
        return
    for device in targets_of(module):
        if device.facts.get("kind") == "emulator":
            continue
        present = [s for s in kernel.schedules.values() if is_present(s, device)]
        if not device.facts and not present:
            continue
        laid_out = [spaces.get((kernel.name, s.name, device.name)) for s in present]
        if present and all(found is not None and not found.lawful.any() for found in laid_out):
            continue  # that no point is lawful was said of each
        laws = {s.name: _deciding(s, kernel, device) for s in present}
        seen = mentions(*(e for each in laws.values() for law in each for e in (law.proposition, law.when)))
        uncovered: tuple[str, ...] | None = None
        for schedule in sorted(present, key=lambda s: len(laws[s.name])):  # the simplest covers most
            space = build_space(kernel, schedule, device, laws[schedule.name], problems_by=seen)
            if isinstance(space, Unbounded):
                if (kernel.name, schedule.name, device.name) in spaces:
                    findings.add(_unbounded(space, schedule), device.name)
                uncovered = ()
                break
            left = {str(p) for p, ok in zip(space.problems, space.answers, strict=True) if not ok}
            uncovered = tuple(
                p for p in (map(str, space.problems) if uncovered is None else uncovered) if p in left
            )
            if not uncovered:
                break
        if uncovered or not present:
            findings.add(_unanswered(kernel, present, (uncovered or ("",))[0]), device.name)


def _deciding(schedule: Schedule, kernel: Kernel, device: Device) -> tuple[Law, ...]:
    return laws_by(schedule, kernel, Means.proof, device) + laws_by(schedule, kernel, Means.guard, device)


def _unanswered(kernel: Kernel, present: list[Schedule], problem: str) -> Finding:
    guards = [
        (_proposition_span(law), "asks for run-time sizes: a guard")
        for schedule in present
        for law in schedule.laws
        if means_of_law(law, kernel) is Means.guard
    ]
    what = f" for {problem}" if problem else ""
    return Finding(
        "SPAK207",
        f"kernel `{kernel.name}` has no schedule without a guard{what}{{on}}",
        kernel.span,
        "a legal call may find no schedule" if present else "every schedule needs what the device lacks",
        also=tuple(guards),
        help=("add a schedule without `needs` and without laws over run-time sizes",),
        mistake="no answer",
    )
