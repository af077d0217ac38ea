"""Running the cases of a verification on a CUDA device. An edge; importing it needs neither torch nor a
GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spak_runtime import load
from spak_runtime.emulator.call import NUMPY as BY_WORD
from spak_runtime.emulator.call import memory_of
from spak_runtime.errors import SpakRuntimeError, ToolError
from spakc.emulator_runner import placed
from spakc.verify.arrays import Array
from spakc.verify.case import Case
from spakc.verify.examine import Finding, Observed
from spakc.verify.inputs import gap_bytes
from spakc.verify.tested import UnderTest

if TYPE_CHECKING:
    import torch


class OnDevice:
    """Runs cases on the current CUDA device, each variant alone.

    `files` are the emitted ones; they are written to `folder`. The order of threads is the device's: seed and
    mode of a case say nothing."""

    def __init__(self, files: Mapping[str, str], folder: Path) -> None:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._artifact = load(folder)
        self._functions: dict[str, Callable[..., Any]] = {}

    def __call__(self, tested: UnderTest, case: Case, given: Mapping[str, Array | None]) -> Observed:
        """Raises ToolError where the device compiler or the driver cannot be had."""
        import torch

        roles = {name: tensor.role for name, tensor in tested.kernel.tensors.items()}
        tensors = {n: a for n, a in placed(tested, case, given).items() if a is not None}
        there = {name: _sent(array) for name, array in tensors.items()}
        inputs = {name: view for name, (_, view) in there.items() if roles[name] != "output"}
        out = {name: view for name, (_, view) in there.items() if roles[name] == "output"}
        try:
            self._function(tested)(**inputs, **case.options, **({"out": out} if out else {}))
            torch.cuda.synchronize()
        except ToolError:
            raise
        except (SpakRuntimeError, RuntimeError) as error:
            return Observed({}, (Finding(f"{type(error).__name__}: {error}"),))
        spoiled = [n for n, a in tensors.items() if roles[n] == "input" and not _is_as_sent(a, there[n][0])]
        if spoiled:
            return Observed(
                {}, (Finding(f"write-to-readonly: {', '.join(spoiled)} is not an output, and was changed"),)
            )
        written = {name: array for name, array in tensors.items() if roles[name] != "input"}
        before = {name: gap_bytes(array) for name, array in written.items()}
        for name, array in written.items():
            memory_of(array).view(np.uint8).reshape(-1)[...] = there[name][0].cpu().numpy()
        touched = tuple(name for name, array in written.items() if gap_bytes(array) != before[name])
        return Observed({n: np.ascontiguousarray(a) for n, a in written.items()}, (), touched)

    def _function(self, tested: UnderTest) -> Callable[..., Any]:
        """The kernel with this variant only, so that no other may answer."""
        if tested.name not in self._functions:
            kernel = self._artifact[tested.spec.name]
            self._functions[tested.name] = kernel.only(tested.variant.id)
        return self._functions[tested.name]


def _sent(array: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """The memory of an array on the device, as bytes, and the view of it that is the tensor."""
    import torch

    from spak_runtime.dtypes import TORCH

    memory = memory_of(array)
    word = next(word for word, dtype in BY_WORD.items() if dtype == array.dtype)
    raw = torch.from_numpy(memory.view(np.uint8).reshape(-1).copy()).to("cuda")
    first = (array.ctypes.data - memory.ctypes.data) // array.itemsize
    steps = [step // array.itemsize for step in array.strides]
    return raw, raw.view(TORCH[word]).as_strided(array.shape, steps, first)


def _is_as_sent(array: Array, raw: torch.Tensor) -> bool:
    """Whether the memory of an input holds the bytes that it held."""
    sent = memory_of(array).view(np.uint8).reshape(-1)
    return bool((raw.cpu().numpy() == sent).all())


def device_name() -> str | None:
    """The name of the CUDA device that torch would use, or None."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def device_archs() -> tuple[str, ...]:
    """The architectures whose code that device runs, the most specific first. Only where there is one."""
    import torch

    from spak_runtime.device import target_of

    return target_of(torch.cuda.current_device()).archs
