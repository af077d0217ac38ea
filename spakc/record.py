"""How the compiler declares values that never change: as the runtime does."""

from spak_runtime.record import record

__all__ = ["record"]
