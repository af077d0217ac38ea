"""Names where they are used: in expressions, and in statements that look alike everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spakc.ir.queries import QUERIES
from spakc.lsp.symbols import Region, Symbol
from spakc.syntax import nodes

if TYPE_CHECKING:
    from spakc.lsp.names import Names

_CALLED = ("a part", "a model", "an option")
"""What may be called; any other name before brackets is a function of the language."""


class Reader:
    """Reads one file into the symbols of its program. `top` is the file's own region."""

    def __init__(self, names: Names, top: Region) -> None:
        self.names = names
        self.top = top

    # ---- names ----------------------------------------------------------------------------------------

    def refer(self, region: Region, name: nodes.Name) -> Symbol | None:
        symbol = region.find(name.text)
        if symbol is not None:
            symbol.stands_at(name.span)
        return symbol

    def refer_all(self, region: Region, names: Iterable[nodes.Name]) -> None:
        for name in names:
            self.refer(region, name)

    def split(self, name: nodes.Name) -> None:
        symbol = self.names.shared("split", name.text)
        if symbol is not None:
            symbol.stands_at(name.span)

    def hyper(self, name: nodes.Name) -> None:
        symbol = self.names.shared("hyper", name.text)
        if symbol is not None:
            symbol.stands_at(name.span)

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
                symbol.stands_at(expr.span)
            return symbol
        if isinstance(expr, nodes.Attribute):
            base = self.expr(region, expr.base, split)
            member = base.members.get(expr.name.text) if base is not None else None
            if member is not None:
                member.stands_at(expr.name.span)
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
                        member.stands_at(argument.name.span)
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
            self._claim(item)
        elif isinstance(item, nodes.Device):
            self._device(item)
        elif isinstance(item, nodes.Roles):
            for role in item.roles:
                self.names.declare(region, role.name, "a role", role, own=True)
        elif isinstance(item, nodes.Implement):
            kernel = self.refer(region, item.kernel)
            self.names.declare(region, item.name, "a hand-written kernel", item, own=True)
            self.refer_all(region, item.on)
            region = region.part(item.span)
            region.names.update(kernel.members if kernel is not None else {})
            self.exprs(region, *item.needs, *(s.value for s in item.settings))

    def _device(self, item: nodes.Device) -> None:
        if item.like is not None:
            self.refer(self.top, item.like)
        self.exprs(self.top, *(s.value for s in item.settings))

    def _claim(self, item: nodes.Claim) -> None:
        region = self.top.part(item.span)
        self.names.declare(self.top, item.name, "a claim", item, own=True)
        self.refer_all(self.top, item.on)
        about = [s for s in map(self.top.find, words_in(item.proposition)) if s is not None]
        for binder in item.quantifier:
            self.exprs(region, binder.domain)
            for name in binder.names:
                member = next((s.members[name.text] for s in about if name.text in s.members), None)
                if member is not None:  # `for every M in …` gives the kernel's M
                    member.stands_at(name.span)
                    region.names[name.text] = member
                else:
                    self.names.declare(region, name, "a parameter", binder)
        self.exprs(region, item.proposition)

    def lets(self, region: Region, items: Iterable[nodes.Node], like: str = "") -> None:
        """Lets are known in the whole block that they stand in."""
        for item in items:
            if isinstance(item, nodes.Let):
                self.names.declare(region, item.name, "a let", item, share=f"let {like}" if like else "")


def _words_of(function: nodes.Expr) -> frozenset[str]:
    """The words that a function of the language takes as arguments."""
    spec = QUERIES.get(function.name) if isinstance(function, nodes.NameExpr) else None
    parameters = (*spec.positional, *spec.named) if spec is not None else ()
    return frozenset(word for parameter in parameters for word in parameter.words)


def _children(node: Any) -> Iterator[Any]:
    for value in node.said():
        if isinstance(value, nodes.Node):
            yield value
        elif isinstance(value, tuple):
            yield from (part for part in value if isinstance(part, nodes.Node))


def walk(node: Any) -> Iterator[Any]:
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack += _children(node)


def words_in(node: Any) -> list[str]:
    return [each.name for each in walk(node) if isinstance(each, nodes.NameExpr)]
