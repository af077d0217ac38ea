"""What a run has left in its folder, read back: a file that was cut off or written over is as good as none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any] | None:
    """An object of a JSON file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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
