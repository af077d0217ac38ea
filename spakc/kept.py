"""What was derived from texts, kept so that it is derived once: trees of files, outcomes of checks, plans.

A value is asked for by everything that decides it: a kind, texts, and the compiler itself. What is damaged, was made by
another compiler or cannot be read counts as never kept; a cache that cannot be written costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from spakc import resources

MOST = 512
"""Values that are kept; the older half goes when there are more."""


def find(kind: str, *decides: str) -> Any:
    """The value that was kept under these texts, or None."""
    content = resources.read_sealed(_place(kind, decides))
    return None if content is None else pickle.loads(content)


def keep(value: object, kind: str, *decides: str) -> None:
    """Keeps a value that `find` gives back. It must follow from the texts and the compiler alone."""
    place = _place(kind, decides)
    with contextlib.suppress(OSError):
        resources.write_sealed(place, pickle.dumps(value, protocol=5))
        _forget_oldest(place.parent)


def _place(kind: str, decides: tuple[str, ...]) -> Path:
    key = sha256(repr((kind, compiler(), decides)).encode("utf-8", "surrogatepass"))
    return resources.cache_folder() / "kept" / f"{kind}-{key.hexdigest()[:32]}"


@cache
def compiler() -> str:
    """Who derives: Python, and the files of the compiler, its runtime and its grammar by size and time of change."""
    import spak_runtime

    package = Path(__file__).parent
    folders = (package, Path(next(iter(spak_runtime.__path__))), resources.resource("grammar"))
    files = sorted(found for folder in folders for found in _files(str(folder)))
    return sha256(repr((sys.version, files)).encode()).hexdigest()


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            else:
                facts = entry.stat()
                yield entry.path, facts.st_size, facts.st_mtime_ns


def _forget_oldest(folder: Path) -> None:
    with os.scandir(folder) as entries:
        files = [(entry.stat().st_mtime_ns, entry.path) for entry in entries]
    if len(files) > MOST:
        for _, path in sorted(files)[: len(files) // 2]:
            Path(path).unlink(missing_ok=True)
