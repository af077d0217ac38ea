"""The pass from the parser's tree to the syntax tree of nodes.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from spakc.diagnostics import Repair, Sink
from spakc.source import SourceFile, Span
from spakc.syntax import nodes
from spakc.syntax.build_expr import ExprBuilder, string_value
from spakc.syntax.machine import Tree
from spakc.syntax.surface import UNUSABLE_NAMES


def build_ast(tree: Tree, source: SourceFile, sink: Sink) -> nodes.File:
    """Says in `nodes` what the tree of `parse` says, one node a construct, nothing inferred.

    Needs a tree that `parse` returned for this source (its depth is bounded). Guarantees a span of this
    source on every node; parentheses leave no node, but the span of what they hold does not include them
    while that of the expression around them does. `input a, b` and `hyper a = 1, b = 2` become one node each
    name. Reports declared names that no statement could begin with (SPAK115). Leaves alone: duplicate names,
    settings and clauses, unknown names, the meaning of everything.
    """
    return _AstBuilder(source, sink).file(tree)


class _AstBuilder(ExprBuilder):
    """One method a statement. A method takes the tree of its rule; parts that were left out are None."""

    def __init__(self, source: SourceFile, sink: Sink) -> None:
        super().__init__(source)
        self.sink = sink
        self.unusable: set[str] = set()

    def file(self, tree: Any) -> nodes.File:
        version, *rest = tree.children
        uses = tuple(self._use(child) for child in rest if child is not None and child.data == "use")
        targets = next((child for child in rest if child is not None and child.data == "targets"), None)
        items = [child for child in rest if child is not None and child.data not in ("use", "targets")]
        return nodes.File(
            int(version.children[0].replace("_", "")),
            uses,
            () if targets is None else self.names(targets.children[0]),
            self.statements(items),
            span=Span(self.source, 0, len(self.source.text)),
        )

    def statements(self, trees: Iterable[Any]) -> tuple[nodes.Node, ...]:
        """Statements in order. A statement that declares several names becomes several nodes."""
        built: list[nodes.Node] = []
        for tree in trees:
            result = _STATEMENTS[tree.data](self, tree)
            if isinstance(result, nodes.Node):
                built.append(result)
            else:
                built.extend(result)
        return tuple(built)

    def declared(self, token: Any) -> nodes.Name:
        """A name of a value that this statement introduces."""
        name = self.name(token)
        if name.text in UNUSABLE_NAMES:
            self.unusable.add(name.text)
            self.sink.report(
                "SPAK115",
                f"`{name.text}` cannot be the name of a value",
                name.span,
                "this word is part of the language where a statement may begin",
                help=[f"choose another name, e.g. `{name.text}_`"],
                repairs=[Repair(name.span, f"{name.text}_", renames=True)],
            )
        return name

    def given(self, token: Any) -> nodes.Name:
        """A name that this statement gives a value; what is wrong with it is told where it is declared, if it is."""
        return self.name(token) if str(token) in self.unusable else self.declared(token)

    def text(self, tree: Any) -> str | None:
        """The prose of an optional `because "…"`."""
        return None if tree is None else string_value(tree.children[0])

    # ---- prose, propositions --------------------------------------------------------------------------

    def _use(self, tree: Any) -> nodes.Use:
        first, *alias = tree.children
        if isinstance(first, str):
            return nodes.Use(None, string_value(first), self.optional_name(alias[0]), span=self.span(tree))
        return nodes.Use(".".join(first.children), None, None, span=self.span(tree))

    def _intent(self, tree: Any) -> nodes.Node:
        return nodes.Intent(string_value(tree.children[0]), span=self.span(tree))

    def _law(self, tree: Any) -> nodes.Node:
        name, proposition, when, because = tree.children
        return nodes.Law(
            self.name(name),
            self.expr(proposition),
            self.optional_expr(when),
            self.text(because),
            span=self.span(tree),
        )

    def _let(self, tree: Any) -> nodes.Node:
        name, value = tree.children
        return nodes.Let(self.declared(name), self.expr(value), span=self.span(tree))

    def _claim(self, tree: Any) -> nodes.Node:
        name, on, proposition, confidence, quantifier, because = tree.children
        return nodes.Claim(
            self.name(name),
            self.names(on),
            self.expr(proposition),
            self.optional_number(confidence),
            () if quantifier is None else self.binders(quantifier.children),
            self.text(because),
            span=self.span(tree),
        )

    def binders(self, trees: Iterable[Any]) -> tuple[nodes.Binder, ...]:
        return tuple(self._binder(tree) for tree in trees)

    def _binder(self, tree: Any) -> nodes.Binder:
        bound, domain = tree.children
        tokens = [bound] if isinstance(bound, str) else bound.children
        names = tuple(self.declared(token) for token in tokens)
        return nodes.Binder(names, self.expr(domain), span=self.span(tree))

    # ---- devices, settings, roles ---------------------------------------------------------------------

    def settings(self, trees: Iterable[Any]) -> tuple[nodes.Setting, ...]:
        return tuple(self._setting(tree) for tree in trees)

    def _setting(self, tree: Any) -> nodes.Setting:
        key, *rest, value = tree.children
        path = (self.given(key.children[0]), *(self.name(token) for token in rest))
        return nodes.Setting(path, self.expr(value), span=self.span(tree))

    def _device(self, tree: Any) -> nodes.Node:
        name, like, *settings = tree.children
        return nodes.Device(
            self.name(name), self.optional_name(like), self.settings(settings), span=self.span(tree)
        )

    def _roles(self, tree: Any) -> nodes.Node:
        roles = tuple(
            nodes.Role(self.name(role.children[0]), self.names(role.children[1]), span=self.span(role))
            for role in tree.children
        )
        return nodes.Roles(roles, span=self.span(tree))

    # ---- kernels --------------------------------------------------------------------------------------

    def _kernel(self, tree: Any) -> nodes.Node:
        name, family, *items = tree.children
        return nodes.Kernel(self.name(name), self.name(family), self.statements(items), span=self.span(tree))

    def _dim(self, tree: Any) -> Iterable[nodes.Node]:
        for one in tree.children:
            name, domain = one.children
            yield nodes.Dim(self.declared(name), self.optional_expr(domain), span=self.span(one))

    def _tensor(self, tree: Any) -> Iterable[nodes.Node]:
        direction, names, types, shape, layouts, optional = tree.children
        for token in names.children:
            yield nodes.TensorDecl(
                str(direction.children[0]),
                self.declared(token),
                self.types(types),
                self.exprs(shape.children[0]),
                self.names(layouts),
                self.optional_expr(optional),
                span=self.span(tree),
            )

    def types(self, tree: Any) -> tuple[nodes.TypeExpr, ...]:
        if tree is None:
            return ()
        return tuple(
            nodes.TypeExpr(str(one.children[0]), self.optional_name(one.children[1]), span=self.span(one))
            for one in tree.children
        )

    def _option(self, tree: Any) -> nodes.Node:
        name, types, default = tree.children
        return nodes.OptionDecl(
            self.declared(name), self.types(types), self.expr(default), span=self.span(tree)
        )

    def _math(self, tree: Any) -> nodes.Node:
        return nodes.Math(tuple(self._equation(child) for child in tree.children), span=self.span(tree))

    def _equation(self, tree: Any) -> nodes.Equation:
        target, indices, value = tree.children
        return nodes.Equation(self.given(target), self.exprs(indices), self.expr(value), span=self.span(tree))

    def _accumulate(self, tree: Any) -> nodes.Node:
        return nodes.Accumulate(self.name(tree.children[0]), span=self.span(tree))

    def _gradient(self, tree: Any) -> nodes.Node:
        outputs, inputs = tree.children
        return nodes.Gradient(self.names(outputs), self.names(inputs), span=self.span(tree))

    def _schedule(self, tree: Any) -> nodes.Node:
        name, like, needs, *items = tree.children
        return nodes.Schedule(
            self.name(name),
            self.optional_name(like),
            self.exprs(needs),
            self.statements(items),
            span=self.span(tree),
        )

    def _knob(self, tree: Any) -> nodes.Node:
        name, domain, at_launch = tree.children
        return nodes.Knob(self.declared(name), self.expr(domain), at_launch is not None, span=self.span(tree))

    def _config(self, tree: Any) -> nodes.Node:
        name, on, *settings = tree.children
        return nodes.Config(self.name(name), self.names(on), self.settings(settings), span=self.span(tree))

    def _prefer(self, tree: Any) -> nodes.Node:
        proposition, when, because = tree.children
        return nodes.Prefer(
            self.expr(proposition), self.optional_expr(when), self.text(because), span=self.span(tree)
        )

    def _verify(self, tree: Any) -> nodes.Node:
        return nodes.Verify(self.statements(tree.children), span=self.span(tree))

    def _tolerance(self, tree: Any) -> nodes.Node:
        return nodes.Tolerance(self.expr(tree.children[0]), span=self.span(tree))

    def _values(self, tree: Any) -> nodes.Node:
        return nodes.Values(self.names(tree.children[0]), span=self.span(tree))

    def _shapes(self, tree: Any) -> nodes.Node:
        return nodes.Shapes(self.binders(tree.children), span=self.span(tree))

    def _cases(self, tree: Any) -> nodes.Node:
        return nodes.Cases(self.count(tree.children[0]), span=self.span(tree))

    def count(self, token: str) -> int:
        return int(token.replace("_", ""))

    def _implement(self, tree: Any) -> nodes.Node:
        kernel, name, on, needs, *settings = tree.children
        return nodes.Implement(
            self.name(kernel),
            self.name(name),
            self.names(on),
            self.exprs(needs),
            self.settings(settings),
            span=self.span(tree),
        )

    # ---- models ---------------------------------------------------------------------------------------

    def _model(self, tree: Any) -> nodes.Node:
        name, *items = tree.children
        return nodes.Model(self.name(name), self.statements(items), span=self.span(tree))

    def _hyper(self, tree: Any) -> Iterable[nodes.Node]:
        for token, value in zip(tree.children[0::2], tree.children[1::2], strict=True):
            span = self.span(token).to(self.span(value))
            yield nodes.Hyper(self.declared(token), self.expr(value), span=span)

    def _uses(self, tree: Any) -> nodes.Node:
        kernel, ops = tree.children
        return nodes.Uses(self.name(kernel), self.names(ops), span=self.span(tree))

    def _params(self, tree: Any) -> tuple[nodes.Param, ...]:
        return tuple(self._param(child) for child in tree.children)

    def _param(self, tree: Any) -> nodes.Param:
        name, types, shape = tree.children
        return nodes.Param(
            self.declared(name), self.types(types), self.exprs(shape.children[0]), span=self.span(tree)
        )

    def _part(self, tree: Any) -> nodes.Node:
        name, params, result, body = tree.children
        return nodes.Part(
            self.name(name),
            self._params(params),
            self._param(result),
            self.statements(body.children),
            span=self.span(tree),
        )

    def _forward(self, tree: Any) -> nodes.Node:
        params, result, body = tree.children
        return nodes.Forward(
            self._params(params), self._param(result), self.statements(body.children), span=self.span(tree)
        )

    def _assign(self, tree: Any) -> nodes.Node:
        name, value = tree.children
        return nodes.Assign(self.declared(name), self.expr(value), span=self.span(tree))

    def _repeat(self, tree: Any) -> nodes.Node:
        count, body = tree.children
        return nodes.Repeat(self.expr(count), self.statements(body.children), span=self.span(tree))

    def _loop(self, tree: Any) -> nodes.Node:
        index, domain, carry, initial, body = tree.children
        return nodes.Loop(
            self.declared(index),
            self.expr(domain),
            self.declared(carry),
            self.expr(initial),
            self.statements(body.children),
            span=self.span(tree),
        )

    def _halting(self, tree: Any) -> nodes.Node:
        return nodes.Halting(self.settings(tree.children), span=self.span(tree))

    def _supervise(self, tree: Any) -> nodes.Node:
        part, index, domain = tree.children
        return nodes.Supervise(self.name(part), self.declared(index), self.expr(domain), span=self.span(tree))

    # ---- data, protocols, experiments -----------------------------------------------------------------

    def _dataset(self, tree: Any) -> nodes.Node:
        name, *items = tree.children
        return nodes.Dataset(self.name(name), self.statements(items), span=self.span(tree))

    def _sample(self, tree: Any) -> nodes.Node:
        name, value = tree.children
        return nodes.Sample(self.declared(name), self.expr(value), span=self.span(tree))

    def _text(self, tree: Any) -> nodes.Node:
        return nodes.Text(self.exprs(tree.children[0]), span=self.span(tree))

    def _loss(self, tree: Any) -> nodes.Node:
        return nodes.LossAfter(string_value(tree.children[0]), span=self.span(tree))

    def _answer(self, tree: Any) -> nodes.Node:
        return nodes.Answer(self.name(tree.children[0]), span=self.span(tree))

    def _split(self, tree: Any) -> nodes.Node:
        name, *binders, size, weight, given = tree.children
        return nodes.Split(
            self.name(name),
            self.binders(binders),
            None if size is None else self.count(size),
            self.optional_number(weight),
            given=() if given is None else self._given(given),
            span=self.span(tree),
        )

    def _given(self, tree: Any) -> tuple[nodes.Sample, ...]:
        pairs = zip(tree.children[::2], tree.children[1::2], strict=True)
        return tuple(nodes.Sample(self.name(n), self.expr(v), span=self.span(tree)) for n, v in pairs)

    def _split_fraction(self, tree: Any) -> nodes.Node:
        name, fraction = tree.children
        return nodes.Split(self.name(name), fraction=self.number(fraction), span=self.span(tree))

    def _protocol(self, tree: Any) -> nodes.Node:
        name, *items = tree.children
        return nodes.Protocol(self.name(name), self.statements(items), span=self.span(tree))

    def _gate(self, tree: Any) -> nodes.Node:
        name, *items = tree.children
        return nodes.Gate(self.name(name), self.statements(items), span=self.span(tree))

    def _train(self, tree: Any) -> nodes.Node:
        return nodes.Train(self.arguments(tree.children[0]), span=self.span(tree))

    def _require(self, tree: Any) -> nodes.Node:
        proposition, hide, because = tree.children
        return nodes.Require(
            self.expr(proposition), self.names(hide), self.text(because), span=self.span(tree)
        )

    def _show(self, tree: Any) -> nodes.Node:
        return nodes.Show(self.exprs(tree.children[0]), span=self.span(tree))

    def _experiment(self, tree: Any) -> nodes.Node:
        name, like, *items = tree.children
        return nodes.Experiment(
            self.name(name), self.optional_name(like), self.statements(items), span=self.span(tree)
        )

    def _of_model(self, tree: Any) -> nodes.Node:
        return nodes.OfModel(self.expr(tree.children[0]), span=self.span(tree))

    def _of_data(self, tree: Any) -> nodes.Node:
        return nodes.OfData(self.exprs(tree.children[0]), span=self.span(tree))

    def _of_protocol(self, tree: Any) -> nodes.Node:
        return nodes.OfProtocol(self.name(tree.children[0]), span=self.span(tree))

    def _optimizer(self, tree: Any) -> nodes.Node:
        return nodes.Optimizer(self.expr(tree.children[0]), span=self.span(tree))

    def _lr(self, tree: Any) -> nodes.Node:
        return nodes.LearningRate(self.expr(tree.children[0]), span=self.span(tree))

    def _vary(self, tree: Any) -> nodes.Node:
        return nodes.Vary(self.binders(tree.children), span=self.span(tree))

    def _profile(self, tree: Any) -> nodes.Node:
        name, *settings = tree.children
        return nodes.Profile(self.name(name), self.settings(settings), span=self.span(tree))


_Statement = Callable[[_AstBuilder, Any], nodes.Node | Iterable[nodes.Node]]

_STATEMENTS: dict[str, _Statement] = {
    "intent": _AstBuilder._intent,
    "law": _AstBuilder._law,
    "let": _AstBuilder._let,
    "claim": _AstBuilder._claim,
    "device": _AstBuilder._device,
    "roles": _AstBuilder._roles,
    "kernel": _AstBuilder._kernel,
    "dim": _AstBuilder._dim,
    "tensor": _AstBuilder._tensor,
    "option": _AstBuilder._option,
    "math": _AstBuilder._math,
    "accumulate": _AstBuilder._accumulate,
    "gradient": _AstBuilder._gradient,
    "schedule": _AstBuilder._schedule,
    "knob": _AstBuilder._knob,
    "config": _AstBuilder._config,
    "prefer": _AstBuilder._prefer,
    "verify": _AstBuilder._verify,
    "tolerance": _AstBuilder._tolerance,
    "values": _AstBuilder._values,
    "shapes": _AstBuilder._shapes,
    "cases": _AstBuilder._cases,
    "implement": _AstBuilder._implement,
    "model": _AstBuilder._model,
    "hyper": _AstBuilder._hyper,
    "uses": _AstBuilder._uses,
    "part": _AstBuilder._part,
    "forward": _AstBuilder._forward,
    "assign": _AstBuilder._assign,
    "repeat": _AstBuilder._repeat,
    "loop": _AstBuilder._loop,
    "halting": _AstBuilder._halting,
    "supervise": _AstBuilder._supervise,
    "dataset": _AstBuilder._dataset,
    "sample": _AstBuilder._sample,
    "text": _AstBuilder._text,
    "loss": _AstBuilder._loss,
    "answer": _AstBuilder._answer,
    "split": _AstBuilder._split,
    "split_fraction": _AstBuilder._split_fraction,
    "protocol": _AstBuilder._protocol,
    "gate": _AstBuilder._gate,
    "gate_train": _AstBuilder._train,
    "train": _AstBuilder._train,
    "require": _AstBuilder._require,
    "show": _AstBuilder._show,
    "experiment": _AstBuilder._experiment,
    "of_model": _AstBuilder._of_model,
    "of_data": _AstBuilder._of_data,
    "of_protocol": _AstBuilder._of_protocol,
    "optimizer": _AstBuilder._optimizer,
    "lr": _AstBuilder._lr,
    "vary": _AstBuilder._vary,
    "profile": _AstBuilder._profile,
}
