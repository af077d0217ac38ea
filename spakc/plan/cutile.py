"""Plan → the same plan for cuTile: products and attention as programs over tiles, the rest as its mathematics."""

from __future__ import annotations

from dataclasses import replace

from spakc.diagnostics import Sink
from spakc.plan.candidates import Way
from spakc.plan.launch import Signature
from spakc.plan.plan import KernelPlan, Plan, devices_of
from spakc.plan.problem import AttentionProblem, ProductProblem
from spakc.plan.steps import Steps
from spakc.plan.templates_cutile import tile_template
from spakc.plan.variants import Undecided, variants_by


def for_cutile(decided: Plan) -> Plan:
    """Derived kernels are left out: a gradient is computed from the mathematics."""
    declared = decided.checked.module.kernels
    kernels = {name: _of_kernel(decided, plan) for name, plan in decided.kernels.items() if name in declared}
    return replace(decided, kernels=kernels)


def _of_kernel(decided: Plan, plan: KernelPlan) -> KernelPlan:
    kernel, problem = plan.kernel, plan.problem
    template = tile_template(problem)
    bare = replace(plan, variants=(), gradients=())
    if template is None:
        reason = "for cuTile, products and attention are generated"
        return replace(bare, undecided=(Undecided(kernel.name, None, reason, kernel.span),))
    assert isinstance(problem, ProductProblem | AttentionProblem)
    devices = devices_of(decided.checked.module, decided.archs, Sink())
    steps = Steps((problem,), Signature(kernel))
    found = variants_by(Way(None, template.name, template), kernel, steps, devices, template.defaults)
    if isinstance(found, Undecided):
        return replace(bare, undecided=(found,))
    return replace(bare, variants=found, undecided=())
