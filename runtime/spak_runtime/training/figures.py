"""What a run has left in its folder, read back: a file that was cut off or written over is as good as none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any] | None:
    """An object of a JSON file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def sealed(figures: Mapping[str, Any]) -> str:
    """The text of `figures.json`, of `ladder.json`: with a checksum, by which a file that was changed is told from what
    was measured."""
    return json.dumps({**figures, "checksum": _checksum(figures)}, indent=1, sort_keys=True) + "\n"


def read_figures(path: Path) -> dict[str, Any] | None:
    """What `sealed` wrote; None where there is nothing, or something else."""
    found = read_object(path)
    return found if found is not None and found.pop("checksum", None) == _checksum(found) else None


def _checksum(figures: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(figures))  # as it is read: keys are texts
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_losses(log: Path) -> list[tuple[int, float]]:
    """(step, loss) of every line of a log that has both."""
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
            found.append((int(row["step"]), float(row["loss"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found
