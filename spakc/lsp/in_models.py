"""Names inside a model: its parts, their values, and the index that its loops share with `supervise`."""

from __future__ import annotations

from collections.abc import Iterable

from spakc.lsp.references import Reader
from spakc.lsp.symbols import Region
from spakc.syntax import nodes


def read_model(reader: Reader, item: nodes.Model) -> None:
    region = reader.top.part(item.span)
    loops = f"loop {item.span.source.name} {item.name.text}"  # which share their index, `supervise` too
    region.names.update(reader.top.names[item.name.text].members)
    reader.lets(region, item.items)
    for part in item.items:
        if isinstance(part, nodes.Hyper):
            reader.exprs(region, part.value)
        elif isinstance(part, nodes.Uses):
            reader.refer(reader.top, part.kernel)
        elif isinstance(part, (nodes.Part, nodes.Forward)):
            _part(reader, region, part, loops)
        elif isinstance(part, nodes.Halting):
            reader.exprs(region, *(s.value for s in part.settings))
        elif isinstance(part, nodes.Supervise):
            reader.refer(region, part.part)
            inner = region.part(part.span)
            reader.names.declare(inner, part.index, "a loop index", part, share=loops)
            reader.exprs(inner, part.domain)
        else:
            reader.plain(region, part)


def _part(reader: Reader, around: Region, item: nodes.Part | nodes.Forward, loops: str) -> None:
    region = around.part(item.span)
    for param in item.params:
        reader.names.declare(region, param.name, "a parameter", param)
        reader.exprs(region, *param.shape)
    reader.names.declare(region, item.result.name, "a result", item.result)
    reader.exprs(region, *item.result.shape)
    _steps(reader, region, item.body, loops)


def _steps(reader: Reader, region: Region, items: Iterable[nodes.Node], loops: str) -> None:
    for item in items:
        if isinstance(item, nodes.Assign):
            reader.names.declare(region, item.name, "a value", item)
            reader.exprs(region, item.value)
        elif isinstance(item, nodes.Repeat):
            reader.exprs(region, item.count)
            _steps(reader, region, item.body, loops)
        elif isinstance(item, nodes.Loop):
            reader.names.declare(region, item.index, "a loop index", item, share=loops)
            reader.names.declare(region, item.carry, "a value", item)
            reader.exprs(region, item.domain, item.initial)
            _steps(reader, region, item.body, loops)
