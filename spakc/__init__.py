"""The compiler of `.spak` files. `load` and `compile_file` are the Python interface; `spakc` the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spakc.api import compile_file, load

__version__ = "0.1.0"
__all__ = ["__version__", "compile_file", "load"]


def __getattr__(name: str) -> Any:
    if name in ("load", "compile_file"):
        from spakc import api

        return getattr(api, name)
    raise AttributeError(f"module 'spakc' has no attribute {name!r}")
