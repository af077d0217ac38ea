"""Experiments: every setting of every profile and point of a sweep, evaluated, and the laws of models in
them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from spakc.check.check_laws import prove
from spakc.check.check_protocol import check_protocol, follows
from spakc.check.check_settings import MOST_POINTS, TRAIN_KEYS, Settings, has_unit
from spakc.check.count import Count, Sizes, Unbuildable, Value, count
from spakc.check.data_facts import DatasetFacts
from spakc.check.findings import Findings
from spakc.check.loops import check_loops
from spakc.check.model_shapes import Shapes
from spakc.check.verdict import LawStatus
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, rows
from spakc.ir.experiment import Experiment
from spakc.ir.model import Loop, Model, runs_of
from spakc.ir.module import Module
from spakc.ir.ops import Const, Expr, Query, Ref, RefKind
from spakc.ir.points import label_of
from spakc.ir.visit import walk
from spakc.lower.resolve import nearest
from spakc.record import record

DEFAULT = "default"
"""The settings as stated, without a profile."""


@record
class Point:
    """One point of the sweep under one profile, everything a plain value. `seeds` are part of `train`;
    phased values are {"first", "second", "from"}. `count` is None where the vocabulary is that of a corpus
    not yet read, of a size that the file does not say."""

    label: str
    hypers: Mapping[str, Value]
    train: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    lr: Mapping[str, Any]
    count: Count | None


@dataclass(slots=True)
class ExperimentFacts:
    """`points` by profile ("default" without one). `laws` are those of the model, in every profile and
    point."""

    experiment: Experiment
    points: dict[str, tuple[Point, ...]] = field(default_factory=dict)
    laws: list[LawStatus] = field(default_factory=list)


def check_experiments(
    module: Module, shapes: Mapping[str, Shapes], data: Mapping[str, DatasetFacts], sink: Sink
) -> Mapping[str, ExperimentFacts]:
    """Facts of every experiment.

    Needs models and datasets that were checked (an experiment over one with a mistake is left out). Reports
    SPAK542-558 for keys and values that mean nothing, and every law of a model that does not hold (through
    `prove`). Leaves claims, and what only a run can know, alone."""
    facts: dict[str, ExperimentFacts] = {}
    findings = Findings()
    for protocol in module.protocols.values():
        check_protocol(protocol, sink)
    for name, experiment in module.experiments.items():
        model = module.models.get(experiment.model)
        if model is None or not experiment.data or model.name not in shapes:
            continue
        if len(experiment.data) > 1:
            message = "an experiment trains on one dataset; a mixture is made of its splits, with `weight`"
            sink.report("SPAK542", message, experiment.span, f"has {len(experiment.data)}")
            continue
        if experiment.data[0] in data:
            check = _Check(module, experiment, model, shapes[model.name], data, sink, findings)
            facts[name] = check.run()
    findings.report(sink)
    return facts


class _Check:
    """One experiment."""

    def __init__(
        self,
        module: Module,
        experiment: Experiment,
        model: Model,
        shapes: Shapes,
        datasets: Mapping[str, DatasetFacts],
        sink: Sink,
        findings: Findings,
    ) -> None:
        self.module = module
        self.experiment = experiment
        self.model = model
        self.shapes = shapes
        self.datasets = datasets
        self.data = datasets[experiment.data[0]]
        self.sink = sink
        self.settings = Settings(experiment, self.data.vocabulary is None, sink)
        self.error = self.settings.error
        self.findings = findings
        self.unbuildable = False

    def run(self) -> ExperimentFacts:
        experiment, facts = self.experiment, ExperimentFacts(self.experiment)
        self.settings.known(experiment.overrides, self.model.hypers, "hyper", f"model `{self.model.name}`")
        self.settings.known(experiment.train, TRAIN_KEYS, "setting", "`train`")
        protocol = self.module.protocols.get(experiment.protocol or "")
        if protocol is not None:
            follows(experiment, protocol, self.model, self.data.dataset, self.sink)
        self._answers()
        for profile, settings in ((DEFAULT, {}), *experiment.profiles.items()):
            points = tuple(self._points(settings))
            facts.points[profile] = points
            for point in points:
                if not self.unbuildable:
                    self._laws(profile, point, facts)
        return facts

    # ---- points -------------------------------------------------------------------------------------

    def _points(self, profile: Mapping[str, Expr]) -> Iterator[Point]:
        groups = self._groups(profile)
        if groups is None:
            return
        for chosen in self._choices():
            hypers = self._hypers(
                {**groups["model"], **{k: v for k, v in chosen.items() if k in self.model.hypers}}
            )
            varied = {k: v for k, v in chosen.items() if k not in self.model.hypers}
            train = self.settings.train({**groups["train"], **varied})
            optimizer, lr = self.settings.optimizer(groups), self.settings.lr(groups)
            if hypers is None or train is None or optimizer is None or lr is None:
                return
            label = label_of({name: value.value for name, value in chosen.items()})
            yield Point(label, hypers, train, optimizer, lr, self._count(hypers, train))

    def _groups(self, profile: Mapping[str, Expr]) -> dict[str, dict[str, Expr]] | None:
        """The experiment's settings by group, those of the profile over them."""
        groups: dict[str, dict[str, Expr]] = {
            "model": dict(self.experiment.overrides),
            "train": dict(self.experiment.train),
            "optimizer": {},
            "lr": {},
        }
        for key, value in profile.items():
            group, _, name = key.partition(".")
            if group not in groups:
                close = nearest(key, [f"{g}.…" for g in groups]) or "model.…, train.…, optimizer or lr"
                self.error(
                    "SPAK544", f"a profile cannot set `{key}`", value.span, "set here", f"it sets {close}"
                )
                return None
            if not name and group in ("model", "train"):
                self.error(
                    "SPAK544", f"a profile sets `{group}` key by key", value.span, f"write `{group}.key = …`"
                )
                return None
            groups[group][name] = value
        self.settings.known(groups["model"], self.model.hypers, "hyper", f"model `{self.model.name}`")
        self.settings.known(groups["train"], TRAIN_KEYS, "setting", "`train`")
        return groups

    def _choices(self) -> Iterator[dict[str, Const]]:
        """The points of the sweep; one empty choice without `vary`."""
        axes: list[list[dict[str, Const]]] = []
        for names, domain in self.experiment.vary:
            for name in names:
                if name not in self.model.hypers and name not in TRAIN_KEYS:
                    close = nearest(name, (*self.model.hypers, *TRAIN_KEYS))
                    hint = f"did you mean `{close}`?" if close else "name a hyper of the model"
                    self.error("SPAK543", f"`vary` does not know `{name}`", domain.span, "varied here", hint)
                    return
            values = rows(domain, Env(), MOST_POINTS)
            if isinstance(values, TooMany | Unknown) or not values:
                self.error("SPAK545", "a sweep has a known number of points", domain.span, "has not")
                return
            if any(len(row) != len(names) for row in values):
                message = f"each point of this sweep has {len(names)} value{'s' if len(names) > 1 else ''}"
                self.error(
                    "SPAK545", message, domain.span, "another number here", "write one value for each name"
                )
                return
            axes.append([dict(zip(names, map(Const, row), strict=True)) for row in values])
        points = 1
        for axis in axes:
            points *= len(axis)
        if points > MOST_POINTS:
            self.error("SPAK545", f"{points} points are more than {MOST_POINTS}", None, "of this experiment")
            return
        for chosen in product(*axes):
            yield {key: value for part in chosen for key, value in part.items()}

    def _hypers(self, given: Mapping[str, Expr]) -> dict[str, Value] | None:
        """All hypers of the model: what is given, else the default, over earlier ones."""
        values: dict[str, Value] = {}
        for name, default in self.model.hypers.items():
            expr = given.get(name, default)
            value = evaluate(expr, Env({(RefKind.hyper, key): v for key, v in values.items()}))
            if has_unit(expr):
                self.error("SPAK546", f"hyper `{name}` is a number without a unit", expr.span, "this has one")
                return None
            if isinstance(value, Unknown) or not isinstance(value, bool | int | float):
                self.error("SPAK546", f"hyper `{name}` has no value", expr.span, f"needs {value}")
                return None
            usual = evaluate(default, Env({(RefKind.hyper, key): v for key, v in values.items()}))
            if isinstance(usual, bool) != isinstance(value, bool) or (
                isinstance(usual, int) and isinstance(value, float)
            ):
                kind = "true or false" if isinstance(usual, bool) else "a whole number"
                self.error("SPAK546", f"hyper `{name}` is {kind}", expr.span, f"not {_plain(Const(value))}")
                return None
            values[name] = value
        return values

    def _count(self, hypers: Mapping[str, Value], train: Mapping[str, Any]) -> Count | None:
        data = self.data
        context, size = int(train.get("context", 1)), data.vocabulary_size
        if data.vocabulary is not None:
            text, number = data.longest_text, data.longest_number
            sizes = Sizes(len(data.vocabulary), text, number, len(data.separators) + 1, data.trained_run)
        else:  # of a corpus not yet read nothing is counted, but every size is looked at
            sizes = Sizes(size or 1, context, context, 1)
        try:
            found = count(self.model, self.shapes, hypers, sizes)
            check_loops(self.model, hypers)
        except Unbuildable as wrong:
            self.unbuildable = True
            also = [(self.experiment.span, "with the hypers of this experiment")]
            where = wrong.span or self.model.span
            if not self.sink.has("SPAK552", where):
                self.sink.report("SPAK552", wrong.message, where, "not here", also=also)
            return None
        return None if data.vocabulary is None and size is None else found

    def _answers(self) -> None:
        """Loops whose number is the input's would tell a token how long the answer behind it is."""
        loops = [
            step for step in self.model.forward.body if isinstance(step, Loop) and runs_of(step) is not None
        ]
        if loops and self.data.dataset.answer != "parallel":
            self.error(
                "SPAK555",
                f"model `{self.model.name}` counts its loops by the input, which holds the answer",
                self.experiment.span,
                f"trained on `{self.data.dataset.name}`",
                "say `answer parallel` in the dataset: then nothing of an answer is read before it is given",
            )

    def _laws(self, profile: str, point: Point, facts: ExperimentFacts) -> None:
        env = Env({(RefKind.hyper, name): value for name, value in point.hypers.items()})
        queries: dict[Query, Value] = {}
        laws = (*self.model.laws, *self.experiment.laws)
        for law in laws:
            for node in walk(law.proposition):
                if isinstance(node, Query) and node.name == "max_length":
                    longest = self._longest(node)
                    if longest is not None:
                        queries[node] = longest
                elif (
                    isinstance(node, Query)
                    and node.name in ("parameters", "flops")
                    and point.count is not None
                ):
                    queries[node] = getattr(point.count, node.name)
        subject = self.experiment.name + ("" if profile == DEFAULT else f", profile {profile}")
        subject += f", {point.label}" if point.label else ""
        for law in laws:
            status = prove(law, env.bind(queries=queries), self.findings, subject)
            facts.laws.append(LawStatus(law, status, subject))

    def _longest(self, node: Query) -> int | None:
        """`max_length(data.split)`: digits of the longest sample."""
        target = node.args[0]
        assert isinstance(target, Ref)
        dataset, _, split = target.name.rpartition(".")
        found = self.datasets.get(dataset)
        if found is None or split not in found.digits:
            return None
        return found.max_digits(split)


def count_parameters(facts: ExperimentFacts, profile: str | None = None, point: str = "") -> int | None:
    """Parameters of an experiment's model; None where they hang on a corpus that nobody has read."""
    found = _point(facts, profile, point).count
    return None if found is None else found.parameters


def _point(facts: ExperimentFacts, profile: str | None, label: str) -> Point:
    return next(point for point in facts.points[profile or DEFAULT] if point.label == label)


def _plain(expr: Expr) -> str:
    value = expr.value if isinstance(expr, Const) else None
    return str(value).lower() if isinstance(value, bool) else str(value)
