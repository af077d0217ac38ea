"""A kernel's mathematics in torch operations: what runs where the tensors are on a CPU.

The file is generated with the artifact. It is a Python module of the artifact, imported once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from spak_runtime.args import Arguments, Resolved, Signature, default_value
from spak_runtime.dtypes import TORCH
from spak_runtime.errors import ArtifactError


class Mathematics:
    """`forward(**tensors, **options)` of one kernel, called as the kernel would be."""

    def __init__(self, signature: Signature, path: Path) -> None:
        self._signature = signature
        self._path = path
        self._forward: Callable[..., Mapping[str, torch.Tensor]] | None = None

    def run(self, call: Arguments, resolved: Resolved) -> list[torch.Tensor]:
        """The outputs in order of declaration, in the dtypes and layouts that the call asks for. Writes
        inouts and provided outputs in place. torch differentiates through it. Raises ArtifactError."""
        signature = self._signature
        tensors = {name: self._given(name, tensor, resolved) for name, tensor in call.inputs.items()}
        with torch.autocast("cpu", enabled=False):  # the file says what is rounded
            values = self._function()(**tensors, **resolved.environment.options)
        missing = {*signature.outputs, *signature.inouts} - set(values)
        if missing:
            raise ArtifactError(f"{signature.name}: its mathematics yields no {min(missing)}")
        outputs = [self._laid(name, values[name], call, resolved) for name in signature.outputs]
        for name in signature.inouts:
            tensor = call.inputs[name]
            if tensor is not None:
                tensor.copy_(values[name])
        return outputs

    def _given(self, name: str, tensor: torch.Tensor | None, resolved: Resolved) -> torch.Tensor:
        if tensor is not None:
            return tensor
        spec = self._signature.specs[name]
        element = default_value(spec, resolved.dtypes[name], resolved.device)
        return element.expand(self._signature.shape_of(name, resolved.environment.dims))

    def _laid(self, name: str, value: torch.Tensor, call: Arguments, resolved: Resolved) -> torch.Tensor:
        value = value.to(TORCH[resolved.dtypes[name]])
        if name in call.outputs:
            return call.outputs[name].copy_(value)
        if resolved.layouts[name] == "column" and value.dim() >= 2:
            laid = value.transpose(-1, -2).contiguous().transpose(-1, -2)
        else:
            laid = value.contiguous()
        given = (tensor for tensor in call.inputs.values() if tensor is not None)
        shared = any(_same_memory(laid, tensor) for tensor in given)
        return laid.clone() if shared else laid  # an output never aliases an input

    def _function(self) -> Callable[..., Mapping[str, torch.Tensor]]:
        if self._forward is None:
            self._forward = _load(self._path, self._signature.name)
        return self._forward


def _same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _load(path: Path, kernel: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"spak_artifact.{kernel}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ArtifactError(f"{kernel}: its mathematics, {path}, is missing")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ArtifactError(f"{kernel}: its mathematics, {path}, does not load: {error}") from error
    forward: Callable[..., Any] | None = getattr(module, "forward", None)
    if forward is None or not callable(forward):
        raise ArtifactError(f"{kernel}: its mathematics, {path}, has no function `forward`")
    return forward
