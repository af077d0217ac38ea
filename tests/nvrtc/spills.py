"""No variant of attention spills where rows have 64 or 128 elements: every variant that a plan holds for an
architecture, those that guards keep from most calls among them, with and without a causal mask, forward and backward.
What a guard keeps from every call is never built, and left out: for rows of 128 elements the packed gradient while
heads pass, or of 64 keys whose scores are written, and tiles of 192 queries, whose sums have no room in registers.

`make spills` runs this and `make test` does not: it is some 1,100 compilations of a few seconds each. One part of it is
`pytest tests/nvrtc/spills.py -k "sm_120a and fmha_gradient"`.
"""

from __future__ import annotations

import pytest

from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import Environment, compile_expression
from spak_runtime.manifest import Variant
from spak_runtime.nvrtc import compile_cubin
from spak_runtime.specialise import Binding, bindings, build_request
from spakc.machine_rules import broken_rules
from tests.unit.emit.planned import example, headers

ARCHS = ("sm_80", "sm_89", "sm_90a", "sm_120a")
KERNELS = ("fmha", "fmha_gradient", "fmha_biased", "fmha_biased_gradient")
WIDTHS = (64, 128)


def is_called(variant: Variant, binding: Binding) -> bool:
    """Whether there may be a call of a specialisation: no guard is false of its sizes and options alone."""
    known = Environment(binding.dims, variant.config, binding.options)
    for guard in variant.guards:
        try:
            if not compile_expression(guard.condition)(known):
                return False
        except ExpressionError:
            continue  # it asks what only a call says
    return True


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("arch", ARCHS)
def test_nothing_spills(arch: str, name: str, width: int) -> None:
    kernel, asked, wrong = example("fmha", (arch,))[name], 0, []
    left_out = 0
    for variant in kernel.spec.variants:
        for binding in bindings(kernel.spec, variant):
            if binding.dims.get("D", width) != width or binding.dtypes["Q"] != "bf16":
                continue
            if not is_called(variant, binding):
                left_out += 1
                continue
            for launch in variant.launches:
                request = build_request(kernel.files, headers(), variant, launch, binding, arch)
                compiled = compile_cubin(request)
                asked += 1
                where = f"{variant.id}, {launch.entry}, {binding.options}"
                wrong += [f"{where}: {rule}" for rule in broken_rules(compiled)]
                spilled = compiled.entries[launch.entry].spill_bytes
                wrong += [f"{where} spills {spilled} bytes"] if spilled else []
    assert asked >= 2 and (left_out == 0 or width > 64)
    assert wrong == []
