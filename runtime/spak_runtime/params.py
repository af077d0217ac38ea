"""The parameter struct of a launch: where each field lies, and what stands in it.

Needs neither torch nor a GPU. The device launch and the emulator fill the same struct by the same rules;
only pointers and tensor maps are written by whoever knows the memory.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spak_runtime.errors import ExpressionError
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import OptionSpec, Param

MAP_BYTES = 128
MAP_ALIGNMENT = 64

_FORMATS = {"u64": "<Q", "i64": "<q", "i32": "<i", "f32": "<f"}
_SIZES = {"u64": 8, "i64": 8, "i32": 4, "f32": 4, "map": MAP_BYTES}


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Where each parameter lies in the struct that the kernel takes by value."""

    offsets: tuple[int, ...]
    size: int


def layout_of_params(params: Sequence[Param]) -> BlockLayout:
    """Offsets as a C compiler lays the fields out: each aligned to its size, a tensor map to 64 bytes."""
    offset, widest = 0, 1
    offsets = []
    for param in params:
        size = _SIZES[param.type]
        alignment = MAP_ALIGNMENT if param.type == "map" else size
        widest = max(widest, alignment)
        offset = -(-offset // alignment) * alignment
        offsets.append(offset)
        offset += size
    return BlockLayout(tuple(offsets), -(-max(offset, 1) // widest) * widest)


def value_of(
    param: Param, environment: Environment, options: Mapping[str, OptionSpec], where: str
) -> int | float:
    """The number that a parameter of kind value, option, stride or dim stands for. Raises ExpressionError."""
    name = f"parameter {param.name or param.kind} of {where}"
    if param.kind == "value":
        return _number(evaluate(param.value, environment, name), name)
    if param.kind == "option":
        value = evaluate(["option", param.name], environment, name)
        return options[param.name].choices.index(value) if isinstance(value, str) else _number(value, name)
    if param.kind == "stride":
        return _number(evaluate(["stride", param.name, param.axis], environment, name), name)
    if param.kind == "dim":
        return _number(evaluate(["dim", param.name], environment, name), name)
    raise ExpressionError(f"{name}: there is no parameter of kind {param.kind!r}")


def pack(block: bytearray, param: Param, offset: int, value: int | float, where: str) -> None:
    """Writes one number into the struct. Raises ExpressionError where it does not fit its type."""
    try:
        exact = float(value) if param.type == "f32" else int(value)
        struct.pack_into(_FORMATS[param.type], block, offset, exact)
    except (struct.error, OverflowError) as error:
        name = param.name or param.kind
        raise ExpressionError(
            f"parameter {name} of {where}: {value} does not fit {param.type}: {error}"
        ) from None


def _number(value: object, where: str) -> int | float:
    if isinstance(value, (bool, int, float)):
        return int(value) if isinstance(value, bool) else value
    raise ExpressionError(f"{where}: {value!r} is no number")
