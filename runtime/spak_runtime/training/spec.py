"""`experiment.json`: everything a run needs, as data. Expressions are JSON prefix lists (`["add", x, y]`)
that the modules of this package interpret; nothing in it is ever executed as code.

Expressions of a dataset:
    ["sample", a]  ["digits", length]  ["param", n]  ["interval", first, last]  ["add" | "mul", x, y]
    ["reverse", number]  ["text", "="]  ["end"]  and a number for itself
Propositions of laws and gates (see `gates.py`):
    ["and" | "or" | "not" | "eq" | "ne" | "lt" | "le" | "gt" | "ge", …]  [query, argument …]  and constants
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spak_runtime.errors import SpakRuntimeError

SCHEMA = "spak-experiment/1"

Expression = Any
"""bool | int | float | str | list: see the module docstring."""


class TrainingError(SpakRuntimeError):
    """A run cannot go on: a corpus is missing, a profile unknown, data cannot be drawn, a kernel does not
    compute what the model uses it for."""

    code = "SPAK559"


@dataclass(frozen=True, slots=True)
class Split:
    """Over sampled data: `binders` are independent uniform draws, each (names, tuples of values). `size` of
    an evaluation split, `weight` its share of a training mixture. Over a corpus: the part [start, stop) of
    it, 0..1."""

    name: str
    binders: tuple[tuple[tuple[str, ...], tuple[tuple[int, ...], ...]], ...]
    size: int | None
    weight: float | None
    part: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class DataLaw:
    """`means` is "proof" where the compiler has proved it, else "cases": it is tested on drawn samples."""

    name: str
    proposition: Expression
    means: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """`source` of a corpus (its characters are the text) or `samples` and `text` of drawn documents.
    `vocabulary` is known for drawn documents; a corpus brings its own, filled up with unused tokens to
    `vocabulary_size` where that is given. `train` are the splits trained on,
    `exclude` those whose samples training must not draw."""

    name: str
    samples: Mapping[str, Expression]
    text: tuple[Expression, ...]
    loss_after: str | None
    answer: str
    vocabulary: tuple[str, ...]
    vocabulary_size: int | None
    splits: Mapping[str, Split]
    train: tuple[str, ...]
    exclude: tuple[str, ...]
    laws: tuple[DataLaw, ...]
    source: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Requirement:
    proposition: Expression
    text: str
    hide: tuple[str, ...]
    because: str | None


@dataclass(frozen=True, slots=True)
class Gate:
    name: str
    train: Mapping[str, Any] | None
    require: tuple[Requirement, ...]
    show: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """One point of one profile. `config` are the model's hyper-parameters; `weight_decay` and other phased
    values are {"first", "second", "from"}. `parameters` and `flops` (per token, forward) as the compiler
    counted them."""

    label: str
    config: Mapping[str, bool | int | float | str]
    train: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    lr: Mapping[str, Any]
    parameters: int | None
    flops: float | None


@dataclass(frozen=True, slots=True)
class Readout:
    """How an answer is read: `final`, `exit`, `freeze`; `loops` other than the trained number, if asked
    for."""

    name: str
    mode: str
    loops: int | None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """`file` defines `Config` and `name(config, ops)`, without `ops` where `uses` is empty. `uses` says
    which kernel computes an op; `ops` are all ops of the model, `markers` the characters whose tokens its
    rules ask for, `separators` those that end a run of digits and have a bias of their own."""

    name: str
    file: str
    uses: Mapping[str, str]
    ops: tuple[str, ...]
    markers: tuple[str, ...]
    separators: tuple[str, ...]
    halting: str | None


@dataclass(frozen=True, slots=True)
class Experiment:
    name: str
    source: str
    model: ModelFile
    data: Dataset
    protocol: str | None
    gates: tuple[Gate, ...]
    settings: Mapping[str, tuple[Settings, ...]]  # profile ("default" without one) -> points of the sweep
    readouts: tuple[Readout, ...]
    meaning: str
    folder: Path

    def point(self, profile: str | None, label: str = "") -> Settings:
        """Raises TrainingError for a profile or point that the file does not have."""
        name = profile or "default"
        if name not in self.settings:
            known = ", ".join(sorted(self.settings))
            raise TrainingError(f"experiment {self.name} has no profile {name}; it has {known}")
        for settings in self.settings[name]:
            if settings.label == label:
                return settings
        known = ", ".join(settings.label or '""' for settings in self.settings[name])
        raise TrainingError(f"experiment {self.name} has no point {label or '(none)'}; it has {known}")


def read(folder: Path) -> Experiment:
    """The experiment of a folder `models/<experiment>` of an artifact. Raises TrainingError if it is none."""
    path = folder / "experiment.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise TrainingError(f"{path}: schema {data['schema']}, but this runtime reads {SCHEMA}")
        return Experiment(
            name=data["name"],
            source=data["source"],
            model=_model(data["model"]),
            data=_dataset(data["data"]),
            protocol=data["protocol"],
            gates=tuple(_gate(gate) for gate in data["gates"]),
            settings={
                profile: tuple(_settings(point) for point in points)
                for profile, points in data["settings"].items()
            },
            readouts=tuple(Readout(**readout) for readout in data["readouts"]),
            meaning=data["meaning"],
            folder=folder,
        )
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is no experiment: {type(error).__name__}: {error}") from error


def _model(data: dict[str, Any]) -> ModelFile:
    return ModelFile(
        data["name"],
        data["file"],
        data["uses"],
        tuple(data["ops"]),
        tuple(data["markers"]),
        tuple(data["separators"]),
        data["halting"],
    )


def _dataset(data: dict[str, Any]) -> Dataset:
    return Dataset(
        name=data["name"],
        samples=data["samples"],
        text=tuple(data["text"]),
        loss_after=data["loss_after"],
        answer=data["answer"],
        vocabulary=tuple(data["vocabulary"]),
        vocabulary_size=data["vocabulary_size"],
        splits={name: _split(name, split) for name, split in data["splits"].items()},
        train=tuple(data["train"]),
        exclude=tuple(data["exclude"]),
        laws=tuple(DataLaw(**law) for law in data["laws"]),
        source=data["source"],
    )


def _split(name: str, data: dict[str, Any]) -> Split:
    binders = tuple(
        (tuple(binder["names"]), tuple(tuple(values) for values in binder["values"]))
        for binder in data["binders"]
    )
    part = data["part"]
    return Split(name, binders, data["size"], data["weight"], (part[0], part[1]) if part else None)


def _gate(data: dict[str, Any]) -> Gate:
    require = tuple(
        Requirement(r["proposition"], r["text"], tuple(r["hide"]), r["because"]) for r in data["require"]
    )
    return Gate(data["name"], data["train"], require, tuple(data["show"]))


def _settings(data: dict[str, Any]) -> Settings:
    return Settings(
        data["label"],
        data["config"],
        data["train"],
        data["optimizer"],
        data["lr"],
        data["parameters"],
        data["flops"],
    )
