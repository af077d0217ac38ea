"""Running one launch: buffers, pointers and tensor maps into the C structures of src/launch.cpp, and back."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from spak_runtime.emulator.report import Report, parse_report
from spak_runtime.emulator.toolchain import runtime_library
from spak_runtime.errors import CallError, UnknownKernelError

AsyncMode = Literal["late", "eager", "random"]
_ASYNC_MODES: dict[str, int] = {"eager": 0, "late": 1, "random": 2}
_ELEMENTS = {
    "bf16": (2, "b"),
    "f16": (2, "h"),
    "f32": (4, "f"),
    "f64": (8, "d"),
    "int32": (4, "i"),
    "int64": (8, "l"),
}
_SWIZZLE_SHIFT = {0: 0, 32: 1, 64: 2, 128: 3}


@dataclass(frozen=True, slots=True)
class Buffer:
    """Global memory of a launch: a C-contiguous array, copied in before and, if writable, back after.

    `write_once`: every element must be written exactly once (an output). `uninitialised`: the array's values
    are not passed on; the kernel finds NaN, and reading before writing is a mistake (a workspace).
    """

    name: str
    array: npt.NDArray[Any]
    writable: bool = False
    write_once: bool = False
    uninitialised: bool = False


@dataclass(frozen=True, slots=True)
class Pointer:
    """The 8 bytes at `offset` of the parameters become the address of `buffer` + `byte_offset`."""

    offset: int
    buffer: str
    byte_offset: int = 0


@dataclass(frozen=True, slots=True)
class TensorMap:
    """The 128 bytes at `offset` of the parameters (a multiple of 64) become a tensor map.

    dims and box in elements, innermost first; strides in bytes, of all dims but the innermost; swizzle 0, 32,
    64 or 128 bytes; dtype bf16, f16, f32, f64, int32 or int64.
    """

    offset: int
    buffer: str
    dtype: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    swizzle: int
    byte_offset: int = 0

    def problem(self) -> str | None:
        """What the driver would refuse to encode, or None."""
        if self.dtype not in _ELEMENTS:
            return f"no tensor map of {self.dtype}"
        size = _ELEMENTS[self.dtype][0]
        if (
            not 1 <= len(self.dims) <= 5
            or len(self.strides) != len(self.dims) - 1
            or len(self.box) != len(self.dims)
        ):
            return f"dims {self.dims}, strides {self.strides} and box {self.box} do not match"
        if self.offset % 64:
            return f"a tensor map at parameter offset {self.offset}, no multiple of 64"
        if self.swizzle not in _SWIZZLE_SHIFT:
            return f"no swizzle of {self.swizzle} bytes"
        if any(not 1 <= extent <= 256 for extent in self.box):
            return f"box {self.box}: each side is 1 .. 256"
        if any(not 1 <= extent <= 2**32 - 1 for extent in self.dims):
            return f"dims {self.dims}: each is at least 1"
        inner = self.box[0] * size
        if inner % 16 or (self.swizzle and inner > self.swizzle):
            return f"the box's inner side has {inner} bytes: a multiple of 16, at most the swizzle's"
        if any(stride % 16 or stride >= 2**40 for stride in self.strides):
            return f"strides {self.strides}: multiples of 16 bytes"
        if self.byte_offset % 16:
            return f"an address that is no multiple of 16 (offset {self.byte_offset})"
        return None


class _Options(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint32) for n in ("seed", "async_mode", "checks", "timeout_seconds")]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("granule", ctypes.c_uint32),
        ("writable", ctypes.c_uint32),
        ("write_once", ctypes.c_uint32),
        ("uninitialised", ctypes.c_uint32),
    ]


class _Pointer(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint32), ("buffer", ctypes.c_int32), ("byte_offset", ctypes.c_int64)]


class _Map(ctypes.Structure):
    _fields_ = [
        ("offset", ctypes.c_uint32),
        ("buffer", ctypes.c_int32),
        ("byte_offset", ctypes.c_int64),
        ("rank", ctypes.c_uint32),
        ("element_bytes", ctypes.c_uint32),
        ("swizzle_shift", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("stride", ctypes.c_uint64 * 4),
        ("dim", ctypes.c_uint32 * 5),
        ("box", ctypes.c_uint32 * 5),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.c_void_p),
        ("record", ctypes.c_void_p),
        ("library", ctypes.c_char_p),
        ("entry", ctypes.c_char_p),
        ("params", ctypes.c_char_p),
        ("params_bytes", ctypes.c_uint32),
        ("grid", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32),
        ("cluster", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("overlaps", ctypes.c_uint32),
        ("options", _Options),
        ("isolate", ctypes.c_uint32),
        ("buffers", ctypes.c_uint32),
        ("pointers", ctypes.c_uint32),
        ("maps", ctypes.c_uint32),
        ("buffer", ctypes.POINTER(_Buffer)),
        ("pointer", ctypes.POINTER(_Pointer)),
        ("map", ctypes.POINTER(_Map)),
    ]


_one_at_a_time = threading.Lock()


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(runtime_library()), mode=ctypes.RTLD_GLOBAL)
    library.spak_emu_run.restype = ctypes.c_char_p
    library.spak_emu_run.argtypes = [ctypes.POINTER(_Launch)]
    return library


def prepare() -> None:
    """Builds and loads the emulator's own library now rather than at the first kernel.

    Raises ToolError without a compiler that can build it."""
    _library()


class Kernel:
    """A kernel source built for the CPU; `run` launches one of its entries."""

    def __init__(self, path: Path, name: str) -> None:
        _library()
        self.path = path
        self.name = name
        self._shared_object = ctypes.CDLL(str(path))

    def run(
        self,
        entry: str,
        params_bytes: bytes,
        buffers: Sequence[Buffer],
        pointers: Sequence[Pointer | tuple[int, str]],
        grid: tuple[int, int, int],
        block: int,
        shared_bytes: int,
        *,
        tensor_maps: Sequence[TensorMap] = (),
        cluster: tuple[int, int, int] = (1, 1, 1),
        overlaps: bool = False,
        seed: int = 0,
        async_mode: AsyncMode = "late",
        checks: bool = True,
        isolate: bool = True,
        timeout_seconds: int = 60,
    ) -> Report:
        """Runs one launch and says what was found; writable buffers hold the result after.

        `params_bytes` is the kernel's parameter struct as C lays it out; `pointers` and `tensor_maps` are
        filled in. A launch that `overlaps` may begin before the kernel before it has ended: each thread must wait for
        that before it touches memory. The same seed and mode give the same run. `isolate` runs in a child
        process, so that a crash or an endless kernel is an error of the report and no more; `timeout_seconds`
        counts only then. `checks` off leaves races and uninitialised reads unlooked for.

        Raises UnknownKernelError for an entry that the source lacks, CallError for arguments that fit no
        launch.
        """
        address, record = self._entry(entry)
        index = _index(buffers)
        maps = (_Map * len(tensor_maps))(*(_map(m, index, params_bytes) for m in tensor_maps))
        patches = [p if isinstance(p, Pointer) else Pointer(*p) for p in pointers]
        spec = _Launch(
            kernel=address,
            record=record,
            library=os.fsencode(self.path),
            entry=entry.encode(),
            params=params_bytes,
            params_bytes=len(params_bytes),
            grid=(ctypes.c_uint32 * 3)(*grid),
            threads=block,
            cluster=(ctypes.c_uint32 * 3)(*cluster),
            shared_bytes=shared_bytes,
            overlaps=overlaps,
            options=_Options(seed, _ASYNC_MODES[async_mode], checks, timeout_seconds),
            isolate=isolate,
            buffers=len(buffers),
            pointers=len(patches),
            maps=len(tensor_maps),
            buffer=(_Buffer * len(buffers))(*map(_buffer, buffers)),
            pointer=(_Pointer * len(patches))(*(_pointer(p, index, params_bytes) for p in patches)),
            map=maps,
        )
        with _one_at_a_time:
            text = _library().spak_emu_run(ctypes.byref(spec)).decode(errors="replace")
        return parse_report(text, seed, async_mode, self.path)

    def _entry(self, name: str) -> tuple[int, int]:
        try:
            kernel = getattr(self._shared_object, name)
            record = ctypes.c_char.in_dll(self._shared_object, f"{name}_launch_record")
        except (AttributeError, ValueError):
            raise UnknownKernelError(f"{self.name} declares no kernel {name} (SPAK_KERNEL)") from None
        return ctypes.cast(kernel, ctypes.c_void_p).value or 0, ctypes.addressof(record)


def _index(buffers: Sequence[Buffer]) -> dict[str, int]:
    index = {buffer.name: i for i, buffer in enumerate(buffers)}
    if len(index) != len(buffers):
        raise CallError(f"two buffers of one name among {[b.name for b in buffers]}")
    return index


def _buffer(b: Buffer) -> _Buffer:
    if not b.array.flags.c_contiguous:
        raise CallError(f"buffer {b.name} is not contiguous: pass what it is a view of, and a byte_offset")
    if (b.write_once or b.uninitialised) and not b.writable:
        raise CallError(f"buffer {b.name} is to be written and not writable")
    if b.writable and not b.array.flags.writeable:
        raise CallError(f"buffer {b.name} is writable and its array is read-only")
    return _Buffer(
        b.name.encode(),
        b.array.ctypes.data,
        b.array.nbytes,
        b.array.itemsize,
        b.writable,
        b.write_once,
        b.uninitialised,
    )


def _find(name: str, offset: int, size: int, index: dict[str, int], params: bytes) -> int:
    if name not in index:
        raise CallError(f"a parameter points to buffer {name}; there are {sorted(index)}")
    if offset < 0 or offset + size > len(params):
        raise CallError(f"offset {offset} of {name} lies outside of the {len(params)} bytes of parameters")
    return index[name]


def _pointer(p: Pointer, index: dict[str, int], params: bytes) -> _Pointer:
    return _Pointer(p.offset, _find(p.buffer, p.offset, 8, index, params), p.byte_offset)


def _map(m: TensorMap, index: dict[str, int], params: bytes) -> _Map:
    problem = m.problem()
    if problem:
        raise CallError(f"tensor map of {m.buffer}: {problem}")
    size, letter = _ELEMENTS[m.dtype]
    return _Map(
        m.offset,
        _find(m.buffer, m.offset, 128, index, params),
        m.byte_offset,
        len(m.dims),
        size,
        _SWIZZLE_SHIFT[m.swizzle],
        ord(letter),
        (ctypes.c_uint64 * 4)(*m.strides),
        (ctypes.c_uint32 * 5)(*m.dims),
        (ctypes.c_uint32 * 5)(*m.box),
    )
