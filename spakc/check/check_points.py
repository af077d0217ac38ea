"""Claims about sweeps: a point of a sweep is an experiment of its own, so a query says which one it is about."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.check.check_experiment import DEFAULT, ExperimentFacts
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
    that it does not have. Needs experiments that were checked; changes nothing."""
    for claim in module.claims.values():
        for node in walk(claim.proposition):
            if isinstance(node, Query) and node.name in QUERIES and QUERIES[node.name].swept and node.args:
                subject = node.args[0]
                found = facts.get(subject.name) if isinstance(subject, Ref) else None
                if found is not None and found.experiment.vary and found.points[DEFAULT]:
                    _check(claim, node, found, sink)


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
        label = label_asked(at_point(query, dict(point)), experiment)
        if label is not None and label not in labels:
            _no_such(query, experiment, label, labels, sink)
            return


def _no_such(query: Query, experiment: Experiment, label: str, labels: list[str], sink: Sink) -> None:
    close = nearest(label, labels)
    hint = f"did you mean {close}?" if close else f"it has {'; '.join(labels[:8])}"
    message = f"the sweep `{experiment.name}` has no point {label}"
    sink.report(
        "SPAK554", message, query.span, "asked for here", also=[(experiment.span, "the sweep")], help=[hint]
    )
