"""Experiments: every setting of every profile and point of a sweep, evaluated, and the laws of models in
them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from spakc.check.check_data import DatasetFacts
from spakc.check.check_laws import prove
from spakc.check.count import Count, Sizes, Unbuildable, Value, count
from spakc.check.findings import Findings
from spakc.check.loops import check_loops
from spakc.check.model_shapes import Shapes
from spakc.check.verdict import LawStatus
from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, TooMany, Unknown, evaluate, members, rows
from spakc.ir.experiment import Experiment, Phased, Protocol
from spakc.ir.model import Model
from spakc.ir.module import Module
from spakc.ir.ops import Const, Expr, Interval, Members, Query, Ref, RefKind, Tuple
from spakc.ir.types import NUMBER
from spakc.ir.visit import walk
from spakc.lower.resolve import nearest
from spakc.record import record
from spakc.source import Span

DEFAULT = "default"
"""The settings as stated, without a profile."""
MOST_POINTS = 4096

TRAIN_KEYS = ("steps", "batch", "context", "seeds", "precision", "clip", "eval_every", "keep")
GATE_KEYS = ("steps", "batches", "batch", "eval_every", "keep")
_WORDS = {"precision": ("bf16", "f32"), "keep": ("last",)}


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
        _check_protocol(protocol, sink)
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


MOST_SEED = 2**32 - 1

_MOST = {"steps": 10**9, "batch": 10**6, "context": 10**7}
"""More is a slip of the keyboard."""


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
        self.findings = findings
        self.unbuildable = False

    def error(self, code: str, message: str, span: Span | None, label: str, *help: str) -> None:
        self.sink.report(code, message, span or self.experiment.span, label, help=help)

    def run(self) -> ExperimentFacts:
        experiment, facts = self.experiment, ExperimentFacts(self.experiment)
        self._known(experiment.overrides, self.model.hypers, "hyper", f"model `{self.model.name}`")
        self._known(experiment.train, TRAIN_KEYS, "setting", "`train`")
        self._protocol()
        for profile, settings in ((DEFAULT, {}), *experiment.profiles.items()):
            points = tuple(self._points(settings))
            facts.points[profile] = points
            for point in points:
                if not self.unbuildable:
                    self._laws(profile, point, facts)
        return facts

    def _known(self, given: Mapping[str, Expr], known: Iterable[str], what: str, where: str) -> None:
        names = tuple(known)
        for key, value in given.items():
            if key not in names:
                close = nearest(key, names)
                hint = f"did you mean `{close}`?" if close else f"there are {', '.join(names)}"
                self.error("SPAK543", f"{where} has no {what} `{key}`", value.span, "set here", hint)

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
            train = self._train({**groups["train"], **varied})
            optimizer, lr = self._optimizer(groups), self._lr(groups)
            if hypers is None or train is None or optimizer is None or lr is None:
                return
            label = ",".join(f"{name}={_plain(value)}" for name, value in chosen.items())
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
        self._known(groups["model"], self.model.hypers, "hyper", f"model `{self.model.name}`")
        self._known(groups["train"], TRAIN_KEYS, "setting", "`train`")
        return groups

    def _choices(self) -> Iterator[dict[str, Expr]]:
        """The points of the sweep; one empty choice without `vary`."""
        axes: list[list[dict[str, Expr]]] = []
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
            if _unit(expr):
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
            sizes = Sizes(len(data.vocabulary), text, number, len(data.separators) + 1)
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

    # ---- training -----------------------------------------------------------------------------------

    def _train(self, given: Mapping[str, Expr]) -> dict[str, Any] | None:
        values: dict[str, Any] = {}
        for key, expr in given.items():
            if key not in TRAIN_KEYS:
                continue
            if key in _WORDS:
                values[key] = self._word(key, expr)
            elif key == "seeds":
                values[key] = self._seeds(expr)
            else:
                values[key] = self._positive(key, expr, whole=key != "clip")
        needed = ("steps", "batch", "seeds") + (("context",) if self.data.vocabulary is None else ())
        for key in needed:
            if key not in values:
                self.error("SPAK547", f"`train` needs `{key}`", None, "not said in this experiment")
                return None
        return None if any(value is None for value in values.values()) else values

    def _word(self, key: str, expr: Expr) -> str | None:
        if isinstance(expr, Ref) and expr.name in _WORDS[key]:
            return expr.name
        self.error("SPAK548", f"`{key}` cannot be this", expr.span, f"it is {' or '.join(_WORDS[key])}")
        return None

    def _positive(self, key: str, expr: Expr, *, whole: bool) -> int | float | None:
        value = evaluate(expr, Env())
        good = (
            isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and not _unit(expr)
        )
        if not good or (whole and not isinstance(value, int)):
            kind = "a positive whole number" if whole else "a positive number"
            self.error("SPAK548", f"`{key}` is {kind}", expr.span, "this is none")
            return None
        assert isinstance(value, int | float)
        most = _MOST.get(key)
        if most is not None and value > most:
            self.error("SPAK548", f"`{key}` is at most {most}", expr.span, "a slip of the keyboard")
            return None
        return value

    def _seeds(self, expr: Expr) -> list[int] | None:
        domain = expr if isinstance(expr, Members | Interval) else Members((expr,))
        values = members(domain, Env(), MOST_POINTS)
        if (
            isinstance(values, TooMany | Unknown)
            or not values
            or not all(_natural(value) for value in values)
        ):
            self.error("SPAK548", "`seeds` is a set of whole numbers from 0 on", expr.span, "this is none")
            return None
        seeds = [value for value in values if isinstance(value, int)]
        if max(seeds) > MOST_SEED:
            self.error("SPAK548", f"a seed is at most {MOST_SEED}", expr.span, "one of these is more")
            return None
        if isinstance(domain, Members) and len(seeds) < len(domain.items):
            self.error(
                "SPAK548", "a seed stands here twice", expr.span, "the same run twice says nothing new"
            )
            return None
        return seeds

    def _optimizer(self, groups: Mapping[str, Mapping[str, Expr]]) -> dict[str, Any] | None:
        return self._function("optimizer", self.experiment.optimizer, groups["optimizer"], ("adamw",))

    def _lr(self, groups: Mapping[str, Mapping[str, Expr]]) -> dict[str, Any] | None:
        return self._function("lr", self.experiment.lr, groups["lr"], ("cosine", "constant"))

    def _function(
        self, what: str, own: Expr | None, profile: Mapping[str, Expr], known: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """`adamw(…)` or `cosine(…)` as plain values; a profile replaces it whole or key by key."""
        node = profile.get("", own)
        if node is None:
            self.error("SPAK547", f"the experiment has no `{what}`", None, "not said")
            return None
        if isinstance(node, Const) and what == "lr":
            node = Query("constant", (node,), span=node.span)
        if not isinstance(node, Query) or node.name not in known:
            self.error(
                "SPAK549", f"`{what}` is {' or '.join(f'{name}(…)' for name in known)}", node.span, "not this"
            )
            return None
        given = dict(node.named) | {key: value for key, value in profile.items() if key}
        if node.args:
            given["rate"] = node.args[0]
        if node.name == "cosine" and "peak" not in given:
            self.error("SPAK547", "`cosine` needs `peak`", node.span, "not said")
            return None
        allowed = {"adamw": ("betas", "weight_decay", "eps"), "cosine": ("peak", "warmup", "floor")}
        self._known(given, allowed.get(node.name, ("rate", "warmup")), "setting", f"`{node.name}`")
        values: dict[str, Any] = {"name": node.name}
        for key, expr in given.items():
            values[key] = self._number(f"{what}.{key}", expr)
            if key == "warmup" and values[key] is not None and not _natural(values[key]):
                self.error("SPAK548", "`lr.warmup` is a whole number of steps", expr.span, "this is none")
                return None
            if key in ("peak", "rate") and values[key] == 0:
                self.error("SPAK548", f"`{what}.{key}` is above 0", expr.span, "nothing would be learned")
                return None
        betas = values.get("betas", [0, 0])
        if betas is not None and not (
            isinstance(betas, list) and len(betas) == 2 and all(_share(beta) for beta in betas)
        ):
            message = "`betas` are two numbers from 0 to below 1"
            self.error("SPAK548", message, given["betas"].span, "these are not")
            return None
        return None if any(value is None for value in values.values()) else values

    def _number(self, key: str, expr: Expr) -> Any:
        """A finite number, a tuple of numbers, or a phased number, none below zero."""
        if isinstance(expr, Phased):
            if expr.start > 1:
                message = f"`{key}` changes at some part of the run, at most 100%"
                self.error("SPAK548", message, expr.span, "later than its end")
                return None
            first, second = self._number(key, expr.first), self._number(key, expr.second)
            return (
                None
                if first is None or second is None
                else {"first": first, "second": second, "from": expr.start}
            )
        if isinstance(expr, Tuple):
            parts = [self._number(key, item) for item in expr.items]
            return None if any(part is None for part in parts) else parts
        value = evaluate(expr, Env())
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < math.inf
            or _unit(expr)
        ):
            self.error("SPAK548", f"`{key}` is a number from 0 on", expr.span, "this is none")
            return None
        return value

    # ---- protocol and laws --------------------------------------------------------------------------

    def _protocol(self) -> None:
        protocol = self.module.protocols.get(self.experiment.protocol or "")
        if protocol is None:
            return
        splits = tuple(self.data.dataset.splits)
        for gate in protocol.gates:
            for requirement in gate.require:
                for name in requirement.hide:
                    if name not in splits:
                        self._no_split(name, requirement.span, protocol)
                for node in walk(requirement.proposition):
                    if isinstance(node, Query) and node.name == "accuracy":
                        split = node.args[1]
                        if isinstance(split, Ref) and split.name.rpartition(".")[2] not in splits:
                            self._no_split(split.name, split.span, protocol)

    def _no_split(self, name: str, span: Span | None, protocol: Protocol) -> None:
        splits = tuple(self.data.dataset.splits)
        close = nearest(name, splits)
        if self.sink.has("SPAK550", span):
            return
        self.sink.report(
            "SPAK550",
            f"the data of `{self.experiment.name}` has no split `{name}`",
            span,
            f"asked for by protocol `{protocol.name}`",
            also=[(self.experiment.span, "this experiment follows it")],
            help=[f"did you mean `{close}`?" if close else f"it has {', '.join(splits)}"],
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


def _check_protocol(protocol: Protocol, sink: Sink) -> None:
    """What a gate may say whatever experiment runs it."""
    trained = False
    for gate in protocol.gates:
        for key, value in (gate.train or {}).items():
            if key not in GATE_KEYS:
                close = nearest(key, GATE_KEYS)
                hint = f"did you mean `{close}`?" if close else f"it takes {', '.join(GATE_KEYS)}"
                sink.report(
                    "SPAK543", f"`train` of a gate has no `{key}`", value.span, "set here", help=[hint]
                )
            elif key != "keep":
                count = evaluate(value, Env())
                if isinstance(count, bool) or not isinstance(count, int) or count < 1 or _unit(value):
                    sink.report("SPAK548", f"`{key}` is a positive whole number", value.span, "this is none")
            elif not (isinstance(value, Ref) and value.name in _WORDS[key]):
                sink.report(
                    "SPAK548", "`keep` cannot be this", value.span, f"it is {' or '.join(_WORDS[key])}"
                )
        if gate.train is not None and "batches" in gate.train and "steps" not in gate.train:
            where = gate.train["batches"].span
            sink.report("SPAK547", "training on fixed batches needs `steps`", where, "in this gate")
        trained = trained or gate.train is not None
        for requirement in gate.require:
            for node in walk(requirement.proposition):
                if isinstance(node, Query) and node.name in ("loss", "accuracy") and not trained:
                    message = f"gate `{gate.name}` asks for {node.name}, but nothing is trained before it"
                    sink.report("SPAK551", message, node.span, "nothing to measure yet")


def count_parameters(facts: ExperimentFacts, profile: str | None = None, point: str = "") -> int | None:
    """Parameters of an experiment's model; None where they hang on a corpus that nobody has read."""
    found = _point(facts, profile, point).count
    return None if found is None else found.parameters


def _point(facts: ExperimentFacts, profile: str | None, label: str) -> Point:
    return next(point for point in facts.points[profile or DEFAULT] if point.label == label)


def _share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unit(expr: Expr) -> bool:
    """Whether a number of an expression has a unit."""
    return any(isinstance(node, Const) and node.unit != NUMBER for node in walk(expr))


def _plain(expr: Expr) -> str:
    value = expr.value if isinstance(expr, Const) else None
    return str(value).lower() if isinstance(value, bool) else str(value)
