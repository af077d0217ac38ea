"""Which compiler a source is for: NVRTC, or cuTile's for programs over tiles."""

from __future__ import annotations

from spak_runtime import cutile, nvrtc
from spak_runtime.nvrtc import BuildRequest, Compiled


def compiler_of(request: BuildRequest) -> str:
    """Name and version. Raises ToolError where it is missing."""
    if cutile.is_for_tiles(request):
        return cutile.version()
    return "nvrtc " + ".".join(map(str, nvrtc.version()))


def compile_request(request: BuildRequest) -> Compiled:
    """Raises BuildError, ArchError, ToolError."""
    return cutile.compile_tiles(request) if cutile.is_for_tiles(request) else nvrtc.compile_cubin(request)
