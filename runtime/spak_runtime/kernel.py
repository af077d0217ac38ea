"""Compiled kernels on the device: loading, the argument block, the launch.

The argument block of a launch and its configuration are laid out once per shape of call, as the driver reads them; a
launch writes pointers and stream into them and hands their addresses to the driver. Blocks are pooled, not shared: two
threads never write the same one, and the driver has copied it when the launch returns.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from spak_runtime.cache import KernelCache, digest
from spak_runtime.choose import LaunchShape
from spak_runtime.errors import CaptureError, DriverError, ToolError
from spak_runtime.expressions import Environment
from spak_runtime.manifest import Launch, OptionSpec
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.params import MAP_ALIGNMENT, layout_of_params, pack, value_of
from spak_runtime.prebuilt import Prebuilt
from spak_runtime.tensor_map import KnownMaps, MapLayout

_CLUSTER_ATTRIBUTE = "CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_"
_MAY_OVERLAP = 6  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
_INVALID_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT: this thread has not used the device yet

current_stream: Callable[[int], int] = getattr(torch._C, "_cuda_getCurrentRawStream", int)
"""torch's current stream of a device: the address that the driver knows it by. A torch without CUDA has none."""


class PreparedLaunch:
    """One launch of a plan: the loaded function, its shape, and the block with everything but pointers
    filled in."""

    def __init__(
        self,
        function: Any,
        launch: Launch,
        shape: LaunchShape,
        environment: Environment,
        options: Mapping[str, OptionSpec],
        slots: Mapping[str, int],
        overlaps: bool = False,
    ) -> None:
        """`slots` gives each tensor its place in the list of pointers that `run` takes; a tensor without
        one is absent and its pointer is 0. One that `overlaps` may begin before the launch before it has ended.
        Raises ExpressionError for a parameter without a value."""
        self._function = int(function)
        self._shape = shape
        self._overlaps = overlaps
        self._where = launch.entry
        layout = layout_of_params(launch.params)
        template = bytearray(layout.size)
        self._words: list[tuple[int, int]] = []  # index in the block seen as u64, slot
        self._maps: list[tuple[int, int, KnownMaps]] = []  # offset in the block, slot
        for param, offset in zip(launch.params, layout.offsets, strict=True):
            if param.kind == "pointer":
                if param.name in slots:
                    self._words.append((offset // 8, slots[param.name]))
            elif param.kind == "tensor_map":
                known = KnownMaps(MapLayout.of(param, environment, launch.entry))
                self._maps.append((offset, slots[param.name], known))
            else:
                value = value_of(param, environment, options, launch.entry)
                pack(template, param, offset, value, launch.entry)
        self._template = bytes(template)
        self._arguments = layout.offsets if launch.one_by_one else (0,)
        self._pool: list[_Block] = []

    def run(self, pointers: list[int], stream: int, device: int) -> None:
        """Launches on a raw stream (the address of a CUstream). `pointers` shall not change afterwards. Raises
        DriverError."""
        try:
            block = self._pool.pop()
        except IndexError:
            block = _Block(self._function, self._template, self._arguments, self._shape, self._overlaps)
        if block.pointers != pointers:
            self._fill(block, pointers)
        if block.stream != stream:
            block.stream = block.config.stream = stream
        status = block.launch()
        if status == _INVALID_CONTEXT:
            make_current(device)
            status = block.launch()
        self._pool.append(block)
        if status != 0:
            shape = self._shape
            raise DriverError(
                f"launching {self._where} with grid {shape.grid}, {shape.threads} threads and "
                f"{shape.shared_bytes} bytes of shared memory failed: {_status_name(status)}"
            )

    @property
    def settled(self) -> tuple[Any, ...]:
        """All of it, as `quick.c` takes it."""
        shape = self._shape
        what = (self._function, shape.grid, shape.threads, shape.shared_bytes, self._overlaps)
        return (*what, self._template, self._arguments, self._words, self._maps)

    def _fill(self, block: _Block, pointers: list[int]) -> None:
        before, words = block.pointers, block.words
        for index, slot in self._words:
            words[index] = pointers[slot]
        for offset, slot, known in self._maps:
            if before is None or before[slot] != pointers[slot]:
                block.write(offset, known[pointers[slot]])
        block.pointers = pointers


class LaunchAttribute(ctypes.Structure):
    """The driver's CUlaunchAttribute."""

    _fields_ = (("id", ctypes.c_uint32), ("padding", ctypes.c_uint32), ("value", ctypes.c_uint32 * 16))


class LaunchConfig(ctypes.Structure):
    """The driver's CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint32),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("attribute_count", ctypes.c_uint32),
    )


class _Block:
    """One copy of an argument block, of the array of pointers into it that a launch takes (one to each argument),
    and of what says how to launch it. `launch()` does, with what was filled in."""

    def __init__(
        self, function: int, template: bytes, arguments: Sequence[int], shape: LaunchShape, overlaps: bool
    ) -> None:
        self._buffer = bytearray(len(template) + MAP_ALIGNMENT + 8)
        whole = (ctypes.c_char * len(self._buffer)).from_buffer(self._buffer)
        base = ctypes.addressof(whole)
        self._start = -base % MAP_ALIGNMENT
        self.write(0, template)
        self.words = (ctypes.c_uint64 * (len(template) // 8)).from_buffer(self._buffer, self._start)
        self._parameters = (ctypes.c_void_p * len(arguments))(
            *(base + self._start + offset for offset in arguments)
        )
        attributes = (LaunchAttribute * 1)(LaunchAttribute(_MAY_OVERLAP, 0, (ctypes.c_uint32 * 16)(1)))
        self.config = LaunchConfig(
            shape.grid, (shape.threads, 1, 1), shape.shared_bytes, None, attributes, int(overlaps)
        )
        self.pointers: list[int] | None = None  # what the block is filled with
        self.stream = 0
        self.launch = functools.partial(
            _launcher(), ctypes.addressof(self.config), function, ctypes.addressof(self._parameters), None
        )

    def write(self, offset: int, content: bytes) -> None:
        first = self._start + offset
        self._buffer[first : first + len(content)] = content


class Loader:
    """Takes kernels from an artifact's own cubins or builds them through a cache, and loads them on
    devices; each one once per process and device."""

    def __init__(self, cache: KernelCache | None = None, prebuilt: Prebuilt | None = None) -> None:
        self._cache = cache
        self._prebuilt = prebuilt
        self._lock = threading.RLock()
        self._modules: dict[tuple[int, str], Any] = {}
        self._functions: dict[tuple[int, str, str], _Function] = {}

    def function(
        self, request: BuildRequest, entry: str, device: int, shared_bytes: int, cluster: tuple[int, int, int]
    ) -> Any:
        """The function `entry`, loaded on a CUDA device and allowed `shared_bytes` of dynamic shared memory.

        Raises BuildError, ToolError, DriverError; CaptureError where it is not loaded yet and the current
        stream is being captured.
        """
        key = digest(request, "this process's")
        with self._lock:
            found = self._functions.get((device, key, entry))
            if found is None and torch.cuda.is_current_stream_capturing():
                raise CaptureError(
                    f"{entry} is not loaded for this call, and nothing can be compiled or loaded while a "
                    "CUDA graph is being captured: make the same call once before, or `prepare` it"
                )
            with torch.cuda.device(device):
                make_current(device)
                if found is None:
                    found = self._load(request, entry, key, device, cluster)
                found.allow(shared_bytes)
            self._functions[device, key, entry] = found
            return found.handle

    def _load(
        self, request: BuildRequest, entry: str, key: str, device: int, cluster: tuple[int, int, int]
    ) -> _Function:
        if (device, key) not in self._modules:
            self._modules[device, key] = _call("cuModuleLoadData", self._cubin(request))
        function = _Function(_call("cuModuleGetFunction", self._modules[device, key], entry.encode()))
        _call("cuFuncLoad", function.handle)  # now, not at the first launch, which may be in a capture
        declared = function.cluster()
        if declared != cluster:
            raise DriverError(
                f"{entry} is compiled for clusters of {declared}, its launch record says {cluster}"
            )
        return function

    def _cubin(self, request: BuildRequest) -> bytes:
        cubin = self._prebuilt.find(request) if self._prebuilt is not None else None
        if cubin is not None:
            return cubin
        if self._cache is None:
            self._cache = KernelCache()
        return self._cache.build(request).cubin


class _Function:
    """A loaded function and how much dynamic shared memory it may use so far."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.shared_bytes = 0

    def allow(self, shared_bytes: int) -> None:
        if shared_bytes > self.shared_bytes:
            attribute = _driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _call("cuFuncSetAttribute", self.handle, attribute, shared_bytes)
            self.shared_bytes = shared_bytes

    def cluster(self) -> tuple[int, int, int]:
        attributes = _driver().CUfunction_attribute
        x, y, z = (
            max(1, _call("cuFuncGetAttribute", getattr(attributes, _CLUSTER_ATTRIBUTE + axis), self.handle))
            for axis in ("WIDTH", "HEIGHT", "DEPTH")
        )
        return x, y, z


def make_current(device: int) -> None:
    """Makes torch's context of a device current on this thread, where none is."""
    current = _call("cuCtxGetCurrent")
    if int(current) == 0:
        _call("cuCtxSetCurrent", _call("cuDevicePrimaryCtxRetain", _call("cuDeviceGet", device)))


@functools.cache
def _driver() -> Any:
    try:
        from cuda.bindings import driver

        (status,) = driver.cuInit(0)
    except (ImportError, RuntimeError, OSError) as error:
        raise ToolError(f"the CUDA driver cannot be used: {error}") from error
    if status != 0:
        raise ToolError(f"the CUDA driver cannot be used: {status.name}")
    return driver


@functools.cache
def _launcher() -> Callable[[int, int, int, None], int]:
    """cuLaunchKernelEx(config, function, parameters, extra), called without what the bindings would make of the
    arguments: these are addresses."""
    _driver()
    try:
        launch = ctypes.CDLL("libcuda.so.1").cuLaunchKernelEx
    except (OSError, AttributeError) as error:
        raise ToolError(f"the CUDA driver cannot launch kernels: {error}") from error
    launch.argtypes = [ctypes.c_void_p] * 4
    launch.restype = ctypes.c_int
    return cast(Callable[[int, int, int, None], int], launch)


def launch_address() -> int:
    """Where cuLaunchKernelEx is."""
    return ctypes.cast(_launcher(), ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _status_name(status: int) -> str:
    return _name_of(_driver().CUresult(status))


def _call(name: str, *arguments: Any) -> Any:
    """A driver call that must succeed; its value, if it has one."""
    status, *values = getattr(_driver(), name)(*arguments)
    if status != 0:
        raise DriverError(f"{name} failed: {_name_of(status)}")
    return values[0] if values else None


def _name_of(status: Any) -> str:
    return str(getattr(status, "name", status))
