"""The system's C++ compiler: finding it, building shared objects with it, keeping them by content.

One object is named by a digest of everything that decides it, and used only if its bytes are those that were built
(kept.py); two processes may build the same one at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spak_runtime.cache import default_root
from spak_runtime.emulator.imports import refuse_foreign
from spak_runtime.emulator.kept import forget, is_sound, keep
from spak_runtime.errors import BuildError, ToolError

HERE = Path(__file__).resolve().parent
INCLUDE = HERE / "include"
SOURCE = HERE / "src"

RUNTIME_FLAGS = ("-std=c++17", "-O3", "-fno-exceptions", "-fno-omit-frame-pointer", "-fPIC", "-w")
KERNEL_FLAGS = (
    *("-std=c++17", "-O1", "-fexpensive-optimizations", "-fno-exceptions", "-fno-omit-frame-pointer"),
    *("-g1", "-fPIC", "-shared", "-w"),
)
"""-O1, because the time goes into the runtime library; gcc contracts only with expensive optimizations.
Frame pointers and line tables let an error say who called a helper."""
BUILD_SECONDS = 300
KEPT_KERNELS = 4000
"""About 60 kB each."""


@functools.cache
def compiler() -> tuple[str, str]:
    """The compiler's path and its version line. `$CXX`, else g++, clang++ or c++.

    Raises ToolError when there is none.
    """
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        path = shutil.which(name)
        if path is None:
            continue
        try:
            said = subprocess.run(
                [path, "--version"], capture_output=True, text=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            continue  # no program of this machine
        if said.returncode == 0 and said.stdout:
            return path, said.stdout.splitlines()[0]
    looked_for = f"$CXX = {wanted}" if wanted else "g++, clang++, c++"
    raise ToolError(
        f"the emulator needs a C++17 compiler and found none ({looked_for}). Install one (Debian, Ubuntu: "
        "apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or set CXX"
    )


@functools.cache
def cpu_features() -> frozenset[str]:
    """The CPU's feature words, empty where the system does not list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def contraction_flags(contract: bool) -> tuple[str, ...]:
    """Flags that make the host compiler contract a * b + c to one fused multiply-add, as nvcc does, or not.

    Raises ToolError on an x86-64 CPU without fused multiply-add.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return (f"-ffp-contract={'fast' if contract else 'off'}",)
    if "fma" not in cpu_features() and cpu_features():
        raise ToolError("the emulator needs a CPU with fused multiply-add (x86-64-v3), as every GPU has")
    return ("-mfma", f"-ffp-contract={'fast' if contract else 'off'}")


def headers_of(folders: Sequence[Path]) -> list[Path]:
    """Every header below the folders, in a fixed order."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".h", ".cuh")]


_digests: dict[str, tuple[tuple[tuple[str, int, int], ...], str]] = {}
"""Of folders of headers: how their files looked when they were read, and a digest of names and texts."""


def digest_of_headers(folder: Path) -> str:
    """A digest of the headers below a folder, read again only where a file is another or a newer one."""
    looks = []
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as found:
            for entry in found:
                if entry.is_dir():
                    pending.append(entry.path)
                elif entry.name.endswith((".h", ".cuh")):
                    seen = entry.stat()
                    looks.append((entry.path, seen.st_mtime_ns, seen.st_size))
    now = tuple(sorted(looks))
    known = _digests.get(str(folder))
    if known is None or known[0] != now:
        texts = [Path(path) for path, _, _ in now]
        known = now, digest_of(*texts, [os.path.relpath(text, folder) for text in texts])
        if len(_digests) > 64:
            _digests.clear()
        _digests[str(folder)] = known
    return known[1]


