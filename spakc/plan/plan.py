"""CheckedModule → Plan: which kernels are generated, by which templates, with which configs, and why.

The plan decides everything; emitting only writes it down. A schedule without a template is no error: it is
listed as undecided, with the reason, and every legal call still has an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from spak_runtime.manifest import Guard
from spakc.check.checked import CheckedModule
from spakc.diagnostics import Sink
from spakc.ir.derive import Derivation, Underivable, gradient
from spakc.ir.inline import inline, loads, plain_target
from spakc.ir.module import Device, Gradient, Kernel, Module
from spakc.ir.ops import Load
from spakc.ir.specialise import specialise
from spakc.plan.attention_gradient import Way, fused_gradient
from spakc.plan.flat import flat_of
from spakc.plan.fuse import fused
from spakc.plan.launch import Signature
from spakc.plan.mismatch import Mismatch
from spakc.plan.problem import AttentionProblem, Problem
from spakc.plan.recognise import recognise
from spakc.plan.select import Measurement
from spakc.plan.split import split
from spakc.plan.steps import Steps, in_parts_of, one_pass_of, steps_of
from spakc.plan.template import Template
from spakc.plan.templates import check_templates, template_of
from spakc.plan.variants import Asked, Case, Undecided, VariantPlan, variants_of
from spakc.record import record
from spakc.source import SourceFile, Span
from spakc.target import TARGETS, Target, target

_OWN_WAY = ("optimizer", "expand")
"""Operations of a model whose kernels are not differentiated: what `expand` computes is differentiated by products."""


@record
class GradientPlan:
    """`kernel` names the planned kernel that computes the gradients of `outputs` with respect to `inputs`;
    `saves` are the forward's outputs that it reads."""

    kernel: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    saves: tuple[str, ...]


@record
class KernelPlan:
    """`variants` in the order in which a call tries them; the last one answers whatever the others refuse.
    Without a template for its family, a kernel has no variants and runs as its mathematics."""

    kernel: Kernel
    problem: Problem | None
    variants: tuple[VariantPlan, ...]
    undecided: tuple[Undecided, ...]
    gradients: tuple[GradientPlan, ...] = ()


@record
class Plan:
    """Everything that is generated, for these architectures. `facts` are what the file says of its
    devices."""

    checked: CheckedModule
    archs: tuple[str, ...]
    kernels: Mapping[str, KernelPlan]
    facts: Mapping[str, Mapping[str, bool | int | float | str]]

    @property
    def undecided(self) -> tuple[Undecided, ...]:
        return tuple(itertools.chain.from_iterable(kernel.undecided for kernel in self.kernels.values()))


def plan(
    checked: CheckedModule,
    archs: Iterable[str],
    sink: Sink,
    measurements: Sequence[Measurement] = (),
    asked: Asked | None = None,
) -> Plan:
    """Plans every kernel of a checked module.

    `archs` are names of architectures (sm_80 …); without any, those of the file's targets. Reports SPAK701
    and SPAK702 (schedules and knobs without a template), SPAK703 (an architecture that does not exist),
    SPAK704 (a schedule none of whose points can be built). `measurements` come from the evidence; `asked` are
    configs to build instead of those that would be chosen.
    """
    module = checked.module
    devices = devices_of(module, tuple(archs), sink)
    if not devices:
        return Plan(checked, (), {}, {})
    trained_through = {
        kernel for model in module.models.values() for op, kernel in model.uses.items() if op not in _OWN_WAY
    }
    kernels: dict[str, KernelPlan] = {}
    for kernel in module.kernels.values():
        check_templates(kernel, sink)
        planned = _plan_kernel(
            kernel, recognise(kernel, sink), devices, sink, tuple(measurements), asked or {}
        )
        backward = _backward(kernel, planned.problem, kernel.name in trained_through, module, devices, sink)
        gradients = tuple(gradient for gradient, _ in backward)
        kernels[kernel.name] = replace(planned, gradients=gradients)
        kernels |= {plan.kernel.name: plan for _, plan in backward}
    facts = {device.arch: dict(device.facts) for device in devices}
    return Plan(checked, tuple(facts), kernels, facts)


