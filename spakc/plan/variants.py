"""The variants of one kernel: for every schedule that has a template, the configs to build and their
launches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TypeAlias

from spak_runtime.manifest import Expression, Guard, TensorSpec
from spakc.check.verdict import means_of_law
from spakc.diagnostics import Sink
from spakc.ir.module import Device, Kernel, Schedule
from spakc.ir.queries import Means
from spakc.plan.candidates import Way, candidates_of, lead_of, template_for
from spakc.plan.estimates import PlannedStep, TimedProblem, at_a_call, at_references, preferences
from spakc.plan.guards import guard_of
from spakc.plan.launch import (
    Config,
    LaunchPlan,
    Signature,
    StepProblem,
    added_by,
    axes_of,
    workspace_spec,
)
from spakc.plan.problem import ProductProblem
from spakc.plan.select import Measurement, Question, Selected, select
from spakc.plan.steps import Steps
from spakc.plan.template import KnobValue
from spakc.plan.templates import NoTemplate, default_templates, fallback, template_of
from spakc.record import record
from spakc.source import Span
from spakc.target import Target, target

SUFFIXES = {"cuda": "cu", "cutile": "py"}
"""Of a source, by the backend that it is written for."""

ANSWERS = "answers the calls that no other variant may"

Asked: TypeAlias = Mapping[tuple[str, str], tuple[Config, ...]]
"""Configs that are wanted instead of chosen ones, by kernel and schedule."""


@record
class VariantPlan:
    """One schedule with one config: what a manifest's variant says, before it is written. `signature` is what
    its sources are generated for; knobs `at_launch` are arguments of its kernels. `estimates` and `prefers` are
    what a call is decided by where several variants admit it (see manifest.Variant)."""

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
    at_launch: frozenset[str] = frozenset()
    estimates: Mapping[str, Expression] = field(default_factory=dict)
    prefers: tuple[Expression, ...] = ()
    at_reference: Mapping[str, tuple[float, ...]] = field(default_factory=dict, compare=False)
    """By architecture: seconds at each of the reference shapes."""
    by_hand: str = ""

    @property
    def defines(self) -> dict[str, str]:
        """The macros that every specialisation gets."""
        compiled_in = sorted(self.config.keys() - self.at_launch)
        return {f"KNOB_{name}": _macro(self.config[name]) for name in compiled_in}

    @property
    def derived(self) -> dict[str, Expression]:
        """The macros that follow from knobs and compiled dims."""
        return {name: value for launch in self.launches for name, value in launch.derived.items()}


@record
class Undecided:
    """A schedule, or a whole kernel, for which nothing is generated (`status`: undecided, none)."""

    kernel: str
    schedule: str | None
    reason: str
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Case:
    """The launches for calls in which options have these values (none: for every call); `label` names it. The file's
    schedules are about the case that is `by_schedules`; what other cases launch is the templates' own choice."""

    steps: Steps
    label: str = ""
    guards: tuple[Guard, ...] = ()
    by_schedules: bool = True


def variants_of(
    kernel: Kernel,
    cases: Sequence[Case],
    devices: tuple[Device, ...],
    sink: Sink,
    measurements: tuple[Measurement, ...],
    asked: Asked,
) -> tuple[tuple[VariantPlan, ...], tuple[Undecided, ...]]:
    """The variants in the order in which a call tries them, and the schedules that have none.

    Special cases come before the general one, which is the last of `cases`; guarded variants before those
    that are not, by the order of the file and of `select`. The last variant for an architecture has no
    guard of a template's own, so that every legal call has an answer. Reports SPAK704 for a schedule none
    of whose lawful points its template can build on any of the devices.
    """
    found: list[VariantPlan] = []
    undecided: list[Undecided] = []
    general = next(case for case in reversed(cases) if case.by_schedules)
    parted = any(map(_is_in_parts, cases))
    for case in cases:
        ways, missing = _ways(kernel, case, parted)
        results = [(way, _variants(way, kernel, case, devices, measurements, asked)) for way in ways]
        for _, result in results:
            if not isinstance(result, Undecided):
                found += result
        if case is general:
            undecided += missing
        if case is general or _is_in_parts(case):
            for way, result in results:
                if isinstance(result, Undecided) and way.schedule is not None:
                    undecided.append(result)
                    _report_unbuildable(way.schedule, result, sink)
    ordered = [v for v in found if v.guards] + [v for v in found if not v.guards]
    answered = {arch for variant in ordered if not variant.guards for arch in variant.archs}
    ordered += _answer(kernel, cases[-1], tuple(d for d in devices if d.arch not in answered))
    return tuple(_legal(ordered, kernel)), tuple(undecided)


