"""From the space of a schedule to the configs that can be built for a device: what is lawful, what the template makes
of it, and why the others fell."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from spak_runtime.manifest import Guard
from spakc.check.check_space import is_present, laws_by
from spakc.check.space import Axis, Bools, Space, Unbounded, build_space
from spakc.ir.module import Device, Kernel, Law, Schedule
from spakc.ir.queries import Means
from spakc.plan.guards import guard_of
from spakc.plan.launch import Config, StepProblem
from spakc.plan.problem import AttentionGradientProblem, AttentionProblem, ProductProblem, RowsProblem
from spakc.plan.resources import refusal
from spakc.plan.select import Candidate
from spakc.plan.steps import Steps
from spakc.plan.template import KnobValue, Template
from spakc.plan.templates import default_templates, fallback
from spakc.plan.templates_held import BESIDE, NARROW_BESIDE
from spakc.record import record
from spakc.target import Target

MAX_CANDIDATES = 20_000
"""Configs of one schedule that are ranked on one architecture."""


@record
class Way:
    """One way to compute the kernel: a schedule of the file (or none) and the template it stands for."""

    schedule: Schedule | None
    name: str
    template: Template


@record
class Narrowed:
    """`space` of a schedule of the file (None for the template's own suggestions), the configs of it that can be
    built, and how many the template refuses for which reason."""

    space: Space | None
    candidates: tuple[Candidate, ...]
    refused: Mapping[str, int]


def lead_of(steps: Steps) -> StepProblem:
    """The step that a schedule is about: the first product or attention, else the first step."""
    leads = (ProductProblem, AttentionProblem, AttentionGradientProblem)
    return next((p for p in steps.problems if isinstance(p, leads)), steps.problems[0])


def candidates_of(way: Way, kernel: Kernel, steps: Steps, device: Device, known: Target) -> Narrowed | str:
    """The points of a schedule's space that are lawful, that the template can build and that fit on the device; or
    why there are none."""
    if way.schedule is not None and not is_present(way.schedule, device):
        return "the schedule needs what the device does not state"
    missing = [feature for feature in way.template.needs if not known.has(feature)]
    if missing:
        return f"{known.arch} has no {' and no '.join(missing)}"
    points = _points(way, kernel, device)
    if isinstance(points, str):
        return points
    space, candidates = points
    found: list[Candidate] = []
    why: dict[str, int] = {}
    for candidate in candidates:
        refused = _refused(way.template, steps, candidate.config, known)
        if refused is None:
            found.append(candidate)
        else:
            why[refused] = why.get(refused, 0) + 1
    if found:
        return Narrowed(space, tuple(found), why)
    if not why:
        return "no lawful point"
    most = max(why, key=lambda reason: why[reason])
    return f"none of {sum(why.values())} lawful points can be built; {why[most]} of them: {most}"


def _refused(wanted: Template, steps: Steps, config: Config, known: Target) -> str | None:
    """Why the launches of all steps cannot be built with this config, or None."""
    for problem in steps.problems:
        template = template_for(wanted, problem, steps, config)
        complete = {**template.defaults, **config}
        for knob in template.knobs:
            if not knob.lawful(complete[knob.name]):
                return f"`{knob.name} = {complete[knob.name]}`: the template takes {knob.domain}"
        reason = template.refuses(problem, steps.signature, complete)
        reason = reason or refusal(template.resources(problem, steps.signature, complete), known)
        if reason is not None:
            return reason
    return None


def _points(way: Way, kernel: Kernel, device: Device) -> tuple[Space | None, list[Candidate]] | str:
    """Lawful values of every knob of the template: the schedule's, and the template's own where it leaves
    one open."""
    template, schedule = way.template, way.schedule
    if schedule is None:
        names = [knob.name for knob in template.knobs]
        every = itertools.product(*(knob.suggested for knob in template.knobs))
        return None, [Candidate(dict(zip(names, values, strict=True)), i) for i, values in enumerate(every)]
    space = build_space(kernel, schedule, device, laws_by(schedule, kernel, Means.proof, device))
    if isinstance(space, Unbounded):
        return f"its space has too many {space.what} ({space.count})"
    launch = {axis.name: _at_launch(axis, template) for axis in space.launch}
    named = [c for c in schedule.configs if not c.on or device.name in c.on]
    found = []
    always = [np.asarray(holds.all(axis=0)) for holds in space.holds]  # for every problem, at each point
    partial = [(law, whole) for law, whole in zip(space.laws, always, strict=True) if not whole.all()]
    for order, point in enumerate(itertools.islice(space.lawful_configs(), MAX_CANDIDATES)):
        guards = _for_some_problems(space, point, partial)
        if guards is None:
            continue
        own: list[tuple[str | None, Config]] = [
            (c.name, {**launch, **c.values}) for c in named if point.items() <= c.values.items()
        ]
        plain: Config = {**launch, **point}
        if all(plain.items() != config.items() for _, config in own):
            own.append((None, plain))
        for name, chosen in own:
            values = {knob.name: chosen.get(knob.name, knob.default) for knob in template.knobs}
            found.append(Candidate(values, order, name, guards))
    return space, found


def _at_launch(axis: Axis, template: Template) -> KnobValue:
    """The value of a knob that no law is about: the template's own, else the first of the file."""
    default = template.defaults.get(axis.name)
    return default if default is not None and axis.index(default) is not None else axis.values[0]


def _for_some_problems(
    space: Space, point: Config, partial: Sequence[tuple[Law, Bools]]
) -> tuple[Guard, ...] | None:
    """The laws that hold at this point for some dtypes, options and compiled dims only, as guards; None where
    one of them has no form as a guard. `partial`: the laws that do not hold everywhere, and the points at which
    each holds for all."""
    index = space.index_of(point)
    assert index is not None, "a lawful point is a member of its space"
    guards = []
    for law, whole in partial:
        if not whole[tuple(i if n > 1 else 0 for i, n in zip(index, whole.shape, strict=True))]:
            guard = guard_of(law)
            if guard is None:
                return None
            guards.append(guard)
    return tuple(guards)


def template_for(wanted: Template, problem: StepProblem, steps: Steps, config: Config) -> Template:
    """The wanted template where it computes this step. Else, beside tensor cores, which have guards anyway, one that
    moves rows in vectors, unless `config` has its knobs at other values: all launches of a variant have one set of
    macros. Else the one that always computes it."""
    defaults = default_templates(problem)
    suits = wanted in defaults or (problem is lead_of(steps) and wanted.family == defaults[0].family)
    if suits and wanted.cannot(problem, steps.signature) is None:
        return wanted
    if wanted.tensor_cores and isinstance(problem, RowsProblem):
        rows = [each for each in steps.problems if isinstance(each, RowsProblem)]
        narrow = all(NARROW_BESIDE.cannot(each, steps.signature) is None for each in rows)
        beside = NARROW_BESIDE if narrow else BESIDE
        as_meant = all(config.get(name, value) == value for name, value in beside.defaults.items())
        if as_meant and beside.cannot(problem, steps.signature) is None:
            return beside
    found = fallback(problem, steps.signature)
    assert found is not None, "a step without any template is found out before its kernel has variants"
    return found
