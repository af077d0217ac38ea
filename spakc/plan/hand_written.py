"""Kernels that were written by hand: what an `implement` says, as a variant of its kernel.

Nothing is believed of the source: the launch follows the settings, and the calls that it may answer are those for which
the settings speak: dense tensors, what it `needs`, the kernel's own laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from spak_runtime.manifest import Expression, Guard, Param
from spakc.check.checked import HandWritten
from spakc.check.verdict import means_of_law
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.module import Device, Implementation, Kernel
from spakc.ir.ops import Const, Expr, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.types import DType
from spakc.plan.guards import guard_of, runtime_expression
from spakc.plan.implementation import parts_of
from spakc.plan.launch import LaunchPlan, Signature, lower, product
from spakc.plan.plan import KernelPlan, Plan
from spakc.plan.variants import VariantPlan
from spakc.record import record


@record
class Chosen:
    """A hand-written kernel that passed. `admits` leaves it to the calls for which it was the faster one."""

    written: HandWritten
    admits: Guard
    reason: str


def with_chosen(decided: Plan, chosen: Sequence[Chosen], devices: Sequence[Device]) -> Plan:
    """The plan in which these hand-written kernels answer their calls before anything that is generated."""
    kernels = dict(decided.kernels)
    for each in reversed(chosen):
        planned = kernels[each.written.implementation.kernel]
        variant = variant_of(planned.kernel, each.written, devices, each.reason)
        if variant is not None:
            variant = replace(variant, guards=(*variant.guards, each.admits))
            kernels[planned.kernel.name] = replace(planned, variants=(variant, *planned.variants))
    return replace(decided, kernels=kernels)


def variant_of(
    kernel: Kernel, written: HandWritten, devices: Sequence[Device], reason: str
) -> VariantPlan | None:
    """The variant of a hand-written kernel; None where it is for none of the devices."""
    implementation = written.implementation
    archs = tuple(device.arch for device in devices if _is_for(implementation, device))
    if not archs:
        return None
    signature = Signature(kernel)
    settings = implementation.settings
    grid = [_expression(part) for part in parts_of(settings["grid"])]
    cluster = [int(getattr(part, "value", 1)) for part in parts_of(settings.get("cluster", Const(1)))]
    x, y, z = (*grid, 1, 1)[:3]
    cx, cy, cz = (*cluster, 1, 1)[:3]
    name = implementation.name
    source = str(getattr(settings["source"], "value", ""))
    launch = LaunchPlan(
        None,
        kernel.family,
        source,
        f"kernels/{kernel.name}/by_hand_{name}.cu",
        str(getattr(settings["entry"], "value", "")),
        tuple(_arguments(implementation, kernel)),
        (x, y, z),
        _expression(settings["threads"]),
        _expression(settings.get("shared", Const(0))),
        (cx, cy, cz),
        written.text,
        not written.on_primitives,
    )
    laws = (guard_of(law) for law in kernel.laws if means_of_law(law, kernel) is Means.guard)
    guards = [guard for guard in laws if guard is not None]
    guards += _needs(implementation, [d for d in devices if d.arch in archs])
    guards += [_dense(signature, p.name) for p in launch.params if p.kind == "pointer"]
    return VariantPlan(
        signature,
        f"{name}.by_hand",
        name,
        {},
        archs,
        tuple(_axes(signature)),
        tuple(guards),
        (launch,),
        (),
        reason,
        at_reference=dict.fromkeys(archs, (0.0,)),
        by_hand=source,
    )


# ---- the parts of a variant -----------------------------------------------------------------------------


def _arguments(implementation: Implementation, kernel: Kernel) -> Iterator[Param]:
    """Those that are listed; else every tensor, every dim that is not compiled in, every option that is a number."""
    given = implementation.settings.get("arguments")
    if given is None:
        for name in kernel.tensors:
            yield Param("pointer", "u64", name)
        for name, dim in kernel.dims.items():
            if dim.domain is None:
                yield Param("dim", "i32", name)
        for name, option in kernel.options.items():
            if not option.compiled_in:
                yield Param("option", "f32" if option.dtype is DType.f32 else "i32", name)
        return
    for part in parts_of(given):
        if isinstance(part, Ref) and part.name in kernel.tensors:
            yield Param("pointer", "u64", part.name)
        elif isinstance(part, Ref) and part.kind is RefKind.dim:
            yield Param("dim", "i32", part.name)
        elif isinstance(part, Ref) and part.kind is RefKind.option:
            dtype = kernel.options[part.name].dtype
            yield Param("option", "f32" if dtype is DType.f32 else "i32", part.name)
        else:
            yield Param("value", "i64", value=_expression(part))


def _axes(signature: Signature) -> Iterator[str]:
    """The macros that the source may read: dtypes that a call chooses, options and dims that are compiled in."""
    roots = dict.fromkeys(signature.dtype_root(name) for name in signature.tensors)
    yield from (f"DTYPE_{name}" for name in roots if signature.is_free(name))
    yield from (f"OPTION_{name}" for name, option in signature.options.items() if option.compiled_in)
    yield from (f"DIM_{name}" for name, dim in signature.dims.items() if dim.domain is not None)


def _dense(signature: Signature, name: str) -> Guard:
    """That a tensor has no gaps, in the first of its layouts: a hand-written kernel gets no strides."""
    tensor = signature.tensors[name]
    order = list(range(len(tensor.shape)))
    if tensor.layouts[:1] == ("column",) and len(order) > 1:
        order[-1], order[-2] = order[-2], order[-1]
    sizes = [lower(size) for size in tensor.shape]
    condition: Expression = True
    for place, axis in enumerate(order):
        behind = product([sizes[other] for other in order[place + 1 :]])
        dense = ["or", ["le", sizes[axis], 1], ["eq", ["stride", name, axis], behind]]
        condition = dense if condition is True else ["and", condition, dense]
    if tensor.default is not None:
        condition = ["or", ["not", ["present", name]], condition]
    return Guard("by hand", condition, f"a hand-written kernel takes {name} without gaps")


def _is_for(implementation: Implementation, device: Device) -> bool:
    if implementation.on and device.name not in implementation.on:
        return False
    return all(evaluate(need, Env().facts(device.facts)) is not False for need in implementation.needs)


def _needs(implementation: Implementation, devices: Sequence[Device]) -> Iterator[Guard]:
    """What only a call knows of the needs."""
    for need in implementation.needs:
        if any(isinstance(evaluate(need, Env().facts(device.facts)), Unknown) for device in devices):
            said = " ".join(need.span.text.split()) if need.span is not None else "a need"
            yield Guard(f"implement {implementation.name}", _expression(need), f"it needs {said}")


def _expression(part: Expr) -> Expression:
    found = runtime_expression(part)
    assert found is not None, "settings are checked"
    return found


def hull(points: Sequence[Mapping[str, int]], whole: bool) -> Expression:
    """The condition that a call has one of these sizes; `whole`: or any between the least and the largest of each."""
    if whole:
        bounds = {name: [point[name] for point in points] for name in points[0]}
        parts: list[Expression] = [
            ["member", ["dim", name], ["interval", min(sizes), max(sizes), 1]]
            for name, sizes in bounds.items()
        ]
        return _all(parts)
    alike = [_all([["eq", ["dim", name], size] for name, size in point.items()]) for point in points]
    return alike[0] if len(alike) == 1 else ["or", *alike]


def _all(parts: Sequence[Expression]) -> Expression:
    if not parts:
        return True
    return parts[0] if len(parts) == 1 else ["and", *parts]


def alone(kernel: Kernel, variant: VariantPlan) -> KernelPlan:
    """A plan of one variant and nothing else, to look at it before it is chosen."""
    return KernelPlan(kernel, None, (variant,), ())