def variants_by(
    way: Way, kernel: Kernel, steps: Steps, devices: tuple[Device, ...], answer: Config
) -> tuple[VariantPlan, ...] | Undecided:
    """The variants of one way alone; the last, with the config `answer`, is to have no guard of the template's own."""
    case = Case(steps)
    found = _variants(way, kernel, case, devices, (), {})
    if isinstance(found, Undecided):
        return found
    archs = [known for known in (target(device.arch) for device in devices) if known is not None]
    return tuple(
        _legal([*found, _variant(way, kernel, case, Selected(answer, None, ANSWERS), archs)], kernel)
    )


def _legal(variants: Sequence[VariantPlan], kernel: Kernel) -> Iterator[VariantPlan]:
    """The variants with what the kernel's own laws ask of a call."""
    laws = (law for law in kernel.laws if means_of_law(law, kernel) is Means.guard)
    legal = tuple(guard for guard in map(guard_of, laws) if guard is not None)
    yield from (replace(v, guards=(*legal, *v.guards)) for v in variants)


NEAR = 1.2
"""Variants whose times differ by less than this are not worth a build each before a call asks for it: the cost model is
off by as much, and more, at a single size."""


def ahead_of_time(variants: Sequence[VariantPlan], arch: str) -> tuple[VariantPlan, ...]:
    """The variants that are worth building before a call asks for them, as far as the reference shapes show. For
    calls that meet the most guards: enough of them that each shape has one within `NEAR` of the fastest. For calls
    that meet fewer: the one that is best on average. Others are built when a call first chooses them, as are those of
    sums in parts: two launches each, for few calls."""
    present = [
        v for v in variants if arch in v.archs and not any(_computes_parts(s.problem) for s in v.launches)
    ]
    guards = [frozenset(repr(guard.condition) for guard in variant.guards) for variant in present]
    chosen: list[int] = []
    for met in sorted(dict.fromkeys(guards), key=len):
        admitted = [i for i, asked in enumerate(guards) if asked <= met]
        slower = _slower(present, admitted, arch)
        open_ = set(range(len(present[admitted[0]].at_reference[arch])))
        if any(met < others for others in guards):
            average = {i: sum(map(math.log, ratios)) for i, ratios in slower.items()}
            best = min(average, key=lambda i: (average[i], i))
            chosen += [best] if best not in chosen else []
            continue
        near = {i: {s for s in open_ if ratios[s] <= NEAR} for i, ratios in slower.items()}
        open_ -= set().union(*(near.get(i, set()) for i in chosen))
        while open_:
            best = max(near, key=lambda i: (len(near[i] & open_), -i))
            chosen.append(best)
            open_ -= near[best]
    return tuple(present[i] for i in sorted(chosen))


def _slower(
    variants: Sequence[VariantPlan], admitted: Sequence[int], arch: str
) -> dict[int, tuple[float, ...]]:
    """How many times as long as the fastest of the admitted each takes at each of the reference shapes. Those that are
    timed at shapes of another kind than the first come after it, whatever they take: they are left out."""
    times = {i: variants[i].at_reference[arch] for i in admitted}
    count = len(times[admitted[0]])
    times = {i: found for i, found in times.items() if len(found) == count}
    fastest = [min(found[s] for found in times.values()) for s in range(count)]
    return {
        i: tuple(1.0 if best == 0 else t / best for t, best in zip(found, fastest, strict=True))
        for i, found in times.items()
    }


def _is_in_parts(case: Case) -> bool:
    return _computes_parts(lead_of(case.steps))


def _computes_parts(problem: StepProblem | None) -> bool:
    return isinstance(problem, ProductProblem) and problem.parts is not None


def _ways(kernel: Kernel, case: Case, parted: bool) -> tuple[list[Way], list[Undecided]]:
    """The schedules that have a template, and those that have none. Where there is none of the first kind,
    the templates that suit the mathematics. Where some case is `parted`, schedules of sums in parts are about it, the
    others about the others."""
    ways: list[Way] = []
    undecided: list[Undecided] = []
    for schedule in kernel.schedules.values() if case.by_schedules else ():
        template = template_of(kernel, schedule)
        if isinstance(template, NoTemplate):
            undecided.append(Undecided(kernel.name, schedule.name, template.reason, schedule.span))
        elif not parted or template.in_parts == _is_in_parts(case):
            ways.append(Way(schedule, schedule.name, template))
    if not ways:
        defaults = default_templates(lead_of(case.steps))
        own = (kernel.family, f"{kernel.family}_gradient")
        prefix = "" if defaults[0].family in own else "unfused_"
        ways = [Way(None, prefix + template.name, template) for template in defaults]
    return ways, undecided


