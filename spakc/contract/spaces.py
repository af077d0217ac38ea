"""What the laws of a schedule do to its space, and to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from spakc.check.check_space import SpaceKey
from spakc.check.conflict import minimum_cover
from spakc.check.space import Space
from spakc.ir.lanes import Scalar


def cuts(space: Space) -> list[dict[str, Any]]:
    """How many points each law cuts: `alone` those that no other law cuts, `among` the others."""
    return [
        {"law": cut.law.qualified, "alone": cut.alone, "among": cut.among, "applies": cut.applies}
        for cut in space.cuts
    ]


def lawful_values(space: Space) -> dict[str, list[Scalar]]:
    """For every knob the values that some lawful point has."""
    found: dict[str, list[Scalar]] = {}
    mask = space.lawful
    for i, axis in enumerate(space.axes):
        others = tuple(j for j in range(mask.ndim) if j != i + 1)
        some = np.broadcast_to(np.asarray(mask.any(axis=others)), (len(axis.values),))
        found[axis.name] = [value for value, lawful in zip(axis.values, some, strict=True) if lawful]
    any_lawful = bool(mask.any())
    return found | {axis.name: list(axis.values) if any_lawful else [] for axis in space.launch}


def unreachable(key: SpaceKey, space: Space) -> list[dict[str, Any]]:
    """Values of knobs that no lawful point has: they are written, and can never be chosen."""
    lawful = lawful_values(space)
    found = []
    for axis in space.axes:
        never = [value for value in axis.values if value not in lawful[axis.name]]
        if never:
            found.append(_row(key) | {"knob": axis.name, "values": never})
    return found


def conflicts(key: SpaceKey, space: Space) -> list[dict[str, Any]]:
    """For every problem (dtypes, compiled sizes, options) without a lawful point: the fewest laws that together
    leave none. The calls of such a problem get another schedule."""
    found = []
    for i, problem in enumerate(space.problems):
        if space.answers[i]:
            continue
        broken = [np.asarray(~holds[min(i, holds.shape[0] - 1)]) for holds in space.holds]
        stacked = np.stack(np.broadcast_arrays(*broken)).reshape(len(broken), -1)
        signatures = {frozenset(map(int, np.flatnonzero(column))) for column in np.unique(stacked, axis=1).T}
        laws = sorted(minimum_cover(signatures))
        found.append(
            _row(key) | {"problem": str(problem), "laws": [space.laws[law].qualified for law in laws]}
        )
    return found


def _row(key: SpaceKey) -> dict[str, Any]:
    kernel, schedule, target = key
    return {"schedule": f"{kernel}.{schedule}", "target": target}
