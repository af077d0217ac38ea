"""From all points of a schedule's space to those worth a timing, for one call: what the laws leave, what the template
can build, and how long the cost model says it takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field

from spakc.bench.questions import Call
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.module import Device, Kernel, Prefer, Schedule
from spakc.plan.candidates import Way, candidates_of, lead_of
from spakc.plan.cost_model import ProductShape, product_time
from spakc.plan.launch import Config
from spakc.plan.problem import IndexRange, ProductProblem
from spakc.plan.recognise import recognise
from spakc.plan.steps import steps_of
from spakc.plan.template import KnobValue, Template
from spakc.plan.templates import NoTemplate, template_of
from spakc.record import record
from spakc.target import target


@record
class Modelled:
    """A config that can be built; `seconds` by the cost model. `named` where the file names it."""

    config: Config
    seconds: float
    limit: str
    named: bool = False


@record
class Funnel:
    """`fell` says why points fell, most first; `ranked` is what is left, the fastest first."""

    kernel: Kernel
    schedule: Schedule
    template: Template
    call: Call
    points: int
    lawful: int
    fell: tuple[str, ...]
    ranked: tuple[Modelled, ...]
    free: Mapping[str, tuple[KnobValue, ...]] = field(default_factory=dict)
    """The values of knobs that are chosen at launch and that no law mentions."""

    @property
    def name(self) -> str:
        return f"{self.kernel.name}.{self.schedule.name}"

    @property
    def prefers(self) -> tuple[Prefer, ...]:
        """Those that apply to this call."""
        env = Env().dims(self.call.dims).options(self.call.options)
        return tuple(p for p in self.schedule.prefers if p.when is None or evaluate(p.when, env) is True)


def funnel(kernel: Kernel, schedule: Schedule, call: Call, device: Device) -> Funnel | str:
    """Of one schedule; or why nothing of it can be tuned on the device."""
    problem = recognise(kernel, Sink())
    template = template_of(kernel, schedule)
    known = target(device.arch)
    if problem is None or known is None or isinstance(template, NoTemplate):
        return (
            template.reason
            if isinstance(template, NoTemplate)
            else "its mathematics has no form that is generated"
        )
    steps = steps_of(problem, kernel)
    if isinstance(steps, str):
        return steps
    lead = lead_of(steps)
    cannot = template.cannot(lead, steps.signature)
    if cannot is not None:
        return f"template `{template.name}` cannot compute it: {cannot}"
    if not isinstance(lead, ProductProblem):
        return "there is no cost model for its family"
    narrowed = candidates_of(Way(schedule, schedule.name, template), kernel, steps, device, known)
    if isinstance(narrowed, str):
        return narrowed
    shape = _shape(lead, call)
    ranked = []
    for candidate in narrowed.candidates:
        resources = template.resources(lead, steps.signature, candidate.config)
        estimate = product_time(template, candidate.config, resources, shape, known)
        assert isinstance(estimate.seconds, int | float), "the sizes of a call are known"
        if math.isfinite(estimate.seconds):
            ranked.append(
                Modelled(candidate.config, estimate.seconds, estimate.limit, candidate.name is not None)
            )
    ranked.sort(key=lambda each: (each.seconds, key_of(each.config)))
    assert narrowed.space is not None, "a schedule of the file has a space"
    fell = [(cut.alone + cut.among, f"law {cut.law.name}") for cut in narrowed.space.cuts]
    fell += [(count, f"the template: {why}") for why, count in narrowed.refused.items()]
    lost = len(narrowed.candidates) - len(ranked)
    fell += [(lost, "a block does not fit")] if lost else []
    told = tuple(f"{why} cuts {count}" for count, why in sorted(fell, key=lambda f: -f[0]) if count)
    space = narrowed.space
    free = {axis.name: tuple(axis.values) for axis in space.launch if axis.name in template.defaults}
    return Funnel(
        kernel, schedule, template, call, space.points, space.lawful_points, told, tuple(ranked), free
    )


def key_of(config: Config) -> str:
    """The text by which a config is known, whatever the order of its knobs."""
    return " ".join(f"{name}={value}" for name, value in sorted(config.items()))


def _shape(problem: ProductProblem, call: Call) -> ProductShape:
    def count(ranges: tuple[IndexRange, ...]) -> int:
        found = 1
        for each in ranges:
            extent = evaluate(each.extent, Env().dims(call.dims))
            assert not isinstance(extent, Unknown), "every dim of a call has a size"
            found *= int(extent)
        return found

    rows, columns, reduced, batch = map(
        count, (problem.rows, problem.columns, problem.reduced, problem.batch)
    )
    return ProductShape(rows, columns, reduced, batch=batch)
