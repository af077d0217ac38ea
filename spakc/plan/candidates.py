"""From the space of a schedule to the configs that can be built for a device: what is lawful, what the template makes
of it, and why the others fell."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spak_runtime.manifest import Guard
from spakc.check.check_space import is_present, laws_by
from spakc.check.space import Axis, Space, Unbounded, build_space
from spakc.ir.module import Device, Kernel, Schedule
from spakc.ir.queries import Means
from spakc.plan.guards import guard_of
from spakc.plan.launch import Config, Signature, StepProblem
from spakc.plan.problem import (
    AttentionGradientProblem,
    AttentionProblem,
    ElementwiseProblem,
    ProductProblem,
    RowsProblem,
    WholeGradientProblem,
)
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
    leads = (ProductProblem, AttentionProblem, AttentionGradientProblem, WholeGradientProblem)
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
    choices = [(problem, _templates_for(way.template, problem, steps)) for problem in steps.problems]
    for candidate in candidates:
        refused = _refused(choices, steps.signature, candidate.config, known)
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


def _refused(
    choices: Sequence[tuple[StepProblem, Callable[[Config], Template]]],
    signature: Signature,
    config: Config,
    known: Target,
) -> str | None:
    """Why the launches of all steps cannot be built with this config, or None."""
    for problem, choose in choices:
        template = choose(config)
        complete = {**template.defaults, **config}
        for knob in template.knobs:
            if not knob.lawful(complete[knob.name]):
                return f"`{knob.name} = {complete[knob.name]}`: the template takes {knob.domain}"
        reason = template.refuses(problem, signature, complete)
        reason = reason or refusal(template.resources(problem, signature, complete), known)
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
    guards_at = _for_some_problems(space)
    for order, (place, point) in enumerate(itertools.islice(space.placed_configs(), MAX_CANDIDATES)):
        guards = guards_at(place)
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


def _for_some_problems(space: Space) -> Callable[[tuple[int, ...]], tuple[Guard, ...] | None]:
    """Of a lawful place, the laws that hold there for some dtypes, options and compiled dims only, as guards; None
    where one of them has no form as a guard."""
    always = [holds.all(axis=0) for holds in space.holds]  # for every problem, at each place
    partial = [(law, whole) for law, whole in zip(space.laws, always, strict=True) if not whole.all()]
    if not partial:
        return lambda _place: ()
    broken = ~np.stack([np.broadcast_to(whole, space.lawful.shape[1:]) for _, whole in partial], axis=-1)

    @functools.cache
    def guards(which: tuple[bool, ...]) -> tuple[Guard, ...] | None:
        found = [guard_of(law) for (law, _), is_broken in zip(partial, which, strict=True) if is_broken]
        return None if None in found else tuple(guard for guard in found if guard is not None)

    return lambda place: guards(tuple(broken[place].tolist()))


def template_for(wanted: Template, problem: StepProblem, steps: Steps, config: Config) -> Template:
    """The wanted template where it computes this step. Else, beside tensor cores, which have guards anyway, one that
    moves rows in vectors, unless `config` has its knobs at other values: all launches of a variant have one set of
    macros. Else the one that always computes it."""
    return _templates_for(wanted, problem, steps)(config)


def _templates_for(wanted: Template, problem: StepProblem, steps: Steps) -> Callable[[Config], Template]:
    """`template_for` of every config: what does not depend on the config is asked once."""
    defaults = default_templates(problem)
    suits = wanted in defaults or (problem is lead_of(steps) and wanted.family == defaults[0].family)
    if suits and wanted.cannot(problem, steps.signature) is None:
        return lambda _config: wanted
    found = fallback(problem, steps.signature)
    assert found is not None, "a step without any template is found out before its kernel has variants"
    beside = _beside(steps)
    if not (wanted.tensor_cores and isinstance(problem, RowsProblem)):
        return lambda _config: found
    if beside.cannot(problem, steps.signature) is not None:
        return lambda _config: found
    meant = beside.defaults.items()
    return lambda config: beside if all(config.get(name, value) == value for name, value in meant) else found


def _beside(steps: Steps) -> Template:
    """What computes rows beside tensor cores. Element-wise steps have as many threads, so that a row may not have too
    few for them."""
    rows = [each for each in steps.problems if isinstance(each, RowsProblem)]
    narrow = all(NARROW_BESIDE.cannot(each, steps.signature) is None for each in rows)
    elementwise = any(isinstance(each, ElementwiseProblem) for each in steps.problems)
    return NARROW_BESIDE if narrow and not elementwise else BESIDE
