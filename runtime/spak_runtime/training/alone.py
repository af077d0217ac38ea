"""One process at a time in a folder that runs write into.

The lock is the operating system's: it goes with the process that holds it, however that ends, so that nothing of a dead
one stands in the way. The file that carries it stays, and says who held it last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

LOCK = ".spak-lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_PAUSE = 0.05


class Taken(Exception):
    """Another process is at work in the folder; `owner` says which, if it is known."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(f"another process{owner} is at work in `{folder}`")
        self.folder, self.owner = folder, owner


@contextlib.contextmanager
def alone_in(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Nobody else is inside of this block for the same folder. Waits so many seconds for another to leave,
    then raises Taken; OSError where the folder cannot be written. A file system without locks gives none."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        deadline = time.monotonic() + patience
        while not _locked(handle):
            if time.monotonic() >= deadline:
                raise Taken(folder, _owner(handle))
            time.sleep(_PAUSE)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _owner(handle: int) -> str:
    text = os.pread(handle, 32, 0).strip()
    return f" (process {text.decode()})" if text.isdigit() else ""
