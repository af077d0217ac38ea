"""The pass from parsed files to one module."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.diagnostics import Sink
from spakc.ir.module import Implementation, Law, Let, Module
from spakc.lower.files import declarations, file_scopes, in_order
from spakc.lower.lower_claims import lower_claims
from spakc.lower.lower_data import lower_data
from spakc.lower.lower_device import lower_devices
from spakc.lower.lower_experiment import lower_experiments, lower_protocols
from spakc.lower.lower_kernel import LoweredKernel, lower_implementation, lower_kernel
from spakc.lower.lower_model import lower_models
from spakc.lower.lower_roles import lower_roles
from spakc.lower.program import Program
from spakc.lower.propositions import lower_devices as device_names
from spakc.lower.propositions import lower_laws, lower_lets
from spakc.lower.resolve import Entry, Scope, report_twice, report_unknown
from spakc.source import Span
from spakc.syntax import nodes


def lower(program: Program, sink: Sink) -> Module:
    """What a root file and everything it uses mean, as one module.

    Needs files that parsed. Guarantees, unless errors were reported: every name is resolved, every `let`
    inlined, every `like` merged, every number in base units; names are those a reader of the root file would
    write. Targets, roles and intents are the root file's own; devices, kernels, models, data, experiments,
    claims and laws of used files are in. Reports SPAK120-139, 304-324, 5xx, all it can see. Leaves alone:
    shapes, types, units, verdicts.
    """
    scope = file_scopes(program, sink)
    root = program.files[program.root]
    kernels = _kernels(program, scope, sink)
    return Module(
        program.root,
        device_names(root.targets, scope, sink),
        lower_devices(program, scope, sink),
        {name: lowered.kernel for name, lowered in kernels.items()},
        _implementations(program, kernels, scope, sink),
        lower_models(program, scope, sink),
        lower_data(program, scope, sink),
        lower_protocols(program, scope, sink),
        lower_experiments(program, scope, sink),
        lower_claims(program, scope, sink),
        _laws(program, scope, sink),
        _lets(program, scope, sink),
        lower_roles(root.items, sink),
        tuple(item.text for item in root.items if isinstance(item, nodes.Intent)),
        _own(root),
    )


def _kernels(program: Program, scope: Scope, sink: Sink) -> Mapping[str, LoweredKernel]:
    kernels: dict[str, LoweredKernel] = {}
    for node, file_scope in declarations(program, scope, nodes.Kernel):
        name = file_scope.qualify(node.name.text)
        if name not in kernels:
            kernels[name] = lower_kernel(node, file_scope, sink)
    return kernels


def _implementations(
    program: Program, kernels: Mapping[str, LoweredKernel], scope: Scope, sink: Sink
) -> tuple[Implementation, ...]:
    found: list[Implementation] = []
    first: dict[tuple[str, str], Span] = {}
    for node, file_scope in declarations(program, scope, nodes.Implement):
        entry = _kernel_named(node.kernel, file_scope, sink)
        devices = device_names(node.on, file_scope, sink)
        if entry is None or entry.ref not in kernels:
            continue
        key = (entry.ref, file_scope.qualify(node.name.text))
        if key in first:
            report_twice(node.name.text, node.name.span, first[key], "an implementation", sink)
            continue
        first[key] = node.name.span
        found.append(lower_implementation(node, kernels[entry.ref], devices, file_scope, sink))
    return tuple(found)


def _kernel_named(name: nodes.Name, scope: Scope, sink: Sink) -> Entry | None:
    entry = scope.find(name.text)
    if entry is None:
        report_unknown(name.text, name.span, scope, sink)
    elif entry.what != "a kernel":
        also = [] if entry.span is None else [(entry.span, "declared here")]
        sink.report(
            "SPAK128", f"`{name.text}` is {entry.what}, no kernel", name.span, "expected a kernel", also=also
        )
        return None
    return entry


# ---- the file itself --------------------------------------------------------------------------------


def _laws(program: Program, scope: Scope, sink: Sink) -> tuple[Law, ...]:
    laws: list[Law] = []
    first: dict[str, Law] = {}
    for path in in_order(program):
        file_scope = scope.files[path]
        for law in lower_laws(program.files[path].items, file_scope, (), sink, prefix=file_scope.prefix):
            other = first.setdefault(law.name, law)
            if other is not law and other.span.source is not law.span.source:
                sink.report(
                    "SPAK124",
                    f"two files have a law `{law.name}`",
                    law.span,
                    "declared here",
                    also=[(other.span, "and there")],
                    help=["rename one of them, or write `use … as alias` for its file"],
                )
            laws.append(law)
    return tuple(laws)


def _lets(program: Program, scope: Scope, sink: Sink) -> tuple[Let, ...]:
    lets: list[Let] = []
    for path in in_order(program):
        file_scope = scope.files[path]
        lets += lower_lets(program.files[path].items, file_scope, (), sink, prefix=file_scope.prefix)
    return tuple(lets)


def _own(root: nodes.File) -> frozenset[str]:
    """Names declared in the root file itself; what has none of its own (a role, an intent) is left out."""
    named = (
        *(nodes.Device, nodes.Kernel, nodes.Implement, nodes.Model, nodes.Dataset, nodes.Protocol),
        *(nodes.Experiment, nodes.Claim, nodes.Law, nodes.Let),
    )
    return frozenset(item.name.text for item in root.items if isinstance(item, named))
