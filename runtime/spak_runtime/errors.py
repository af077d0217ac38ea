"""What the runtime refuses, and why: one class per mistake, each with a code that `spakc explain` knows.

Every message says what was given, what was expected, and where the two meet. The runtime carries its own
text: it works without the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SpakRuntimeError(Exception):
    """Base of everything that `spak_runtime` raises on purpose. `code` is the SPAK code, `message` the text
    without it."""

    code: ClassVar[str] = "SPAK740"

    def __init__(self, message: str) -> None:
        super().__init__(f"{self.code}: {message}")
        self.message = message

    def __reduce__(self) -> tuple[type[SpakRuntimeError], tuple[str]]:
        """Another process is told the message, and puts the code before it once."""
        return type(self), (self.message,)


class ArtifactError(SpakRuntimeError):
    """The artifact cannot be read: no manifest, a wrong schema, a file that is missing or lies outside of
    it."""

    code = "SPAK740"


class UnknownKernelError(SpakRuntimeError, AttributeError):
    """The artifact has no kernel of that name."""

    code = "SPAK741"


class CallError(SpakRuntimeError, TypeError):
    """The arguments do not fit the kernel's signature: one is missing, unknown, given twice, or no tensor."""

    code = "SPAK742"


class DTypeError(SpakRuntimeError, TypeError):
    """A tensor has an element type that the declaration does not list, or not that of the tensor it must
    match."""

    code = "SPAK743"


class DeviceError(SpakRuntimeError, ValueError):
    """Tensors of one call lie on different devices, or on a kind of device that the runtime does not
    serve."""

    code = "SPAK744"


class ShapeError(SpakRuntimeError, ValueError):
    """A rank differs from the declaration, or two tensors disagree about a dim."""

    code = "SPAK745"


class StrideError(SpakRuntimeError, ValueError):
    """A tensor lies in memory in a way that none of its declared layouts describes."""

    code = "SPAK746"


class AlignmentError(SpakRuntimeError, ValueError):
    """A tensor's address is not a multiple of its element size."""

    code = "SPAK747"


class OptionError(SpakRuntimeError, ValueError):
    """An option has a value that its declaration does not allow."""

    code = "SPAK748"


class DimError(SpakRuntimeError, ValueError):
    """A compiled dim has a size outside its domain, or a dim cannot be told from the shapes."""

    code = "SPAK749"


class NoVariantError(SpakRuntimeError):
    """No variant of the kernel is lawful for this call; the message lists each one with the guard that
    failed."""

    code = "SPAK750"


class ArchError(SpakRuntimeError):
    """The artifact holds nothing for this device, or the device compiler does not know its architecture."""

    code = "SPAK751"


class BuildError(SpakRuntimeError):
    """The device compiler refused a source. `diagnostics` are its errors with file and line, `log` all it
    said."""

    code = "SPAK752"

    def __init__(self, message: str, diagnostics: Sequence[object] = (), log: str = "") -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)
        self.log = log


class MachineCodeError(BuildError):
    """A specialisation was compiled, and its machine code spills or waits for itself: it is not used."""

    code = "SPAK705"


class ToolError(SpakRuntimeError):
    """A tool or library that the operation needs is not installed or does not work: NVRTC, the driver,
    nvdisasm."""

    code = "SPAK753"


class DriverError(SpakRuntimeError, RuntimeError):
    """The CUDA driver refused to load or launch a kernel."""

    code = "SPAK754"


class CaptureError(SpakRuntimeError, RuntimeError):
    """A kernel is not yet built and loaded, and the stream is being captured into a CUDA graph."""

    code = "SPAK755"


class GradientError(SpakRuntimeError, RuntimeError):
    """A gradient is asked for that the file does not declare, or would flow through an `inout` tensor."""

    code = "SPAK756"


class ExpressionError(SpakRuntimeError, ValueError):
    """An expression of the manifest is malformed or has no value; the message shows it."""

    code = "SPAK757"


class MachineCodeWarning(UserWarning):
    """The variant that a call would choose breaks a rule of machine code, so the next one answers."""


class CacheWarning(UserWarning):
    """The kernel cache cannot be written: kernels are compiled again in every process."""


ALL: tuple[type[SpakRuntimeError], ...] = (
    ArtifactError,
    UnknownKernelError,
    CallError,
    DTypeError,
    DeviceError,
    ShapeError,
    StrideError,
    AlignmentError,
    OptionError,
    DimError,
    NoVariantError,
    ArchError,
    BuildError,
    MachineCodeError,
    ToolError,
    DriverError,
    CaptureError,
    GradientError,
    ExpressionError,
)