def digest_of(*parts: object) -> str:
    """A digest of texts, and of files by content."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        h.update(b"\0")
    return h.hexdigest()


def runtime_library() -> Path:
    """The emulator's own library, built at its first use on this machine (about ten seconds).

    Raises ToolError without a compiler that can build it.
    """
    path, version = compiler()
    native = () if platform.machine() == "arm64" else ("-march=native",)
    flags = (*RUNTIME_FLAGS, *native)
    sources = sorted(SOURCE.glob("*.cpp"))
    key = digest_of(*sources, *headers_of([SOURCE, INCLUDE]), flags, version, sorted(cpu_features()))
    target = _folder() / f"runtime-{key[:32]}.so"
    if is_sound(target):
        return target
    with _building() as scratch:

        def build_object(source: Path) -> Path:
            made = scratch / f"{source.stem}.o"
            _run(
                [path, *flags, f"-I{INCLUDE}", f"-I{SOURCE}", "-c", str(source), "-o", str(made)], source.name
            )
            return made

        made = scratch / "runtime.so"
        try:
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                objects = list(pool.map(build_object, sources))
            _run([path, "-shared", *map(str, objects), "-o", str(made)], "runtime.so")
        except BuildError as error:
            raise ToolError(f"{path} ({version}) cannot build the emulator: {error.message}") from None
        keep(made, target)
    return target


def kernel_library(
    text: str, name: str, include_dirs: Sequence[Path], defines: Sequence[tuple[str, str]], contract: bool
) -> Path:
    """A kernel's shared object. `name` is the file name that errors give where no #line says otherwise.

    Raises ToolError without a compiler, BuildError with the compiler's text when it refuses the source, or where the
    kernel asks the host for what no device has.
    """
    path, version = compiler()
    folders = [INCLUDE, *include_dirs]
    flags = (*KERNEL_FLAGS, *contraction_flags(contract), *(f"-D{key}={value}" for key, value in defines))
    key = digest_of(text, name, [digest_of_headers(folder) for folder in folders], flags, version)
    target = _folder() / f"kernel-{key[:32]}.so"
    if is_sound(target):
        return target
    with _building() as scratch:
        made = scratch / "kernel.so"
        source = f'#line 1 "{name}"\n{text}'
        includes = [f"-I{folder}" for folder in folders]
        # Names in reports are relative to the include folders, and the same on every machine.
        names = [f"-ffile-prefix-map={folder}/=" for folder in folders]
        here = f"-ffile-prefix-map={Path.cwd()}=."
        _run([path, "-x", "c++", *flags, *includes, here, *names, "-", "-o", str(made)], name, source)
        refuse_foreign(made, name)
        keep(made, target)
    _forget_old_kernels(target.parent)
    return target


def _forget_old_kernels(folder: Path) -> None:
    """Keeps the most recently built kernels, and nothing that a process left behind when it died."""
    with contextlib.suppress(OSError):
        kernels = sorted(folder.glob("kernel-*.so"), key=lambda path: path.stat().st_mtime)
        for path in kernels[:-KEPT_KERNELS]:
            forget(path)
        for path in folder.glob(".build-*"):
            if time.time() - path.stat().st_mtime > BUILD_SECONDS * 4:
                shutil.rmtree(path, ignore_errors=True)


def call_paths(library: Path, addresses: Sequence[int]) -> list[list[tuple[str, int]]]:
    """For each return address in a kernel's shared object, the source lines it stands for: the innermost
    inlined function first. Empty lists where binutils' addr2line is missing or does not know."""
    tool = shutil.which("addr2line")
    if tool is None or not addresses:
        return [[] for _ in addresses]
    # A return address belongs to what comes after the call: step back into it.
    command = [tool, "-a", "-i", "-e", str(library), *(hex(address - 1) for address in addresses)]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return [[] for _ in addresses]
    paths: list[list[tuple[str, int]]] = []
    for line in said.stdout.splitlines():
        if line.startswith("0x"):
            paths.append([])
            continue
        file, _, row = line.partition(" ")[0].rpartition(":")
        if paths and row.isdigit() and not file.startswith("?"):
            paths[-1].append((os.path.normpath(file), int(row)))
    return paths if len(paths) == len(addresses) else [[] for _ in addresses]


def _folder() -> Path:
    return default_root() / "emulator"


@contextlib.contextmanager
def _building() -> Iterator[Path]:
    """A folder for what is made on the way, and then put in its place. Raises ToolError where that cannot be."""
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as name:
            yield Path(name)
    except OSError as error:
        raise ToolError(f"the emulator cannot keep its builds in {folder}: {error}") from error


def _run(command: list[str], what: str, source: str | None = None) -> None:
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{what}: the C++ compiler did not finish in {BUILD_SECONDS} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error:" in line] or done.stderr.splitlines()
        first = lines[0].strip() if lines else f"exit status {done.returncode}"
        raise BuildError(f"{what}: the C++ compiler refused it: {first}", lines, done.stderr)
