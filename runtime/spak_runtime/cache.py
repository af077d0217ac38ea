"""Compiled kernels on disk, by content.

One entry is a folder named by a digest of everything that decides the binary. It is written beside its
place and moved there in one step, so no reader ever sees half of one; its checksums are verified at every
load, and an entry that does not hold is compiled again. A cache that cannot be written costs time, never a
wrong kernel.

    $SPAK_CACHE_DIR (or the user's cache folder)/kernels/<digest>/{kernel.cubin, source.cu, log.txt,
    entry.json}
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spak_runtime.compilers import compile_request, compiler_of
from spak_runtime.errors import CacheWarning
from spak_runtime.machine_rules import judged
from spak_runtime.nvrtc import BASE_OPTIONS, BuildRequest, Compiled

SCHEMA = "spak-cache/2"
"""Entries of 1 may lack what the device compiler says of registers and spills."""
DEFAULT_LIMIT_BYTES = 2 * 2**30
ABANDONED_SECONDS = 3600
"""A temporary folder this old belongs to a process that died."""

_FILES = ("kernel.cubin", "source.cu", "log.txt")
_LINE_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*line\b.*\n?", re.MULTILINE)


def digest(request: BuildRequest, compiler: str) -> str:
    """The key of an entry: the one place that says what a cubin depends on. Line directives are left out:
    they move with every edit of the `.spak` file and change no instruction."""
    parts = {
        "schema": SCHEMA,
        "source": without_lines(request.source),
        "headers": {name: without_lines(text) for name, text in sorted(request.headers.items())},
        "options": [*BASE_OPTIONS, *request.options],
        "arch": request.arch,
        "compiler": compiler,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.lru_cache(256)  # every kernel of an artifact is compiled against the same headers
def without_lines(source: str) -> str:
    """The source with every `#line` directive removed."""
    return _LINE_DIRECTIVE.sub("", source)


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def default_root() -> Path:
    """`$SPAK_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get("SPAK_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("spak", appauthor=False))


class KernelCache:
    """A folder of compiled kernels, safe to share between threads and processes.

    `limit_bytes` bounds its size: what was used longest ago goes first.
    """

    def __init__(self, root: Path | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.root = root or default_root()
        self.folder = self.root / "kernels"
        self.limit_bytes = limit_bytes
        self._warned = False

    def build(
        self, request: BuildRequest, compile: Callable[[BuildRequest], Compiled] = compile_request
    ) -> Compiled:
        """The compiled kernel, from the cache where a sound entry stands, else compiled and stored.

        Raises what `compile` raises, and MachineCodeError where it breaks a rule of `machine_rules`, kept or not; a
        cache that cannot be written is a CacheWarning.
        """
        return judged(request, self.build_unjudged(request, compile))

    def build_unjudged(
        self, request: BuildRequest, compile: Callable[[BuildRequest], Compiled] = compile_request
    ) -> Compiled:
        """`build` for who judges what was compiled, or asks what rules it breaks."""
        key = digest(request, compiler_of(request))
        found = self.load(key)
        if found is not None:
            return found
        compiled = compile(request)
        try:
            self.store(key, request, compiled)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"kernel cache {self.folder}: {error}", CacheWarning, stacklevel=2)
        return compiled

    def load(self, key: str) -> Compiled | None:
        """The entry of that digest, or None where there is none that is whole and unchanged."""
        entry = self.folder / key
        try:
            record = json.loads((entry / "entry.json").read_text())
            own = record.pop("own")
            if record["schema"] != SCHEMA or record["key"] != key or own != _checksum(record):
                return None
            content = {name: (entry / name).read_bytes() for name in _FILES}
            if any(record["sha256"][name] != hashlib.sha256(content[name]).hexdigest() for name in _FILES):
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        with contextlib.suppress(OSError):  # a read-only cache serves all the same
            os.utime(entry)  # what `prune` orders by
        return Compiled.from_log(content["kernel.cubin"], content["log.txt"].decode(errors="replace"))

    def store(self, key: str, request: BuildRequest, compiled: Compiled) -> None:
        """Writes an entry. Where another process was first, its entry stays unless it is damaged. Raises
        OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "kernel.cubin": compiled.cubin,
            "source.cu": request.source.encode(),
            "log.txt": compiled.log.encode(),
        }
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "key": key,
            "name": request.name,
            "arch": request.arch,
            "options": list(request.options),
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        }
        temporary = self._temporary()
        try:
            for name, data in content.items():
                (temporary / name).write_bytes(data)
            record["own"] = _checksum(record)
            (temporary / "entry.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            self._place(temporary, key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.prune()

    def _place(self, temporary: Path, key: str) -> None:
        final = self.folder / key
        for _ in range(3):
            try:
                temporary.rename(final)  # fails where a folder with content stands
                return
            except OSError:
                if self.load(key) is not None:
                    return
                self._remove(final)
        raise OSError(f"cannot replace {final}")

    def _remove(self, entry: Path) -> None:
        """Takes an entry out of sight in one step, then deletes it."""
        grave = self._temporary()
        try:
            entry.rename(grave / entry.name)
        except FileNotFoundError:
            pass
        finally:
            shutil.rmtree(grave, ignore_errors=True)

    def _temporary(self) -> Path:
        """A new folder that whoever may read the cache may read, and that `prune` takes for abandoned one day."""
        folder = self.folder / f"tmp-{secrets.token_hex(8)}"
        folder.mkdir()
        return folder

    def prune(self) -> None:
        """Removes what dead processes left behind, then the entries used longest ago until the size fits."""
        entries: list[tuple[float, int, Path]] = []
        now = time.time()
        for path in self.folder.iterdir():
            try:
                used = path.stat().st_mtime
                if path.name.startswith("tmp-"):
                    if now - used > ABANDONED_SECONDS:
                        shutil.rmtree(path, ignore_errors=True)
                    continue
                size = sum(file.stat().st_size for file in path.iterdir())
            except OSError:
                continue  # another process removed it meanwhile
            entries.append((used, size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                return
            self._remove(path)
            total -= size
