"""Experiments → `models/<experiment>/model.py` and `experiment.json`: what a run needs, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import jinja2

from spakc.check.check_experiment import ExperimentFacts, Point
from spakc.check.data_facts import DatasetFacts
from spakc.check.model_shapes import Shapes
from spakc.emit.model_code import ModelCode
from spakc.emit.model_text import hyper_name
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.experiment import Gate, Split
from spakc.ir.module import Module
from spakc.ir.ops import Apply, Const, Expr, Interval, Members, Query, Ref, RefKind, Tuple
from spakc.ir.points import at_point, points_of
from spakc.ir.queries import Means
from spakc.ir.visit import transform, walk

SCHEMA = "spak-experiment/1"
_MODEL = "model.py.j2"
_FUNCTIONAL = "from torch.nn import functional as F\n"
"""What a model imports that calls functions of torch by itself."""
_STEP = frozenset(("loss", "optimizer"))
"""The operations of every training step, beside those of its model."""


def emit_experiments(
    module: Module,
    shapes: Mapping[str, Shapes],
    data: Mapping[str, DatasetFacts],
    experiments: Mapping[str, ExperimentFacts],
    templates: jinja2.Environment,
) -> dict[str, str]:
    """The files of every experiment by path in the artifact.

    Needs what `check_models`, `check_data` and `check_experiments` found, and templates/torch. Deterministic.
    Everything in experiment.json is data that the runtime interprets."""
    files: dict[str, str] = {}
    for name, facts in sorted(experiments.items()):
        model = module.models[facts.experiment.model]
        defaults = next(iter(facts.points["default"]))
        code = ModelCode(model, shapes[model.name], defaults.hypers)
        folder = f"models/{name}"
        text = templates.get_template(_MODEL).render(
            model=code, experiment=name, source=model.span.source.name.rpartition("/")[2]
        )
        files[f"{folder}/model.py"] = text if re.search(r"\bF\.", text) else text.replace(_FUNCTIONAL, "")
        described = _experiment(module, facts, data[facts.experiment.data[0]], code)
        files[f"{folder}/experiment.json"] = json.dumps(described, indent=1, sort_keys=True) + "\n"
    return files


def _experiment(
    module: Module, facts: ExperimentFacts, data: DatasetFacts, code: ModelCode
) -> dict[str, Any]:
    experiment = facts.experiment
    protocol = module.protocols.get(experiment.protocol or "")
    ops = code.ops | _STEP
    described: dict[str, Any] = {
        "schema": SCHEMA,
        "name": experiment.name,
        "source": experiment.span.source.name,
        "model": {
            "name": code.name,
            "file": "model.py",
            "uses": {op: kernel for op, kernel in sorted(code.model.uses.items()) if op in ops},
            "ops": sorted(ops | _positions(code)),
            "markers": code.markers,
            "separators": list(data.separators),
            "halting": None if code.halting is None else code.halting.mode,
        },
        "data": _dataset(data),
        "protocol": None if protocol is None else protocol.name,
        "gates": [] if protocol is None else [_gate(gate) for gate in protocol.gates],
        "settings": {name: [_point(point) for point in points] for name, points in facts.points.items()},
        "readouts": _readouts(module, experiment.name, code),
    }
    text = json.dumps(described, sort_keys=True)
    described["meaning"] = hashlib.sha256(text.encode()).hexdigest()
    return described


def _positions(code: ModelCode) -> set[str]:
    """Positions that draw random numbers are operations that a run must know of."""
    return {"coupled"} & code.features


def _point(point: Point) -> dict[str, Any]:
    return {
        "label": point.label,
        "config": {hyper_name(name): value for name, value in point.hypers.items()},
        "train": dict(point.train),
        "optimizer": dict(point.optimizer),
        "lr": dict(point.lr),
        "parameters": None if point.count is None else point.count.parameters,
        "flops": None if point.count is None else point.count.flops,
    }


def _readouts(module: Module, experiment: str, code: ModelCode) -> list[dict[str, Any]]:
    """The plain readout; the halting rule's, if the model has one; and what claims ask for."""
    found: dict[tuple[str, int | None], None] = {("last", None): None}
    if code.halting is not None:
        found["exit", None] = None
        found[code.halting.mode, None] = None
    for claim in module.claims.values():
        asked = [
            node for node in walk(claim.proposition) if isinstance(node, Query) and node.name == "accuracy"
        ]
        mine = [q for q in asked if isinstance(q.args[0], Ref) and q.args[0].name == experiment]
        for query, point in product(mine, points_of(claim) if mine else ()):
            named = dict(at_point(query, dict(point)).named)
            readout = named.get("readout")
            mode = readout.name if isinstance(readout, Ref) else "last"
            loops = evaluate(named["loops"], Env()) if "loops" in named else None
            if code.loop is not None and (mode == "last" or code.halting is not None):
                found[mode, loops if isinstance(loops, int) else None] = None
    return [
        {"name": mode if loops is None else f"{mode}@{loops}", "mode": mode, "loops": loops}
        for mode, loops in found
    ]


