"""Plan → the files of an artifact: sources, headers, mathematics as torch, and the manifest that names
them."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2

from spak_runtime.manifest import (
    Expression,
    GradientSpec,
    KernelSpec,
    Launch,
    Manifest,
    OptionSpec,
    TensorSpec,
    Variant,
)
from spakc.emit.cuda import cuda_source
from spakc.emit.cutile import tile_source
from spakc.emit.environment import environment
from spakc.emit.torch_glue import emit_experiments
from spakc.emit.torch_math import math_source
from spakc.ir.canonical import meaning
from spakc.ir.constraint import Env, TooMany, Unknown, members
from spakc.ir.module import Dim, Kernel, Option, Tensor
from spakc.plan.guards import runtime_expression
from spakc.plan.launch import LaunchPlan, lower
from spakc.plan.plan import KernelPlan, Plan
from spakc.plan.variants import VariantPlan
from spakc.record import record

EmittedFiles = Mapping[str, str]
"""Path in the artifact, with `/` between folders, to text. Deterministic: the same plan gives the same
bytes."""


@record
class Templates:
    """Texts by path: `cuda` below templates/cuda, `cutile` below templates/cutile, `torch` below templates/torch (`.j2`
    files), `headers` below templates/cuda/include. `compiled` may spare the engine to compile them."""

    cuda: Mapping[str, str]
    cutile: Mapping[str, str]
    torch: Mapping[str, str]
    headers: Mapping[str, str]
    compiled: jinja2.BytecodeCache | None = None


def emit(plan: Plan, templates: Templates) -> dict[str, str]:
    """Every file of the artifact, in order of their paths. Writes nothing, decides nothing."""
    cuda, cutile = (environment(texts, templates.compiled) for texts in (templates.cuda, templates.cutile))
    files = {f"include/{name}": text for name, text in templates.headers.items()}
    kernels: dict[str, KernelSpec] = {}
    for kernel in plan.kernels.values():
        kernels[kernel.kernel.name] = kernel_spec(kernel)
        files[_math_path(kernel.kernel)] = math_source(kernel.kernel)
        files |= sources(kernel, cuda, cutile)
    checked = plan.checked
    files |= emit_experiments(
        checked.module,
        checked.models,
        checked.data,
        checked.experiments,
        environment(templates.torch, templates.compiled),
    )
    facts = {arch: dict(values) for arch, values in plan.facts.items()}
    manifest = Manifest(checked.module.root, plan.archs, kernels, facts, tuple(sorted(checked.experiments)))
    files["manifest.json"] = manifest.to_json()
    return dict(sorted(files.items()))


def sources(kernel: KernelPlan, cuda: jinja2.Environment, cutile: jinja2.Environment) -> dict[str, str]:
    """The sources of one kernel by path."""
    files: dict[str, str] = {}
    for variant in kernel.variants:
        for launch in variant.launches:
            file = kernel.kernel.span.source.name
            if launch.text:
                files[launch.source] = launch.text
            elif launch.source not in files and launch.source.endswith(".py"):
                files[launch.source] = tile_source(cutile, launch, variant.signature, file)
            elif launch.source not in files:
                files[launch.source] = cuda_source(cuda, launch, variant.signature, file)
    return files


def kernel_spec(plan: KernelPlan) -> KernelSpec:
    """What the manifest says of one kernel."""
    kernel = plan.kernel
    return KernelSpec(
        kernel.name,
        kernel.family,
        {name: _sizes(dim) for name, dim in kernel.dims.items()},
        tuple(_tensor(tensor) for tensor in kernel.tensors.values()),
        tuple(_option(option) for option in kernel.options.values()),
        tuple(_variant(variant) for variant in plan.variants),
        _math_path(kernel),
        tuple(GradientSpec(g.kernel, g.outputs, g.inputs, g.saves) for g in plan.gradients),
        meaning(kernel),
    )


def _math_path(kernel: Kernel) -> str:
    return f"kernels/{kernel.name}/math.py"


def _sizes(dim: Dim) -> tuple[int, ...] | None:
    """The sizes that a compiled dim may have."""
    if dim.domain is None:
        return None
    values = members(dim.domain, Env())
    assert not isinstance(values, TooMany | Unknown), "the domains of dims are checked"
    return tuple(int(value) for value in values)


def _tensor(tensor: Tensor) -> TensorSpec:
    default = runtime_expression(tensor.default) if tensor.default is not None else None
    assert default is None or isinstance(default, (bool, int, float)), "defaults of tensors are numbers"
    return TensorSpec(
        tensor.name,
        tensor.role,
        tuple(dtype.value for dtype in tensor.dtypes),
        tensor.same_as,
        tuple(lower(size) for size in tensor.shape),
        tensor.layouts,
        tensor.default is not None,
        default,
    )


def _option(option: Option) -> OptionSpec:
    default: Expression = runtime_expression(option.default)
    dtype = option.dtype.value if option.dtype is not None else None
    return OptionSpec(option.name, option.choices, dtype, default, option.compiled_in)


def _variant(plan: VariantPlan) -> Variant:
    return Variant(
        plan.id,
        plan.schedule,
        dict(plan.config),
        plan.archs,
        plan.defines,
        plan.axes,
        plan.guards,
        tuple(_launch(launch) for launch in plan.launches),
        plan.workspace,
        plan.reason,
        dict(plan.estimates),
        plan.prefers,
        plan.by_hand,
        plan.derived,
    )


def _launch(plan: LaunchPlan) -> Launch:
    return Launch(
        plan.source,
        plan.entry,
        plan.params,
        plan.grid,
        plan.threads,
        plan.shared_bytes,
        plan.cluster,
        plan.one_by_one,
        plan.overlaps,
        plan.unordered,
        dict(plan.adds),
    )
