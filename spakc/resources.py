"""Files that come with the compiler: in a wheel under `spakc/_data`, in a source checkout at its top level.

An edge: the only place that knows where they lie, and where something derived from them is kept between runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
_T = TypeVar("_T")


def resource(name: str) -> Path:
    """The file or folder of this name, e.g. "grammar/spak.lark" or "templates/cuda".

    Raises FileNotFoundError when the installation lacks it.
    """
    for root in (_PACKAGE / "_data", _CHECKOUT):
        path = root / name
        if path.exists():
            return path
    raise FileNotFoundError(f"this installation of spakc has no {name}")


def grammar_text() -> str:
    """The text of grammar/spak.lark."""
    return resource("grammar/spak.lark").read_text(encoding="utf-8")


def derived(name: str, key: str, load: Callable[[str], _T], make: Callable[[], str]) -> _T:
    """`load(text)` of a text that is costly to make: shipped in the wheel, else kept in the user's cache
    under `key`, else made now and kept.

    `load` raises ValueError for a text that is damaged or of another key; then the next place is asked, and
    what was kept is replaced. A cache that cannot be read or written costs time and nothing else.
    """
    with contextlib.suppress(OSError, ValueError):
        return load((_PACKAGE / "_data" / name).read_text(encoding="utf-8"))
    cached = cache_folder() / f"{Path(name).stem}-{key[:16]}{Path(name).suffix}"
    with contextlib.suppress(OSError, ValueError):
        return load(cached.read_text(encoding="utf-8"))
    text = make()
    with contextlib.suppress(OSError):
        write_atomically(cached, text)
    return load(text)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a whole file or none: another process sees the old content or the new one. A file keeps its mode; a new
    one gets the umask's. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_sealed(path: Path, content: bytes) -> None:
    """Writes a file that `read_sealed` reads: its first bytes are the checksum of its name and of the others. Raises
    OSError."""
    write_atomically(path, _seal(path, content) + content)


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote, or None where that is missing, cut off, changed or written under another name."""
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return kept[size:] if kept[:size] == _seal(path, kept[size:]) else None


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\0" + content).digest()


def exchange(one: Path, other: Path) -> bool:
    """Two files or folders change places in one step, so that whoever is killed leaves one or the other state. False,
    with nothing done, where the system or its file system cannot."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0)


def cache_folder() -> Path:
    """Where what is derived from these files is kept."""
    import platformdirs

    return Path(platformdirs.user_cache_path("spakc"))
