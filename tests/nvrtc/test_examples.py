"""Every selected variant of the example kernels becomes a cubin for every architecture, without a GPU: no
spill, no warning, no advisory of the assembler."""

from __future__ import annotations

from pathlib import Path

import pytest

from spak_runtime.disassemble import disassemble
from spak_runtime.machine_rules import broken_rules
from spak_runtime.manifest import KernelSpec, Variant
from spak_runtime.nvrtc import compile_cubin
from spak_runtime.specialise import Binding, bindings, build_request
from spakc.machine_rules import broken_order, exponentials_after_products
from tests.unit.emit.planned import ARCHS, Emitted, emitted, example, headers


def first(spec: KernelSpec, variant: Variant) -> Binding:
    return next(bindings(spec, variant))


def build(kernel: Emitted, variant: Variant, binding: Binding, arch: str) -> None:
    for launch in variant.launches:
        compiled = compile_cubin(build_request(kernel.files, headers(), variant, launch, binding, arch))
        assert not compiled.messages, f"{variant.id} on {arch}: {compiled.messages}"
        assert not compiled.advisories, f"{variant.id} on {arch}: {compiled.advisories}"
        resources = compiled.entries[launch.entry]
        assert resources.spill_bytes == 0, f"{variant.id} on {arch} spills {resources.spill_bytes} bytes"
        assert (
            resources.stack_bytes == 0
            or "powf" in kernel.files[launch.source]
            or _trigonometric(kernel, launch.source)
        )


def _trigonometric(kernel: Emitted, source: str) -> bool:
    """Accurate sin and cos of large arguments keep a table on the stack."""
    return "sin_f32" in kernel.files[source] or "cos_f32" in kernel.files[source]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", ["matmul", "train"])
def test_selected_variants_compile(name: str, arch: str) -> None:
    for kernel in example(name, ARCHS).values():
        for variant in kernel.spec.variants:
            if arch in variant.archs:
                build(kernel, variant, first(kernel.spec, variant), arch)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_attention_compiles(arch: str) -> None:
    for kernel in example("fmha", ARCHS).values():
        variants = [variant for variant in kernel.spec.variants if arch in variant.archs]
        for variant in (variants[0], variants[-1]):
            build(kernel, variant, first(kernel.spec, variant), arch)


def of_rows(kernel: Emitted, variant: Variant, width: int) -> Binding:
    """Its first specialisation for rows of so many elements: bf16, under a causal mask."""
    return next(b for b in bindings(kernel.spec, variant) if b.dims in ({"D": width}, {}))


@pytest.mark.parametrize("arch", ["sm_89", "sm_120a"])
@pytest.mark.parametrize("name", ["fmha", "fmha_gradient"])
def test_what_a_plan_prefers_of_attention_compiles(name: str, arch: str) -> None:
    kernel = example("fmha", (arch,))[name]
    for width in (64, 128):
        build(kernel, kernel.spec.variants[0], of_rows(kernel, kernel.spec.variants[0], width), arch)


def test_every_form_of_attention_compiles_for_datacenter_blackwell() -> None:
    """No tcgen05: what the architectures before have in common."""
    kernel = example("fmha", ("sm_100a",))["fmha"]
    forms = {variant.schedule: variant for variant in reversed(kernel.spec.variants)}
    assert {"v3_pipelined", "packed"} <= forms.keys() and kernel.spec.variants[0] in forms.values()
    for variant in forms.values():
        build(kernel, variant, of_rows(kernel, variant, 128), "sm_100a")


