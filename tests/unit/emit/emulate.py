"""Runs a variant of a planned kernel on the emulator, by its manifest alone: what a launch does, without
torch."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from spak_runtime.emulator import Buffer, Pointer, Report, build
from spak_runtime.expressions import Environment, TensorFacts, evaluate
from spak_runtime.manifest import KernelSpec, Launch, TensorSpec, Variant
from spak_runtime.specialise import Binding, macros

HEADERS = Path(__file__).parents[3] / "templates" / "cuda" / "include"
NUMPY = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}
WORDS = {dtype: word for word, dtype in NUMPY.items()}
_PACK = {"u64": "Q", "i64": "q", "i32": "i", "f32": "f"}


@dataclass(frozen=True)
class Case:
    """One call: arrays of inputs and inouts by name (strided views are fine, None is absent)."""

    tensors: Mapping[str, np.ndarray | None]
    options: Mapping[str, Any]
    dims: Mapping[str, int]
    output_dtypes: Mapping[str, str]


def column(array: np.ndarray) -> np.ndarray:
    """The same values with the last two axes the other way round in memory."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)


def run(
    spec: KernelSpec,
    variant: Variant,
    sources: Mapping[str, str],
    case: Case,
    *,
    seed: int = 0,
    guards: bool = True,
    reports: list[Report] | None = None,
) -> dict[str, np.ndarray]:
    """The outputs and inouts after all launches; `reports` collects what the emulator counted. Fails on any
    finding of the emulator, and, unless told otherwise, on a guard that does not hold."""
    arrays = dict(case.tensors)
    for tensor in (*spec.tensors, *variant.workspace):
        if tensor.role in ("output", "workspace"):
            arrays[tensor.name] = _empty(tensor, spec, case, arrays)
    environment = _environment(spec, variant, case, arrays)
    for guard in variant.guards if guards else ():
        assert evaluate(guard.condition, environment), f"{variant.id}: {guard.law}: {guard.reason}"
    binding = _binding(spec, case, arrays, environment)
    for launch in variant.launches:
        _launch(spec, variant, launch, sources, environment, arrays, macros(variant, binding), seed, reports)
    return {t.name: arrays[t.name] for t in spec.tensors if t.role in ("output", "inout")}


def _shape(tensor: TensorSpec, case: Case) -> tuple[int, ...]:
    environment = Environment(dims=case.dims)
    return tuple(int(evaluate(size, environment)) for size in tensor.shape)


def _empty(tensor: TensorSpec, spec: KernelSpec, case: Case, arrays: Mapping[str, Any]) -> np.ndarray:
    word = case.output_dtypes.get(tensor.name)
    if word is None and tensor.same_as:
        word = _word(tensor.same_as, spec, case, arrays)
    dtype = NUMPY[word or tensor.dtypes[0]]
    return np.full(_shape(tensor, case), -77, dtype=dtype)


def _word(name: str, spec: KernelSpec, case: Case, arrays: Mapping[str, Any]) -> str:
    array = arrays.get(name)
    if array is not None:
        return WORDS[array.dtype]
    tensor = next(t for t in spec.tensors if t.name == name)
    return _word(tensor.same_as, spec, case, arrays) if tensor.same_as else tensor.dtypes[0]


def _layout(array: np.ndarray) -> str:
    if array.ndim < 2 or array.strides[-1] == array.itemsize:
        return "row"
    return "column" if array.strides[-2] == array.itemsize else "row"


def _environment(spec: KernelSpec, variant: Variant, case: Case, arrays: Mapping[str, Any]) -> Environment:
    facts = {}
    for tensor in spec.tensors:
        array = arrays[tensor.name]
        word = _word(tensor.name, spec, case, arrays)
        if array is None:
            strides = (0,) * len(tensor.shape)
            facts[tensor.name] = TensorFacts(word, NUMPY[word].itemsize, strides, present=False)
            continue
        strides = tuple(s // array.itemsize for s in array.strides)
        offset = _offset(array)
        alignment = 256 if offset % 256 == 0 else offset & -offset
        facts[tensor.name] = TensorFacts(word, array.itemsize, strides, _layout(array), alignment)
    return Environment(case.dims, variant.config, case.options, {}, facts)


def _base(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _offset(array: np.ndarray) -> int:
    return array.ctypes.data - _base(array).ctypes.data


def _binding(spec: KernelSpec, case: Case, arrays: Mapping[str, Any], environment: Environment) -> Binding:
    return Binding(
        {t.name: environment.tensors[t.name].dtype for t in spec.tensors},
        {t.name: environment.tensors[t.name].layout for t in spec.tensors},
        {t.name: arrays[t.name] is not None for t in spec.tensors},
        case.options,
        case.dims,
    )


def _launch(
    spec: KernelSpec,
    variant: Variant,
    launch: Launch,
    sources: Mapping[str, str],
    environment: Environment,
    arrays: Mapping[str, Any],
    defines: Mapping[str, str],
    seed: int,
    reports: list[Report] | None,
) -> None:
    data, pointers, used = bytearray(), [], []
    for param in launch.params:
        letter = _PACK[param.type]
        size = struct.calcsize(letter)
        data += b"\0" * (-len(data) % size)
        if param.kind == "pointer":
            array = arrays[param.name]
            if array is not None:
                pointers.append(Pointer(len(data), param.name, _offset(array)))
                used.append(param.name)
            value: Any = 0
        elif param.kind == "stride":
            value = environment.tensors[param.name].strides[param.axis]
        elif param.kind == "dim":
            value = environment.dims[param.name]
        elif param.kind == "option":
            value = environment.options[param.name]
        else:
            value = evaluate(param.value, environment)
        data += struct.pack(letter, value)
    data += b"\0" * (-len(data) % 8)
    roles = {t.name: t.role for t in (*spec.tensors, *variant.workspace)}
    bases = {name: _base(arrays[name]) for name in used}
    buffers = [
        Buffer(
            n, bases[n], writable=roles[n] != "input", write_once=roles[n] == "output" and _owned(n, variant)
        )
        for n in used
    ]
    kernel = build(sources[launch.source], [HEADERS], defines, name=launch.source)
    x, y, z = (int(evaluate(size, environment)) for size in launch.grid)
    report = kernel.run(
        launch.entry,
        bytes(data),
        buffers,
        pointers,
        (x, y, z),
        int(evaluate(launch.threads, environment)),
        int(evaluate(launch.shared_bytes, environment)),
        seed=seed,
    )
    if reports is not None:
        reports.append(report)
    assert report.ok, f"{variant.id}, {launch.entry}: {report.errors}"


def _owned(name: str, variant: Variant) -> bool:
    """Whether a single launch touches an output, so that it must write all of it."""
    pointers = [p.name for step in variant.launches for p in step.params if p.kind == "pointer"]
    return pointers.count(name) == 1
