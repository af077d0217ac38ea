"""Two clocks: what a child says that its calls take, and what passed meanwhile for whoever asked. Pure."""

from __future__ import annotations

from spakc.record import record

ALLOWED = 2.0
"""How many times as long, or as short, the judge's clock may say a call took: its figure holds the start of replays and
what the machine did meanwhile."""


@record
class Lap:
    """Calls that were made between a request and its answer, and the seconds between them by the judge's clock."""

    calls: int
    seconds: float


def disagreement(claimed: float, few: Lap, many: Lap) -> str:
    """Why a claimed time of a call cannot be true; empty where it can. The difference of two laps of unequal length
    leaves out what each request costs by itself."""
    if many.calls <= few.calls:
        return "the laps are not of unequal length"
    passed = (many.seconds - few.seconds) / (many.calls - few.calls)
    if not claimed > 0 or not passed > 0 or not passed / ALLOWED <= claimed <= passed * ALLOWED:
        return f"its process says {claimed * 1e6:.4g} us a call, the clock of the judge {passed * 1e6:.4g} us"
    return ""
