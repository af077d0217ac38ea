"""Names inside a kernel: its tensors and indices, and those of its schedules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spakc.lsp.references import Reader, walk, words_in
from spakc.lsp.symbols import Region, Symbol
from spakc.plan.templates import ANNOUNCED, TEMPLATES
from spakc.syntax import nodes

_TEMPLATES = frozenset(template.name for template in TEMPLATES) | {
    name for names in ANNOUNCED.values() for name in names
}


def read_kernel(reader: Reader, item: nodes.Kernel) -> None:
    region = reader.top.part(item.span)
    kernel = reader.top.names[item.name.text]
    region.names.update({n: s for n, s in kernel.members.items() if s.what != "a schedule"})
    reader.lets(region, item.items)
    for part in item.items:
        if isinstance(part, nodes.Math):
            for equation in part.equations:
                if equation.target.text not in region.names:
                    reader.names.declare(region, equation.target, "an intermediate", equation)
    for part in item.items:
        if isinstance(part, nodes.Dim):
            reader.exprs(region, part.domain)
        elif isinstance(part, nodes.TensorDecl):
            _types(reader, region, part.types)
            reader.exprs(region, *part.shape, part.optional)
        elif isinstance(part, nodes.OptionDecl):
            reader.exprs(region, part.default)
        elif isinstance(part, nodes.Math):
            for equation in part.equations:
                _equation(reader, region, equation)
        elif isinstance(part, nodes.Gradient):
            reader.refer_all(region, (*part.outputs, *part.inputs))
        elif isinstance(part, nodes.Verify):
            for each in part.items:
                if isinstance(each, nodes.Tolerance):
                    reader.exprs(region, each.value)
                elif isinstance(each, nodes.Shapes):
                    for binder in each.binders:
                        reader.refer_all(region, binder.names)
                        reader.exprs(region, binder.domain)
        elif isinstance(part, nodes.Schedule):
            continue
        else:
            reader.plain(region, part)
    _schedules(reader, region, kernel, [part for part in item.items if isinstance(part, nodes.Schedule)])


def _equation(reader: Reader, around: Region, item: nodes.Equation) -> None:
    region = around.part(item.span)
    reader.refer(around, item.target)
    axes = [index for index in item.indices if isinstance(index, nodes.NameExpr)]
    for node in walk(item.value):
        if isinstance(node, nodes.Call) and isinstance(node.function, nodes.Index):
            axes += [index for index in node.function.indices if isinstance(index, nodes.NameExpr)]
    for axis in axes:
        if axis.name not in region.names:
            reader.names.declare(region, nodes.Name(axis.name, span=axis.span), "an index", item)
    for index in item.indices:
        for name in words_in(index):
            if around.find(name) is None and name not in region.names:
                place = next(n for n in walk(index) if isinstance(n, nodes.NameExpr) and n.name == name)
                reader.names.declare(region, nodes.Name(name, span=place.span), "an index", item)
    reader.exprs(region, *item.indices, item.value)


def _schedules(reader: Reader, around: Region, kernel: Symbol, items: list[nodes.Schedule]) -> None:
    by_name = {item.name.text: item for item in items}
    regions: dict[str, Region] = {}
    for item in items:
        if item.name.text in _TEMPLATES:
            kernel.members[item.name.text].fixed = f"`{item.name.text}` names the template of this schedule"
    for item in items:
        regions[item.name.text] = region = around.part(item.span)
        group = f"{id(kernel)} {_root(item, by_name)}"
        for part in item.items:
            if isinstance(part, nodes.Knob):
                knob = reader.names.declare(region, part.name, "a knob", part, share=f"knob {group}")
                knob.fixed = "a knob is named as its template names it"
        reader.lets(region, item.items, group)
    for item in items:
        region = regions[item.name.text]
        like = item.like
        seen = {item.name.text}
        while like is not None and like.text in regions and like.text not in seen:
            seen.add(like.text)
            region.inherited.append(regions[like.text])
            like = by_name[like.text].like
        if item.like is not None and item.like.text in kernel.members:
            kernel.members[item.like.text].stands_at(item.like.span)
        reader.exprs(region, *item.needs)
        for part in item.items:
            if isinstance(part, nodes.Knob):
                reader.exprs(region, part.domain)
            elif isinstance(part, nodes.Config):
                reader.names.declare(
                    region, part.name, "a config", part, share=f"config {id(kernel)}", own=True
                )
                reader.refer_all(reader.top, part.on)
                for setting in part.settings:
                    reader.refer(region, setting.path[0])
                    reader.exprs(region, setting.value)
            elif isinstance(part, nodes.Prefer):
                reader.exprs(region, part.proposition, part.when)
            else:
                reader.plain(region, part, like=f"{id(kernel)} {_root(item, by_name)}")


def _types(reader: Reader, region: Region, items: Iterable[nodes.TypeExpr]) -> None:
    for item in items:
        if item.argument is not None:
            reader.refer(region, item.argument)


def _root(item: nodes.Schedule, by_name: Mapping[str, nodes.Schedule]) -> str:
    """The schedule at the beginning of a chain of `like`: names along the chain take each other's place."""
    seen = set()
    while item.like is not None and item.like.text in by_name and item.name.text not in seen:
        seen.add(item.name.text)
        item = by_name[item.like.text]
    return item.name.text
