"""Runs generated CUDA kernels on a CPU and says what is wrong with them.

The kernel source is the one that the GPU gets: only the primitive header differs (docs/emulator.md). A C++
compiler is needed; numpy is the only library.

    kernel = build(Path("matmul.cu"), [Path("templates/cuda/include")], {"TILE_M": 128})
    buffers = [Buffer("a", a), ..., Buffer("c", c, writable=True, write_once=True)]
    report = kernel.run("matmul", params, buffers, [(0, "a"), ...], (1, 1, 1), 256, 49152, seed=1)
    assert report.ok, report.errors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spak_runtime.emulator.launch import AsyncMode, Buffer, Kernel, Pointer, TensorMap, prepare
from spak_runtime.emulator.report import Access, EmulatorError, Place, Report, Traffic
from spak_runtime.emulator.toolchain import kernel_library

__all__ = [
    "Access",
    "AsyncMode",
    "Buffer",
    "EmulatorError",
    "Kernel",
    "Place",
    "Pointer",
    "Report",
    "TensorMap",
    "Traffic",
    "build",
    "prepare",
]


def build(
    source: Path | str,
    include_dirs: Sequence[Path],
    defines: Mapping[str, str | int] | None = None,
    contract: bool = True,
    name: str = "kernel.cu",
) -> Kernel:
    """Builds a kernel source (a file, or its text, which errors then call `name`) for the CPU.

    `include_dirs` hold the headers that are not primitives; the emulator's own come before them. `contract`
    lets the compiler fuse a * b + c as nvcc does; cases are worth running both ways. Built once, then kept by
    content.

    Raises ToolError without a C++ compiler that can build the emulator, BuildError when it refuses the source.
    """
    if isinstance(source, Path):
        text, name = source.read_text(encoding="utf-8"), source.name
    else:
        text = source
    prepare()  # a compiler that cannot build this finds fault with every kernel
    macros = sorted((key, str(value)) for key, value in (defines or {}).items())
    return Kernel(kernel_library(text, name, list(include_dirs), macros, contract), name)
