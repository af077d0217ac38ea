"""An artifact on disk: its manifest, sources and headers, and its kernels as callables.

Loading reads text and checks it; torch and CUDA are imported when a kernel is first asked for.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from spak_runtime.errors import ArtifactError, UnknownKernelError
from spak_runtime.manifest import KernelSpec, Manifest

if TYPE_CHECKING:
    from spak_runtime.function import KernelFunction, Shared

_HEADERS = "include"


class Artifact:
    """A loaded artifact: `m.<kernel>` or `m["<kernel>"]` is a callable; `m.manifest` is what the compiler
    wrote, `m.digest` the hash of all that its kernels depend on."""

    def __init__(
        self, root: Path, manifest: Manifest, sources: dict[str, str], headers: dict[str, str], digest: str
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.sources = sources
        self.headers = headers
        self.digest = digest
        self._lock = threading.RLock()
        self._functions: dict[str, KernelFunction] = {}
        self._shared: Shared | None = None

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of its kernels."""
        return tuple(self.manifest.kernels)

    def __getitem__(self, name: str) -> KernelFunction:
        spec = self.manifest.kernels.get(name)
        if spec is None:
            raise UnknownKernelError(
                f"the artifact of {self.manifest.source} has no kernel {name!r}; it has "
                f"{', '.join(self.kernels) or 'none'}"
            )
        with self._lock:
            if name not in self._functions:
                self._functions[name] = self._make(spec)
            return self._functions[name]

    def __getattr__(self, name: str) -> KernelFunction:
        if name.startswith("__"):
            raise AttributeError(name)
        function = self[name]
        self.__dict__[name] = function
        return function

    def make_all(self) -> None:
        """Makes every kernel callable now. Raises ExpressionError for a malformed expression of the
        manifest."""
        for name in self.kernels:
            function = self[name]
            if not hasattr(type(self), name):
                self.__dict__.setdefault(name, function)

    def __deepcopy__(self, memo: dict[int, object]) -> Artifact:
        return self  # a copy of a model uses the same kernels

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.kernels})

    def __repr__(self) -> str:
        return f"<artifact of {self.manifest.source}: {', '.join(self.kernels)}>"

    def _make(self, spec: KernelSpec) -> KernelFunction:
        from spak_runtime.function import KernelFunction, Shared
        from spak_runtime.kernel import Loader
        from spak_runtime.plan import Sources
        from spak_runtime.prebuilt import Prebuilt

        if self._shared is None:
            sources = Sources(self.sources, self.headers)
            namespace = f"spak_{self.digest[:16]}"
            facts = self.manifest.facts
            loader = Loader(prebuilt=Prebuilt.read(self.root))
            self._shared = Shared(self.root, namespace, facts, sources, loader, self.__getitem__)
        return KernelFunction(spec, self._shared)


def load(folder: str | Path) -> Artifact:
    """Loads a compiled artifact.

    Raises ArtifactError where the folder holds no manifest of this schema, or a file that the manifest
    names is missing or lies outside of the folder.
    """
    root = Path(folder).resolve()
    path = root / "manifest.json"
    try:
        written = path.read_text()
        manifest = Manifest.from_json(written)
    except OSError as error:
        raise ArtifactError(f"{folder} holds no artifact: {error.strerror}: {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: {error}") from None
    sources: dict[str, str] = {}
    for kernel in manifest.kernels.values():
        for variant in kernel.variants:
            for launch in variant.launches:
                if launch.source not in sources:
                    sources[launch.source] = _text(root, launch.source)
    headers = {
        file.relative_to(root / _HEADERS).as_posix(): _text(root, file.relative_to(root).as_posix())
        for file in sorted((root / _HEADERS).rglob("*"))
        if file.is_file()
    }
    maths = {kernel.math: _text(root, kernel.math) for kernel in manifest.kernels.values()}
    artifact = Artifact(root, manifest, sources, headers, _digest(written, sources, headers, maths))
    if "torch" in sys.modules:  # then torch may trace the first call, which must find every kernel made
        artifact.make_all()
    return artifact


def _inside(root: Path, relative: str) -> Path:
    """The file that a manifest names. Raises ArtifactError for one outside of the artifact."""
    pure = PurePosixPath(relative)
    path = (root / pure).resolve()
    if pure.is_absolute() or not path.is_relative_to(root):
        raise ArtifactError(f"the manifest names {relative!r}, which lies outside of the artifact")
    return path


def _text(root: Path, relative: str) -> str:
    try:
        return _inside(root, relative).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"the artifact's file {relative} cannot be read: {error}") from None


def _digest(manifest: str, *groups: dict[str, str]) -> str:
    """The hash of everything that a kernel of the artifact depends on."""
    hasher = hashlib.sha256(manifest.encode())
    for group in groups:
        for name, text in sorted(group.items()):
            hasher.update(f"\0{name}\0{len(text)}\0{text}".encode())
    return hasher.hexdigest()
