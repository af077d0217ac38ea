import pytest

from spak_runtime.errors import ArtifactError, BuildError, ExpressionError
from spak_runtime.nvrtc import compile_cubin
from spak_runtime.specialise import Binding, bindings, build_request, macros, reachable
from tests.unit.runtime import hand_artifact

MANIFEST = hand_artifact.manifest()
HEADERS = {"spak/hand.cuh": hand_artifact.HEADER, "spak/other.cuh": "#error never included\n"}
BINDING = Binding(
    dtypes={"x": "bf16", "y": "f32"},
    layouts={"x": "column"},
    present={"gate": False},
    options={"mode": "squared", "fast": True, "count": 3},
    dims={"D": 64},
)


def variant_with(**changes):
    import dataclasses

    return dataclasses.replace(MANIFEST.kernels["affine"].variants[0], **changes)


def test_macros_of_every_axis():
    axes = ("DTYPE_x", "LAYOUT_x", "PRESENT_gate", "OPTION_mode", "OPTION_fast", "OPTION_count", "DIM_D")
    assert macros(variant_with(axes=axes, defines={"KNOB_tile": "64"}), BINDING) == {
        "KNOB_tile": "64",
        "DTYPE_x": "spak::bf16",
        "LAYOUT_x": "column",
        "PRESENT_gate": "0",
        "OPTION_mode": "squared",
        "OPTION_fast": "true",
        "OPTION_count": "3",
        "DIM_D": "64",
    }


def test_derived_macros_follow_from_knobs_and_compiled_dims():
    derived = {"PLAN_bytes": ["mul", ["dim", "D"], ["knob", "tile"]], "PLAN_wide": ["gt", ["dim", "D"], 64]}
    found = macros(variant_with(axes=("DIM_D",), config={"tile": 3}, defines={}, derived=derived), BINDING)
    assert found == {"DIM_D": "64", "PLAN_bytes": "192", "PLAN_wide": "false"}
    with pytest.raises(ExpressionError, match="PLAN_bytes"):
        macros(variant_with(axes=(), config={}, derived=derived), BINDING)


@pytest.mark.parametrize("axis", ["DTYPE_z", "LAYOUT_y", "DIM_K", "COLOUR_x", "x"])
def test_an_axis_of_nothing_is_refused(axis):
    with pytest.raises(ArtifactError, match=axis):
        macros(variant_with(axes=(axis,)), BINDING)


def test_headers_are_those_that_the_source_reaches():
    headers = {"a": '#include "b"\n', "b": '# include "a"\n#include "missing"\n', "c": ""}
    assert set(reachable('#include "a"\n#include <cuda.h>\n', headers)) == {"a", "b"}
    assert reachable("no include", headers) == {}


def test_a_request_holds_all_that_decides_the_binary():
    variant = MANIFEST.kernels["affine"].variants[0]
    request = build_request(hand_artifact.FILES, HEADERS, variant, variant.launches[0], BINDING, "sm_90a")
    assert request.arch == "sm_90a"
    assert request.source == hand_artifact.AFFINE
    assert set(request.headers) == {"spak/hand.cuh"}
    assert "-DKNOB_threads=256" in request.options
    assert list(request.options) == sorted(request.options)
    with pytest.raises(ArtifactError, match=r"each\.cu"):
        build_request({}, HEADERS, variant, variant.launches[0], BINDING, "sm_80")


def test_every_specialisation_compiles():
    built = 0
    for kernel in MANIFEST.kernels.values():
        for variant in kernel.variants:
            seen = set()
            for binding in bindings(kernel, variant):
                for launch in variant.launches:
                    request = build_request(hand_artifact.FILES, HEADERS, variant, launch, binding, "sm_80")
                    seen.add(request.options)
            if kernel.name == "affine":  # dtypes of x, y of x's or f32, gate or none, two modes
                assert len(seen) == (20 if "PRESENT_gate" in variant.axes else 10)
            request = build_request(hand_artifact.FILES, HEADERS, variant, launch, binding, "sm_90a")
            assert launch.entry in compile_cubin(request).entries
            built += 1
    assert built == 6


def test_the_first_specialisation_takes_first_choices_and_defaults():
    kernel = MANIFEST.kernels["affine"]
    first = next(bindings(kernel, kernel.variants[0]))
    assert first.dtypes == {"x": "bf16", "gate": "bf16", "y": "bf16"}
    assert first.present == {"gate": True}
    assert first.options == {"mode": "plain"}


def test_a_device_compiler_error_names_the_specification():
    variant = MANIFEST.kernels["affine"].variants[0]
    broken = hand_artifact.FILES | {
        "kernels/affine/each.cu": hand_artifact.AFFINE.replace("const i64 i =", "i =")
    }
    request = build_request(broken, HEADERS, variant, variant.launches[0], BINDING, "sm_80")
    with pytest.raises(BuildError, match=r'hand\.spak:7: error: identifier "i" is undefined'):
        compile_cubin(request)
