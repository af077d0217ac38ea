"""No variant of attention spills where rows have 64 or 128 elements: every variant that a plan holds for an
architecture, those that guards keep from most calls among them, with and without a causal mask, forward and backward.

`make spills` runs this and `make test` does not: it is some 1,100 compilations of a few seconds each. One part of it is
`pytest tests/nvrtc/spills.py -k "sm_120a and fmha_gradient"`.
"""

from __future__ import annotations

import pytest

from spak_runtime.nvrtc import compile_cubin
from spak_runtime.specialise import bindings, build_request
from spakc.machine_rules import broken_rules
from tests.unit.emit.planned import example, headers

ARCHS = ("sm_80", "sm_89", "sm_90a", "sm_120a")
KERNELS = ("fmha", "fmha_gradient", "fmha_biased", "fmha_biased_gradient")
WIDTHS = (64, 128)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("arch", ARCHS)
def test_nothing_spills(arch: str, name: str, width: int) -> None:
    kernel, asked, wrong = example("fmha", (arch,))[name], 0, []
    for variant in kernel.spec.variants:
        for binding in bindings(kernel.spec, variant):
            if binding.dims.get("D", width) != width or binding.dtypes["Q"] != "bf16":
                continue
            for launch in variant.launches:
                request = build_request(kernel.files, headers(), variant, launch, binding, arch)
                compiled = compile_cubin(request)
                asked += 1
                where = f"{variant.id}, {launch.entry}, {binding.options}"
                wrong += [f"{where}: {rule}" for rule in broken_rules(compiled)]
                spilled = compiled.entries[launch.entry].spill_bytes
                wrong += [f"{where} spills {spilled} bytes"] if spilled else []
    assert asked >= 2
    assert wrong == []
