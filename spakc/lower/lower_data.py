"""Datasets of the syntax tree to `ir.experiment.Dataset`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from spakc.diagnostics import Repair, Sink
from spakc.ir.experiment import Dataset, Split
from spakc.ir.ops import Domain, Expr, Ref, RefKind
from spakc.ir.queries import Place
from spakc.ir.visit import walk
from spakc.lower.expressions import base_value, lower_domain, lower_expression
from spakc.lower.files import declarations
from spakc.lower.program import Program
from spakc.lower.propositions import lower_laws, lower_lets
from spakc.lower.resolve import Scope, check_unique
from spakc.syntax import nodes

ANSWERS = ("autoregressive", "parallel")

_Item = TypeVar("_Item", bound=nodes.Node)


def lower_data(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Dataset]:
    """Every dataset of every file, by qualified name.

    Needs `scope.files`. Guarantees: a sample is a draw over the parameters that splits bind; text and laws
    are over samples and splits; a split is the entity `<dataset>.<split>`. Reports names and SPAK5xx for
    what is missing or twice; leaves supports, widths and proofs alone."""
    datasets = (_lower(node, file, sink) for node, file in declarations(program, scope, nodes.Dataset))
    return {dataset.name: dataset for dataset in datasets}


def _lower(node: nodes.Dataset, file_scope: Scope, sink: Sink) -> Dataset:
    name = file_scope.qualify(node.name.text)
    scope = file_scope.child(Place.data, title=f"dataset {node.name.text}")
    splits = _splits(node, name, scope, sink)
    draws = scope.child()
    for binder in (b for item in node.items if isinstance(item, nodes.Split) for b in item.binders):
        for parameter in binder.names:
            if parameter.text not in draws.entries:
                draws.add(parameter, "a parameter of a split", RefKind.parameter, sink)
    samples: dict[str, Expr] = {}
    for item in node.items:
        if isinstance(item, nodes.Sample):
            value = lower_expression(item.value, draws, sink)
            scope.add(item.name, "a sample", RefKind.sample, sink)
            samples.setdefault(item.name.text, value)
    for item in node.items:
        if isinstance(item, nodes.Split) and item.given:
            splits[item.name.text] = replace(splits[item.name.text], given=_given(item, samples, scope, sink))
    for item in node.items:
        if isinstance(item, nodes.Let):
            scope.add_let(item, sink)
    texts = [item for item in node.items if isinstance(item, nodes.Text)]
    if len(texts) != 1:
        message = "has no text" if not texts else "has two texts"
        place = texts[1].span if texts else node.name.span
        sink.report(
            "SPAK520", f"dataset `{node.name.text}` {message}", place, "one `text` says what a document is"
        )
    text = tuple(lower_expression(piece, scope, sink) for item in texts[:1] for piece in item.pieces)
    return Dataset(
        name,
        samples,
        text,
        _once(node, nodes.LossAfter, lambda item: item.marker, sink),
        _once(node, nodes.Answer, lambda item: _answer(item, sink), sink) or ANSWERS[0],
        splits,
        lower_laws(node.items, scope.at(Place.law), (name,), sink),
        lower_lets(node.items, scope, (name,), sink),
        span=node.name.span,
    )


def _given(item: nodes.Split, samples: Mapping[str, Expr], scope: Scope, sink: Sink) -> dict[str, Expr]:
    """The samples that a split gives instead of drawing them, over those that it draws."""
    names = [sample.name.text for sample in item.given]
    found: dict[str, Expr] = {}
    for sample in item.given:
        name, value = sample.name, lower_expression(sample.value, scope, sink)
        if name.text not in samples:
            known = ", ".join(samples) or "none"
            message = f"split `{item.name.text}` gives `{name.text}`, which is no sample"
            sink.report("SPAK553", message, name.span, "not drawn anyway", help=[f"there is {known}"])
        elif name.text in found:
            sink.report("SPAK553", f"`{name.text}` is given twice", name.span, "again here")
        else:
            for node in walk(value):
                if isinstance(node, Ref) and node.kind is RefKind.sample and node.name in names:
                    message = f"`{name.text}` is given over `{node.name}`, which is given itself"
                    sink.report("SPAK553", message, node.span, "not drawn in this split")
            found[name.text] = value
    return found


def _splits(node: nodes.Dataset, dataset: str, scope: Scope, sink: Sink) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for item in node.items:
        if not isinstance(item, nodes.Split):
            continue
        names = [name for binder in item.binders for name in binder.names]
        check_unique(names, "a parameter", sink)
        binders: list[tuple[tuple[str, ...], Domain]] = [
            (tuple(name.text for name in binder.names), lower_domain(binder.domain, scope, sink))
            for binder in item.binders
        ]
        if item.size == 0:
            sink.report("SPAK529", f"split `{item.name.text}` has no sample", item.name.span, "of size 0")
        scope.add(item.name, "a split", RefKind.entity, sink, ref=f"{dataset}.{item.name.text}")
        share, part = (None if p is None else float(base_value(p)[0]) for p in (item.weight, item.fraction))
        splits.setdefault(
            item.name.text,
            Split(item.name.text, tuple(binders), item.size, share, part, {}, span=item.name.span),
        )
    return splits


def _once(node: nodes.Dataset, kind: type[_Item], read: Callable[[_Item], str], sink: Sink) -> str | None:
    items = [item for item in node.items if isinstance(item, kind)]
    for extra in items[1:]:
        also = [(items[0].span, "the first one")]
        sink.report("SPAK521", "a dataset says this once", extra.span, "again here", also=also)
    return read(items[0]) if items else None


def _answer(node: nodes.Answer, sink: Sink) -> str:
    if node.mode.text not in ANSWERS:
        sink.report(
            "SPAK522",
            f"an answer cannot be `{node.mode.text}`",
            node.mode.span,
            "none of the choices",
            help=[f"write `answer {ANSWERS[0]}` or `answer {ANSWERS[1]}`"],
            repairs=[Repair(node.mode.span, way) for way in ANSWERS],
        )
        return ANSWERS[0]
    return node.mode.text
