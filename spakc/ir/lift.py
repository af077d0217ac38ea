"""Equations in which a reduction is the whole right side or nowhere: any other one gets its own name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as replace_fields

from spakc.ir.inline import (
    free_indices,
    fresh,
    index_name,
    own_bound_names,
    plain_target,
    replace,
    same_up_to_indices,
)
from spakc.ir.module import Equation
from spakc.ir.ops import Apply, Expr, Load, Reduce, Ref, RefKind
from spakc.ir.simplify import MINUS_INFINITY, ZERO, compare, simplify, sub, where
from spakc.ir.visit import transform


def expand_softmax(expr: Expr) -> Expr:
    """Writes `softmax[k](x)` as exp(x - logsumexp[k](x)), zero where the row has no key."""

    def change(node: Expr) -> Expr:
        if not (isinstance(node, Reduce) and node.op == "softmax"):
            return node
        total = Reduce("logsumexp", node.axes, node.body, span=node.span)
        weight = Apply("exp", (sub(node.body, total, span=node.span),), span=node.span)
        return where(compare("eq", total, MINUS_INFINITY), ZERO, weight, span=node.span)

    return transform(expr, change)


def lift_reductions(equations: Iterable[Equation], taken: Iterable[str]) -> list[Equation]:
    """The same maths, simplified, softmax written by logsumexp, in dependency order; a reduction that two
    places share (up to the names of indices) is computed once. `taken` are names not to use."""
    return _Lifter(taken).run(equations)


class _Lifter:
    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self.done: list[Equation] = []
        self.known: list[Equation] = []  # of a plain left side and a reduction on the right
        self.made_up: set[str] = set()

    def run(self, equations: Iterable[Equation]) -> list[Equation]:
        for equation in equations:
            value = simplify(expand_softmax(equation.value))
            own = own_bound_names(replace_fields(equation, value=value))
            if isinstance(own.value, Reduce) and plain_target(own):
                body = self.lifted(own.value.body)
                value = Reduce(own.value.op, own.value.axes, body, span=own.value.span)
                earlier = self.reuse(value)
                if earlier is not None and earlier.tensor in self.made_up:
                    self.adopt(earlier, own)
                    continue
                own = replace_fields(own, value=value if earlier is None else earlier)
                if earlier is None:
                    self.known.append(own)
            else:
                own = replace_fields(own, value=self.lifted(own.value))
            self.done.append(own)
        return self.done

    def lifted(self, expr: Expr) -> Expr:
        return replace(expr, lambda node: self.name(node) if isinstance(node, Reduce) else None)

    def name(self, node: Reduce) -> Load:
        value = Reduce(node.op, node.axes, self.lifted(node.body), span=node.span)
        earlier = self.reuse(value)
        if earlier is not None:
            return earlier
        name = fresh(f"{node.op}_{'_'.join(node.axes)}", self.taken)
        self.taken.add(name)
        self.made_up.add(name)
        indices = tuple(Ref(n, RefKind.index) for n in free_indices(value))
        span = node.span or next(e.span for e in self.done)
        equation = Equation(name, indices, value, span=span)
        self.done.append(equation)
        self.known.append(equation)
        return Load(name, indices, span=node.span)

    def adopt(self, made_up: Load, equation: Equation) -> None:
        """A reduction that got a made-up name before its own equation came keeps the equation's name
        instead."""
        names = [index_name(index) for index in equation.indices]
        order = [next(i for i, index in enumerate(made_up.indices) if index_name(index) == n) for n in names]

        def permuted(indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
            return tuple(indices[i] for i in order)

        def change(node: Expr) -> Expr | None:
            if isinstance(node, Load) and node.tensor == made_up.tensor:
                return Load(equation.target, permuted(node.indices), span=node.span)
            return None

        def renamed(old: Equation) -> Equation:
            value = replace(old.value, change)
            if old.target != made_up.tensor:
                return replace_fields(old, value=value)
            return Equation(equation.target, permuted(old.indices), value, span=equation.span)

        self.done = [renamed(old) for old in self.done]
        self.known = [renamed(old) for old in self.known]
        self.made_up.remove(made_up.tensor)

    def reuse(self, value: Reduce) -> Load | None:
        """The load of an earlier equation that computes this, with its indices in the names used here."""
        for equation in self.known:
            renaming = same_up_to_indices(equation.value, value)
            if renaming is None:
                continue
            back = {theirs: mine for mine, theirs in renaming.items()}
            names = [index_name(index) for index in equation.indices]
            if all(name in back for name in names):
                indices = tuple(Ref(back[name], RefKind.index) for name in names if name is not None)
                return Load(equation.target, indices, span=value.span)
        return None
