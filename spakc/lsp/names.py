"""Where names are declared and used: what an editor jumps to, lists and renames.

Works on syntax trees alone, so that a file with a mistake in its meaning still has its names. Declarations that take
each other's place by name (a law of a schedule and that of the schedule it is `like`, hypers that one profile
sets in several models, splits of one name) are one symbol: renamed apart, they would mean something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spakc.ir.queries import QUERIES
from spakc.lower.program import Program
from spakc.plan.templates import ANNOUNCED, TEMPLATES
from spakc.source import Span
from spakc.syntax import nodes


@dataclass(eq=False, slots=True)
class Symbol:
    """`what` says in words what it is. `places` are all names in the files that mean it, `declared` those of them
    that declare it, with the statement of each. `members` may stand behind a dot, or be named as arguments."""

    name: str
    what: str
    declared: list[tuple[Span, nodes.Node]] = field(default_factory=list)
    places: list[Span] = field(default_factory=list)
    members: dict[str, Symbol] = field(default_factory=dict)
    fixed: str = ""  # why it cannot be renamed


@dataclass(eq=False, slots=True)
class Region:
    """The names of one part of a file. `span` is the part; regions nest."""

    span: Span
    parent: Region | None
    names: dict[str, Symbol] = field(default_factory=dict)
    inherited: list[Region] = field(default_factory=list)
    inner: list[Region] = field(default_factory=list)

    def find(self, name: str) -> Symbol | None:
        region: Region | None = self
        while region is not None:
            for each in (region, *region.inherited):
                if name in each.names:
                    return each.names[name]
            region = region.parent
        return None

    def visible(self) -> dict[str, Symbol]:
        found: dict[str, Symbol] = {}
        region: Region | None = self
        while region is not None:
            for each in (region, *region.inherited):
                for name, symbol in each.names.items():
                    found.setdefault(name, symbol)
            region = region.parent
        return found


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
            _File(self, self.files[name]).read(file)

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
        _add(symbol, name.span)
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
        for part in getattr(item, "items", ()):
            if isinstance(part, nodes.TensorDecl):
                symbol.members[part.name.text] = self.declare(
                    _NOWHERE(region), part.name, _ROLES[part.role], part
                )
            elif type(part) in _MEMBERS:
                group = {nodes.Split: "split", nodes.Hyper: "hyper"}.get(type(part), "")
                member = self.declare(_NOWHERE(region), part.name, _MEMBERS[type(part)], part, share=group)
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


def _add(symbol: Symbol, span: Span) -> None:
    if span not in symbol.places:
        symbol.places.append(span)


def _NOWHERE(region: Region) -> Region:
    return Region(region.span, None)


_TOP: dict[type[Any], str] = {
    nodes.Device: "a device", nodes.Kernel: "a kernel", nodes.Model: "a model", nodes.Dataset: "a dataset",
    nodes.Protocol: "a protocol", nodes.Experiment: "an experiment", nodes.Let: "a let",
}  # fmt: skip
_TEMPLATES = frozenset(template.name for template in TEMPLATES) | {
    n for names in ANNOUNCED.values() for n in names
}
_ROLES = {"input": "an input", "output": "an output", "inout": "an inout tensor"}
_MEMBERS: dict[type[Any], str] = {
    nodes.Dim: "a dim", nodes.OptionDecl: "an option", nodes.Split: "a split", nodes.Hyper: "a hyper",
    nodes.Part: "a part", nodes.Sample: "a sample", nodes.Schedule: "a schedule",
}  # fmt: skip


class _File:
    """Reads one file: every name in it becomes a place of its symbol."""

    def __init__(self, names: Names, region: Region) -> None:
        self.names = names
        self.top = region
        self.model_name = ""  # whose loops and `supervise` are read: they share their index

    def read(self, file: nodes.File) -> None:
        for target in file.targets:
            self.refer(self.top, target)
        for item in file.items:
            reader = _READERS.get(type(item))
            if reader is not None:
                reader(self, item)
            else:
                self.plain(self.top, item)

    # ---- statements -----------------------------------------------------------------------------------

    def plain(self, region: Region, item: Any, *, like: str = "") -> None:
        """Statements that look alike everywhere: laws, lets, claims, prose."""
        if isinstance(item, nodes.Law):
            group = f"law {like}" if like else ""
            self.names.declare(region, item.name, "a law", item, share=group, own=True)
            self.exprs(region, item.proposition, item.when)
        elif isinstance(item, nodes.Let):
            if item.name.text not in region.names:
                self.names.declare(region, item.name, "a let", item, share=f"let {like}" if like else "")
            self.exprs(region, item.value)
        elif isinstance(item, nodes.Claim):
            self.claim(item)
        elif isinstance(item, nodes.Roles):
            for role in item.roles:
                self.names.declare(region, role.name, "a role", role, own=True)
        elif isinstance(item, nodes.Implement):
            kernel = self.refer(region, item.kernel)
            self.names.declare(region, item.name, "a hand-written kernel", item, own=True)
            self.refer_all(region, item.on)
            region = self.inside(region, item.span)
            region.names.update(kernel.members if kernel is not None else {})
            self.exprs(region, *item.needs, *(s.value for s in item.settings))

    def device(self, item: nodes.Device) -> None:
        if item.like is not None:
            self.refer(self.top, item.like)
        self.exprs(self.top, *(s.value for s in item.settings))

    def claim(self, item: nodes.Claim) -> None:
        region = self.inside(self.top, item.span)
        self.names.declare(self.top, item.name, "a claim", item, own=True)
        self.refer_all(self.top, item.on)
        about = [s for s in map(self.top.find, _words(item.proposition)) if s is not None]
        for binder in item.quantifier:
            self.exprs(region, binder.domain)
            for name in binder.names:
                member = next((s.members[name.text] for s in about if name.text in s.members), None)
                if member is not None:  # `for every M in …` gives the kernel's M
                    _add(member, name.span)
                    region.names[name.text] = member
                else:
                    self.names.declare(region, name, "a parameter", binder)
        self.exprs(region, item.proposition)

    # ---- kernels --------------------------------------------------------------------------------------

    def kernel(self, item: nodes.Kernel) -> None:
        region = self.inside(self.top, item.span)
        kernel = self.top.names[item.name.text]
        region.names.update({n: s for n, s in kernel.members.items() if s.what != "a schedule"})
        self.lets(region, item.items)
        for part in item.items:
            if isinstance(part, nodes.Math):
                for equation in part.equations:
                    if equation.target.text not in region.names:
                        self.names.declare(region, equation.target, "an intermediate", equation)
        for part in item.items:
            if isinstance(part, nodes.Dim):
                self.exprs(region, part.domain)
            elif isinstance(part, nodes.TensorDecl):
                self.types(region, part.types)
                self.exprs(region, *part.shape, part.optional)
            elif isinstance(part, nodes.OptionDecl):
                self.exprs(region, part.default)
            elif isinstance(part, nodes.Math):
                for equation in part.equations:
                    self.equation(region, equation)
            elif isinstance(part, nodes.Gradient):
                self.refer_all(region, (*part.outputs, *part.inputs))
            elif isinstance(part, nodes.Verify):
                for each in part.items:
                    if isinstance(each, nodes.Tolerance):
                        self.exprs(region, each.value)
                    elif isinstance(each, nodes.Shapes):
                        for binder in each.binders:
                            self.refer_all(region, binder.names)
                            self.exprs(region, binder.domain)
            elif isinstance(part, nodes.Schedule):
                continue
            else:
                self.plain(region, part)
        self.schedules(region, kernel, [part for part in item.items if isinstance(part, nodes.Schedule)])

    def equation(self, around: Region, item: nodes.Equation) -> None:
        region = self.inside(around, item.span)
        self.refer(around, item.target)
        axes = [index for index in item.indices if isinstance(index, nodes.NameExpr)]
        for node in _walk(item.value):
            if isinstance(node, nodes.Call) and isinstance(node.function, nodes.Index):
                axes += [index for index in node.function.indices if isinstance(index, nodes.NameExpr)]
        for axis in axes:
            if axis.name not in region.names:
                self.names.declare(region, nodes.Name(axis.name, span=axis.span), "an index", item)
        for index in item.indices:
            for name in _words(index):
                if around.find(name) is None and name not in region.names:
                    place = next(n for n in _walk(index) if isinstance(n, nodes.NameExpr) and n.name == name)
                    self.names.declare(region, nodes.Name(name, span=place.span), "an index", item)
        self.exprs(region, *item.indices, item.value)

    def schedules(self, around: Region, kernel: Symbol, items: list[nodes.Schedule]) -> None:
        by_name = {item.name.text: item for item in items}
        regions: dict[str, Region] = {}
        for item in items:
            if item.name.text in _TEMPLATES:
                kernel.members[
                    item.name.text
                ].fixed = f"`{item.name.text}` names the template of this schedule"
        for item in items:
            regions[item.name.text] = region = self.inside(around, item.span)
            group = f"{id(kernel)} {_root(item, by_name)}"
            for part in item.items:
                if isinstance(part, nodes.Knob):
                    knob = self.names.declare(region, part.name, "a knob", part, share=f"knob {group}")
                    knob.fixed = "a knob is named as its template names it"
            self.lets(region, item.items, group)
        for item in items:
            region = regions[item.name.text]
            like = item.like
            seen = {item.name.text}
            while like is not None and like.text in regions and like.text not in seen:
                seen.add(like.text)
                region.inherited.append(regions[like.text])
                like = by_name[like.text].like
            if item.like is not None and item.like.text in kernel.members:
                _add(kernel.members[item.like.text], item.like.span)
            self.exprs(region, *item.needs)
            for part in item.items:
                if isinstance(part, nodes.Knob):
                    self.exprs(region, part.domain)
                elif isinstance(part, nodes.Config):
                    self.names.declare(
                        region, part.name, "a config", part, share=f"config {id(kernel)}", own=True
                    )
                    self.refer_all(self.top, part.on)
                    for setting in part.settings:
                        self.refer(region, setting.path[0])
                        self.exprs(region, setting.value)
                elif isinstance(part, nodes.Prefer):
                    self.exprs(region, part.proposition, part.when)
                else:
                    self.plain(region, part, like=f"{id(kernel)} {_root(item, by_name)}")

    def types(self, region: Region, items: Iterable[nodes.TypeExpr]) -> None:
        for item in items:
            if item.argument is not None:
                self.refer(region, item.argument)

    def lets(self, region: Region, items: Iterable[nodes.Node], like: str = "") -> None:
        """Lets are known in the whole block that they stand in."""
        for item in items:
            if isinstance(item, nodes.Let):
                self.names.declare(region, item.name, "a let", item, share=f"let {like}" if like else "")

    # ---- models ---------------------------------------------------------------------------------------

    def model(self, item: nodes.Model) -> None:
        region = self.inside(self.top, item.span)
        self.model_name = f"{item.span.source.name} {item.name.text}"
        region.names.update(self.top.names[item.name.text].members)
        self.lets(region, item.items)
        for part in item.items:
            if isinstance(part, nodes.Hyper):
                self.exprs(region, part.value)
            elif isinstance(part, nodes.Uses):
                self.refer(self.top, part.kernel)
            elif isinstance(part, (nodes.Part, nodes.Forward)):
                self.part(region, part)
            elif isinstance(part, nodes.Halting):
                self.exprs(region, *(s.value for s in part.settings))
            elif isinstance(part, nodes.Supervise):
                self.refer(region, part.part)
                inner = self.inside(region, part.span)
                self.names.declare(inner, part.index, "a loop index", part, share=f"loop {self.model_name}")
                self.exprs(inner, part.domain)
            else:
                self.plain(region, part)

    def part(self, around: Region, item: nodes.Part | nodes.Forward) -> None:
        region = self.inside(around, item.span)
        for param in item.params:
            self.names.declare(region, param.name, "a parameter", param)
            self.exprs(region, *param.shape)
        self.names.declare(region, item.result.name, "a result", item.result)
        self.exprs(region, *item.result.shape)
        self.steps(region, item.body)

    def steps(self, region: Region, items: Iterable[nodes.Node]) -> None:
        for item in items:
            if isinstance(item, nodes.Assign):
                self.names.declare(region, item.name, "a value", item)
                self.exprs(region, item.value)
            elif isinstance(item, nodes.Repeat):
                self.exprs(region, item.count)
                self.steps(region, item.body)
            elif isinstance(item, nodes.Loop):
                self.names.declare(region, item.index, "a loop index", item, share=f"loop {self.model_name}")
                self.names.declare(region, item.carry, "a value", item)
                self.exprs(region, item.domain, item.initial)
                self.steps(region, item.body)

    # ---- data, protocols, experiments -----------------------------------------------------------------

    def dataset(self, item: nodes.Dataset) -> None:
        region = self.inside(self.top, item.span)
        region.names.update(self.top.names[item.name.text].members)
        for part in item.items:
            if isinstance(part, nodes.Split):
                for binder in part.binders:
                    for name in binder.names:
                        self.names.declare(region, name, "a parameter", binder)
        self.lets(region, item.items)
        for part in item.items:
            if isinstance(part, nodes.Split):
                self.exprs(region, *(binder.domain for binder in part.binders))
            elif isinstance(part, nodes.Sample):
                self.exprs(region, part.value)
            elif isinstance(part, nodes.Text):
                self.exprs(region, *part.pieces)
            else:
                self.plain(region, part)

    def protocol(self, item: nodes.Protocol) -> None:
        region = self.inside(self.top, item.span)
        for gate in item.items:
            if not isinstance(gate, nodes.Gate):
                continue
            self.names.declare(region, gate.name, "a gate", gate, own=True)
            for part in gate.items:
                if isinstance(part, nodes.Train):
                    self.exprs(region, *(argument.value for argument in part.arguments))
                elif isinstance(part, nodes.Require):
                    self.exprs(region, part.proposition, split=True)
                    for name in part.hide:
                        self.split(name)
                elif isinstance(part, nodes.Show):
                    self.exprs(region, *part.values, split=True)

    def experiment(self, item: nodes.Experiment) -> None:
        region = self.inside(self.top, item.span)
        if item.like is not None:
            self.refer(self.top, item.like)
        self.lets(region, item.items, "experiment")
        for part in item.items:
            if isinstance(part, nodes.OfModel):
                self.exprs(region, part.value)
            elif isinstance(part, nodes.OfData):
                self.exprs(region, *part.values)
            elif isinstance(part, nodes.OfProtocol):
                self.refer(self.top, part.name)
            elif isinstance(part, nodes.Train):
                self.exprs(region, *(argument.value for argument in part.arguments))
            elif isinstance(part, (nodes.Optimizer, nodes.LearningRate)):
                self.exprs(region, part.value)
            elif isinstance(part, nodes.Vary):
                for binder in part.binders:
                    for name in binder.names:
                        self.hyper(name)
                    self.exprs(region, binder.domain)
            elif isinstance(part, nodes.Profile):
                self.names.declare(region, part.name, "a profile", part, share="profile", own=True)
                for setting in part.settings:
                    if setting.path[0].text == "model" and len(setting.path) > 1:
                        self.hyper(setting.path[1])
                    self.exprs(region, setting.value)
            else:
                self.plain(region, part, like="experiment")

    # ---- names ----------------------------------------------------------------------------------------

    def inside(self, region: Region, span: Span) -> Region:
        inner = Region(span, region)
        region.inner.append(inner)
        return inner

    def refer(self, region: Region, name: nodes.Name) -> Symbol | None:
        symbol = region.find(name.text)
        if symbol is not None:
            _add(symbol, name.span)
        return symbol

    def refer_all(self, region: Region, names: Iterable[nodes.Name]) -> None:
        for name in names:
            self.refer(region, name)

    def split(self, name: nodes.Name) -> None:
        symbol = self.names.shared("split", name.text)
        if symbol is not None:
            _add(symbol, name.span)

    def hyper(self, name: nodes.Name) -> None:
        symbol = self.names.shared("hyper", name.text)
        if symbol is not None:
            _add(symbol, name.span)

    def exprs(self, region: Region, *exprs: nodes.Expr | None, split: bool = False) -> None:
        for expr in exprs:
            if expr is not None:
                self.expr(region, expr, split)

    def expr(self, region: Region, expr: nodes.Expr, split: bool) -> Symbol | None:
        """Every name in an expression; the symbol that the whole of it names. Splits may stand where no other name
        is known."""
        if isinstance(expr, nodes.NameExpr):
            symbol = region.find(expr.name) or self.names.shared("split", expr.name)
            if symbol is not None:
                _add(symbol, expr.span)
            return symbol
        if isinstance(expr, nodes.Attribute):
            base = self.expr(region, expr.base, split)
            member = base.members.get(expr.name.text) if base is not None else None
            if member is not None:
                _add(member, expr.name.span)
            return member
        if isinstance(expr, nodes.Call):
            called = self.called(region, expr.function, split)
            words = _words_of(expr.function)
            subject = called
            for i, argument in enumerate(expr.arguments):
                if isinstance(argument.value, nodes.NameExpr) and argument.value.name in words:
                    continue  # a word that the function knows, whatever else has its name
                value = self.expr(region, argument.value, split)
                subject = value if i == 0 and called is None else subject
                if argument.name is not None and subject is not None:
                    member = subject.members.get(argument.name.text)
                    if member is not None:
                        _add(member, argument.name.span)
            return None
        for part in _children(expr):
            self.expr(region, part, split)
        return None

    def called(self, region: Region, function: nodes.Expr, split: bool) -> Symbol | None:
        """The symbol that is called, if such a thing can be: else its name means a function of the language."""
        if isinstance(function, nodes.NameExpr):
            symbol = region.find(function.name)
            if symbol is None or symbol.what not in _CALLED:
                return None
        return self.expr(region, function, split)


_CALLED = ("a part", "a model", "an option")
_READERS: dict[type[Any], Any] = {
    nodes.Device: _File.device, nodes.Kernel: _File.kernel, nodes.Model: _File.model,
    nodes.Dataset: _File.dataset, nodes.Protocol: _File.protocol, nodes.Experiment: _File.experiment,
}  # fmt: skip


def _words_of(function: nodes.Expr) -> frozenset[str]:
    """The words that a function of the language takes as arguments."""
    spec = QUERIES.get(function.name) if isinstance(function, nodes.NameExpr) else None
    parameters = (*spec.positional, *spec.named) if spec is not None else ()
    return frozenset(word for parameter in parameters for word in parameter.words)


def _root(item: nodes.Schedule, by_name: Mapping[str, nodes.Schedule]) -> str:
    """The schedule at the beginning of a chain of `like`: names along the chain take each other's place."""
    seen = set()
    while item.like is not None and item.like.text in by_name and item.name.text not in seen:
        seen.add(item.name.text)
        item = by_name[item.like.text]
    return item.name.text


def _children(node: Any) -> Iterator[Any]:
    for value in node.said():
        if isinstance(value, nodes.Node):
            yield value
        elif isinstance(value, tuple):
            yield from (part for part in value if isinstance(part, nodes.Node))


def _walk(node: Any) -> Iterator[Any]:
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack += _children(node)


def _words(node: Any) -> list[str]:
    return [each.name for each in _walk(node) if isinstance(each, nodes.NameExpr)]
