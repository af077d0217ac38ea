"""Names inside datasets, protocols and experiments."""

from __future__ import annotations

from spakc.lsp.references import Reader
from spakc.syntax import nodes


def read_dataset(reader: Reader, item: nodes.Dataset) -> None:
    region = reader.top.part(item.span)
    region.names.update(reader.top.names[item.name.text].members)
    for part in item.items:
        if isinstance(part, nodes.Split):
            for binder in part.binders:
                for name in binder.names:
                    reader.names.declare(region, name, "a parameter", binder)
    reader.lets(region, item.items)
    for part in item.items:
        if isinstance(part, nodes.Split):
            reader.exprs(region, *(binder.domain for binder in part.binders))
        elif isinstance(part, nodes.Sample):
            reader.exprs(region, part.value)
        elif isinstance(part, nodes.Text):
            reader.exprs(region, *part.pieces)
        else:
            reader.plain(region, part)


def read_protocol(reader: Reader, item: nodes.Protocol) -> None:
    region = reader.top.part(item.span)
    for gate in item.items:
        if not isinstance(gate, nodes.Gate):
            continue
        reader.names.declare(region, gate.name, "a gate", gate, own=True)
        for part in gate.items:
            if isinstance(part, nodes.Train):
                reader.exprs(region, *(argument.value for argument in part.arguments))
            elif isinstance(part, nodes.Require):
                reader.exprs(region, part.proposition, split=True)
                for name in part.hide:
                    reader.split(name)
            elif isinstance(part, nodes.Show):
                reader.exprs(region, *part.values, split=True)


def read_experiment(reader: Reader, item: nodes.Experiment) -> None:
    region = reader.top.part(item.span)
    if item.like is not None:
        reader.refer(reader.top, item.like)
    reader.lets(region, item.items, "experiment")
    for part in item.items:
        if isinstance(part, nodes.OfModel):
            reader.exprs(region, part.value)
        elif isinstance(part, nodes.OfData):
            reader.exprs(region, *part.values)
        elif isinstance(part, nodes.OfProtocol):
            reader.refer(reader.top, part.name)
        elif isinstance(part, nodes.Train):
            reader.exprs(region, *(argument.value for argument in part.arguments))
        elif isinstance(part, (nodes.Optimizer, nodes.LearningRate)):
            reader.exprs(region, part.value)
        elif isinstance(part, nodes.Vary):
            for binder in part.binders:
                for name in binder.names:
                    reader.hyper(name)
                reader.exprs(region, binder.domain)
        elif isinstance(part, nodes.Profile):
            reader.names.declare(region, part.name, "a profile", part, share="profile", own=True)
            for setting in part.settings:
                if setting.path[0].text == "model" and len(setting.path) > 1:
                    reader.hyper(setting.path[1])
                reader.exprs(region, setting.value)
        else:
            reader.plain(region, part, like="experiment")