def _plan_kernel(
    kernel: Kernel,
    problem: Problem | None,
    devices: tuple[Device, ...],
    sink: Sink,
    measurements: tuple[Measurement, ...],
    asked: Asked,
    derived: bool = False,
    on_chip: Sequence[Way] = (),
) -> KernelPlan:
    """One kernel whose mathematics was recognised; `on_chip` are ways to launch it that come first. Reports SPAK704."""
    if problem is None:
        reason = "its mathematics has no form that is generated"
        return KernelPlan(kernel, None, (), (Undecided(kernel.name, None, reason, kernel.span),))
    steps = steps_of(problem, kernel)
    if isinstance(steps, str):
        undecided = [Undecided(kernel.name, s.name, steps, s.span) for s in kernel.schedules.values()]
        whole = Undecided(kernel.name, None, steps, kernel.span)
        return KernelPlan(kernel, problem, (), tuple(undecided) or (whole,))
    cases = [*(_special_cases(kernel, steps) if derived else ()), Case(steps)]
    together = one_pass_of(problem, kernel)
    if together is not None:
        cases.insert(-1, Case(together, "one_pass"))
    flat = None if kernel.schedules else flat_of(steps)
    if flat is not None:
        cases.insert(-1, Case(flat[0], "flat", flat[1]))
    parted = in_parts_of(problem, kernel) if _in_parts_by_file(kernel) else None
    if parted is not None:
        cases.insert(-1, Case(parted[0], guards=(parted[1],)))
    panel = fused(problem)
    if panel is not None:
        cases = [
            Case(Steps((panel,), Signature(kernel))),
            *(replace(case, by_schedules=False) for case in cases),
        ]
    better = [(steps_of(way.problem, kernel), way) for way in on_chip]
    cases = [
        *(Case(steps, way.label, way.guards) for steps, way in better if not isinstance(steps, str)),
        *cases,
    ]
    variants, missing = variants_of(kernel, cases, devices, sink, measurements, asked)
    return KernelPlan(kernel, problem, variants, missing)


def _in_parts_by_file(kernel: Kernel) -> bool:
    templates = [template_of(kernel, schedule) for schedule in kernel.schedules.values()]
    return any(isinstance(template, Template) and template.in_parts for template in templates)


def _special_cases(kernel: Kernel, general: Steps) -> list[Case]:
    """Choices of an option under which a derivative takes fewer launches: without an activation, nothing
    of the forward pass is computed again."""
    found = []
    for option in kernel.options.values():
        for choice in option.choices:
            fixed = _without_copies(specialise(kernel, {option.name: choice}))
            if len(_needed(fixed)) >= len(_needed(kernel)):
                continue
            try:
                steps = steps_of(split(fixed), fixed)
            except Mismatch:
                continue
            if not isinstance(steps, str) and len(steps.problems) < len(general.problems):
                condition = ["eq", ["option", option.name], choice]
                guard = Guard(option.name, condition, f"fewer launches where {option.name} is {choice}")
                found.append(Case(steps, choice, (guard,)))
    return found


def _needed(kernel: Kernel) -> frozenset[str]:
    """The targets that the outputs depend on."""
    needed: set[str] = set()
    pending = [name for name, tensor in kernel.tensors.items() if tensor.role != "input"]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [x.tensor for e in kernel.math if e.target == name for x in loads(e.value)]
    return frozenset(needed & {e.target for e in kernel.math})


def _without_copies(kernel: Kernel) -> Kernel:
    """The same kernel without intermediates that only rename a tensor."""
    copies = {
        e.target: e
        for e in kernel.math
        if isinstance(e.value, Load) and plain_target(e) and e.target not in kernel.tensors
    }
    math = tuple(replace(e, value=inline(e.value, copies)) for e in kernel.math if e.target not in copies)
    return replace(kernel, math=math)


