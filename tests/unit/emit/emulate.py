"""Runs a variant of a planned kernel on the emulator, by its manifest alone: what a launch does, without
torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spak_runtime.emulator import Report
from spak_runtime.emulator.call import NUMPY, SMS, Call, refusal, run_variant
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import KernelSpec, TensorSpec, Variant

HEADERS = Path(__file__).parents[3] / "templates" / "cuda" / "include"
WORDS = {dtype: word for word, dtype in NUMPY.items()}


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


def rows_apart(array: np.ndarray, elements: int) -> np.ndarray:
    """The same values with the rows of the last two axes a multiple of so many elements apart."""
    *outer, size = array.shape
    wide = np.zeros((*outer, -(-size // elements) * elements), array.dtype)
    wide[..., :size] = array
    return wide[..., :size]


def run(
    spec: KernelSpec,
    variant: Variant,
    sources: Mapping[str, str],
    case: Case,
    *,
    seed: int = 0,
    guards: bool = True,
    sms: int = SMS,
    reports: list[Report] | None = None,
) -> dict[str, np.ndarray]:
    """The outputs and inouts after all launches; `reports` collects what the emulator counted. Fails on any
    finding of the emulator, and, unless told otherwise, on a guard that does not hold."""
    arrays = dict(case.tensors)
    words = {t.name: _word(t.name, spec, case) for t in spec.tensors}
    for tensor in spec.tensors:
        if tensor.role == "output" and tensor.name not in arrays:
            arrays[tensor.name] = np.full(_shape(tensor, case), -77, NUMPY[words[tensor.name]])
    layouts = {name: _layout(array) for name, array in arrays.items()}
    call = Call(arrays, words, layouts, case.dims, case.options, sms)
    refused = refusal(spec, variant, call) if guards else None
    assert refused is None, f"{variant.id}: {refused}"
    found = run_variant(spec, variant, sources, HEADERS, call, seed=seed)
    assert found or 0 in case.dims.values(), f"{variant.id}: nothing was launched"
    for report in found:
        assert report.ok, f"{variant.id}: {report.errors}"
    if reports is not None:
        reports += found
    return {t.name: arrays[t.name] for t in spec.tensors if t.role in ("output", "inout")}  # type: ignore[misc]


def _shape(tensor: TensorSpec, case: Case) -> tuple[int, ...]:
    environment = Environment(dims=case.dims)
    return tuple(int(evaluate(size, environment)) for size in tensor.shape)


def _word(name: str, spec: KernelSpec, case: Case) -> str:
    array = case.tensors.get(name)
    if array is not None:
        return WORDS[array.dtype]
    tensor = next(t for t in spec.tensors if t.name == name)
    chosen = case.output_dtypes.get(name)
    if chosen is not None:
        return chosen
    return _word(tensor.same_as, spec, case) if tensor.same_as else tensor.dtypes[0]


def _layout(array: np.ndarray | None) -> str:
    if array is None or array.ndim < 2 or array.strides[-1] == array.itemsize:
        return "row"
    return "column" if array.strides[-2] == array.itemsize else "row"
