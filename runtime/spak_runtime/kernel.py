"""Compiled kernels on the device: loading, the argument block, the launch.

The argument block of a launch is laid out once per shape of call; a launch writes the pointers into it and
hands its address to the driver. Blocks are pooled, not shared: two threads never write the same one, and
the driver has copied it when the launch returns.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spak_runtime.cache import KernelCache, digest
from spak_runtime.choose import LaunchShape
from spak_runtime.errors import CaptureError, DriverError, ToolError
from spak_runtime.expressions import Environment
from spak_runtime.manifest import Launch, OptionSpec
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.params import MAP_ALIGNMENT, MAP_BYTES, layout_of_params, pack, value_of
from spak_runtime.prebuilt import Prebuilt
from spak_runtime.tensor_map import MapLayout, encode

_CLUSTER_ATTRIBUTE = "CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_"
_INVALID_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT: this thread has not used the device yet


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
    ) -> None:
        """`slots` gives each tensor its place in the list of pointers that `run` takes; a tensor without
        one is absent and its pointer is 0. Raises ExpressionError for a parameter without a value."""
        self._function = function
        self._shape = shape
        self._where = launch.entry
        layout = layout_of_params(launch.params)
        template = bytearray(layout.size)
        self._words: list[tuple[int, int]] = []  # index in the block seen as u64, slot
        self._maps: list[tuple[int, int, MapLayout]] = []
        for param, offset in zip(launch.params, layout.offsets, strict=True):
            if param.kind == "pointer":
                if param.name in slots:
                    self._words.append((offset // 8, slots[param.name]))
            elif param.kind == "tensor_map":
                maps = MapLayout.of(param, environment, launch.entry)
                self._maps.append((offset, slots[param.name], maps))
            else:
                value = value_of(param, environment, options, launch.entry)
                pack(template, param, offset, value, launch.entry)
        self._template = bytes(template)
        self._arguments = layout.offsets if launch.one_by_one else (0,)
        self._pool: list[_Block] = []

    def run(self, pointers: Sequence[int], stream: Any, device: int) -> None:
        """Launches on a raw stream (a CUstream). Raises DriverError."""
        try:
            block = self._pool.pop()
        except IndexError:
            block = _Block(self._template, self._arguments)
        words = block.words
        for index, slot in self._words:
            words[index] = pointers[slot]
        for offset, slot, layout in self._maps:
            block.buffer[block.start + offset : block.start + offset + MAP_BYTES] = encode(
                pointers[slot], layout
            )
        shape = self._shape
        x, y, z = shape.grid
        launch = _launcher()
        arguments = (x, y, z, shape.threads, 1, 1, shape.shared_bytes, stream, block.address, 0)
        (status,) = launch(self._function, *arguments)
        if status == _INVALID_CONTEXT:
            make_current(device)
            (status,) = launch(self._function, *arguments)
        self._pool.append(block)
        if status != 0:
            raise DriverError(
                f"launching {self._where} with grid {shape.grid}, {shape.threads} threads and "
                f"{shape.shared_bytes} bytes of shared memory failed: {_name_of(status)}"
            )


class _Block:
    """One copy of an argument block and the array of pointers into it that a launch takes: one to each argument."""

    def __init__(self, template: bytes, arguments: Sequence[int]) -> None:
        self.buffer = bytearray(len(template) + MAP_ALIGNMENT + 8)
        whole = (ctypes.c_char * len(self.buffer)).from_buffer(self.buffer)
        base = ctypes.addressof(whole)
        self.start = -base % MAP_ALIGNMENT
        self.buffer[self.start : self.start + len(template)] = template
        self.words = (ctypes.c_uint64 * (len(template) // 8)).from_buffer(self.buffer, self.start)
        self._parameters = (ctypes.c_void_p * len(arguments))(
            *(base + self.start + offset for offset in arguments)
        )
        self.address = ctypes.addressof(self._parameters)


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


def current_stream(device: int) -> Any:
    """torch's current stream of a device, as the driver's CUstream."""
    return _stream(torch._C._cuda_getCurrentRawStream(device))


@functools.lru_cache(maxsize=256)
def _stream(raw: int) -> Any:
    return _driver().CUstream(raw)


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
def _launcher() -> Callable[..., tuple[Any]]:
    launch: Callable[..., tuple[Any]] = _driver().cuLaunchKernel
    return launch


def _call(name: str, *arguments: Any) -> Any:
    """A driver call that must succeed; its value, if it has one."""
    status, *values = getattr(_driver(), name)(*arguments)
    if status != 0:
        raise DriverError(f"{name} failed: {_name_of(status)}")
    return values[0] if values else None


def _name_of(status: Any) -> str:
    return str(getattr(status, "name", status))
