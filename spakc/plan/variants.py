"""The variants of one kernel: for every schedule that has a template, the configs to build and their
launches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spak_runtime.manifest import Guard, TensorSpec
from spakc.check.check_space import is_present, laws_by
from spakc.check.space import Unbounded, build_space
from spakc.check.verdict import means_of_law
from spakc.diagnostics import Sink
from spakc.ir.module import Device, Kernel, Schedule
from spakc.ir.queries import Means
from spakc.plan.guards import guard_of
from spakc.plan.launch import (
    Config,
    LaunchPlan,
    Signature,
    StepProblem,
    axes_of,
    params_of,
    workspace_spec,
)
from spakc.plan.problem import AttentionProblem, ProductProblem
from spakc.plan.resources import refusal
from spakc.plan.select import Candidate, Measurement, Question, Selected, fills_the_device, select
from spakc.plan.steps import Steps
from spakc.plan.template import KnobValue, Template
from spakc.plan.templates import NoTemplate, default_templates, fallback, template_of
from spakc.source import Span
from spakc.target import Target, target

MAX_CANDIDATES = 20_000
"""Configs of one schedule that are ranked on one architecture."""


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """One schedule with one config: what a manifest's variant says, before it is written. `signature` is what
    its sources are generated for."""

    signature: Signature
    id: str
    schedule: str
    config: Config
    archs: tuple[str, ...]
    axes: tuple[str, ...]
    guards: tuple[Guard, ...]
    launches: tuple[LaunchPlan, ...]
    workspace: tuple[TensorSpec, ...]
    reason: str
    seconds: float = field(default=0.0, compare=False)  # by the cost model, to order schedules

    @property
    def defines(self) -> dict[str, str]:
        """The macros that every specialisation gets."""
        return {f"KNOB_{name}": _macro(value) for name, value in sorted(self.config.items())}


@dataclass(frozen=True, slots=True)
class Undecided:
    """A schedule, or a whole kernel, for which nothing is generated (`status`: undecided, none)."""

    kernel: str
    schedule: str | None
    reason: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Case:
    """The launches for calls in which options have these values (none: for every call); `label` names it."""

    steps: Steps
    label: str = ""
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to compute the kernel: a schedule of the file (or none) and the template it stands for."""

    schedule: Schedule | None
    name: str
    template: Template


def variants_of(
    kernel: Kernel,
    cases: Sequence[Case],
    devices: tuple[Device, ...],
    sink: Sink,
    measurements: tuple[Measurement, ...],
) -> tuple[tuple[VariantPlan, ...], tuple[Undecided, ...]]:
    """The variants in the order in which a call tries them, and the schedules that have none.

    Special cases come before the general one, which is the last of `cases`; guarded variants before those
    that are not, the fastest first by the order of `select`. The last variant for an architecture has no
    guard of a template's own, so that every legal call has an answer. Reports SPAK704 for a schedule none
    of whose lawful points its template can build on any of the devices.
    """
    found: list[VariantPlan] = []
    undecided: list[Undecided] = []
    for case in cases:
        ways, missing = _ways(kernel, case.steps)
        results = [(way, _variants(way, kernel, case, devices, measurements)) for way in ways]
        built = [result for _, result in results if not isinstance(result, Undecided)]
        for variants in sorted(built, key=lambda variants: min(v.seconds for v in variants)):
            found += variants
        if case is cases[-1]:
            undecided += missing
            for way, result in results:
                if isinstance(result, Undecided):
                    undecided.append(result)
                    if way.schedule is not None:
                        _report_unbuildable(way.schedule, result, sink)
    ordered = [v for v in found if v.guards] + [v for v in found if not v.guards]
    answered = {arch for variant in ordered if not variant.guards for arch in variant.archs}
    ordered += _answer(kernel, cases[-1], tuple(d for d in devices if d.arch not in answered))
    laws = (law for law in kernel.laws if means_of_law(law, kernel) is Means.guard)
    legal = tuple(guard for guard in map(guard_of, laws) if guard is not None)
    return tuple(replace(v, guards=(*legal, *v.guards)) for v in ordered), tuple(undecided)


def reachable(variants: Sequence[VariantPlan], arch: str) -> tuple[VariantPlan, ...]:
    """The variants that some call on this architecture may get: those that no earlier one answers whenever
    they could. These are worth building ahead of time; the others are there to be compared with."""
    found: list[VariantPlan] = []
    for variant in variants:
        if arch not in variant.archs:
            continue
        asked = {repr(guard.condition) for guard in variant.guards}
        if not any({repr(guard.condition) for guard in earlier.guards} <= asked for earlier in found):
            found.append(variant)
    return tuple(found)


