"""Where names are declared and used: what an editor jumps to, lists and renames.

Works on syntax trees alone, so that a file with a mistake in its meaning still has its names. Declarations that take
each other's place by name (a law of a schedule and that of the schedule it is `like`, hypers that one profile
sets in several models, splits of one name) are one symbol: renamed apart, they would mean something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spakc.lower.program import Program
from spakc.lsp.in_kernels import read_kernel
from spakc.lsp.in_models import read_model
from spakc.lsp.in_runs import read_dataset, read_experiment, read_protocol
from spakc.lsp.references import Reader
from spakc.lsp.symbols import Region, Symbol
from spakc.source import Span
from spakc.syntax import nodes


class Names:
    """The symbols of a program. `at` and `region` answer for a place in a file."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.symbols: list[Symbol] = []
        self.files: dict[str, Region] = {}
        self._shared: dict[tuple[str, str], Symbol] = {}
        for name, file in program.files.items():
            self.files[name] = Region(file.span, None)
        for name, file in program.files.items():
            for item in file.items:
                self._declare_top(self.files[name], item)
        for name in program.files:
            self._join(name)
        for name, file in program.files.items():
            _read(Reader(self, self.files[name]), file)

    def at(self, file: str, offset: int) -> tuple[Symbol, Span] | None:
        """The symbol that is named at a place, the end of the name included."""
        for symbol in self.symbols:
            for span in symbol.places:
                if span.source.name == file and span.start <= offset <= span.end:
                    return symbol, span
        return None

    def region(self, file: str, offset: int) -> Region:
        """The innermost region around a place."""
        region = self.files[file]
        while True:
            inside = [r for r in region.inner if r.span.start <= offset <= r.span.end]
            if not inside:
                return region
            region = inside[-1]

    def declare(
        self,
        region: Region,
        name: nodes.Name,
        what: str,
        node: nodes.Node,
        *,
        share: str = "",
        own: bool = False,
    ) -> Symbol:
        """A declaration. With `share` it is one symbol with every other of that group and name; `own` names are in
        no region (laws: nothing refers to them)."""
        key = (share, name.text)
        symbol = self._shared.get(key) if share else None
        if symbol is None and not own and not share:
            symbol = region.names.get(name.text)
        if symbol is None:
            symbol = Symbol(name.text, what)
            self.symbols.append(symbol)
            if share:
                self._shared[key] = symbol
        symbol.declared.append((name.span, node))
        symbol.stands_at(name.span)
        if not own:
            region.names.setdefault(name.text, symbol)
        return symbol

    def shared(self, group: str, name: str) -> Symbol | None:
        return self._shared.get((group, name))

    def _declare_top(self, region: Region, item: nodes.Node) -> None:
        what = _TOP.get(type(item))
        if what is None:
            return
        symbol = self.declare(region, item.name, what, item)  # type: ignore[attr-defined]
        nowhere = Region(region.span, None)  # they are known inside only, and behind a dot
        for part in getattr(item, "items", ()):
            if isinstance(part, nodes.TensorDecl):
                symbol.members[part.name.text] = self.declare(nowhere, part.name, _ROLES[part.role], part)
            elif type(part) in _MEMBERS:
                group = {nodes.Split: "split", nodes.Hyper: "hyper"}.get(type(part), "")
                member = self.declare(nowhere, part.name, _MEMBERS[type(part)], part, share=group)
                if (group, member.name) == ("split", "train"):
                    member.fixed = "the split of this name is the one that is trained on"
                symbol.members[part.name.text] = member

    def _join(self, name: str) -> None:
        """Names of used files, plain or behind an alias."""
        region = self.files[name]
        for use, used in self.program.uses.get(name, ()):
            there = self.files.get(used)
            if there is None:
                continue
            if use.alias is None:
                region.inherited.append(there)
                region.inherited += [r for r in there.inherited if r not in region.inherited]
            else:
                symbol = self.declare(region, use.alias, "a used file", use)
                symbol.members.update(there.visible())


def used_at(names: Names | None, file: str, offset: int) -> Span | None:
    """The beginning of the file that a `use` at a place names."""
    if names is None:
        return None
    for use, used in names.program.uses.get(file, ()):
        if use.span.start <= offset <= use.span.end and used in names.program.files:
            return Span(names.program.files[used].span.source, 0, 0)
    return None


_TOP: dict[type[Any], str] = {
    nodes.Device: "a device", nodes.Kernel: "a kernel", nodes.Model: "a model", nodes.Dataset: "a dataset",
    nodes.Protocol: "a protocol", nodes.Experiment: "an experiment", nodes.Let: "a let",
}  # fmt: skip
_ROLES = {"input": "an input", "output": "an output", "inout": "an inout tensor"}
_MEMBERS: dict[type[Any], str] = {
    nodes.Dim: "a dim", nodes.OptionDecl: "an option", nodes.Split: "a split", nodes.Hyper: "a hyper",
    nodes.Part: "a part", nodes.Sample: "a sample", nodes.Schedule: "a schedule",
}  # fmt: skip


_READERS: dict[type[Any], Callable[[Reader, Any], None]] = {
    nodes.Kernel: read_kernel, nodes.Model: read_model, nodes.Dataset: read_dataset,
    nodes.Protocol: read_protocol, nodes.Experiment: read_experiment,
}  # fmt: skip
"""Who reads a statement with a block; every other is `Reader.plain`."""


def _read(reader: Reader, file: nodes.File) -> None:
    """Every name of a file becomes a place of its symbol."""
    reader.refer_all(reader.top, file.targets)
    for item in file.items:
        read = _READERS.get(type(item))
        if read is not None:
            read(reader, item)
        else:
            reader.plain(reader.top, item)
