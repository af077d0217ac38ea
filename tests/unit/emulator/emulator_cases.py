"""Launching small kernels on the emulator: parameter packing, 16-bit numbers, the two GEMM kernels."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spak_runtime.emulator import Buffer, Kernel, Pointer, Report, TensorMap, build

ROOT = Path(__file__).resolve().parents[3]
INCLUDE = [ROOT / "templates" / "cuda" / "include"]
KERNELS = Path(__file__).parent / "kernels"
HEAD = '#include "spak/primitives.cuh"\nusing namespace spak;\n#line 1 "case.spak"\n'


def to_bf16(x: Any) -> np.ndarray:
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


@dataclass
class Params:
    """A C parameter struct under construction, with its buffers and what points to them."""

    data: bytearray = field(default_factory=bytearray)
    buffers: list[Buffer] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)
    maps: list[TensorMap] = field(default_factory=list)
    align: int = 8

    def _pad(self, unit: int) -> None:
        self.data += bytes(-len(self.data) % unit)

    def input(self, name: str, array: np.ndarray, byte_offset: int = 0) -> Params:
        return self._pointer(Buffer(name, array), byte_offset)

    def output(self, name: str, array: np.ndarray) -> Params:
        return self._pointer(Buffer(name, array, writable=True, write_once=True, uninitialised=True))

    def workspace(self, name: str, array: np.ndarray, uninitialised: bool = False) -> Params:
        return self._pointer(Buffer(name, array, writable=True, uninitialised=uninitialised))

    def _pointer(self, buffer: Buffer, byte_offset: int = 0) -> Params:
        self._pad(8)
        self.buffers.append(buffer)
        self.pointers.append(Pointer(len(self.data), buffer.name, byte_offset))
        self.data += bytes(8)
        return self

    def i32(self, *values: int) -> Params:
        for value in values:
            self._pad(4)
            self.data += struct.pack("<i", value)
        return self

    def f32(self, value: float) -> Params:
        self._pad(4)
        self.data += struct.pack("<f", value)
        return self

    def map(self, buffer: Buffer, dtype: str, box: tuple[int, ...], swizzle: int) -> Params:
        """The whole of a C-contiguous array, its last axis innermost."""
        self._pad(64)
        self.align = 64
        if buffer.name not in {b.name for b in self.buffers}:
            self.buffers.append(buffer)
        array = buffer.array
        self.maps.append(
            TensorMap(
                len(self.data), buffer.name, dtype, array.shape[::-1], array.strides[-2::-1], box, swizzle
            )
        )
        self.data += bytes(128)
        return self

    def packed(self) -> bytes:
        return bytes(self.data) + bytes(-len(self.data) % self.align)


def run(
    kernel: Kernel,
    params: Params,
    *,
    entry: str = "kernel",
    grid: tuple[int, int, int] = (1, 1, 1),
    block: int = 32,
    shared: int = 0,
    **options: Any,
) -> Report:
    return kernel.run(
        entry,
        params.packed(),
        params.buffers,
        params.pointers,
        grid,
        block,
        shared,
        tensor_maps=params.maps,
        **options,
    )


def from_text(body: str, **defines: str | int) -> Kernel:
    return build(HEAD + body, INCLUDE, defines)


def gemm_mma(
    m: int, n: int, k: int, plant: int = 0, element: str = "bf16", **options: Any
) -> tuple[Report, bool]:
    """Runs gemm_mma.cu on integers; returns the report and whether the result is exact."""
    kernel = build(KERNELS / "gemm_mma.cu", INCLUDE, {"PLANT": plant, "ELEMENT": element})
    rng = np.random.default_rng(m * 1000003 + n * 1009 + k)
    a, b = rng.integers(-3, 4, (m, k)), rng.integers(-3, 4, (k, n))
    encode = to_bf16 if element == "bf16" else lambda x: x.astype(np.float16).view(np.uint16)
    c = np.zeros((m, n), np.uint16)
    params = Params().input("a", encode(a)).input("b", encode(b)).output("c", c).i32(m, n, k)
    report = run(
        kernel, params, entry="gemm", grid=(-(-n // 128), -(-m // 128), 1), block=256, shared=49152, **options
    )
    return report, bool(np.array_equal(c, encode(a @ b)))


def gemm_wgmma(
    m: int,
    n: int,
    k: int,
    plant: int = 0,
    cluster: int = 1,
    a_mn: bool = False,
    b_mn: bool = False,
    element: str = "bf16",
    **options: Any,
) -> tuple[Report, bool]:
    """Runs gemm_wgmma.cu on integers; returns the report and whether the result is exact."""
    defines = {"PLANT": plant, "CLUSTER": cluster, "A_MN": int(a_mn), "B_MN": int(b_mn), "ELEMENT": element}
    kernel = build(KERNELS / "gemm_wgmma.cu", INCLUDE, defines)
    rng = np.random.default_rng(m * 1000003 + n * 1009 + k)
    a, b = rng.integers(-3, 4, (m, k)), rng.integers(-3, 4, (n, k))
    encode = to_bf16 if element == "bf16" else lambda x: x.astype(np.float16).view(np.uint16)
    c = np.zeros((m, n), np.uint16)
    params = Params()
    params.map(
        Buffer("a", encode(np.ascontiguousarray(a.T if a_mn else a))), element, (64, 64 if a_mn else 128), 128
    )
    params.map(
        Buffer("b", encode(np.ascontiguousarray(b.T if b_mn else b))),
        element,
        (64, 64 if b_mn else 128 // cluster),
        128,
    )
    params.map(
        Buffer("c", c, writable=True, write_once=True, uninitialised=True), element, (64, 64), 128
    ).i32(m, n, k)
    rows = (m + 128 * cluster - 1) // (128 * cluster) * cluster
    report = run(
        kernel,
        params,
        entry="gemm",
        grid=(-(-n // 128), rows, 1),
        block=384,
        shared=1024 + 4 * 32768 + 32768 + 128,
        cluster=(1, cluster, 1),
        **options,
    )
    return report, bool(np.array_equal(c, encode(a @ b.T)))