def _variants(
    way: Way,
    kernel: Kernel,
    case: Case,
    devices: tuple[Device, ...],
    measurements: tuple[Measurement, ...],
    asked: Asked,
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
        narrowed = candidates_of(way, kernel, steps, device, known)
        if isinstance(narrowed, str):
            reasons.append(f"{device.name}: {narrowed}")
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
            asked.get((kernel.name, way.name), ()),
        )
        for selected in select(question, narrowed.candidates):
            same = next((c for c in chosen if c[0].config == selected.config), None)
            if same is not None:
                same[1].append(known)
            else:
                chosen.append((selected, [known]))
    if not chosen:
        return Undecided(kernel.name, way.name, "; ".join(dict.fromkeys(reasons)), span)
    return [_variant(way, kernel, case, selected, archs) for selected, archs in chosen]


def _variant(way: Way, kernel: Kernel, case: Case, selected: Selected, archs: list[Target]) -> VariantPlan:
    """The variant of one config: every step by the way's template where that computes it, else by its
    family's."""
    steps, signature = case.steps, case.steps.signature
    prefix = f"{case.label}_" if case.label else ""
    name = f"{prefix}{way.name}"
    config: dict[str, KnobValue] = dict(selected.config)
    guards: list[Guard] = [*case.guards, *selected.guards]
    if way.schedule is not None:
        laws = (law for law in way.schedule.laws if means_of_law(law, kernel) is Means.guard)
        guards += [guard for guard in map(guard_of, laws) if guard is not None]
    launches: list[LaunchPlan] = []
    axes: dict[str, None] = {}
    at_launch: set[str] = set()
    timed: list[PlannedStep] = []
    for number, problem in enumerate(steps.problems):
        template = template_for(way.template, problem, steps, config)
        for knob in template.knobs:
            config.setdefault(knob.name, knob.default)
            if knob.at_launch:
                at_launch.add(knob.name)
        needed = template.requirements(problem, signature, config)
        guards += [guard for guard in needed.guards if guard not in guards]
        axes |= dict.fromkeys(axes_of(problem, signature, needed.layouts))
        if isinstance(problem, TimedProblem):
            timed.append((problem, template, {**template.defaults, **config}))
        stem = f"{prefix}{number + 1}_{template.name}" if len(steps.problems) > 1 else name
        shape = template.shape(problem, signature, config)
        launches.append(
            LaunchPlan(
                problem,
                template.family,
                template.path,
                f"kernels/{kernel.name}/{stem}.{SUFFIXES[template.backend]}",
                f"spak_{kernel.name.replace('.', '_')}_{stem}",  # a kernel of a file used under an alias has dots
                template.params(problem, signature, config),
                shape.grid,
                shape.threads,
                shape.shared_bytes,
                shape.cluster,
                one_by_one=template.backend == "cutile",
                overlaps=template.backend == "cuda",  # its first statement waits for the launch before
                unordered=template.unordered,
                derived=template.derived(problem, signature, config),
                adds=added_by(problem, signature),
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
        frozenset(at_launch),
        {known.arch: e for known in archs if (e := at_a_call(timed, signature, known, selected.correction))},
        preferences(way.schedule.prefers if way.schedule is not None else (), config),
        {known.arch: at_references(timed, signature, known, selected.correction) for known in archs},
    )


def _answer(kernel: Kernel, case: Case, devices: tuple[Device, ...]) -> list[VariantPlan]:
    """The variant that answers what no other may, for devices where every other one has a guard."""
    template = fallback(lead_of(case.steps), case.steps.signature)
    if template is None or not devices:
        return []
    schedule = next((s for s in kernel.schedules.values() if template_of(kernel, s) is template), None)
    own: list[tuple[Way, Config, list[Target]]] = []
    for device in devices:
        known = target(device.arch)
        assert known is not None, "devices were made from known architectures"
        way = Way(None, template.name, template)
        config: Config = template.defaults
        if (
            schedule is not None
        ):  # its laws bind this variant too; what no lawful point answers is none of the schedule
            of_file = Way(schedule, schedule.name, template)
            lawful = _unguarded(of_file, kernel, case.steps, device, known)
            way = of_file if lawful is not None else Way(None, f"answer_{template.name}", template)
            config = config if lawful is None else lawful
        same = next((each for each in own if each[:2] == (way, config)), None)
        if same is not None:
            same[2].append(known)
        else:
            own.append((way, config, [known]))
    return [_variant(w, kernel, case, Selected(c, None, ANSWERS), archs) for w, c, archs in own]


def _unguarded(way: Way, kernel: Kernel, steps: Steps, device: Device, known: Target) -> Config | None:
    """The first lawful point of a schedule that answers every call."""
    found = candidates_of(way, kernel, steps, device, known)
    for candidate in () if isinstance(found, str) else found.candidates:
        asked = [
            template_for(way.template, problem, steps, candidate.config).requirements(
                problem, steps.signature, candidate.config
            )
            for problem in steps.problems
        ]
        if not candidate.guards and not any(needed.guards for needed in asked):
            return candidate.config
    return None


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