def _backward(
    kernel: Kernel,
    recognised: Problem | None,
    used: bool,
    module: Module,
    devices: tuple[Device, ...],
    sink: Sink,
) -> list[tuple[GradientPlan, KernelPlan]]:
    """The derived kernel of every declared gradient. A kernel that a model uses is trained through: without a
    declaration it has the gradient of its floating-point outputs with respect to its floating-point
    inputs."""
    declared = kernel.gradients
    found = []
    for wanted in declared or ((_implied(kernel),) if used else ()):
        try:
            derivation = gradient(kernel, wanted)
            derivation, on_chip = _fused(kernel, recognised, derivation)
            derived = _renamed(derivation.kernel, module)
            problem = split(derived)
        except (Underivable, Mismatch) as error:
            if declared:
                sink.report(error.code, str(error), error.span, also=[(wanted.span, "asked for here")])
            continue
        plan = GradientPlan(derived.name, wanted.outputs, wanted.inputs, derivation.saves)
        found.append(
            (plan, _plan_kernel(derived, problem, devices, sink, (), {}, derived=True, on_chip=on_chip))
        )
    return found


def _fused(
    kernel: Kernel, problem: Problem | None, derivation: Derivation
) -> tuple[Derivation, Sequence[Way]]:
    """The derivation with ways to launch it that keep scores out of memory, if its mathematics has them."""
    found = fused_gradient(kernel, problem, derivation) if isinstance(problem, AttentionProblem) else None
    return found if found is not None else (derivation, ())


def _implied(kernel: Kernel) -> Gradient:
    def of(role: str) -> tuple[str, ...]:
        return tuple(
            name
            for name, tensor in kernel.tensors.items()
            if tensor.role == role and all(dtype.is_float for dtype in tensor.dtypes)
        )

    return Gradient(of("output"), of("input"), span=kernel.span)


def _renamed(derived: Kernel, module: Module) -> Kernel:
    """The derived kernel under a name that no kernel of the file has."""
    name = derived.name
    while name in module.kernels:
        name += "_"
    return replace(derived, name=name)


def devices_of(module: Module, archs: tuple[str, ...], sink: Sink) -> tuple[Device, ...]:
    """One device for each architecture: the file's first target of it, else any device of the file, else one
    that states what the architecture guarantees. A file for no GPU is planned for the oldest architecture,
    whose kernels run on the emulator."""
    targets = [module.devices[name] for name in module.targets if name in module.devices]
    named = tuple(dict.fromkeys(device.arch for device in targets if device.arch in TARGETS))
    candidates = [*targets, *module.devices.values()]
    found = []
    for arch in dict.fromkeys(archs or named or ("sm_80",)):
        known = target(arch)
        if known is None:
            known_archs = ", ".join(TARGETS)
            sink.report(
                "SPAK703", f"there is no architecture `{arch}`", None, help=[f"it is one of {known_archs}"]
            )
            continue
        device = next((d for d in candidates if d.facts.get("arch") == arch), None)
        found.append(device if device is not None else documented(known, _anywhere(module)))
    return tuple(found)


def _anywhere(module: Module) -> Span:
    """A place for what the file does not say itself."""
    return Span(SourceFile(module.root, ""), 0, 0)


def documented(known: Target, span: Span) -> Device:
    """A device that states what the documentation of an architecture promises, and nothing about its size."""
    features = ("cp_async", "tma", "wgmma", "tcgen05", "clusters")
    facts: dict[str, bool | int | float | str] = {
        "arch": known.arch,
        "kind": "gpu",
        "smem_per_block": known.smem_per_block,
        "smem_per_sm": known.smem_per_sm,
        "registers_per_sm": known.registers_per_sm,
        "threads_per_sm": known.threads_per_sm,
        **{feature: known.has(feature) for feature in features},
    }
    return Device(known.arch, facts, span=span)
