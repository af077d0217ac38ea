"""Which compiler a source is for: NVRTC, or cuTile's for programs over tiles, which is loaded for these alone."""

from __future__ import annotations

from spak_runtime import nvrtc
from spak_runtime.nvrtc import BuildRequest, Compiled


def compiler_of(request: BuildRequest) -> str:
    """Name and version. Raises ToolError where it is missing."""
    if _is_for_tiles(request):
        from spak_runtime import cutile

        return cutile.version()
    return "nvrtc " + ".".join(map(str, nvrtc.version()))


def compile_request(request: BuildRequest) -> Compiled:
    """Raises BuildError, ArchError, ToolError."""
    if _is_for_tiles(request):
        from spak_runtime import cutile

        return cutile.compile_tiles(request)
    return nvrtc.compile_cubin(request)


def _is_for_tiles(request: BuildRequest) -> bool:
    return request.name.endswith(".py")
