"""The runtime of compiled SPAK artifacts.

    import spak_runtime
    m = spak_runtime.load("out/")
    c = m.product(a, b)          # a kernel of the artifact, by its name in the file

Importing this package is light: torch and CUDA come in with the first kernel.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact, load
    from spak_runtime.errors import SpakRuntimeError

__all__ = ["Artifact", "SpakRuntimeError", "load"]


def __getattr__(name: str) -> Any:
    """The names above, from their modules when first asked for: the compiler needs only `manifest`."""
    if name == "SpakRuntimeError":
        from spak_runtime import errors

        return errors.SpakRuntimeError
    if name in __all__:
        from spak_runtime import artifact

        return getattr(artifact, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
