"""What claims ask of experiments: a point of a sweep, which is an experiment of its own, a split of its data, a readout
that its model has. All is looked at for every value that a claim is quantified over."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.check.check_experiment import DEFAULT, ExperimentFacts
from spakc.check.check_protocol import check_readout
from spakc.diagnostics import Sink
from spakc.ir.experiment import Claim, Experiment
from spakc.ir.module import Module
from spakc.ir.ops import Query, Ref
from spakc.ir.points import at_point, label_asked, points_of, varied
from spakc.ir.queries import QUERIES
from spakc.ir.visit import walk
from spakc.lower.resolve import nearest


def check_points(module: Module, facts: Mapping[str, ExperimentFacts], sink: Sink) -> None:
    """Reports SPAK554 for a query of a claim about a sweep that does not say at which of its points, or names one
    that it does not have; SPAK120 for a split that the data do not have; SPAK129 for a readout that the model does not
    have. Needs experiments that were checked; changes nothing."""
    for claim in module.claims.values():
        for node in walk(claim.proposition):
            if isinstance(node, Query) and node.name in QUERIES and QUERIES[node.name].swept and node.args:
                subject = node.args[0]
                found = facts.get(subject.name) if isinstance(subject, Ref) else None
                if found is None or not found.points[DEFAULT]:
                    continue
                if found.experiment.vary:
                    _check(claim, node, found, sink)
                if node.name == "accuracy":
                    _check_accuracy(claim, node, found.experiment, module, sink)


def _check(claim: Claim, query: Query, facts: ExperimentFacts, sink: Sink) -> None:
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
    for point in points_of(claim):
        asked = at_point(query, dict(point))
        label = label_asked(asked, experiment)
        if label not in labels:
            given = dict(asked.named)
            values = {name: given[name].span for name in varied(experiment)}
            shown = label or ",".join(f"{name}={span.text if span else '?'}" for name, span in values.items())
            _no_such(query, experiment, shown, labels, sink)
            return


def _check_accuracy(claim: Claim, query: Query, experiment: Experiment, module: Module, sink: Sink) -> None:
    """That the split and the readout exist, at every point of the claim's quantifier."""
    splits = module.datasets[experiment.data[0]].splits
    for point in points_of(claim):
        asked = at_point(query, dict(point))
        split = asked.args[1]
        name = (
            split.name.rpartition(".")[2]
            if isinstance(split, Ref)
            else split.span.text
            if split.span
            else "?"
        )
        if name not in splits:
            close = nearest(name, splits)
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
    close = nearest(label, labels)
    hint = f"did you mean {close}?" if close else f"it has {'; '.join(labels[:8])}"
    message = f"the sweep `{experiment.name}` has no point {label}"
    sink.report(
        "SPAK554", message, query.span, "asked for here", also=[(experiment.span, "the sweep")], help=[hint]
    )
