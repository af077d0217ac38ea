"""Experiments: every setting of every profile and point of a sweep, evaluated, and the laws of models in
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from spakc.check.check_laws import prove
from spakc.check.check_protocol import check_protocol, follows
from spakc.check.check_settings import MOST_POINTS, TRAIN_KEYS, Settings
from spakc.check.count import Count, Sizes, Unbuildable, Value, count
from spakc.check.data_facts import DatasetFacts
from spakc.check.findings import Findings
from spakc.check.model_shapes import Shapes
from spakc.check.verdict import LawStatus
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, mentions, rows
from spakc.ir.experiment import Experiment
from spakc.ir.model import Loop, Model, runs_of
from spakc.ir.module import Module
from spakc.ir.ops import Const, Expr, Query, Ref, RefKind
from spakc.ir.points import label_asked, label_of
from spakc.ir.visit import with_unit
from spakc.lower.resolve import nearest
from spakc.record import record

DEFAULT = "default"
"""The settings as stated, without a profile."""

Counter = Callable[[Query], "float | None"]
"""What is known at compile time of a query: `parameters(e)`, `flops(e)`, `max_length(d.s)`; None for any other."""


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
    checks: dict[str, _Check] = {}
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
            checks[name] = _Check(module, experiment, model, shapes[model.name], data, sink, findings)
    facts = {name: check.run() for name, check in checks.items()}
    counted = compile_time_counts(facts, data)
    for name, check in checks.items():
        check.laws(facts[name], counted)
    findings.report(sink)
    return facts


def compile_time_counts(
    experiments: Mapping[str, ExperimentFacts], data: Mapping[str, DatasetFacts]
) -> Counter:
    """Answers `parameters(e)` and `flops(e)` of an experiment, of a sweep at the point that is asked for, and
    `max_length(d.s)`; None where they hang on a corpus that nobody has read."""

    def counted(query: Query) -> float | None:
        named = query.args[0] if query.args else None
        if not isinstance(named, Ref):
            return None
        if query.name == "max_length":
            dataset, _, split = named.name.rpartition(".")
            found = data.get(dataset)
            return found.max_digits(split) if found is not None and split in found.digits else None
        if query.name not in ("parameters", "flops"):
            return None
        facts = experiments.get(named.name)
        if facts is None:
            counts = counts_of_model(named.name, query.name, experiments)
            return counts.pop() if len(counts) == 1 else None
        label = label_asked(query, facts.experiment)
        count = next((point.count for point in facts.points.get(DEFAULT, ()) if point.label == label), None)
        return None if count is None else int(getattr(count, query.name))

    return counted


def counts_of_model(model: str, what: str, experiments: Mapping[str, ExperimentFacts]) -> set[int | None]:
    """What the experiments with a model count of it, at every point; None where that hangs on a corpus that nobody has
    read."""
    points = [
        point
        for facts in experiments.values()
        if facts.experiment.model == model
        for point in facts.points.get(DEFAULT, ())
    ]
    return {None if point.count is None else int(getattr(point.count, what)) for point in points}


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
        return facts

    def laws(self, facts: ExperimentFacts, counted: Counter) -> None:
        """The laws of the model and of the experiment, at every point of every profile. Needs the points of all
        experiments."""
        for profile, points in facts.points.items():
            for point in points:
                if not self.unbuildable:
                    self._laws(profile, point, facts, counted)

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
                close = (
                    nearest(key, [f"{g}.…" for g in groups], self.sink) or "model.…, train.…, optimizer or lr"
                )
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
                    close = nearest(name, (*self.model.hypers, *TRAIN_KEYS), self.sink)
                    hint = f"did you mean `{close}`?" if close else "name a hyper of the model"
                    self.error("SPAK543", f"`vary` does not know `{name}`", domain.span, "varied here", hint)
                    return
            values = rows(domain, Env(), MOST_POINTS)
            united = with_unit(domain)
            if united is not None:
                self.error("SPAK545", "a setting that varies has no unit", united.span, "this number has one")
                return
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
            if with_unit(expr) is not None:
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

    def _laws(self, profile: str, point: Point, facts: ExperimentFacts, counted: Counter) -> None:
        env = Env({(RefKind.hyper, name): value for name, value in point.hypers.items()})
        laws = (*self.model.laws, *self.experiment.laws)
        queries: dict[Query, Value] = {}
        for node in mentions(*(part for law in laws for part in (law.proposition, law.when))):
            if isinstance(node, Query):
                value = self._own_count(node, point) if self._is_own(node) else counted(node)
                if value is not None:
                    queries[node] = value
        subject = self.experiment.name + ("" if profile == DEFAULT else f", profile {profile}")
        subject += f", {point.label}" if point.label else ""
        for law in laws:
            status = prove(law, env.bind(queries=queries), self.findings, subject)
            facts.laws.append(LawStatus(law, status, subject))

    def _is_own(self, query: Query) -> bool:
        """Whether it asks about this experiment, at the point that is looked at."""
        named = query.args[0] if query.args else None
        own = isinstance(named, Ref) and named.name in (self.experiment.name, self.model.name)
        return query.name in ("parameters", "flops") and own and not query.named

    def _own_count(self, query: Query, point: Point) -> int | None:
        return None if point.count is None else int(getattr(point.count, query.name))


def count_parameters(facts: ExperimentFacts, profile: str | None = None, point: str = "") -> int | None:
    """Parameters of an experiment's model; None where they hang on a corpus that nobody has read."""
    found = _point(facts, profile, point).count
    return None if found is None else found.parameters


def _point(facts: ExperimentFacts, profile: str | None, label: str) -> Point:
    return next(point for point in facts.points[profile or DEFAULT] if point.label == label)


def _plain(expr: Expr) -> str:
    value = expr.value if isinstance(expr, Const) else None
    return str(value).lower() if isinstance(value, bool) else str(value)
