"""For each code of the runtime, a smallest thing to do that earns it: code → the error's code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch

import spak_runtime
from spak_runtime import kernel
from spak_runtime.cache import KernelCache
from spak_runtime.choose import Chooser, Target
from spak_runtime.disassemble import disassemble
from spak_runtime.errors import SpakRuntimeError
from spak_runtime.expressions import Environment, evaluate
from spak_runtime.manifest import Guard
from spak_runtime.nvrtc import BuildRequest, compile_cubin
from tests.unit.runtime import hand_artifact

AFFINE = hand_artifact.manifest().kernels["affine"]
A100 = Target("A100", ("sm_80",), {})


def _call(attempt: Callable[[spak_runtime.Artifact], object]) -> Callable[[Path], None]:
    return lambda folder: _ignore(attempt(spak_runtime.load(hand_artifact.write(folder / "artifact"))))


def _ignore(_: object) -> None:
    return None


def _never_lawful(_: Path) -> None:
    variants = tuple(dataclasses.replace(v, guards=(Guard("never", False, ""),)) for v in AFFINE.variants)
    Chooser(dataclasses.replace(AFFINE, variants=variants)).choose(A100, Environment())


def _refused_by_the_driver(_: Path) -> None:
    refusal = SimpleNamespace(name="CUDA_ERROR_INVALID_IMAGE")
    with patch.object(kernel, "_driver", lambda: SimpleNamespace(cuModuleLoadData=lambda _: (refusal,))):
        kernel._call("cuModuleLoadData", b"no cubin")


def _captured(_: Path) -> None:
    with patch.object(torch.cuda, "is_current_stream_capturing", lambda: True):
        request = BuildRequest("k.cu", "", {}, (), "sm_80")
        kernel.Loader().function(request, "k", 0, 0, (1, 1, 1))


Z = torch.zeros
EARNS: dict[str, Callable[[Path], None]] = {
    "SPAK705": lambda folder: _ignore(KernelCache(folder).build(_spilling())),
    "SPAK740": lambda folder: _ignore(spak_runtime.load(folder)),
    "SPAK741": _call(lambda m: m["cube"]),
    "SPAK742": _call(lambda m: m.affine()),
    "SPAK743": _call(lambda m: m.affine(Z(4, 8).double())),
    "SPAK744": _call(lambda m: m.affine(Z(4, 8, device="meta"), Z(8))),
    "SPAK745": _call(lambda m: m.affine(Z(4, 8), Z(4))),
    "SPAK746": _call(lambda m: m.affine(Z(4, 16)[:, ::2])),
    "SPAK747": _call(lambda m: m.affine(_misaligned())),
    "SPAK748": _call(lambda m: m.affine(Z(4, 8), mode="cubed")),
    "SPAK749": _call(lambda m: m.moments(Z(4, 8))),
    "SPAK750": _never_lawful,
    "SPAK751": lambda _: _ignore(Chooser(AFFINE).choose(Target("old", ("sm_70",), {}), Environment())),
    "SPAK752": lambda _: _ignore(compile_cubin(BuildRequest("k.cu", "no code", {}, (), "sm_80"))),
    "SPAK753": lambda _: _ignore(disassemble(b"no cubin")),
    "SPAK754": _refused_by_the_driver,
    "SPAK755": _captured,
    "SPAK756": _call(lambda m: m.moments(Z(4, 32, requires_grad=True))),
    "SPAK757": lambda _: _ignore(evaluate(["ceil_div", 1, 0], Environment())),
}


def _spilling() -> BuildRequest:
    from tests.nvrtc.test_machine_rules import SPILLS

    return BuildRequest("k.cu", SPILLS, {}, (), "sm_90a")


def _misaligned() -> torch.Tensor:
    raw = torch.zeros(4 * 8 * 4 + 1, dtype=torch.uint8)
    return torch.frombuffer(raw.numpy()[1:].data, dtype=torch.float32).view(4, 8)


def codes_of(code: str, folder: Path) -> list[str]:
    """The codes that the fixture of `code` earns in an empty folder."""
    try:
        EARNS[code](folder)
    except SpakRuntimeError as error:
        return [error.code]
    return []
