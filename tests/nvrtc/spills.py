"""No variant that a plan holds for an architecture spills, those that guards keep from most calls among them: attention
where rows have 64 or 128 elements, forward and backward, with and without a causal mask; products, and a norm before
one, with a bias and the activations that take the most registers, for every layout of operands and type of results.
What a guard keeps from every call is never built, and left out: for rows of 128 elements the packed gradient while
heads pass, or of 64 keys whose scores are written, and tiles of 192 queries, whose sums have no room in registers.

`make spills` runs this and `make test` does not: it is some 2,500 compilations of a few seconds each. (The largest
products are in `test_spills.py`.) One part of it is `pytest tests/nvrtc/spills.py -k "sm_120a and fmha_gradient"`,
another `-k "sm_90a and in_parts"`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import Environment, compile_expression
from spak_runtime.machine_rules import broken_rules
from spak_runtime.manifest import Launch, Variant
from spak_runtime.nvrtc import compile_cubin
from spak_runtime.specialise import Binding, bindings, build_request
from tests.unit.emit.planned import Emitted, example, headers

ARCHS = ("sm_80", "sm_89", "sm_90a", "sm_120a")
KERNELS = ("fmha", "fmha_gradient", "fmha_biased", "fmha_biased_gradient")
WIDTHS = (64, 128)
SCHEDULES = ("naive", "tiled", "occupancy", "swizzled", "pipelined")
BY_TMA = {"sm_90a": ("tma_pipelined", "warp_specialized", "in_parts"), "sm_120a": ("tma_pipelined",)}
MOST_REGISTERS = ("silu", "gelu")


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


def takes_the_most(variant: Variant, binding: Binding) -> bool:
    """Whether a specialisation of a product is one that may need the most registers: with all that its epilogue reads,
    and an activation of many steps where there is a choice. bf16 stands for f16, too."""
    halves = "f16" not in binding.dtypes.values()
    return (
        halves
        and all(binding.present.values())
        and binding.options.get("activation", "silu") in MOST_REGISTERS
    )


def complaints(kernel: Emitted, variant: Variant, launch: Launch, binding: Binding, arch: str) -> list[str]:
    """What is wrong with the machine code of one launch of a specialisation."""
    compiled = compile_cubin(build_request(kernel.files, headers(), variant, launch, binding, arch))
    chosen = (binding.options, binding.layouts, binding.dtypes)
    where = f"{variant.id}, {launch.entry}, {' '.join(map(str, chosen))}"
    return [f"{where}: {rule}" for rule in broken_rules(compiled)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("arch", ARCHS)
def test_attention_does_not_spill(arch: str, name: str, width: int) -> None:
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
                asked += 1
                wrong += complaints(kernel, variant, launch, binding, arch)
    assert asked >= 2 and (left_out == 0 or width > 64)
    assert wrong == []


def products() -> Iterator[tuple[str, str, str, str]]:
    """Architecture, file, kernel and schedule, of which "" stands for every one."""
    for arch in ARCHS:
        for schedule in SCHEDULES + BY_TMA.get(arch, ()):
            yield arch, "matmul", "matmul", schedule
        yield arch, "chain", "norm_linear", ""
        yield arch, "chain", "norm_linear_gradient", ""
        for name in ("linear_act", "act_linear", "act_linear_gradient"):
            yield arch, "mlp", name, ""


@pytest.mark.parametrize(("arch", "file", "name", "schedule"), list(products()))
def test_products_do_not_spill(arch: str, file: str, name: str, schedule: str) -> None:
    kernel, asked, wrong = example(file, (arch,))[name], 0, []
    for variant in kernel.spec.variants:
        if schedule and variant.schedule != schedule:
            continue
        for binding in bindings(kernel.spec, variant):
            if not takes_the_most(variant, binding):
                continue
            for launch in variant.launches:
                asked += 1
                wrong += complaints(kernel, variant, launch, binding, arch)
    assert asked
    assert wrong == []
