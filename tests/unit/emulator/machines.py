"""Where a correct kernel can run: on the emulator, in every asynchronous mode, or on a CUDA device.

A conformance test takes a machine and compares bits with numpy, so that it says the same of both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from spak_runtime.emulator import build
from tests.unit.emulator.emulator_cases import HEAD, INCLUDE, Params, run

Defines = Mapping[str, str | int]
Size = tuple[int, int, int]


class Machine(Protocol):
    """Runs a correct kernel once and leaves its results in the arrays of `params`."""

    name: str

    def has(self, arch: str) -> bool:
        """Whether kernels for `arch` run here."""

    def run(
        self,
        source: str,
        params: Params,
        defines: Defines | None = None,
        *,
        entry: str = "kernel",
        grid: Size = (1, 1, 1),
        block: int = 32,
        shared: int = 0,
        cluster: Size = (1, 1, 1),
        same_bits: bool = True,
    ) -> None: ...


class OnEmulator:
    name = "emulator"

    def has(self, arch: str) -> bool:
        return bool(arch)

    def run(
        self,
        source: str,
        params: Params,
        defines: Defines | None = None,
        *,
        entry: str = "kernel",
        same_bits: bool = True,
        **launch: Any,
    ) -> None:
        """In every mode: clean, and the same bits (unless they depend on the schedule)."""
        kernel = build(HEAD + source, INCLUDE, defines)
        writable = [b.array for b in params.buffers if b.writable]
        before = [a.copy() for a in writable]
        results = []
        for seed, mode in enumerate(("late", "eager", "random", "random")):
            for array, content in zip(writable, before, strict=True):
                array[...] = content
            report = run(kernel, params, entry=entry, seed=seed, async_mode=mode, **launch)
            assert report.ok, [str(e) for e in report.errors]
            results.append([a.tobytes() for a in writable])
        assert not same_bits or all(r == results[0] for r in results)


class OnDevice:
    name = "device"

    def __init__(self) -> None:
        from spak_runtime.device import target_of
        from spak_runtime.kernel import Loader

        self.archs = target_of(0).archs
        self.loader = Loader()

    def has(self, arch: str) -> bool:
        number = int("".join(c for c in arch if c.isdigit()))
        mine = int("".join(c for c in self.archs[0] if c.isdigit()))
        return arch in self.archs if arch[-1].isalpha() else number <= mine

    def run(
        self,
        source: str,
        params: Params,
        defines: Defines | None = None,
        *,
        entry: str = "kernel",
        grid: Size = (1, 1, 1),
        block: int = 32,
        shared: int = 0,
        cluster: Size = (1, 1, 1),
        same_bits: bool = True,
    ) -> None:
        del same_bits  # one run
        import torch

        from spak_runtime.kernel import current_stream
        from spak_runtime.nvrtc import BuildRequest

        headers = {str(p.relative_to(INCLUDE[0])): p.read_text() for p in INCLUDE[0].rglob("*.cuh")}
        options = tuple(f"-D{key}={value}" for key, value in (defines or {}).items())
        request = BuildRequest("case.cu", HEAD + source, headers, options, self.archs[0])
        function = self.loader.function(request, entry, 0, shared, cluster)
        tensors = {b.name: torch.from_numpy(as_bytes(b.array).copy()).cuda() for b in params.buffers}
        content = self._parameters(params, {name: t.data_ptr() for name, t in tensors.items()})
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(content))
        from cuda.bindings import driver

        stream = driver.CUstream(current_stream(0))
        (status,) = driver.cuLaunchKernel(
            function, *grid, block, 1, 1, shared, stream, ctypes.addressof(pointers), 0
        )
        assert status == 0, status
        torch.cuda.synchronize()
        for b in params.buffers:
            if b.writable:
                as_bytes(b.array)[...] = tensors[b.name].cpu().numpy()

    @staticmethod
    def _parameters(params: Params, address: dict[str, int]) -> Any:
        """The parameter struct with device addresses and tensor maps filled in, aligned to 64 bytes."""
        from spak_runtime.tensor_map import MapLayout, encode

        data = bytearray(params.packed())
        for p in params.pointers:
            data[p.offset : p.offset + 8] = (address[p.buffer] + p.byte_offset).to_bytes(8, "little")
        for m in params.maps:
            layout = MapLayout(m.dtype, m.swizzle, m.dims, m.strides, m.box)
            data[m.offset : m.offset + 128] = encode(address[m.buffer] + m.byte_offset, layout)
        room = bytearray(len(data) + 64)
        whole = (ctypes.c_char * len(room)).from_buffer(room)
        start = -ctypes.addressof(whole) % 64
        room[start : start + len(data)] = data
        return (ctypes.c_char * len(data)).from_buffer(room, start)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """A contiguous array's bytes, as a view."""
    return array.reshape(-1).view(np.uint8)
