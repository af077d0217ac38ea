"""The runtime of compiled SPAK artifacts.

    import spak_runtime
    m = spak_runtime.load("out/")
    c = m.product(a, b)          # a kernel of the artifact, by its name in the file

Importing this package is light: torch and CUDA come in with the first kernel.
"""

from spak_runtime.artifact import Artifact, load
from spak_runtime.errors import SpakRuntimeError

__all__ = ["Artifact", "SpakRuntimeError", "load"]