def lead_of(steps: Steps) -> StepProblem:
    """The step that a schedule is about: the first product or attention, else the first step."""
    return next(
        (p for p in steps.problems if isinstance(p, (ProductProblem, AttentionProblem))), steps.problems[0]
    )


def _ways(kernel: Kernel, steps: Steps) -> tuple[list[_Way], list[Undecided]]:
    """The schedules that have a template, and those that have none. Where there is none of the first kind,
    the templates that suit the mathematics."""
    ways: list[_Way] = []
    undecided: list[Undecided] = []
    for schedule in kernel.schedules.values():
        template = template_of(kernel, schedule)
        if isinstance(template, NoTemplate):
            undecided.append(Undecided(kernel.name, schedule.name, template.reason, schedule.span))
        else:
            ways.append(_Way(schedule, schedule.name, template))
    if not ways:
        defaults = default_templates(lead_of(steps))
        prefix = "" if kernel.family == defaults[0].family else "unfused_"
        ways = [_Way(None, prefix + template.name, template) for template in defaults]
    return ways, undecided


def _variants(
    way: _Way,
    kernel: Kernel,
    case: Case,
    devices: tuple[Device, ...],
    measurements: tuple[Measurement, ...],
) -> list[VariantPlan] | Undecided:
    """The selected configs of one way, those that several architectures share as one variant."""
    steps = case.steps
    span = way.schedule.span if way.schedule is not None else kernel.span
    lead = lead_of(steps)
    cannot = way.template.cannot(lead, steps.signature)
    if cannot is not None:
        reason = f"template `{way.template.name}` cannot compute it: {cannot}"
        return Undecided(kernel.name, way.name, reason, span)
    chosen: list[tuple[Selected, list[Target]]] = []
    reasons: list[str] = []
    for device in devices:
        known = target(device.arch)
        assert known is not None, "devices were made from known architectures"
        candidates = _candidates(way, kernel, steps, device, known)
        if isinstance(candidates, str):
            reasons.append(f"{device.name}: {candidates}")
            continue
        question = Question(
            lead,
            steps.signature,
            way.template,
            known,
            way.name,
            way.schedule.prefers if way.schedule is not None else (),
            device.facts,
            tuple(m for m in measurements if m.kernel == kernel.name),
        )
        for selected in select(question, candidates):
            same = next((c for c in chosen if c[0].config == selected.config), None)
            if same is not None:
                same[1].append(known)
            else:
                chosen.append((selected, [known]))
    if not chosen:
        return Undecided(kernel.name, way.name, "; ".join(dict.fromkeys(reasons)), span)
    return [_variant(way, kernel, case, selected, archs) for selected, archs in _in_order(chosen)]


def _in_order(chosen: list[tuple[Selected, list[Target]]]) -> list[tuple[Selected, list[Target]]]:
    """Configs that leave a call to others come before those that do not."""
    return [c for c in chosen if c[0].yields] + [c for c in chosen if not c[0].yields]


def _candidates(
    way: _Way, kernel: Kernel, steps: Steps, device: Device, known: Target
) -> list[Candidate] | str:
    """The points that are lawful, that the template can build and that fit on the device; or why there are
    none."""
    if way.schedule is not None and not is_present(way.schedule, device):
        return "the schedule needs what the device does not state"
    missing = [feature for feature in way.template.needs if not known.has(feature)]
    if missing:
        return f"{known.arch} has no {' and no '.join(missing)}"
    points = _points(way, kernel, device)
    if isinstance(points, str):
        return points
    found: list[Candidate] = []
    why: dict[str, int] = {}
    for candidate in points:
        refused = _refused(way.template, steps, candidate.config, known)
        if refused is None:
            found.append(candidate)
        else:
            why[refused] = why.get(refused, 0) + 1
    if found:
        return found
    if not why:
        return "no lawful point"
    most = max(why, key=lambda reason: why[reason])
    return f"none of {sum(why.values())} lawful points can be built; {why[most]} of them: {most}"


def _refused(template: Template, steps: Steps, config: Config, known: Target) -> str | None:
    for knob in template.knobs:
        if not knob.lawful(config[knob.name]):
            return f"`{knob.name} = {config[knob.name]}`: the template takes {knob.domain}"
    return refusal(template.resources(lead_of(steps), steps.signature, config), known)


