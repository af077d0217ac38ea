"""One call of a variant on the emulator, by its manifest alone: the launches that a device would get.

Tensors are numpy arrays of any strides. Each is a view of one flat array, which is the memory that the
kernel sees: nothing beside it exists, so an access outside of it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from spak_runtime.emulator import AsyncMode, Buffer, Pointer, Report, TensorMap, build
from spak_runtime.errors import CallError
from spak_runtime.expressions import Environment, TensorFacts, evaluate
from spak_runtime.manifest import KernelSpec, Launch, Param, TensorSpec, Variant
from spak_runtime.params import layout_of_params, pack, value_of
from spak_runtime.specialise import Binding, macros

Array = npt.NDArray[Any]

NUMPY: dict[str, np.dtype[Any]] = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}
"""Element types by the word that a file uses."""

MAX_ALIGNMENT = 256

SMS = 2
"""Multiprocessors of the device that a launch is for, where a call does not say: so few that blocks which stay and take
one tile after the other have several to take, and their rings go round."""


def facts_of_device(sms: int = SMS) -> dict[str, int]:
    """What is known of the device that a launch is for: so many multiprocessors, the shared memory of the largest
    architecture."""
    return {"sms": sms, "smem_per_block": 232_448}


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call. `tensors` holds every tensor of the signature: inputs, inouts and outputs
    (which are written), None for an absent one. `dtypes` and `layouts` (`row` | `column`) cover all of
    them; `dims` and `options` every dim and option. `sms` are the multiprocessors of the device."""

    tensors: Mapping[str, Array | None]
    dtypes: Mapping[str, str]
    layouts: Mapping[str, str]
    dims: Mapping[str, int]
    options: Mapping[str, Any]
    sms: int = SMS


@dataclass(frozen=True, slots=True)
class Refusal:
    """The guard of the variant that the call does not satisfy."""

    law: str
    reason: str


def environment_of(spec: KernelSpec, variant: Variant, call: Call) -> Environment:
    """What the manifest's expressions may ask about a call of this variant."""
    facts = {}
    for tensor in spec.tensors:
        array, word = call.tensors[tensor.name], call.dtypes[tensor.name]
        layout = call.layouts[tensor.name]
        if array is None:
            rank = len(tensor.shape)
            facts[tensor.name] = TensorFacts(word, NUMPY[word].itemsize, (0,) * rank, layout, present=False)
            continue
        facts[tensor.name] = TensorFacts(
            word, array.itemsize, _strides(array, layout), layout, _alignment(array)
        )
    return Environment(call.dims, variant.config, call.options, facts_of_device(call.sms), facts)


def refusal(spec: KernelSpec, variant: Variant, call: Call, ignore: Sequence[str] = ()) -> Refusal | None:
    """The first guard that does not hold, or None. Guards of the laws in `ignore` are not asked."""
    environment = environment_of(spec, variant, call)
    for guard in variant.guards:
        if guard.law not in ignore and not evaluate(guard.condition, environment, f"guard {guard.law}"):
            return Refusal(guard.law, guard.reason)
    return None


def run_variant(
    spec: KernelSpec,
    variant: Variant,
    sources: Mapping[str, str],
    include: Path | Sequence[Path],
    call: Call,
    *,
    seed: int = 0,
    async_mode: AsyncMode = "late",
    contract: bool = True,
    checks: bool = True,
    timeout_seconds: int = 60,
    isolate: bool = True,
) -> list[Report]:
    """Makes every launch of the variant, and writes the call's outputs and inouts in place.

    `sources` are the artifact's kernel sources by path, `include` the folder of the headers, or several of
    which the first that has a header gives it. Returns one report a launch; stops after the first with a
    mistake. Outputs hold NaN (integers: a pattern) where nothing was written. Guards are not asked. `checks`,
    `timeout_seconds` and `isolate` are those of `Kernel.run`. Raises ToolError without a compiler, BuildError for a
    source that it refuses, CallError for memory that overlaps, ExpressionError.
    """
    arrays = _filled(spec, variant, call)
    environment = environment_of(spec, variant, replace(call, tensors={**call.tensors, **arrays}))
    spaces = {space.name: _workspace(space, environment) for space in variant.workspace}
    facts = dict(environment.tensors)
    for name, space in spaces.items():
        word = next(word for word, dtype in NUMPY.items() if dtype == space.dtype)
        facts[name] = TensorFacts(word, space.itemsize, _strides(space, "row"))
    environment = replace(environment, tensors=facts)
    present = {name: array is not None for name, array in call.tensors.items()}
    binding = Binding(call.dtypes, call.layouts, present, call.options, call.dims)
    defines = macros(variant, binding)
    folders = [include] if isinstance(include, Path) else list(include)
    reports: list[Report] = []
    for launch in variant.launches:
        filled = _Filled(spec, variant, launch, {**arrays, **spaces}, environment)
        if 0 in filled.grid:
            continue
        kernel = build(sources[launch.source], folders, defines, contract, launch.source)
        report = kernel.run(
            launch.entry,
            filled.block,
            filled.buffers,
            filled.pointers,
            filled.grid,
            int(evaluate(launch.threads, environment)),
            int(evaluate(launch.shared_bytes, environment)),
            tensor_maps=filled.maps,
            cluster=launch.cluster,
            overlaps=launch.overlaps,
            seed=seed,
            async_mode=async_mode,
            checks=checks,
            isolate=isolate,
            timeout_seconds=timeout_seconds,
        )
        reports.append(report)
        if not report.ok:
            break
    return reports


