"""CheckedModule → Plan: which kernels are generated, by which templates, with which configs, and why.

The plan decides everything; emitting only writes it down. A schedule without a template is no error: it is
listed as undecided, with the reason, and every legal call still has an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spakc.diagnostics import Sink
from spakc.ir.module import Device, Kernel, Module
from spakc.plan.problem import Problem
from spakc.plan.recognise import recognise
from spakc.plan.select import Measurement
from spakc.plan.steps import Steps, steps_of
from spakc.plan.templates import check_templates
from spakc.plan.variants import Undecided, VariantPlan, variants_of
from spakc.source import Span
from spakc.target import TARGETS, Target, target


@dataclass(frozen=True, slots=True)
class GradientPlan:
    """`kernel` names the planned kernel that computes the gradients of `outputs` with respect to `inputs`;
    `saves` are the forward's outputs that it reads."""

    kernel: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    saves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """`variants` in the order in which a call tries them; the last one answers whatever the others refuse.
    Without a template for its family, a kernel has no variants and runs as its mathematics."""

    kernel: Kernel
    problem: Problem | None
    steps: Steps | None
    variants: tuple[VariantPlan, ...]
    undecided: tuple[Undecided, ...]
    gradients: tuple[GradientPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is generated, for these architectures. `facts` are what the file says of its devices."""

    module: Module
    archs: tuple[str, ...]
    kernels: Mapping[str, KernelPlan]
    facts: Mapping[str, Mapping[str, bool | int | float | str]]

    @property
    def undecided(self) -> tuple[Undecided, ...]:
        return tuple(itertools.chain.from_iterable(kernel.undecided for kernel in self.kernels.values()))


def plan(module: Module, archs: Iterable[str], sink: Sink, measurements: Sequence[Measurement] = ()) -> Plan:
    """Plans every kernel of a checked module.

    `archs` are names of architectures (sm_80 …); without any, those of the file's targets. Reports SPAK701
    and SPAK702 (schedules and knobs without a template), SPAK703 (an architecture that does not exist),
    SPAK704 (a schedule none of whose points can be built). `measurements` come from the evidence.
    """
    devices = _devices(module, tuple(archs), sink)
    kernels: dict[str, KernelPlan] = {}
    for kernel in module.kernels.values():
        check_templates(kernel, sink)
        kernels[kernel.name] = plan_kernel(kernel, devices, sink, tuple(measurements))
    facts = {device.arch: dict(device.facts) for device in devices}
    return Plan(module, tuple(facts), kernels, facts)


def plan_kernel(
    kernel: Kernel, devices: tuple[Device, ...], sink: Sink, measurements: tuple[Measurement, ...] = ()
) -> KernelPlan:
    """Plans one kernel. Reports why its mathematics has no form that is generated (4xx), and SPAK704."""
    problem = recognise(kernel, sink)
    if problem is None:
        reason = "its mathematics has no form that is generated"
        return KernelPlan(kernel, None, None, (), (Undecided(kernel.name, None, reason, kernel.span),))
    steps = steps_of(problem, kernel)
    if isinstance(steps, str):
        undecided = [Undecided(kernel.name, s.name, steps, s.span) for s in kernel.schedules.values()]
        whole = Undecided(kernel.name, None, steps, kernel.span)
        return KernelPlan(kernel, problem, None, (), tuple(undecided) or (whole,))
    variants, missing = variants_of(kernel, steps, devices, sink, measurements)
    return KernelPlan(kernel, problem, steps, variants, missing)


def _devices(module: Module, archs: tuple[str, ...], sink: Sink) -> tuple[Device, ...]:
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
    declared = next(iter((*module.kernels.values(), *module.devices.values())), None)
    assert declared is not None, "only a file with kernels or devices is planned"
    return declared.span


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