def _points(way: _Way, kernel: Kernel, device: Device) -> list[Candidate] | str:
    """Lawful values of every knob of the template: the schedule's, and the template's own where it leaves
    one open."""
    template, schedule = way.template, way.schedule
    if schedule is None:
        names = [knob.name for knob in template.knobs]
        every = itertools.product(*(knob.suggested for knob in template.knobs))
        return [Candidate(dict(zip(names, values, strict=True)), i) for i, values in enumerate(every)]
    space = build_space(kernel, schedule, device, laws_by(schedule, kernel, Means.proof, device))
    if isinstance(space, Unbounded):
        return f"its space has too many {space.what} ({space.count})"
    published = {knob.name for knob in template.knobs}
    named = {tuple(sorted(c.values.items())): c for c in schedule.configs if not c.on or device.name in c.on}
    found = []
    for order, point in enumerate(itertools.islice(space.lawful_configs(), MAX_CANDIDATES)):
        index = space.index_of(point)
        if index is None or not space.at(space.lawful, index).all():
            continue  # lawful for some dtypes only
        launch = {axis.name: axis.values[0] for axis in space.launch}
        values = {name: value for name, value in {**launch, **point}.items() if name in published}
        config = named.get(tuple(sorted(point.items())))
        name = config.name if config is not None else None
        found.append(Candidate({**template.defaults, **values}, order, name))
    return found


def _variant(way: _Way, kernel: Kernel, case: Case, selected: Selected, archs: list[Target]) -> VariantPlan:
    """The variant of one config: every step by the way's template where that computes it, else by its
    family's."""
    steps, signature = case.steps, case.steps.signature
    prefix = f"{case.label}_" if case.label else ""
    name = f"{prefix}{way.name}"
    config: dict[str, KnobValue] = dict(selected.config)
    lead = lead_of(steps)
    guards: list[Guard] = list(case.guards)
    if selected.yields and isinstance(lead, ProductProblem):
        guards.append(fills_the_device(lead, selected.config, min(known.sms for known in archs)))
    if way.schedule is not None:
        laws = (law for law in way.schedule.laws if means_of_law(law, kernel) is Means.guard)
        guards += [guard for guard in map(guard_of, laws) if guard is not None]
    launches: list[LaunchPlan] = []
    axes: dict[str, None] = {}
    for number, problem in enumerate(steps.problems):
        template = _template_for(way.template, problem, steps)
        for knob in template.knobs:
            config.setdefault(knob.name, knob.default)
        needed = template.requirements(problem, signature, config)
        guards += [guard for guard in needed.guards if guard not in guards]
        axes |= dict.fromkeys(axes_of(problem, signature, needed.layouts))
        stem = f"{prefix}{number + 1}_{template.name}" if len(steps.problems) > 1 else name
        shape = template.shape(problem, signature, config)
        launches.append(
            LaunchPlan(
                problem,
                template.family,
                template.path,
                f"kernels/{kernel.name}/{stem}.cu",
                f"spak_{kernel.name}_{stem}",
                params_of(problem, signature),
                shape.grid,
                shape.threads,
                shape.shared_bytes,
            )
        )
    return VariantPlan(
        signature,
        f"{name}.{selected.name or _label(selected.config)}",
        name,
        config,
        tuple(known.arch for known in archs),
        tuple(axes),
        tuple(guards),
        tuple(launches),
        tuple(workspace_spec(tensor) for tensor in signature.carried.values()),
        selected.reason,
        selected.seconds,
    )


def _template_for(wanted: Template, problem: StepProblem, steps: Steps) -> Template:
    """The wanted template where it computes this step, else the one that always does."""
    defaults = default_templates(problem)
    suits = wanted in defaults or (problem is lead_of(steps) and wanted.family == defaults[0].family)
    if suits and wanted.cannot(problem, steps.signature) is None:
        return wanted
    found = fallback(problem, steps.signature)
    assert found is not None, "a step without any template is found out before its kernel has variants"
    return found


def _answer(kernel: Kernel, case: Case, devices: tuple[Device, ...]) -> list[VariantPlan]:
    """The variant that answers what no other may, for devices where every other one has a guard."""
    template = fallback(lead_of(case.steps), case.steps.signature)
    if template is None or not devices:
        return []
    known = [t for t in (target(device.arch) for device in devices) if t is not None]
    reason = "answers the calls that no other variant may"
    way = _Way(None, template.name, template)
    return [_variant(way, kernel, case, Selected(template.defaults, None, reason), known)]


def _label(config: Config) -> str:
    return "x".join(str(value) for value in config.values())


def _macro(value: KnobValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _report_unbuildable(schedule: Schedule, found: Undecided, sink: Sink) -> None:
    sink.report(
        "SPAK704",
        f"nothing can be built for the schedule `{schedule.name}`",
        schedule.span,
        "no kernel of this schedule will exist",
        notes=found.reason.split("; "),
        severity="warning",
    )
