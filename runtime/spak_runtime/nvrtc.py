"""The device compiler: CUDA source in memory to a cubin, through NVRTC. Needs no GPU and no driver.

Always a cubin, never PTX: PTX from a newer toolkit than the driver does not load, a cubin of the same major
version does. NVRTC comes from the `nvidia-cuda-nvrtc` wheel (or an installed toolkit), found by
cuda-pathfinder.
"""

from __future__ import annotations

import ctypes
import functools
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spak_runtime.errors import ArchError, BuildError, ToolError

BASE_OPTIONS = ("-std=c++17", "--ptxas-options=-v")
"""Every kernel is compiled with these; `-v` puts registers, spills and advisories into the log."""
_ALWAYS_COMPILE = "--no-cache"
"""Where a driver is loaded, NVRTC looks in the driver's own cache, and what comes from there has no log: nothing about
registers, spills or advisories. It decides nothing about the cubin, so it is no part of a digest."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Everything that decides what a compilation yields, but the compiler. `headers` maps the name in an
    `#include` to its text; `arch` is a real architecture (sm_80, sm_90a …); `name` is how errors outside
    `#line` call the source."""

    name: str
    source: str
    headers: Mapping[str, str]
    options: tuple[str, ...]
    arch: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the device compiler. `file` and `line` follow `#line`, so they may name a `.spak`
    file."""

    file: str
    line: int
    severity: str  # error | warning
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return f"{place}{self.severity}: {self.text}"


@dataclass(frozen=True, slots=True)
class EntryResources:
    """What ptxas says of one kernel. `registers` per thread as allocated at entry; the rest in bytes per
    thread, but `shared_bytes` (static) per block."""

    registers: int = 0
    stack_bytes: int = 0
    spill_store_bytes: int = 0
    spill_load_bytes: int = 0
    shared_bytes: int = 0
    barriers: int = 0

    @property
    def spill_bytes(self) -> int:
        return self.spill_store_bytes + self.spill_load_bytes


@dataclass(frozen=True, slots=True)
class Compiled:
    """A cubin and what the compiler said. `advisories` are ptxas codes (C7508 …) that the log mentions."""

    cubin: bytes
    log: str
    entries: Mapping[str, EntryResources] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    advisories: tuple[str, ...] = ()

    @staticmethod
    def from_log(cubin: bytes, log: str) -> Compiled:
        return Compiled(cubin, log, parse_resources(log), parse_messages(log), parse_advisories(log))


def compile_cubin(request: BuildRequest) -> Compiled:
    """Compiles one source for one architecture.

    Raises BuildError with the compiler's errors, each at its file and line; ArchError for an architecture
    that this NVRTC does not know; ToolError where NVRTC is missing or does not say what its code needs.
    """
    library = _nvrtc()
    if not re.fullmatch(r"sm_\d+[af]?", request.arch):
        raise ArchError(f"{request.arch!r} is no real architecture (sm_80, sm_90a …); a cubin needs one")
    if not is_supported(request.arch):
        known = ", ".join(supported_archs())
        raise ArchError(
            f"NVRTC {'.'.join(map(str, version()))} does not know {request.arch}; it knows {known}"
        )
    headers = [text.encode() for text in request.headers.values()]
    names = [name.encode() for name in request.headers]
    program = _ok(
        library.nvrtcCreateProgram(
            request.source.encode(), request.name.encode(), len(headers), headers, names
        )
    )
    try:
        options = [
            o.encode() for o in (f"-arch={request.arch}", _ALWAYS_COMPILE, *BASE_OPTIONS, *request.options)
        ]
        (status,) = library.nvrtcCompileProgram(program, len(options), options)
        if status == library.nvrtcResult.NVRTC_ERROR_BUILTIN_OPERATION_FAILURE and _load_builtins():
            (status,) = library.nvrtcCompileProgram(program, len(options), options)
        log = _text(_read(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program))
        if status != library.nvrtcResult.NVRTC_SUCCESS:
            raise _build_error(request, status, log)
        cubin = _read(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
        return _with_resources(request, Compiled.from_log(cubin, _TIMING.sub("", log)))
    finally:
        library.nvrtcDestroyProgram(program)


@functools.cache
def version() -> tuple[int, int]:
    """NVRTC's version. Raises ToolError where it is missing."""
    _, major, minor = _nvrtc().nvrtcVersion()
    return int(major), int(minor)


@functools.cache
def supported_archs() -> tuple[str, ...]:
    """The base architectures this NVRTC compiles for (sm_75, sm_80 …); from sm_90 on, each has an `a`
    form."""
    _, archs = _nvrtc().nvrtcGetSupportedArchs()
    return tuple(f"sm_{arch}" for arch in archs)


