"""Races of hand-written kernels with what is generated: a process of its own runs both, this one has the second clock.
An edge."""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spakc.bench.questions import Call
from spakc.implement.candidates import Candidate
from spakc.implement.clock import Lap, disagreement
from spakc.tune.timer import JsonChild

CHILD = (sys.executable, "-m", "spakc.implement.race_child")

SIDES = ("ours", "theirs")

LAP_SECONDS = 0.1
"""How long the shorter lap of the second clock should be; the longer one is four times that."""


def race(
    candidate: Candidate,
    call: Call,
    options: Mapping[str, Any],
    artifact: Path,
    generated: Sequence[str],
    command: Sequence[str] = CHILD,
) -> dict[str, Any] | str:
    """The figures of one call that a hand-written kernel and the generated variants computed in turns; or why there are
    none. `artifact` is a folder that holds all of them."""
    opening = {
        "artifact": str(artifact),
        "kernel": call.kernel,
        "mine": candidate.variant.id,
        "theirs": list(generated),
        "dims": dict(call.dims),
        "options": dict(options),
        "dtype": call.dtype,
        "layouts": dict(call.layouts),
        "seed": secrets.randbelow(2**31),
    }
    with JsonChild(opening, timeout=120.0, command=command) as child:
        found = child.ask({"race": True})
        if "failed" in found:
            return str(found["failed"])
        try:
            ours, theirs = ([float(s) for s in found[side]] for side in SIDES)
            fresh = {side: [float(s) for s in found["fresh"][side]] for side in SIDES}
            wrong = _clock(child, statistics.median(ours))
            rival, l2 = str(found["rival"]), str(found["l2"])
        except (KeyError, TypeError, ValueError) as error:
            return f"its process gave no times ({type(error).__name__}: {error})"
    if wrong:
        return wrong
    recorded = {"dims": dict(call.dims), "options": dict(call.options), "dtype": call.dtype}
    recorded["layouts"] = dict(call.layouts)
    return {"call": recorded, "ours": ours, "theirs": theirs, "fresh": fresh, "rival": rival, "l2": l2}


def _clock(child: JsonChild, claimed: float) -> str:
    """What the second clock has against the claimed seconds of a call."""
    once = _lap(child, 1)  # builds what the laps replay
    passes = max(1, round(LAP_SECONDS / max(claimed * once.calls, 1e-7)))
    return disagreement(claimed, _lap(child, passes), _lap(child, 4 * passes))


def _lap(child: JsonChild, passes: int) -> Lap:
    began = time.monotonic()
    answer = child.ask({"passes": passes})
    if "failed" in answer:
        raise ValueError(answer["failed"])
    return Lap(int(answer["calls"]), time.monotonic() - began)
