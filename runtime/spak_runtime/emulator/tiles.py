"""Programs over tiles on a CPU: what `cuda.tile` means, by numpy, block after block.

A block of such a program has no threads that could race: what there is to find are wrong tiles, wrong mathematics,
reads outside that are not asked to be padded, elements that are written twice. Products are summed in f32.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from spak_runtime.cutile import bound

Array = npt.NDArray[Any]


class TileMistake(Exception):
    """What no program may do."""


@dataclass(frozen=True)
class _DType:
    """An element type, called as `cuda.tile` calls it."""

    name: str
    numpy: np.dtype[Any]

    @property
    def bitwidth(self) -> int:
        return self.numpy.itemsize * 8


_DTYPES = {
    name: _DType(name, np.dtype(kind))
    for name, kind in {
        "bfloat16": ml_dtypes.bfloat16,
        "float16": np.float16,
        "float32": np.float32,
        "float64": np.float64,
        "int32": np.int32,
        "int64": np.int64,
        "bool_": np.bool_,
    }.items()
}


@dataclass
class Tensor:
    """An argument: memory, and how often each element was written."""

    name: str
    memory: Array
    writes: Array = field(init=False)

    def __post_init__(self) -> None:
        self.writes = np.zeros(self.memory.shape, np.uint8)

    @property
    def dtype(self) -> _DType:
        return next(each for each in _DTYPES.values() if each.numpy == self.memory.dtype)


def run_program(
    source: str, options: tuple[str, ...], entry: str, arguments: Sequence[Any], blocks: int
) -> None:
    """Runs every block of `entry` in order. `options` are the macros of a specialisation, as its compiler gets them;
    arguments are `Tensor`s and numbers. Raises TileMistake."""
    machine = _Machine()
    names = {
        **bound(options, machine.module),
        "__builtins__": {**vars(builtins), "__import__": machine.imported},
    }
    exec(compile(source, entry, "exec"), names)
    with np.errstate(all="ignore"):
        for block in range(blocks):
            machine.block = block
            names[entry](*arguments)


class _Machine:
    """The stand-in for `cuda.tile`, for one block at a time."""

    def __init__(self) -> None:
        self.block = 0
        self.module = types.SimpleNamespace(
            **_DTYPES,
            **_ELEMENTWISE,
            kernel=lambda function=None, **_hints: function or (lambda hinted: hinted),
            PaddingMode=types.SimpleNamespace(ZERO="zero"),
            bid=lambda axis: self.block if axis == 0 else 0,
            cdiv=lambda x, y: -(-x // y),
            full=lambda shape, value, dtype: np.full(shape, value, dtype.numpy),
            arange=lambda size, dtype: np.arange(size, dtype=dtype.numpy),
            astype=_astype,
            reshape=np.reshape,
            transpose=np.transpose,
            broadcast_to=np.broadcast_to,
            where=_where,
            sum=lambda x, axis, keepdims: np.sum(x, axis, keepdims=keepdims),
            max=lambda x, axis, keepdims: np.max(x, axis, keepdims=keepdims),
            mma=_mma,
            load=_load,
            store=_store,
            gather=_gather,
        )

    def imported(self, name: str, *_: Any, **__: Any) -> Any:
        """What a program imports, and nothing else."""
        constraints = types.SimpleNamespace(ArrayConstraint=_nothing, ScalarConstraint=_nothing)
        known = {
            "cuda.tile": types.SimpleNamespace(tile=self.module),
            "cuda.tile.compilation": constraints,
        }
        if name not in known:
            raise TileMistake(f"a program imports {name}")
        return known[name]


def _nothing(*_: Any, **__: Any) -> None:
    """What a compiler may believe is nothing to numpy."""


def _float(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: function(*(np.asarray(x, np.float32) for x in args))


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{
        name: _float(getattr(np, name))
        for name in ("exp", "log", "exp2", "log2", "sqrt", "sin", "cos", "tanh")
    },
    "rsqrt": _float(lambda x: 1 / np.sqrt(x)),
    "pow": _float(np.power),
    "floor": np.floor,
    "ceil": np.ceil,
    "abs": np.abs,
    "minimum": lambda x, y: _same_kind(np.minimum, x, y),
    "maximum": lambda x, y: _same_kind(np.maximum, x, y),
}


def _same_kind(function: Callable[..., Any], x: Any, y: Any) -> Any:
    """A number beside a tile takes the tile's type."""
    kinds = [each.dtype for each in (x, y) if isinstance(each, np.ndarray | np.generic)]
    return function(x, y, dtype=kinds[0]) if kinds else function(x, y)


def _astype(x: Any, dtype: _DType) -> Any:
    return np.asarray(x).astype(dtype.numpy)


def _where(condition: Any, x: Any, y: Any) -> Array:
    kinds = [each.dtype for each in (x, y) if isinstance(each, np.ndarray | np.generic)]
    found: Array = np.where(condition, x, y).astype(kinds[0] if kinds else np.float32)
    return found


def _mma(x: Array, y: Array, accumulator: Array) -> Array:
    total: Array = np.matmul(x.astype(np.float32), y.astype(np.float32)) + accumulator
    return total


def _tile(
    tensor: Tensor, index: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a tile that lies inside: in the tensor, and in the tile."""
    if len(index) != tensor.memory.ndim or len(shape) != tensor.memory.ndim:
        raise TileMistake(f"{tensor.name} has {tensor.memory.ndim} axes, the tile {len(shape)}")
    there, here = [], []
    for place, extent, size in zip(index, shape, tensor.memory.shape, strict=True):
        if extent & (extent - 1):
            raise TileMistake(f"a tile of {tensor.name} is {extent} long: powers of two are")
        first = int(place) * extent
        if first < 0:
            raise TileMistake(f"a tile of {tensor.name} begins at {first}")
        inside = max(0, min(extent, size - first))
        there.append(slice(first, first + inside))
        here.append(slice(0, inside))
    return tuple(there), tuple(here)


def _load(tensor: Tensor, index: Sequence[int], shape: Sequence[int], padding_mode: str) -> Array:
    assert padding_mode == "zero"
    there, here = _tile(tensor, index, shape)
    tile = np.zeros(shape, tensor.memory.dtype)
    tile[here] = tensor.memory[there]
    return tile


def _store(tensor: Tensor, index: Sequence[int], tile: Array) -> None:
    there, here = _tile(tensor, index, tile.shape)
    if tile.dtype != tensor.memory.dtype:
        raise TileMistake(f"{tile.dtype} is stored to {tensor.name}, which is {tensor.memory.dtype}")
    if any(part.start >= size for part, size in zip(there, tensor.memory.shape, strict=True)):
        raise TileMistake(f"a tile is stored to {tensor.name} that lies outside of it")
    tensor.memory[there] = tile[here]
    tensor.writes[there] += 1
    if tensor.writes[there].max(initial=0) > 1:
        raise TileMistake(f"an element of {tensor.name} is written twice")


def _gather(tensor: Tensor, indices: Sequence[Any], padding_value: float) -> Array:
    places = np.broadcast_arrays(*indices)
    inside = np.ones(places[0].shape, bool)
    for place, size in zip(places, tensor.memory.shape, strict=True):
        inside &= (place >= 0) & (place < size)
    found = tensor.memory[tuple(np.where(inside, place, 0) for place in places)] if tensor.memory.size else 0
    return np.where(inside, found, np.asarray(padding_value, tensor.memory.dtype))
