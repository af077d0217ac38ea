"""Scalar types and units of the IR. A leaf."""

from __future__ import annotations

import builtins
from enum import Enum

from spakc.record import record


class DType(Enum):
    """Element types. The value is the name in a `.spak` file and in a manifest."""

    bf16 = "bf16"
    f16 = "f16"
    f32 = "f32"
    f64 = "f64"
    int32 = "int32"
    int64 = "int64"
    bool = "bool"

    @property
    def bytes(self) -> int:
        return _BYTES[self]

    @property
    def is_float(self) -> builtins.bool:
        return self in (DType.bf16, DType.f16, DType.f32, DType.f64)


_BYTES = {
    DType.bf16: 2,
    DType.f16: 2,
    DType.f32: 4,
    DType.f64: 8,
    DType.int32: 4,
    DType.int64: 8,
    DType.bool: 1,
}

TYPE_NAMES: dict[str, DType] = {dtype.value: dtype for dtype in DType} | {"int": DType.int32}
"""What may stand where a type is expected; `int` is short for int32."""


@record
class Unit:
    """Exponents of the base quantities. A bare number is `Unit()`; so are percentages and plain ratios."""

    byte: int = 0
    second: int = 0
    flop: int = 0
    token: int = 0

    def __mul__(self, other: Unit) -> Unit:
        return Unit(
            self.byte + other.byte,
            self.second + other.second,
            self.flop + other.flop,
            self.token + other.token,
        )

    def __truediv__(self, other: Unit) -> Unit:
        return self * Unit(-other.byte, -other.second, -other.flop, -other.token)

    def __str__(self) -> str:
        return _UNIT_WORDS.get(self, "a number" if self == Unit() else repr(self))


NUMBER = Unit()
BYTES = Unit(byte=1)
SECONDS = Unit(second=1)
_UNIT_WORDS = {
    BYTES: "bytes",
    SECONDS: "seconds",
    Unit(second=-1): "hertz",
    Unit(byte=1, second=-1): "bytes per second",
    Unit(flop=1, second=-1): "FLOP per second",
    Unit(token=1, second=-1): "tokens per second",
    Unit(flop=1): "FLOP",
}

UNITS: dict[str, tuple[float, Unit]] = {
    "KiB": (2**10, BYTES),
    "MiB": (2**20, BYTES),
    "GiB": (2**30, BYTES),
    "GHz": (1e9, Unit(second=-1)),
    "us": (1e-6, SECONDS),
    "ms": (1e-3, SECONDS),
    "sec": (1.0, SECONDS),
    "GB/s": (1e9, Unit(byte=1, second=-1)),
    "TB/s": (1e12, Unit(byte=1, second=-1)),
    "TFLOP/s": (1e12, Unit(flop=1, second=-1)),
    "tokens/s": (1.0, Unit(token=1, second=-1)),
    "%": (0.01, NUMBER),
}
"""Factor to base units (bytes, seconds, FLOP, tokens) and unit. `227 KiB` is 232448 bytes (exact integers)."""