@pytest.mark.parametrize(("width", "tile"), [(64, (192, 128)), (128, (128, 176))])
def test_attention_for_hopper_keeps_softmax_beside_products(width: int, tile: tuple[int, int]) -> None:
    """No spill and no advisory where registers are fewest, and exponentials before the wait for the product that they
    overlap with."""
    kernel = example("fmha", ARCHS)["fmha"]
    variant = next(
        v
        for v in kernel.spec.variants
        if v.schedule == "v4_tma" and (v.config["tile_q"], v.config["tile_k"]) == tile
    )
    binding = next(b for b in bindings(kernel.spec, variant) if b.dims == {"D": width})
    request = build_request(kernel.files, headers(), variant, variant.launches[0], binding, "sm_90a")
    compiled = compile_cubin(request)
    assert not compiled.messages and list(broken_rules(compiled)) == []
    code = disassemble(compiled.cubin)
    assert list(broken_order(code)) == []
    assert exponentials_after_products(code)[0] > 100


@pytest.mark.parametrize("arch", ["sm_90a", "sm_120a"])
@pytest.mark.parametrize("width", [64, 128])
def test_attention_by_tma_and_mma_compiles(width: int, arch: str) -> None:
    kernel = example("fmha", ARCHS)["fmha"]
    variants = [v for v in kernel.spec.variants if v.schedule == "v3_tma" and arch in v.archs]
    assert variants
    for variant in variants:
        binding = next(b for b in bindings(kernel.spec, variant) if b.dims == {"D": width})
        build(kernel, variant, binding, arch)
        request = build_request(kernel.files, headers(), variant, variant.launches[0], binding, arch)
        names = disassemble(compile_cubin(request).cubin).instructions
        assert any(name.startswith("UTMALDG") for name in names) and any(
            name.startswith("HMMA") for name in names
        )


@pytest.mark.parametrize("arch", ARCHS)
def test_chains_compile(arch: str) -> None:
    kernel = example("chain", ARCHS)["norm_linear"]
    panels = [v for v in kernel.spec.variants if v.schedule == "panel" and arch in v.archs]
    assert panels
    for variant in panels:
        build(kernel, variant, first(kernel.spec, variant), arch)


def test_every_specialisation_of_a_product_compiles() -> None:
    kernel = example("matmul", ARCHS)["matmul"]
    variant = next(v for v in kernel.spec.variants if v.schedule == "pipelined" and v.config["tile_m"] == 64)
    found = list(bindings(kernel.spec, variant))
    assert len(found) > 100
    for binding in found[:: len(found) // 8]:
        build(kernel, variant, binding, "sm_80")


def test_no_full_memory_barrier_while_products_run() -> None:
    """A remote arrival that releases, or a fence of all memory, would put one into every step."""
    kernel = example("matmul", ARCHS)["matmul"]
    chosen = [variant for variant in kernel.spec.variants if variant.schedule == "warp_specialized"]
    shared = [variant for variant in chosen if variant.config["cluster"] == 2]
    assert shared and {variant.config["mode"] for variant in chosen} == {"cooperative", "pingpong"}
    for variant in (shared[0], chosen[-1]):
        binding = first(kernel.spec, variant)
        request = build_request(kernel.files, headers(), variant, variant.launches[0], binding, "sm_90a")
        names = disassemble(compile_cubin(request).cubin).instructions
        begin = next(place for place, name in enumerate(names) if name.startswith("HGMMA"))
        stored = next(p for p, name in enumerate(names) if p > begin and name.startswith("UTMASTG"))
        assert "MEMBAR.ALL.GPU" not in names[begin:stored], variant.id
        assert sum(name.startswith("HGMMA") for name in names) >= 4
        assert sum(name.startswith("UTMALDG") for name in names) >= 2


def test_kernels_of_a_file_used_under_an_alias(tmp_path: Path) -> None:
    """Their names have a dot, which no entry point has."""
    (tmp_path / "k.spak").write_text(
        "spak 1\nkernel k: elementwise {\n  dim N\n  input x: f32 [N]\n  output y: f32 [N]\n"
        "  math { y[n] = 2 * x[n] }\n}\n"
    )
    (tmp_path / "main.spak").write_text('spak 1\nuse "k.spak" as away\n')
    kernel = emitted(tmp_path / "main.spak", ("sm_80",))["away.k"]
    for variant in kernel.spec.variants:
        build(kernel, variant, first(kernel.spec, variant), "sm_80")
