"""Checkpoints: one safetensors file, written beside its place and renamed, so that a kill leaves the old or
the new. It holds the digest of its state and tensors: what was damaged is no checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spak_runtime.training.figures import read_object
from spak_runtime.training.optim import Optimizer

_STATE = "spak"  # one entry, since the order of several would not always be the same

MEASURED = "measured.json"
"""Stands beside a checkpoint."""


def save(path: Path, model: nn.Module, optimizer: Optimizer | None, state: dict[str, Any]) -> None:
    """Writes weights, moments and `state` (JSON). Atomic: the file is the old one or the new one."""
    tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    if optimizer is not None:
        for name, parameter in model.named_parameters():
            for key, value in optimizer.adamw.state.get(parameter, {}).items():
                held = value.detach().cpu().contiguous()
                # One counter of steps may serve all weights; a file holds no tensor twice.
                tensors[f"optimizer.{name}.{key}"] = held.clone() if held.dim() == 0 else held
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch()
    mode = stat.S_IMODE(temporary.stat().st_mode)  # the umask's; what the library makes is its owner's alone
    said = json.dumps(state, sort_keys=True)
    save_file(tensors, temporary, metadata={_STATE: f"{_digest(tensors, said)} {said}"})
    temporary.chmod(mode)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def save_measured(path: Path, measured: Mapping[str, Any]) -> None:
    """Writes what was measured on the way to a checkpoint (JSON, `MEASURED` beside `path`). Atomic.

    It decides nothing of what is trained and differs between two runs that end in the same bits: the
    checkpoint is the same bytes without it."""
    temporary = path.with_name(MEASURED + ".new")
    temporary.write_text(json.dumps(measured, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path.with_name(MEASURED))


def read_measured(path: Path) -> dict[str, Any]:
    """What was measured on the way to the checkpoint at `path`; empty where nothing is known."""
    return read_object(path.with_name(MEASURED)) or {}


def read_state(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint, or None if there is none that can be read, whole and as it was written."""
    try:
        _, state = _read(path)
    except ValueError:
        return None
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint. Raises ValueError if the file is none, or was damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digest, _, said = (file.metadata() or {})[_STATE].partition(" ")
            state = json.loads(said)
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no checkpoint: {error}") from error
    if not isinstance(state, dict) or digest != _digest(tensors, said):
        raise ValueError(f"{path} is no checkpoint: it was damaged, or another version wrote it")
    return tensors, state


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    hasher = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def load(path: Path, model: nn.Module, optimizer: Optimizer | None = None) -> None:
    """Reads weights and moments into a model of the same shape. Raises ValueError if the file is no
    checkpoint, or one of another model."""
    tensors, _ = _read(path)
    parameters = dict(model.named_parameters())
    found = {name.removeprefix("model.") for name in tensors if name.startswith("model.")}
    if found != parameters.keys():
        raise ValueError(f"{path} holds the weights of another model")
    for name, parameter in parameters.items():
        _into(parameter, tensors[f"model.{name}"], path)
    if optimizer is None:
        return
    for name, parameter in parameters.items():
        prefix = f"optimizer.{name}."
        moments = {k.removeprefix(prefix): tensors[k] for k in sorted(tensors) if k.startswith(prefix)}
        if moments:
            optimizer.adamw.state[parameter] = {
                key: value.to(parameter.device if key != "step" or parameter.is_cuda else "cpu")
                for key, value in moments.items()
            }


def _into(parameter: nn.Parameter, value: Tensor, path: Path) -> None:
    if parameter.shape != value.shape:
        raise ValueError(f"{path} holds the weights of another model")
    with torch.no_grad():
        parameter.copy_(value)
