"""Expressions, domains and values: from the parser's tree to `nodes.Expr`. Used by build_ast.py only.

The depth of the tree is bounded before it comes here (limits.py), so plain recursion is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spakc.source import SourceFile, Span
from spakc.syntax import nodes

_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


class ExprBuilder:
    """Turns trees and tokens of one source file into expressions. A token is a `str` with a `type` and a
    place, anything else is a tree whose `data` is the name of its grammar rule or alias."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source

    def span(self, node: Any) -> Span:
        return Span(self.source, node.start_pos, node.end_pos)

    def name(self, token: Any) -> nodes.Name:
        return nodes.Name(str(token), span=self.span(token))

    def optional_name(self, token: Any) -> nodes.Name | None:
        return None if token is None else self.name(token)

    def names(self, tree: Any) -> tuple[nodes.Name, ...]:
        """`a, b, c`; nothing when the part of the statement that holds them was left out."""
        return () if tree is None else tuple(self.name(token) for token in tree.children)

    def exprs(self, tree: Any) -> tuple[nodes.Expr, ...]:
        return () if tree is None else tuple(self.expr(child) for child in tree.children)

    def optional_expr(self, node: Any) -> nodes.Expr | None:
        return None if node is None else self.expr(node)

    def number(self, token: Any) -> nodes.Number:
        value, unit = number_value(token.type, str(token))
        return nodes.Number(value, unit, span=self.span(token))

    def optional_number(self, token: Any) -> nodes.Number | None:
        return None if token is None else self.number(token)

    def arguments(self, tree: Any) -> tuple[nodes.Argument, ...]:
        return () if tree is None else tuple(self._argument(child) for child in tree.children)

    def expr(self, node: Any) -> nodes.Expr:
        """Any operand, expression, domain (`1..4`) or value (`a then b from 50%`)."""
        if isinstance(node, str):
            return self._atom(node)
        return _RULES[node.data](self, node)

    def _atom(self, token: Any) -> nodes.Expr:
        if token.type == "NAME":
            return nodes.NameExpr(str(token), span=self.span(token))
        if token.type == "STRING":
            return nodes.String(string_value(token), span=self.span(token))
        return self.number(token)

    def _argument(self, node: Any) -> nodes.Argument:
        if not isinstance(node, str) and node.data == "named":
            name, value = node.children
            return nodes.Argument(self.name(name), self.expr(value), span=self.span(node))
        return nodes.Argument(None, self.expr(node), span=self.span(node))

    def _chain(self, tree: Any) -> nodes.Expr:
        """`a - b + c`: operands and operator tokens in turn, left-associative."""
        result = self.expr(tree.children[0])
        for op, operand in zip(tree.children[1::2], tree.children[2::2], strict=True):
            span = Span(self.source, tree.start_pos, self.span(operand).end)
            result = nodes.Binary(str(op), result, self.expr(operand), span=span)
        return result

    def _logical(self, tree: Any) -> nodes.Expr:
        """`a and b and c`: the grammar keeps the operands only."""
        op = str(tree.data).rstrip("_")
        result = self.expr(tree.children[0])
        for operand in tree.children[1:]:
            span = Span(self.source, tree.start_pos, self.span(operand).end)
            result = nodes.Binary(op, result, self.expr(operand), span=span)
        return result

    def _unary(self, tree: Any) -> nodes.Expr:
        op = {"neg": "-", "not_": "not"}[tree.data]
        return nodes.Unary(op, self.expr(tree.children[0]), span=self.span(tree))

    def _compare(self, tree: Any) -> nodes.Expr:
        operands = tuple(self.expr(child) for child in tree.children[0::2])
        return nodes.Compare(operands, tuple(str(op) for op in tree.children[1::2]), span=self.span(tree))

    def _member(self, tree: Any) -> nodes.Expr:
        item, domain = tree.children
        return nodes.Member(self.expr(item), self.expr(domain), span=self.span(tree))

    def _attribute(self, tree: Any) -> nodes.Expr:
        base, name = tree.children
        return nodes.Attribute(self.expr(base), self.name(name), span=self.span(tree))

    def _index(self, tree: Any) -> nodes.Expr:
        base, indices = tree.children
        return nodes.Index(self.expr(base), self.exprs(indices), span=self.span(tree))

    def _call(self, tree: Any) -> nodes.Expr:
        function, arguments = tree.children
        return nodes.Call(self.expr(function), self.arguments(arguments), span=self.span(tree))

    def _group(self, tree: Any) -> nodes.Expr:
        return self.expr(tree.children[0])

    def _tuple(self, tree: Any) -> nodes.Expr:
        return nodes.TupleExpr(tuple(self.expr(child) for child in tree.children), span=self.span(tree))

    def _set(self, tree: Any) -> nodes.Expr:
        return nodes.SetExpr(self.exprs(tree.children[0]), span=self.span(tree))

    def _true(self, tree: Any) -> nodes.Expr:
        return nodes.Bool(True, span=self.span(tree))

    def _false(self, tree: Any) -> nodes.Expr:
        return nodes.Bool(False, span=self.span(tree))

    def _inf(self, tree: Any) -> nodes.Expr:
        return nodes.Infinity(span=self.span(tree))

    def _range(self, tree: Any) -> nodes.Expr:
        first, last, by = tree.children
        return nodes.Range(self.expr(first), self.expr(last), self.optional_expr(by), span=self.span(tree))

    def _phased(self, tree: Any) -> nodes.Expr:
        first, second, start = tree.children
        return nodes.Phased(self.expr(first), self.expr(second), self.number(start), span=self.span(tree))


_RULES: dict[str, Callable[[ExprBuilder, Any], nodes.Expr]] = {
    "or_": ExprBuilder._logical,
    "and_": ExprBuilder._logical,
    "not_": ExprBuilder._unary,
    "compare": ExprBuilder._compare,
    "member": ExprBuilder._member,
    "sum": ExprBuilder._chain,
    "product": ExprBuilder._chain,
    "neg": ExprBuilder._unary,
    "attribute": ExprBuilder._attribute,
    "index": ExprBuilder._index,
    "call": ExprBuilder._call,
    "group": ExprBuilder._group,
    "tuple": ExprBuilder._tuple,
    "set": ExprBuilder._set,
    "true": ExprBuilder._true,
    "false": ExprBuilder._false,
    "inf": ExprBuilder._inf,
    "range": ExprBuilder._range,
    "phased": ExprBuilder._phased,
}


def number_value(token_type: str, text: str) -> tuple[int | float, str]:
    """The value and unit of a number token: ("QUANTITY", "227 KiB") is (227, "KiB"), ("PERCENT", "95%") is
    (95, "%")."""
    digits, unit = text, ""
    if token_type == "PERCENT":
        digits, unit = text[:-1], "%"
    elif token_type == "QUANTITY":
        end = next(i for i, char in enumerate(text) if not (char.isdigit() or char in "_."))
        digits, unit = text[:end], text[end:].strip()
    digits = digits.replace("_", "")
    return (int(digits) if digits.isdigit() else float(digits)), unit


def string_value(token: str) -> str:
    """What a STRING token says, its quotes and escapes resolved."""
    pieces = iter(token[1:-1])
    return "".join(_ESCAPES[next(pieces)] if piece == "\\" else piece for piece in pieces)
