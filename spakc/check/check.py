"""The check passes, in order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from spakc.check.check_claims import check_claims
from spakc.check.check_data import check_data
from spakc.check.check_divisors import check_divisors
from spakc.check.check_dtypes import check_math_dtypes, check_proposition
from spakc.check.check_experiment import check_experiments, compile_time_counts
from spakc.check.check_laws import check_laws
from spakc.check.check_model import check_models
from spakc.check.check_points import check_points
from spakc.check.check_space import check_space
from spakc.check.check_units import check_units
from spakc.check.check_witnesses import check_witnesses
from spakc.check.checked import CheckedModule, KernelFacts
from spakc.check.infer_shapes import check_bound_ranges, infer_shapes
from spakc.check.propositions import propositions
from spakc.diagnostics import Sink
from spakc.ir.extents import Extents
from spakc.ir.module import Module


def check(module: Module, sink: Sink, established: Collection[str] = ()) -> CheckedModule:
    """Everything that can be said about a module without generating, running or measuring. Of kernels that are
    `established` nothing is said again: they have neither facts nor spaces nor laws in what is returned.

    Needs a module that was lowered without an error. Shapes, kinds and units come first; laws and spaces are
    asked only when those fit, since they evaluate what those vouch for. Never rewrites. Reports SPAK2xx,
    3xx, 5xx. Roles are read by lowering; who may change what is a question about two files. What a claim says does
    not hang on laws: it has its status where a law is broken, too.
    """
    before = _errors(sink)
    kernels: dict[str, KernelFacts] = {}
    anew = replace(module, kernels={n: k for n, k in module.kernels.items() if n not in established})
    for name, kernel in anew.kernels.items():
        extents = infer_shapes(kernel, sink)
        dtypes = check_math_dtypes(kernel, sink)
        kernels[name] = KernelFacts(extents or Extents((), {}), dtypes)
    for proposition in propositions(anew):
        check_proposition(proposition, sink)
        check_units(proposition, sink)
        check_witnesses(proposition, sink)
        if proposition.kernel is None:
            check_bound_ranges(proposition.expr, {}, sink)  # a kernel's are checked with its tensors
        check_divisors(proposition.expr, sink, proposition.claim)
    models = check_models(module, sink)
    data = check_data(module, sink)
    if _errors(sink) > before:
        return CheckedModule(module, kernels, {}, (), models, data)
    spaces = check_space(anew, sink)
    experiments = check_experiments(module, models, data, sink)
    laws = check_laws(anew, spaces, sink, compile_time_counts(experiments, data))
    check_points(module, experiments, sink)
    checked = CheckedModule(module, kernels, spaces, laws, models, data, experiments)
    return replace(checked, claims=check_claims(checked))


def _errors(sink: Sink) -> int:
    return sum(diagnostic.severity == "error" for diagnostic in sink.diagnostics)
