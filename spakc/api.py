"""The Python interface: compile a `.spak` file and call its kernels.

m = spakc.load("examples/kernels/matmul.spak")
c = m.matmul(a, b, bias=None, activation="identity")
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spakc import driver

if TYPE_CHECKING:
    from spak_runtime.artifact import Artifact


def compile_file(path: str | Path, out: str | Path, arch: str | Sequence[str] = ()) -> Path:
    """Compiles a file to an artifact and returns its folder, for `spak_runtime.load`.

    `arch`: architectures to build cubins for ahead of time ("sm_90a", or several); without any, the targets
    of the file decide what is generated and cubins are built when they are first needed.
    Raises SpakError with diagnostics for a mistake in the file.
    """
    archs = (arch,) if isinstance(arch, str) else tuple(arch)
    driver.compile_file(Path(path), Path(out), archs)
    return Path(out)


def load(path: str | Path) -> Artifact:
    """Compiles a file, through a cache keyed by what it generates, and loads it: an attribute a kernel.

    Raises SpakError with diagnostics for a mistake in the file.
    """
    from spak_runtime import artifact
    from spak_runtime.cache import default_root

    checked = driver.check_file(Path(path))
    files = driver.emit_files(driver.plan_file(checked))
    key = hashlib.sha256()
    for name, text in sorted(files.items()):
        key.update(f"{name}\0{len(text)}\0".encode() + text.encode())
    folder = default_root() / "artifacts" / key.hexdigest()[:32]
    if not _is_whole(folder, files):
        driver.write_artifact(files, folder, ours=True)
    return artifact.load(folder)


def _is_whole(folder: Path, files: dict[str, str]) -> bool:
    """A cached artifact is used only if every byte is what would be written now."""
    try:
        return all((folder / name).read_bytes() == text.encode() for name, text in files.items())
    except OSError:
        return False
