"""Generated kernels on the emulator against the float64 oracle: every template, ragged sizes, layouts,
dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spak_runtime.emulator import Report
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import Variant
from spakc.plan.launch import Signature
from spakc.plan.templates_product import PIPELINED
from spakc.verify.oracle import evaluate as oracle
from tests.unit.emit.emulate import NUMPY, Case, column, run
from tests.unit.emit.planned import Emitted, example

TOLERANCE = {"f32": 2e-5, "f16": 2e-3, "bf16": 1.2e-2}
"""Of the largest value; intermediates of a derivative are rounded once more."""


def case(
    kernel: Emitted,
    dims: Mapping[str, int],
    options: Mapping[str, Any],
    dtypes: Mapping[str, str],
    layouts: Mapping[str, str] | None = None,
    absent: tuple[str, ...] = (),
    limits: Mapping[str, int] | None = None,
) -> Case:
    """Random inputs: normal ones, integers below a limit for integer tensors, positive ones for squares."""
    rng = np.random.default_rng(7)
    tensors: dict[str, np.ndarray | None] = {}
    for spec in kernel.spec.tensors:
        if spec.role not in ("input", "inout"):
            continue
        shape = tuple(int(evaluate(size, Environment(dims=dims))) for size in spec.shape)
        word = dtypes.get(spec.name) or (dtypes[spec.same_as] if spec.same_as else spec.dtypes[0])
        if word == "int32":
            values = rng.integers(0, (limits or {})[spec.name], shape)
        else:
            values = (
                np.abs(rng.standard_normal(shape)) * 0.5 + 0.1
                if spec.role == "inout"
                else rng.standard_normal(shape)
            )
        array = values.astype(NUMPY[word])
        column_major = (layouts or {}).get(spec.name) == "column"
        tensors[spec.name] = None if spec.name in absent else column(array) if column_major else array
    return Case(tensors, options, dims, {n: w for n, w in dtypes.items() if n not in tensors})


def agrees(kernel: Emitted, variant: Variant, call: Case, **how: Any) -> None:
    given = {name: array for name, array in call.tensors.items() if array is not None}
    expected = oracle(kernel.plan.kernel, given, call.options, call.dims)
    changed = {spec.name for spec in kernel.spec.tensors if spec.role == "inout"}
    tensors = {name: a.copy() if a is not None and name in changed else a for name, a in call.tensors.items()}
    fresh = Case(tensors, call.options, call.dims, call.output_dtypes)
    found = run(kernel.spec, variant, kernel.files, fresh, **how)
    for name, array in found.items():
        reference = np.asarray(expected[name], dtype=np.float64)
        scale = max(float(np.abs(reference[np.isfinite(reference)]).max(initial=0.0)), 1e-3)
        words = {str(a.dtype) for a in (*given.values(), array) if a.dtype.kind in "fV"}
        tolerance = TOLERANCE["bf16" if "bfloat16" in words else "f16" if "float16" in words else "f32"]
        wide = array.astype(np.float64)
        apart = np.subtract(wide, reference, out=np.zeros_like(wide), where=wide != reference)
        error = float(np.abs(apart).max()) / scale
        assert error <= tolerance, f"{variant.id}: {name} differs by {error:.2g} of its largest value"


def variants(kernel: Emitted) -> list[Variant]:
    return list(kernel.spec.variants)


LAYOUTS = [(a, b) for a in ("row", "column") for b in ("row", "column")]


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("dims", [(64, 64, 64), (8, 8, 8), (40, 72, 56), (136, 200, 96)])
def test_product(dims: tuple[int, int, int], layouts: tuple[str, str]) -> None:
    kernel = example("matmul", ("sm_80",))["matmul"]
    sizes = dict(zip("MNK", dims, strict=True))
    call = case(kernel, sizes, {"activation": "gelu"}, {"A": "bf16"}, dict(zip("AB", layouts, strict=True)))
    for variant in variants(kernel):
        agrees(kernel, variant, call, guards=False)


@pytest.mark.parametrize("activation", ["identity", "gelu", "relu_squared", "silu"])
@pytest.mark.parametrize("output", [None, "f32"])
def test_product_epilogues(activation: str, output: str | None) -> None:
    kernel = example("matmul", ("sm_80",))["matmul"]
    dtypes = {"A": "f16"} | ({"C": output} if output else {})
    call = case(kernel, {"M": 33, "N": 24, "K": 40}, {"activation": activation}, dtypes, absent=("bias",))
    for variant in variants(kernel):
        agrees(kernel, variant, call, guards=False)


@pytest.mark.parametrize("dims", [(1, 3, 5), (33, 65, 17), (3, 300, 5)])
def test_product_of_any_size(dims: tuple[int, int, int]) -> None:
    """Sizes that no vector fits are answered by the variant without a guard; the others refuse them."""
    kernel = example("matmul", ("sm_80",))["matmul"]
    call = case(kernel, dict(zip("MNK", dims, strict=True)), {"activation": "identity"}, {"A": "bf16"})
    for variant in variants(kernel):
        if not variant.guards:
            agrees(kernel, variant, call)
            continue
        with pytest.raises(AssertionError, match=r"tiles|bytes"):
            agrees(kernel, variant, call)


@pytest.mark.parametrize("config", [(32, 32, 16, 2), (64, 128, 32, 3), (128, 32, 16, 4), (32, 64, 32, 5)])
def test_configs_of_the_pipelined_template(config: tuple[int, int, int, int]) -> None:
    """Other points of the space than the selected ones."""
    kernel = example("matmul", ("sm_80",))["matmul"]
    base = next(v for v in variants(kernel) if v.schedule == "pipelined")
    knobs = dict(zip(("tile_m", "tile_n", "tile_k", "stages"), config, strict=True))
    call = case(kernel, {"M": 72, "N": 88, "K": 136}, {"activation": "silu"}, {"A": "bf16"}, {"A": "column"})
    problem = kernel.plan.variants[0].launches[0].problem
    shape = PIPELINED.shape(problem, Signature(kernel.plan.kernel), knobs)
    launch = replace(
        base.launches[0], grid=shape.grid, threads=shape.threads, shared_bytes=shape.shared_bytes
    )
    variant = replace(
        base, config=knobs, defines={f"KNOB_{k}": str(v) for k, v in knobs.items()}, launches=(launch,)
    )
    agrees(kernel, variant, call, guards=False)


@pytest.mark.parametrize("layouts", LAYOUTS)
def test_operands_in_shared_memory_meet_no_bank_conflict(layouts: tuple[str, str]) -> None:
    kernel = example("matmul", ("sm_80",))["matmul"]
    dims = {"M": 128, "N": 256, "K": 64}
    call = case(kernel, dims, {"activation": "identity"}, {"A": "f16"}, dict(zip("AB", layouts, strict=True)))
    for variant in variants(kernel):
        reports: list[Report] = []
        agrees(kernel, variant, call, guards=False, reports=reports)
        looked_at = [a for report in reports for a in report.conflicts if a.space == "shared"]
        found = [a for report in reports for a in report.bank_conflicts()]
        assert looked_at or variant.schedule == "naive"
        assert not [a for a in found if "output_slab" not in str(a.place)], f"{variant.id}: {found}"


def holds(variant: Variant, length: int) -> bool:
    """Whether the variant computes rows of this length: whole vectors, no more than registers hold."""
    if variant.schedule == "warp":
        return length <= 1024
    if not variant.schedule.endswith("held"):
        return True
    threads, chunks, vector = (int(variant.config[knob]) for knob in ("threads", "chunks", "vector"))
    most = threads * chunks * vector if chunks else 1024 if threads == 32 else length
    return length % vector == 0 and length <= most


NORMS = ("rms_norm", "layer_norm", "add_layer_norm")


@pytest.mark.parametrize("name", [name + end for name in NORMS for end in ("", "_gradient")])
@pytest.mark.parametrize("dims", [(1, 1), (37, 65), (5, 264), (2, 1032)])
@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_norm(name: str, dims: tuple[int, int], dtype: str) -> None:
    kernel = example("train", ("sm_80",))[name]
    stream = "f32" if name.startswith("add") else dtype  # what is summed stays float32
    dtypes = {"x": stream, "stream": stream, "more": dtype, "grad_y": dtype}
    call = case(kernel, dict(zip("RN", dims, strict=True)), {"eps": 1e-6}, dtypes)
    if name.endswith("layer_norm_gradient"):  # the statistics are what the forward pass saved
        x = call.tensors["stream" if name.startswith("add") else "x"].astype(np.float64)  # type: ignore[union-attr]
        call.tensors["mean"] = x.mean(1).astype(np.float32)
        call.tensors["rstd"] = (1 / np.sqrt(x.var(1) + 1e-5)).astype(np.float32)
    for variant in variants(kernel):
        if holds(variant, dims[1]):
            agrees(kernel, variant, call)


def test_weights_of_a_norm_without_rows_have_gradients_of_zero() -> None:
    kernel = example("train", ("sm_80",))["layer_norm_gradient"]
    call = case(kernel, {"R": 0, "N": 40}, {}, {"x": "f32", "grad_y": "f32"})
    for variant in variants(kernel):
        if holds(variant, 40):
            found = run(kernel.spec, variant, kernel.files, call, guards=False)
            assert not found["grad_weight"].any() and not found["grad_bias"].any(), variant.id


@pytest.mark.parametrize("name", ["gelu", "gelu_gradient", "swiglu", "swiglu_gradient"])
@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_activations(name: str, dtype: str) -> None:
    kernel = example("train", ("sm_80",))[name]
    dtypes = {"x": dtype, "gate": dtype, "up": dtype, "grad_y": dtype}
    call = case(kernel, {"R": 3, "N": 40}, {}, dtypes)
    for variant in variants(kernel):
        agrees(kernel, variant, call)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_gradient"])
@pytest.mark.parametrize("dims", [(1, 2), (9, 65), (3, 1000), (2, 1032)])
def test_cross_entropy(name: str, dims: tuple[int, int]) -> None:
    kernel = example("train", ("sm_80",))[name]
    sizes = dict(zip("RV", dims, strict=True))
    call = case(kernel, sizes, {}, {"logits": "f32"}, limits={"target": sizes["V"]})
    for variant in variants(kernel):
        if holds(variant, sizes["V"]) and sizes["V"] % int(variant.config.get("vector", 1)) == 0:
            agrees(kernel, variant, call)


@pytest.mark.parametrize("name", ["rope", "rope_gradient"])
@pytest.mark.parametrize("dtype", ["bf16", "f32"])
@pytest.mark.parametrize("depth", [64, 128])
def test_rope(name: str, dtype: str, depth: int) -> None:
    kernel = example("train", ("sm_80",))[name]
    dims = {"B": 2, "T": 5, "H": 3, "D": depth}
    call = case(kernel, dims, {"base": 10_000.0}, {"x": dtype, "grad_y": dtype})
    for variant in variants(kernel):
        agrees(kernel, variant, call)


@pytest.mark.parametrize("size", [1, 1000, 4096])
def test_adamw_changes_its_tensors_in_place(size: int) -> None:
    kernel = example("train", ("sm_80",))["adamw"]
    call = case(kernel, {"N": size}, {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}, {"g": "bf16"})
    for name in ("lr", "decay", "c1", "c2"):
        call.tensors[name][...] = 0.25  # type: ignore[index]
    for variant in variants(kernel):
        if size % int(variant.config["vector"]) == 0:
            agrees(kernel, variant, call)


@pytest.mark.parametrize(
    "options",
    [
        {"causal": True, "softcap": 0.0, "window": 0},
        {"causal": False, "softcap": 3.0, "window": 5},
    ],
)
@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("fmha", 2),
        ("fmha_gradient", 2),
        ("fmha_gradient", 4),
        ("fmha_biased", 2),
        ("fmha_biased_gradient", 4),
    ],
)
def test_attention(name: str, groups: int, options: dict[str, Any]) -> None:
    kernel = example("fmha", ("sm_80",))[name]
    dims = {"B": 1, "H": 4, "G": groups, "Sq": 17, "Sk": 21, "D": 64}
    call = case(kernel, dims, {"scale": 0.125, **options}, {"Q": "bf16", "grad_O": "bf16"})
    if name.endswith("_gradient"):  # the normaliser and the output are what the forward pass saved
        forward = example("fmha", ("sm_80",))[name.removesuffix("_gradient")].plan.kernel
        given = {n: a for n, a in call.tensors.items() if n in ("Q", "K", "V", "bias")}
        saved = oracle(forward, given, call.options, dims)
        for output in ("L", "O"):
            call.tensors[output][...] = saved[output]  # type: ignore[index]
    sizes = Environment(dims=dims)
    for variant in variants(kernel):
        limits = [guard for guard in variant.guards if guard.law in ("short", "ungrouped")]
        if all(evaluate(guard.condition, sizes) for guard in limits):
            agrees(kernel, variant, call, guards=False)