class _Filled:
    """A launch's parameter block, its memory and its grid."""

    def __init__(
        self,
        spec: KernelSpec,
        variant: Variant,
        launch: Launch,
        arrays: Mapping[str, Array | None],
        environment: Environment,
    ) -> None:
        self.pointers: list[Pointer] = []
        self.maps: list[TensorMap] = []
        x, y, z = (int(evaluate(size, environment, f"grid of {launch.entry}")) for size in launch.grid)
        self.grid = (x, y, z)
        options = {option.name: option for option in spec.options}
        layout = layout_of_params(launch.params)
        block = bytearray(layout.size)
        used: dict[str, Array] = {}
        for param, offset in zip(launch.params, layout.offsets, strict=True):
            if param.kind not in ("pointer", "tensor_map"):
                pack(block, param, offset, value_of(param, environment, options, launch.entry), launch.entry)
                continue
            array = arrays[param.name]
            if array is None:
                continue
            used[param.name] = array
            if param.kind == "pointer":
                self.pointers.append(Pointer(offset, param.name, _offset(array)))
            else:
                self.maps.append(_tensor_map(param, offset, _offset(array), environment))
        self.block = bytes(block)
        roles = {t.name: t.role for t in (*spec.tensors, *variant.workspace)}
        self.buffers = [
            self._buffer(name, array, roles[name], name in _sole_writes(spec, variant, launch))
            for name, array in used.items()
        ]

    @staticmethod
    def _buffer(name: str, array: Array, role: str, sole: bool) -> Buffer:
        """An output whose memory holds nothing else must be written whole, each element once. Elsewhere the
        gaps between rows are not to be touched, which whoever made the memory can see afterwards."""
        memory = memory_of(array)
        return Buffer(
            name,
            memory,
            writable=role != "input",
            write_once=sole and memory.size == array.size and role == "output",
        )


def memory_of(array: Array) -> Array:
    """The flat array that a tensor is a view of. Raises CallError for one that is not flat and contiguous."""
    memory = array
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    if not memory.flags.c_contiguous:
        raise CallError("a tensor on the emulator is a view of one contiguous array")
    return memory


def _offset(array: Array) -> int:
    """Bytes from the beginning of its memory to the first element."""
    return int(array.ctypes.data - memory_of(array).ctypes.data)


def _alignment(array: Array) -> int:
    """What a device would see: its memory begins at a multiple of 256."""
    offset = _offset(array) | MAX_ALIGNMENT
    return offset & -offset


def _strides(array: Array, layout: str) -> tuple[int, ...]:
    """In elements. An axis of at most one element has no step: 0, or 1 where the layout wants it
    contiguous."""
    unit = array.ndim - (1 if layout == "row" else 2)
    return tuple(
        step // array.itemsize if size > 1 else int(axis == unit)
        for axis, (size, step) in enumerate(zip(array.shape, array.strides, strict=True))
    )


def _filled(spec: KernelSpec, variant: Variant, call: Call) -> dict[str, Array | None]:
    """The tensors of a call; an absent one that the variant wants in full is filled with its default."""
    arrays = dict(call.tensors)
    for tensor in spec.tensors:
        if arrays[tensor.name] is None and f"PRESENT_{tensor.name}" not in variant.axes:
            shape = [int(evaluate(size, Environment(dims=call.dims))) for size in tensor.shape]
            arrays[tensor.name] = np.full(shape, tensor.default or 0, NUMPY[call.dtypes[tensor.name]])
    return arrays


def _workspace(space: TensorSpec, environment: Environment) -> Array:
    """Memory between launches: NaN, or what the manifest fills it with."""
    word = space.dtypes[0] if space.dtypes else environment.tensors[space.same_as or ""].dtype
    shape = [int(evaluate(size, environment)) for size in space.shape]
    return np.full(shape, poison(NUMPY[word]) if space.default is None else space.default, NUMPY[word])


def poison(dtype: np.dtype[Any]) -> Any:
    """What stands in memory that nobody has written: NaN; for integers a number that no index can be."""
    if dtype == np.bool_:
        return True
    return np.iinfo(dtype).min // 2 if np.issubdtype(dtype, np.integer) else np.nan


def _sole_writes(spec: KernelSpec, variant: Variant, launch: Launch) -> frozenset[str]:
    """The outputs that no other launch of the variant touches."""
    touched = [
        {p.name for p in each.params if p.kind in ("pointer", "tensor_map")} for each in variant.launches
    ]
    mine = {p.name for p in launch.params if p.kind in ("pointer", "tensor_map")}
    outputs = {t.name for t in spec.tensors if t.role == "output"}
    return frozenset(name for name in mine & outputs if sum(name in names for names in touched) == 1)


def _tensor_map(param: Param, offset: int, byte_offset: int, environment: Environment) -> TensorMap:
    """The form is that of `manifest.Param`."""
    _, swizzle, *parts = param.value
    dims, strides, box = (tuple(int(evaluate(item, environment)) for item in part) for part in parts)
    facts = environment.tensors[param.name]
    steps = tuple(step * facts.itemsize for step in strides)
    swizzled = int(evaluate(swizzle, environment))
    return TensorMap(offset, param.name, facts.dtype, dims, steps, box, swizzled, byte_offset)
