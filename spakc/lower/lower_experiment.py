"""Protocols and experiments of the syntax tree to `ir.experiment`. `like` is merged here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from spakc.diagnostics import Sink
from spakc.ir.experiment import Experiment, Gate, Protocol, Requirement
from spakc.ir.module import Law
from spakc.ir.ops import Domain, Expr, RefKind
from spakc.ir.queries import Place
from spakc.lower.expressions import lower_domain, lower_expression
from spakc.lower.files import declarations
from spakc.lower.members import find_entry
from spakc.lower.program import Program
from spakc.lower.propositions import lower_laws, lower_lets
from spakc.lower.resolve import Entry, Scope, check_unique, report_unknown
from spakc.source import Span
from spakc.syntax import nodes

_Item = TypeVar("_Item", bound=nodes.Node)

_WORDS = ("last", "best", "every_seed", "all_seeds")
"""Words that may be values of a training setting."""


def lower_protocols(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Protocol]:
    """Every protocol of every file, by qualified name. `self` in it is the experiment that runs it; which
    splits it has is only known there. Reports unknown names; leaves the propositions' types alone."""
    protocols = (_protocol(node, file, sink) for node, file in declarations(program, scope, nodes.Protocol))
    return {protocol.name: protocol for protocol in protocols}


def _protocol(node: nodes.Protocol, file_scope: Scope, sink: Sink) -> Protocol:
    scope = file_scope.child(Place.protocol, title=f"protocol {node.name.text}")
    scope.declare(Entry("self", "an experiment", RefKind.entity, "self", members=None), sink)
    gates = [item for item in node.items if isinstance(item, nodes.Gate)]
    check_unique([gate.name for gate in gates], "a gate", sink)
    intents = [item.text for item in node.items if isinstance(item, nodes.Intent)]
    return Protocol(
        file_scope.qualify(node.name.text),
        tuple(_gate(gate, scope, sink) for gate in gates),
        intents[0] if intents else None,
        span=node.name.span,
    )


def _gate(node: nodes.Gate, scope: Scope, sink: Sink) -> Gate:
    trains = [item for item in node.items if isinstance(item, nodes.Train)]
    for extra in trains[1:]:
        also = [(trains[0].span, "the first one")]
        sink.report("SPAK530", "a gate trains once", extra.span, "again here", also=also)
    requirements = tuple(
        Requirement(
            lower_expression(item.proposition, scope, sink),
            tuple(name.text for name in item.hide),
            item.because,
            span=item.proposition.span,
        )
        for item in node.items
        if isinstance(item, nodes.Require)
    )
    shown = tuple(
        lower_expression(value, scope, sink)
        for item in node.items
        if isinstance(item, nodes.Show)
        for value in item.values
    )
    train = _arguments(trains[0].arguments, scope, sink) if trains else None
    return Gate(node.name.text, train, requirements, shown, span=node.name.span)


def _arguments(arguments: Sequence[nodes.Argument], scope: Scope, sink: Sink) -> dict[str, Expr]:
    values: dict[str, Expr] = {}
    for argument in arguments:
        if argument.name is None:
            sink.report("SPAK531", "a setting needs its name", argument.span, "write `key = value`")
            continue
        value = lower_expression(argument.value, scope, sink, words=_WORDS)
        if argument.name.text in values:
            sink.report("SPAK532", f"`{argument.name.text}` is set twice", argument.name.span, "again here")
        values.setdefault(argument.name.text, value)
    return values


def lower_experiments(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Experiment]:
    """Every experiment of every file, by qualified name, with everything inherited through `like` merged in.

    What an experiment says replaces what it inherits: `train` and profiles key by key, `model` argument by
    argument if it is the same model (another model inherits no arguments and no `model.` settings of
    profiles), `data`, `protocol`, `optimizer`, `lr`, `vary` as a whole; laws by name. Reports names, cycles
    of `like`, statements twice. Whether a key or a value is right is checked later (check_experiment)."""
    found = [(node, file) for node, file in declarations(program, scope, nodes.Experiment)]
    own = {file.qualify(node.name.text): (node, file) for node, file in found}
    done: dict[str, Experiment] = {}
    for node, file in own.values():
        _experiment(node, file, own, done, [], sink)
    return done


def _experiment(
    node: nodes.Experiment,
    scope: Scope,
    own: Mapping[str, tuple[nodes.Experiment, Scope]],
    done: dict[str, Experiment],
    chain: list[nodes.Experiment],
    sink: Sink,
) -> Experiment | None:
    """The experiment, its parents first; None where `like` goes in a circle."""
    name = scope.qualify(node.name.text)
    if name in done:
        return done[name]
    if node in chain:
        names = " like ".join(f"`{link.name.text}`" for link in (*chain[chain.index(node) :], node))
        sink.report("SPAK533", "experiments are like each other in a circle", node.name.span, names)
        return None
    parent = None
    if node.like is not None:
        entry = scope.find(node.like.text)
        if entry is not None and entry.ref in own:
            parent = _experiment(*own[entry.ref], own, done, [*chain, node], sink)
        elif entry is None:
            report_unknown(node.like.text, node.like.span, scope, sink)
        else:
            _expected("an experiment", node.like.text, node.like.span, entry, sink)
    done[name] = _Lowering(node, parent, scope, sink).experiment()
    return done[name]


def _expected(what: str, name: str, span: Span, entry: Entry, sink: Sink) -> None:
    also = [(entry.span, "declared here")] if entry.span else ()
    sink.report("SPAK535", f"expected {what}, but `{name}` is {entry.what}", span, f"not {what}", also=also)


