"""Shared objects that are kept between runs, each with the digest of its name and bytes in a file beside it. One that
was cut off, damaged or exchanged with another is built again: it costs time, never a wrong answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

_looked_at: dict[str, tuple[int, int, int]] = {}
"""Objects whose bytes were compared in this process, as the file system showed them then."""


def is_sound(library: Path) -> bool:
    """Whether an object is there, whole and as it was built."""
    try:
        seen = library.stat()
        looks = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if _looked_at.get(str(library)) == looks:
            return True
        if _seal(library).read_text(encoding="ascii") != _digest(library, library.name):
            return False
    except (OSError, ValueError):
        return False
    _looked_at[str(library)] = looks
    return True


def keep(made: Path, target: Path) -> None:
    """Puts what was built in its place. Two processes may do so at once: whatever is left of both is one of them, or is
    not sound."""
    seal = made.with_suffix(".sha256")
    seal.write_text(_digest(made, target.name), encoding="ascii")
    seal.replace(_seal(target))
    made.replace(target)


def forget(library: Path) -> None:
    """Removes an object. Raises OSError."""
    library.unlink(missing_ok=True)
    _seal(library).unlink(missing_ok=True)


def _seal(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _digest(library: Path, name: str) -> str:
    return hashlib.sha256(name.encode() + b"\0" + library.read_bytes()).hexdigest()