def is_supported(arch: str) -> bool:
    """Whether this NVRTC compiles for `arch`, an `a` or `f` form included."""
    return arch.rstrip("af") in supported_archs()


def parse_messages(log: str) -> tuple[Message, ...]:
    """Errors and warnings of the front end and of ptxas, in the order of the log."""
    found = []
    for line in log.splitlines():
        if match := _MESSAGE.match(line):
            severity = "error" if "error" in match["severity"] else "warning"
            found.append(Message(match["file"], int(match["line"]), severity, match["text"].strip()))
        elif match := _TOOL_MESSAGE.match(line):
            severity = "warning" if match["severity"] == "warning" else "error"
            found.append(Message("", 0, severity, match["text"].strip()))
    return tuple(found)


def parse_resources(log: str) -> dict[str, EntryResources]:
    """Registers, spills, stack, static shared memory and barriers of every entry in a `-v` log."""
    entries: dict[str, EntryResources] = {}
    name = ""
    numbers: dict[str, int] = {}
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            name, numbers = match[1], {}
        elif name and (match := _SPILLS.search(line)):
            numbers |= {
                "stack_bytes": int(match[1]),
                "spill_store_bytes": int(match[2]),
                "spill_load_bytes": int(match[3]),
            }
        elif name and (match := _USED.search(line)):
            numbers["registers"] = int(match[1])
            for key, pattern in (("barriers", _BARRIERS), ("shared_bytes", _SHARED)):
                if more := pattern.search(line):
                    numbers[key] = int(more[1])
        if name:
            entries[name] = EntryResources(**numbers)
    return entries


def parse_advisories(log: str) -> tuple[str, ...]:
    """The ptxas codes (C7508 …) in a log, each once, sorted."""
    return tuple(sorted(set(_ADVISORY.findall(log))))


_MESSAGE = re.compile(
    r"^(?P<file>[^()\n]+)\((?P<line>\d+)\): "
    r"(?P<severity>(?:catastrophic )?error|warning)(?: #\d+(?:-D)?)?: (?P<text>.*)$"
)
_TOOL_MESSAGE = re.compile(
    r"^(?:ptxas|nvrtc)[^:]*?(?P<severity>error|fatal|warning)\s*:\s*(?P<text>.*)$", re.IGNORECASE
)
_TIMING = re.compile(r"^ptxas info\s*: Compile time = .*\n?", re.MULTILINE)
"""The one line of a log that two compilations of one source differ in."""
_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_BARRIERS = re.compile(r"used (\d+) barriers")
_SHARED = re.compile(r"(\d+) bytes smem")
_ADVISORY = re.compile(r"\bC7\d{3}\b")


@functools.cache
def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError, OSError) as error:
        raise ToolError(
            f"NVRTC, the CUDA run-time compiler, cannot be loaded ({error}). "
            "Install the packages cuda-python and nvidia-cuda-nvrtc, or a CUDA toolkit of version 13"
        ) from error
    return nvrtc


_builtins_lock = threading.Lock()


def _load_builtins() -> bool:
    """Preloads libnvrtc-builtins from beside libnvrtc, for installations whose loader path does not reach
    it."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    path = load_nvidia_dynamic_lib("nvrtc").abs_path
    with _builtins_lock:
        for library in sorted(Path(path or "").parent.glob("libnvrtc-builtins.so*")):
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
                return True
            except OSError:
                continue
    return False


def _with_resources(request: BuildRequest, compiled: Compiled) -> Compiled:
    """Raises ToolError where there is code of whose registers the log says nothing: its spills would go unseen."""
    silent = [name for name, resources in compiled.entries.items() if not resources.registers]
    if silent or (not compiled.entries and b".text." in compiled.cubin):
        what = ", ".join(silent) or request.name
        raise ToolError(
            f"NVRTC compiled {what} for {request.arch} and does not say how many registers it uses"
        )
    return compiled


def _build_error(request: BuildRequest, status: Any, log: str) -> BuildError:
    errors = [message for message in parse_messages(log) if message.severity == "error"]
    shown = "\n".join(f"  {message}" for message in errors[:5]) or "  " + (log.strip() or str(status.name))
    more = f"\n  and {len(errors) - 5} more" if len(errors) > 5 else ""
    return BuildError(
        f"the device compiler refuses {request.name} for {request.arch}:\n{shown}{more}", errors, log
    )


def _ok(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status) != 0:
        raise ToolError(f"NVRTC failed: {status.name}")
    return values[0] if values else None


def _read(size: Any, content: Any, program: Any) -> bytes:
    buffer = bytearray(_ok(size(program)))
    _ok(content(program, buffer))
    return bytes(buffer)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace").strip()