class _Lowering:
    """One experiment over its parent."""

    def __init__(
        self, node: nodes.Experiment, parent: Experiment | None, file_scope: Scope, sink: Sink
    ) -> None:
        self.node = node
        self.parent = parent
        self.sink = sink
        self.name = file_scope.qualify(node.name.text)
        self.scope = file_scope.child(Place.experiment, title=f"experiment {node.name.text}")

    def experiment(self) -> Experiment:
        parent = self.parent
        for item in self.node.items:
            if isinstance(item, nodes.Let):
                self.scope.add_let(item, self.sink)
        lets = lower_lets(self.node.items, self.scope, (self.name,), self.sink)
        model, overrides = self._model()
        train = self._once(nodes.Train)
        optimizer, lr = self._once(nodes.Optimizer), self._once(nodes.LearningRate)
        own_train = _arguments(train.arguments, self.scope, self.sink) if train else {}
        protocol = self._once(nodes.OfProtocol)
        return Experiment(
            self.name,
            parent.name if parent else None,
            model,
            overrides,
            self._data(),
            self._entity(protocol.name, "a protocol") if protocol else (parent.protocol if parent else None),
            {**(parent.train if parent else {}), **own_train},
            self._value(optimizer.value) if optimizer else (parent.optimizer if parent else None),
            self._value(lr.value) if lr else (parent.lr if parent else None),
            self._vary(),
            self._profiles(same_model=parent is not None and parent.model == model),
            self._laws(),
            (*(parent.lets if parent else ()), *lets),
            span=self.node.name.span,
        )

    def _value(self, node: nodes.Expr) -> Expr:
        return lower_expression(node, self.scope, self.sink, words=_WORDS)

    def _once(self, kind: type[_Item]) -> _Item | None:
        items = [item for item in self.node.items if isinstance(item, kind)]
        for extra in items[1:]:
            also = [(items[0].span, "the first one")]
            self.sink.report("SPAK532", "an experiment says this once", extra.span, "again here", also=also)
        return items[0] if items else None

    def _model(self) -> tuple[str, dict[str, Expr]]:
        parent = self.parent
        statement = self._once(nodes.OfModel)
        if statement is None:
            if parent is None and self.node.like is None:
                where = self.node.name.span
                self.sink.report(
                    "SPAK534", f"experiment `{self.node.name.text}` has no model", where, "declared here"
                )
            return (parent.model, dict(parent.overrides)) if parent is not None else ("", {})
        value = statement.value
        function = value.function if isinstance(value, nodes.Call) else value
        name = self._entity(function, "a model")
        arguments = (
            _arguments(value.arguments, self.scope, self.sink) if isinstance(value, nodes.Call) else {}
        )
        inherited = parent.overrides if parent is not None and parent.model == name else {}
        return name or "", {**inherited, **arguments}

    def _entity(self, node: nodes.Expr | nodes.Name, what: str) -> str | None:
        """The qualified name of a declared thing of the kind `what`."""
        expr = nodes.NameExpr(node.text, span=node.span) if isinstance(node, nodes.Name) else node
        entry = find_entry(expr, self.scope, self.sink)
        if entry is None:
            return None
        if entry.what != what:
            _expected(what, expr.span.text, expr.span, entry, self.sink)
            return None
        return entry.ref

    def _data(self) -> tuple[str, ...]:
        statement = self._once(nodes.OfData)
        if statement is None:
            if self.parent is None and self.node.like is None:
                where = self.node.name.span
                self.sink.report(
                    "SPAK536", f"experiment `{self.node.name.text}` has no data", where, "declared here"
                )
            return self.parent.data if self.parent is not None else ()
        names = (self._entity(value, "a dataset") for value in statement.values)
        return tuple(name for name in names if name is not None)

    def _vary(self) -> tuple[tuple[tuple[str, ...], Domain], ...]:
        statement = self._once(nodes.Vary)
        if statement is None:
            return self.parent.vary if self.parent else ()
        check_unique(
            [name for binder in statement.binders for name in binder.names], "a varied setting", self.sink
        )
        return tuple(
            (tuple(name.text for name in binder.names), lower_domain(binder.domain, self.scope, self.sink))
            for binder in statement.binders
        )

    def _profiles(self, *, same_model: bool) -> dict[str, dict[str, Expr]]:
        profiles: dict[str, dict[str, Expr]] = {}
        for name, settings in self.parent.profiles.items() if self.parent else ():
            profiles[name] = {
                key: value for key, value in settings.items() if same_model or not key.startswith("model.")
            }
        own = [item for item in self.node.items if isinstance(item, nodes.Profile)]
        check_unique([item.name for item in own], "a profile", self.sink)
        for item in own:
            values: dict[str, Expr] = {}
            for setting in item.settings:
                if setting.key in values:
                    self.sink.report("SPAK532", f"`{setting.key}` is set twice", setting.span, "again here")
                values.setdefault(setting.key, self._value(setting.value))
            profiles[item.name.text] = {**profiles.get(item.name.text, {}), **values}
        return profiles

    def _laws(self) -> tuple[Law, ...]:
        laws = {law.name: law for law in (self.parent.laws if self.parent else ())}
        for law in lower_laws(self.node.items, self.scope.at(Place.law), (self.name,), self.sink):
            laws[law.name] = law
        return tuple(laws.values())
