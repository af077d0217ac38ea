"""Kernels of examples, and operations that compute by them as if on a device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import spak_runtime
import spakc
from spak_runtime.training import ops as module
from spak_runtime.training.ops import Ops
from tests.unit.emit.planned import ROOT


def artifact_of(folder: Path, *names: str) -> Any:
    """The artifact of these examples' kernels."""
    kernels = os.path.relpath(ROOT / "examples" / "kernels", folder)
    lines = [f'use "{kernels}/{name}.spak"' for name in names]
    file = folder / "kernels.spak"
    file.write_text("\n".join(["spak 1", *lines, "targets h100", ""]))
    spakc.compile_file(file, folder / "artifact")
    return spak_runtime.load(folder / "artifact")


def ops_of(artifact: Any, uses: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ops:
    """Operations that believe that they are on a device, and work in bfloat16."""
    monkeypatch.setattr(module, "_working_dtype", lambda x: torch.bfloat16)
    return Ops(uses, tuple(uses), artifact, torch.device("cuda"))
