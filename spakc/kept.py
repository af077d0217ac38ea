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
"""Values that are kept; the half that was not used for longest goes when there are more."""


def find(kind: str, *decides: str) -> Any:
    """The value that was kept under these texts, or None."""
    place = _place(kind, decides)
    content = resources.read_sealed(place)
    if content is None:
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # what is used stays
    try:
        return pickle.loads(content)
    except Exception:  # whatever another version's pickle raises
        return None


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
    """Who derives: Python, and what the files of the compiler, its runtime and its grammar hold."""
    import spak_runtime

    package = Path(__file__).parent
    digest = sha256(sys.version.encode())
    for folder in (package, Path(next(iter(spak_runtime.__path__))), resources.resource("grammar")):
        for path in sorted(_files(str(folder))):
            digest.update(f"\0{path[len(str(folder)) :]}\0".encode())
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _files(entry.path)
            elif entry.name.endswith((".py", ".lark", ".json")):
                yield entry.path


def _forget_oldest(folder: Path) -> None:
    with os.scandir(folder) as entries:
        files = [(entry.stat().st_mtime_ns, entry.path) for entry in entries]
    if len(files) > MOST:
        for _, path in sorted(files)[: len(files) // 2]:
            Path(path).unlink(missing_ok=True)


compiler()  # now, while the files are those that this process runs
