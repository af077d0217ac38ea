"""TMA descriptors: what a kernel parameter of kind tensor_map asks for, encoded by the driver and remembered.

torch's allocator gives the same addresses again and again, so most launches find their descriptor in the
table.
"""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from typing import Any

from spak_runtime.errors import DriverError, ExpressionError
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import Param
from spak_runtime.params import MAP_BYTES

REMEMBERED = 256
"""Addresses that the descriptors of one parameter are kept for; the oldest goes first."""

STEP = 16
"""Bytes between neighbours along an axis of one element: there are none, but the driver wants a lawful
number."""

_SWIZZLES = {0: "NONE", 32: "32B", 64: "64B", 128: "128B"}
_TYPES = {
    "bf16": "BFLOAT16",
    "f16": "FLOAT16",
    "f32": "FLOAT32",
    "f64": "FLOAT64",
    "int32": "INT32",
    "int64": "INT64",
}


@dataclass(frozen=True, slots=True)
class MapLayout:
    """A tensor as TMA sees it, all but its address. Dims and box in elements, innermost first; strides in
    bytes, of all dims but the innermost."""

    dtype: str
    swizzle: int
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]

    @staticmethod
    def of(param: Param, environment: Environment, entry: str) -> MapLayout:
        """Evaluates the `value` of a tensor_map parameter (its form: `manifest.Param`). Raises
        ExpressionError."""
        where = f"tensor map of {param.name} in {entry}"
        value = param.value
        if not (isinstance(value, list) and len(value) == 5 and value[0] == "tensor_map"):
            raise ExpressionError(f"{where}: {value!r} is no tensor map")
        swizzle = int(evaluate(value[1], environment, where))
        dims, strides, box = (
            tuple(int(evaluate(item, environment, where)) for item in part) for part in value[2:]
        )
        facts = environment.tensors[param.name]
        steps = tuple(
            step * facts.itemsize if size > 1 else STEP for step, size in zip(strides, dims[1:], strict=False)
        )
        if swizzle not in _SWIZZLES or facts.dtype not in _TYPES:
            raise ExpressionError(f"{where}: no swizzle of {swizzle} bytes, or no map of {facts.dtype}")
        if not 1 <= len(dims) <= 5 or len(strides) != len(dims) - 1 or len(box) != len(dims):
            raise ExpressionError(
                f"{where}: {len(dims)} dims, {len(strides)} strides and {len(box)} box sizes"
            )
        return MapLayout(facts.dtype, swizzle, dims, steps, box)


class KnownMaps(dict[int, bytes]):
    """The descriptors of one parameter by the address of its tensor, encoded when they are first asked for."""

    def __init__(self, layout: MapLayout) -> None:
        super().__init__()
        self._layout = layout
        self._lock = threading.Lock()

    def __missing__(self, address: int) -> bytes:
        descriptor = encode(address, self._layout)
        with self._lock:
            if len(self) >= REMEMBERED:
                del self[next(iter(self))]
            self[address] = descriptor
        return descriptor


def encode(address: int, layout: MapLayout) -> bytes:
    """The 128 bytes of a descriptor for a tensor at a device address. What lies outside reads as zero.

    Raises DriverError where the driver refuses it (an address or a stride that is no multiple of 16, a box
    that is larger than its swizzle).
    """
    from cuda.bindings import driver

    status, descriptor = driver.cuTensorMapEncodeTiled(
        getattr(driver.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{_TYPES[layout.dtype]}"),
        len(layout.dims),
        address,
        [driver.cuuint64_t(size) for size in layout.dims],
        [driver.cuuint64_t(step) for step in layout.strides],
        [driver.cuuint32_t(size) for size in layout.box],
        [driver.cuuint32_t(1) for _ in layout.dims],
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        getattr(driver.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{_SWIZZLES[layout.swizzle]}"),
        getattr(driver.CUtensorMapL2promotion, f"CU_TENSOR_MAP_L2_PROMOTION_{_promotion(address, layout)}"),
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    if status != 0:
        raise DriverError(f"no tensor map for address {address:#x} and {layout}: {status.name}")
    return _content(descriptor)


def _promotion(address: int, layout: MapLayout) -> str:
    """What the second-level cache fetches for a piece of a row: 256 bytes where all rows begin at a multiple of that,
    else 128, of which fewer are a neighbour's."""
    whole = all(start % 256 == 0 for start in (address, *layout.strides))
    return "L2_256B" if whole else "L2_128B"


def _content(descriptor: Any) -> bytes:
    return ctypes.string_at(int(descriptor.getPtr()), MAP_BYTES)