# ---- data -------------------------------------------------------------------------------------------


def _dataset(facts: DatasetFacts) -> dict[str, Any]:
    dataset = facts.dataset
    drawn = facts.source is None
    return {
        "name": dataset.name,
        "source": None if facts.source is None else dict(facts.source),
        "samples": {name: expression(value) for name, value in dataset.samples.items()},
        "text": [_piece(piece) for piece in dataset.text] if drawn else [],
        "loss_after": dataset.loss_after,
        "answer": dataset.answer,
        "vocabulary": list(facts.vocabulary or ()),
        "vocabulary_size": facts.vocabulary_size,
        "splits": _splits(facts),
        "train": list(facts.train),
        "exclude": list(facts.exclude),
        "laws": [
            {
                "name": status.law.name,
                "proposition": expression(_known(status.law.proposition, facts)),
                "when": None if status.law.when is None else expression(_known(status.law.when, facts)),
                "means": "proof" if status.status.means is Means.proof else "cases",
            }
            for status in facts.laws
        ],
    }


def _known(node: Expr, facts: DatasetFacts) -> Expr:
    """A law with the lengths that the splits of its dataset say."""

    def known(node: Expr) -> Expr:
        if isinstance(node, Query) and node.name == "max_length" and isinstance(node.args[0], Ref):
            return Const(facts.max_digits(node.args[0].name.rpartition(".")[2]), span=node.span)
        return node

    return transform(node, known)


def _splits(facts: DatasetFacts) -> dict[str, Any]:
    start = 0.0
    splits: dict[str, Any] = {}
    for name, split in facts.dataset.splits.items():
        stop = start + (split.fraction or 0.0)
        splits[name] = _split(split, facts, None if split.fraction is None else [start, min(1.0, stop)])
        start = stop
    return splits


def _split(split: Split, facts: DatasetFacts, part: list[float] | None) -> dict[str, Any]:
    return {
        "binders": [
            {"names": list(names), "values": [list(row) for row in rows]}
            for names, rows in facts.choices.get(split.name, ())
        ],
        "size": split.size,
        "weight": split.weight,
        "part": part,
        "given": {name: expression(value) for name, value in split.given.items()},
    }


def _piece(node: Expr) -> Any:
    """A piece of a text: a string is text, everything else an expression."""
    if isinstance(node, Const) and isinstance(node.value, str):
        return ["text", node.value]
    return expression(node)


# ---- gates and propositions -------------------------------------------------------------------------


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "name": gate.name,
        "train": None if gate.train is None else {key: _plain(value) for key, value in gate.train.items()},
        "require": [
            {
                "proposition": expression(requirement.proposition),
                "text": " ".join(requirement.span.text.split()),
                "hide": list(requirement.hide),
                "because": requirement.because,
            }
            for requirement in gate.require
        ],
        "show": [expression(value) for value in gate.show],
    }


def _plain(node: Expr) -> Any:
    if isinstance(node, Ref):
        return node.name
    value = evaluate(node, Env())
    assert not isinstance(value, Unknown), "check lets no open setting through"
    return value


def expression(node: Expr) -> Any:
    """An expression as a JSON prefix list; the runtime's spak_runtime/training/spec.py says what they
    mean."""
    match node:
        case Const():
            return node.value
        case Ref(kind=RefKind.sample):
            return ["sample", node.name]
        case Ref(kind=RefKind.parameter):
            return ["param", node.name]
        case Ref(kind=RefKind.symbol) if node.name == "end":
            return ["end"]
        case Ref(kind=RefKind.entity):
            return node.name.rpartition(".")[2]
        case Ref():
            return node.name
        case Apply():
            return [node.op, *(expression(argument) for argument in node.args)]
        case Interval():
            bounds = (node.first, node.last) if node.by is None else (node.first, node.last, node.by)
            return ["interval", *map(expression, bounds)]
        case Members() | Tuple():
            return ["set", *(expression(item) for item in node.items)]
        case Query(name="accuracy"):
            named = dict(node.named)
            readout, loops = named.get("readout"), named.get("loops")
            mode = readout.name if isinstance(readout, Ref) else "last"
            arguments = [expression(argument) for argument in node.args]
            return ["accuracy", *arguments, mode, None if loops is None else expression(loops)]
        case Query(name="digits"):
            return ["digits", *(expression(part) for part in (*node.args, *dict(node.named).values()))]
        case Query():
            return [node.name, *(expression(argument) for argument in node.args)]
    raise AssertionError(f"check lets no {type(node).__name__} through")
