"""The parts of a run: its data, its model on a device, its optimizer. Everything from the experiment's
folder."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from spak_runtime.artifact import Artifact
from spak_runtime.training.batch import Vocabulary
from spak_runtime.training.corpus import CharacterData
from spak_runtime.training.documents import DocumentData
from spak_runtime.training.loop import Trainer
from spak_runtime.training.meanings import STEP
from spak_runtime.training.ops import Ops
from spak_runtime.training.optim import Optimizer
from spak_runtime.training.seeds import seeded
from spak_runtime.training.spec import Experiment, Settings, TrainingError

Data = DocumentData | CharacterData

_RANDOM_OPS = frozenset(("dropout", "coupled"))


def build_data(experiment: Experiment, base: Path) -> Data:
    """The experiment's data; files of a corpus are relative to `base`."""
    if experiment.data.source is not None:
        return CharacterData(experiment.data, base)
    return DocumentData(experiment.data)


def build_model(
    experiment: Experiment, settings: Settings, data: Data, ops: Ops, device: torch.device, seed: int
) -> nn.Module:
    """The model of one point of the experiment, initialised from the seed alone. Raises TrainingError if it
    does not have the number of parameters that the compiler counted."""
    module = _load(experiment)
    facts = _facts(experiment, settings, data)
    names = {field.name for field in dataclasses.fields(module.Config)}
    config = module.Config(**{name: value for name, value in facts.items() if name in names})
    with seeded("weights", seed):
        kernels = (ops,) if experiment.model.uses.keys() - STEP else ()
        model: nn.Module = getattr(module, experiment.model.name)(config, *kernels)
    count = sum(parameter.numel() for parameter in model.parameters())
    if settings.parameters is not None and count != settings.parameters:
        raise TrainingError(
            f"the model of {experiment.name} has {count} parameters, "
            f"but the compiler counted {settings.parameters}"
        )
    return model.to(device)


def build_trainer(
    experiment: Experiment, settings: Settings, model: nn.Module, ops: Ops, device: torch.device, seed: int
) -> Trainer:
    """A trainer at step 0 with the settings of the experiment."""
    decayed = model.decayed()  # type: ignore[operator]
    optimizer = Optimizer(model.parameters(), decayed, settings.optimizer, settings.lr, ops)
    clip = settings.train.get("clip")
    return Trainer(
        model,
        ops,
        optimizer,
        device,
        seed,
        str(settings.train.get("precision", "f32")),
        None if clip is None else float(clip),
        random=bool(_RANDOM_OPS & set(experiment.model.ops)),
    )


def fingerprint(experiment: Experiment, *parts: object) -> str:
    """Changes with everything that a run depends on: the experiment, its model, this package, torch,
    `parts`."""
    hasher = hashlib.sha256(repr((torch.__version__, *parts)).encode())
    for path in (experiment.folder / "experiment.json", experiment.folder / experiment.model.file):
        hasher.update(path.read_bytes())
    hasher.update(subject().encode())
    return hasher.hexdigest()


def subject() -> str:
    """The hash of the training runtime: what figures of experiments are evidence about."""
    hasher = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


def token_kinds(vocabulary: Vocabulary, separators: tuple[str, ...]) -> tuple[int, ...]:
    """Of each token: 0 a digit, 1, 2 … a separator, the next one everything else."""
    kinds = {str(digit): 0 for digit in range(10)} | {s: i for i, s in enumerate(separators, 1)}
    return tuple(kinds.get(token, len(separators) + 1) for token in vocabulary.tokens)


def _facts(experiment: Experiment, settings: Settings, data: Data) -> dict[str, Any]:
    facts: dict[str, Any] = {**settings.config, "vocab": len(data.vocabulary)}
    facts["kinds"] = token_kinds(data.vocabulary, experiment.model.separators)
    for marker in experiment.model.markers:
        if marker not in data.vocabulary.tokens:
            raise TrainingError(
                f'the text of {experiment.data.name} has no "{marker}", which the model asks for'
            )
    facts["markers"] = tuple(data.vocabulary.number(marker) for marker in experiment.model.markers)
    if isinstance(data, DocumentData):
        facts["max_length"], facts["max_digits"] = data.max_length(), data.max_digits()
    else:
        facts["max_length"] = facts["max_digits"] = int(settings.train["context"])
    return facts


def _load(experiment: Experiment) -> ModuleType:
    """The generated model file as a module of its own."""
    path = experiment.folder / experiment.model.file
    name = "spak_model_" + hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TrainingError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def build_ops(experiment: Experiment, artifact: Artifact | None, device: torch.device) -> Ops:
    """Binds the operations of a training step to the kernels of the artifact."""
    return Ops(experiment.model.uses, experiment.model.ops, artifact, device)
