"""The short way of a known call, from its tensors to the driver: in C, built at its first use on a machine, or in
Python where there is no C compiler. Both do the same; the one in C (quick.c) costs a third.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from spak_runtime.cache import default_root
from spak_runtime.kernel import launch_address
from spak_runtime.plan import CudaPlan

SOURCE = Path(__file__).parent / "quick.c"
MODULE = "spak_quick"
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-w")
BUILD_SECONDS = 120

Place = tuple[int, int, int]
"""The slot of a tensor, and how its address ends: address & mask == low."""


class Way:
    """Called with tensors, launches what a plan does and returns the outputs that it allocates; None where the tensors
    are not those of the known call."""

    __slots__ = ("_check", "_places", "_plan")

    def __init__(self, plan: CudaPlan, check: Callable[..., bool] | None, places: Sequence[Place]) -> None:
        self._plan, self._check, self._places = plan, check, tuple(places)

    def __call__(self, *tensors: torch.Tensor) -> list[torch.Tensor] | None:
        return self.launch(*tensors) if self.recognises(*tensors) else None

    def recognises(self, *tensors: torch.Tensor) -> bool:
        if len(tensors) != len(self._places) or self._check is None or not self._check(*tensors):
            return False
        ends = zip(self._places, tensors, strict=True)
        return all(tensor.data_ptr() & mask == low for (_, mask, low), tensor in ends)

    def launch(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """The same for tensors that are recognised."""
        pointers = self._plan.addresses.copy()
        for (slot, _, _), tensor in zip(self._places, tensors, strict=True):
            pointers[slot] = tensor.data_ptr()
        return self._plan.launch(pointers)


def way_of(plan: CudaPlan, check: Callable[..., bool] | None, places: Sequence[Place]) -> Any:
    """The way of calls that `check` recognises, if their addresses end like these."""
    way = Way(plan, check, places)
    settled = plan.settled
    quick = maker()
    if check is None or settled is None or quick is None:
        return way
    try:
        return quick(check, torch.Tensor.data_ptr, way.launch, tuple(places), launch_address(), *settled)
    except OverflowError:
        return way  # more tensors or parameters than quick.c has room for


@functools.cache
def maker() -> Callable[..., Any] | None:
    """quick.c's `Quick`; None without a C compiler that builds extensions of this Python."""
    try:
        library = _library()
        loader = importlib.machinery.ExtensionFileLoader(MODULE, str(library))
        spec = importlib.util.spec_from_file_location(MODULE, library, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except (OSError, ImportError, subprocess.SubprocessError):
        return None
    made: Callable[..., Any] = module.Quick
    return made


def _library() -> Path:
    """The shared object, kept by content. Raises OSError or SubprocessError where it cannot be built."""
    from spak_runtime.emulator.kept import is_sound, keep
    from spak_runtime.emulator.toolchain import digest_of

    include = sysconfig.get_path("include")
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    key = digest_of(SOURCE, FLAGS, include, sysconfig.get_config_var("EXT_SUFFIX"))
    folder = default_root() / "host"
    target = folder / f"quick-{key[:32]}.so"
    if not is_sound(target):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
            made = Path(scratch) / "quick.so"
            command = [*compiler.split(), *FLAGS, f"-I{include}", str(SOURCE), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, timeout=BUILD_SECONDS)
            keep(made, target)
    return target
