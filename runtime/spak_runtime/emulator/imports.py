"""What a kernel built for the CPU may ask of the process that loads it: the emulator's interface, arithmetic, and
nothing else. A device has no files, no threads and no clock of the host to offer either.

This finds what a source asks for by name. It is no sandbox: a source that finds its way by addresses alone needs one
around the whole tool."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

from spak_runtime.errors import BuildError, ToolError

ABI = Path(__file__).resolve().parent / "include" / "spak" / "emulator_abi.h"

_MATHS = re.findall(
    r"\w+",
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma "
    "fmax fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf "
    "nearbyint nextafter pow remainder remquo rint round scalbn sin sincos sinh sqrt tan tanh tgamma trunc",
)
_MEMORY = ("memcpy", "memmove", "memset", "memcmp")
_OF_COMPILERS = re.compile(
    r"_ITM_\w+|__gmon_start__|__cxa_(finalize|atexit|guard_\w+)|__stack_chk_fail|__dso_handle|"
    r"__(u?div|u?mod|mul|ashl|ashr|lshr)[dt]i[34]|__(extend|trunc|float|fix)\w+|__isnan[fl]?|__isinf[fl]?|dyld_stub_binder"
)


def foreign(library: Path) -> list[str]:
    """The names that a kernel's shared object asks for and no kernel has. Raises ToolError without `nm`."""
    tool = shutil.which("nm")
    if tool is None:
        raise ToolError("the emulator needs `nm`, which comes with binutils beside the compiler")
    mac = platform.system() == "Darwin"
    command = [tool, "-u", str(library)] if mac else [tool, "-D", "--undefined-only", str(library)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if said.returncode != 0:
        raise ToolError(f"nm cannot read {library.name}: {said.stderr.strip()[:200]}")
    names = (line.split()[-1].partition("@")[0] for line in said.stdout.splitlines() if line.strip())
    known = _known()
    plain = (name.removeprefix("_") if mac else name for name in names)
    return sorted({name for name in plain if name not in known and not _OF_COMPILERS.fullmatch(name)})


def refuse_foreign(library: Path, what: str) -> None:
    """Raises BuildError for a kernel that asks for what no device has; it is not loaded then."""
    names = foreign(library)
    if names:
        shown = ", ".join(f"`{name}`" for name in names[:4]) + (" and others" if len(names) > 4 else "")
        raise BuildError(f"{what} asks the host for {shown}, which no device has")


def _known() -> frozenset[str]:
    declared = re.findall(r"\bspak_emu_\w+", ABI.read_text(encoding="utf-8"))
    maths = (f"{name}{kind}" for name in _MATHS for kind in ("", "f", "l"))
    return frozenset((*declared, *maths, *_MEMORY))
