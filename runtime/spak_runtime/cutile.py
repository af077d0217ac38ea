"""The compiler of programs for cuTile (`.py` sources of an artifact): from tiles to a cubin. Needs no GPU, but the
extra `cutile`, whose compiler and ptxas are of one release.

A source is Python that the compiler of the artifact wrote. It defines the kernel and `PARAMETERS`, what the kernel may
believe of its arguments; the macros of a specialisation are names that it finds bound.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from spak_runtime.errors import BuildError, ToolError
from spak_runtime.nvrtc import BuildRequest, Compiled

_TYPES = {
    "spak::bf16": "bfloat16",
    "spak::f16": "float16",
    "spak::f32": "float32",
    "double": "float64",
    "spak::i32": "int32",
    "spak::i64": "int64",
    "bool": "bool_",
}
"""By the value of a DTYPE macro: the name in cuda.tile."""


@functools.cache
def version() -> str:
    """Which compiler it is. Raises ToolError where it is not installed."""
    try:
        return f"cuda-tile {importlib.metadata.version('cuda-tile')}, tileiras {_of_assembler()}"
    except importlib.metadata.PackageNotFoundError as error:
        hint = "it comes with `pip install 'spakc[cutile]'`"
        raise ToolError(f"cuTile is not installed ({error.name}); {hint}") from None


def _of_assembler() -> str:
    """The version of what makes machine code of a program: a package's, else that of a toolkit."""
    try:
        return importlib.metadata.version("nvidia-cuda-tileiras")
    except importlib.metadata.PackageNotFoundError:
        tool = shutil.which("tileiras")
        if tool is None:
            raise
        said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
        return said.stdout.strip().rpartition("V")[2]


def compile_tiles(request: BuildRequest) -> Compiled:
    """Compiles one source for one architecture. Raises BuildError with what its compiler says, ToolError where that is
    missing."""
    version()
    import cuda.tile as ct
    from cuda.tile.compilation import CallingConvention, KernelSignature, export_kernel

    cubin = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="spak-cutile-") as folder:
        path = Path(folder, "program.py")
        path.write_text(request.source, "utf-8")
        try:
            program = _executed(path, bound(request.options, ct))
            kernel = next(each for each in vars(program).values() if isinstance(each, ct.kernel))
            entry = kernel._annotated_function.pyfunc.__name__
            convention = CallingConvention.cutile_python_v1()
            signature = KernelSignature(program.PARAMETERS, convention, entry)
            export_kernel(
                kernel, [signature], cubin, gpu_code=request.arch.rstrip("af"), output_format="cubin"
            )
        except FileNotFoundError as error:
            raise ToolError(f"cuTile's compiler is not complete: {error}") from None
        except ct.TileError as error:
            raise BuildError(f"{request.name}: {error}") from None
    return Compiled.from_log(cubin.getvalue(), "")


def bound(options: tuple[str, ...], ct: Any) -> dict[str, Any]:
    """The macros of a specialisation as Python names; `ct` is `cuda.tile`, or what stands in for it."""
    found: dict[str, Any] = {}
    for option in options:
        name, _, value = option.removeprefix("-D").partition("=")
        kind = name.partition("_")[0]
        if kind == "DTYPE":
            found[name] = getattr(ct, _TYPES[value])
        elif kind == "PRESENT":
            found[name] = value == "1"
        elif value in ("true", "false"):
            found[name] = value == "true"
        else:
            found[name] = _number(value)
    return found


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def _executed(path: Path, names: dict[str, Any]) -> ModuleType:
    """The program as a module; cuTile reads its functions back from the file."""
    spec = importlib.util.spec_from_file_location("spak_cutile_program", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    spec.loader.exec_module(module)
    return module
