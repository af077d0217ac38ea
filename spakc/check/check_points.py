"""What claims ask of experiments: a point of a sweep, which is an experiment of its own, a split of its data, a readout
that its model has. All is looked at for every value that a claim is quantified over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spakc.check.check_experiment import DEFAULT, ExperimentFacts, counts_of_model
from spakc.check.check_protocol import check_readout
from spakc.diagnostics import Sink
from spakc.ir.experiment import Experiment
from spakc.ir.module import Law, Module
from spakc.ir.ops import Expr, Query, Ref
from spakc.ir.points import Point, at_point, label_asked, points_of, varied
from spakc.ir.queries import QUERIES
from spakc.ir.visit import walk
from spakc.lower.resolve import nearest


def check_points(module: Module, facts: Mapping[str, ExperimentFacts], sink: Sink) -> None:
    """Reports SPAK554 for a query of a claim or a law about a sweep that does not say at which of its points, or names
    one that it does not have; SPAK120 for a split that the data do not have; SPAK129 for a readout that the model does
    not have; SPAK211 for the count of a model to which experiments give several. Needs experiments that were checked;
    changes nothing."""
    for claim in module.claims.values():
        points = [dict(point) for point in points_of(claim)]
        _check_models(claim.proposition, "", module, facts, sink)
        for node, found in _swept(claim.proposition, facts):
            if found.experiment.vary:
                _check(points, node, found, sink)
            if node.name == "accuracy":
                _check_accuracy(points, node, found.experiment, module, sink)
    for experiment, model, law in _laws(module):
        for part in (law.proposition, law.when):
            if part is None:
                continue
            _check_models(part, model, module, facts, sink)
            for node, found in _swept(part, facts):
                if found.experiment.vary and (node.named or found.experiment.name != experiment):
                    _check([{}], node, found, sink)


def _laws(module: Module) -> Iterator[tuple[str, str, Law]]:
    """Laws that may count what an experiment has, with the experiment and the model whose own counts each is about."""
    yield from (("", "", law) for law in module.laws)
    yield from (("", model.name, law) for model in module.models.values() for law in model.laws)
    for experiment in module.experiments.values():
        yield from ((experiment.name, experiment.model, law) for law in experiment.laws)


def _check_models(
    expr: Expr, own: str, module: Module, facts: Mapping[str, ExperimentFacts], sink: Sink
) -> None:
    """A model has the sizes that experiments give it: elsewhere it is counted if they all give it the same."""
    for node in walk(expr):
        subject = node.args[0] if isinstance(node, Query) and node.args else None
        if not isinstance(node, Query) or node.name not in ("parameters", "flops"):
            continue
        if not isinstance(subject, Ref) or subject.name not in module.models or subject.name == own:
            continue
        counts = counts_of_model(subject.name, node.name, facts)
        if len(counts) == 1:
            continue
        known = sorted(count for count in counts if count is not None)
        label = f"{', '.join(f'{count:,}' for count in known)} of them" if known else "no experiment has it"
        message = f"the {node.name} of model `{subject.name}` are not one number"
        sink.report("SPAK211", message, node.span, label, help=["name an experiment with it"])


def _swept(expr: Expr, facts: Mapping[str, ExperimentFacts]) -> Iterator[tuple[Query, ExperimentFacts]]:
    """What is asked about experiments."""
    for node in walk(expr):
        if isinstance(node, Query) and node.name in QUERIES and QUERIES[node.name].swept and node.args:
            subject = node.args[0]
            found = facts.get(subject.name) if isinstance(subject, Ref) else None
            if found is not None and found.points[DEFAULT]:
                yield node, found


def _check(points: Sequence[Point], query: Query, facts: ExperimentFacts, sink: Sink) -> None:
    experiment, given = facts.experiment, dict(query.named)
    missing = [name for name in varied(experiment) if name not in given]
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        example = ", ".join(f"{name} = …" for name in missing)
        sink.report(
            "SPAK554",
            f"`{experiment.name}` is a sweep over {named}, and this asks for no point of it",
            query.span,
            "of which point?",
            also=[(experiment.span, "the sweep")],
            help=[f"write `{query.name}(…, {example})`"],
        )
        return
    labels = [point.label for point in facts.points[DEFAULT]]
    for point in points:
        asked = at_point(query, point)
        label = label_asked(asked, experiment)
        if label not in labels:
            given = dict(asked.named)
            values = {name: given[name].span for name in varied(experiment)}
            shown = label or ",".join(f"{name}={span.text if span else '?'}" for name, span in values.items())
            _no_such(query, experiment, shown, labels, sink)
            return


def _check_accuracy(
    points: Sequence[Point], query: Query, experiment: Experiment, module: Module, sink: Sink
) -> None:
    """That the split and the readout exist, at every point of the claim's quantifier."""
    splits = module.datasets[experiment.data[0]].splits
    for point in points:
        asked = at_point(query, point)
        split = asked.args[1]
        name = (
            split.name.rpartition(".")[2]
            if isinstance(split, Ref)
            else split.span.text
            if split.span
            else "?"
        )
        if name not in splits:
            close = nearest(name, splits, sink)
            sink.report(
                "SPAK120",
                f"the data of `{experiment.name}` has no split `{name}`",
                query.args[1].span,
                "unknown split",
                also=[(experiment.span, "of this experiment")],
                help=[f"did you mean `{close}`?" if close else f"it has {', '.join(splits)}"],
            )
            return
        if not check_readout(asked, module.models[experiment.model], sink):
            return


def _no_such(query: Query, experiment: Experiment, label: str, labels: list[str], sink: Sink) -> None:
    close = nearest(label, labels, sink)
    hint = f"did you mean {close}?" if close else f"it has {'; '.join(labels[:8])}"
    message = f"the sweep `{experiment.name}` has no point {label}"
    sink.report(
        "SPAK554", message, query.span, "asked for here", also=[(experiment.span, "the sweep")], help=[hint]
    )
