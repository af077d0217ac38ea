"""Models of the syntax tree to `ir.model.Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spakc.diagnostics import Sink
from spakc.ir.model import Assign, Loop, Model, Part, Repeat, Step, Supervise, Value
from spakc.ir.ops import Expr, RefKind
from spakc.ir.queries import Place
from spakc.lower.expressions import lower_domain, lower_expression
from spakc.lower.files import declarations
from spakc.lower.program import Program
from spakc.lower.propositions import lower_laws, lower_lets
from spakc.lower.resolve import Scope, nearest, report_unknown
from spakc.syntax import nodes

OPERATIONS = (
    "activation",
    "attention",
    "contract",
    "expand",
    "linear",
    "loss",
    "norm",
    "optimizer",
    "residual",
    "rotation",
)
"""What `uses K for op` may name. The products of `mlp`, of attention's projections and of `unembed` are
`linear`; `activation` is that of `mlp`; `expand` is its first product with the activation, `contract` the activation
with the second product; `residual` is a sum and the norm that reads it; `rotation` turns queries and
keys by rotary positions; `loss` and `optimizer` belong to the training of the model."""

SIZES = ("B", "T", "vocab")


def lower_models(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Model]:
    """Every model of every file, by qualified name.

    Needs `scope.files` with the declared names of each file. Guarantees: names are resolved, lets inlined,
    hypers refer to earlier hypers only, part calls are queries `part.<name>`, an op is used by one kernel
    at most. Reports SPAK5xx for what is missing, twice or out of place; leaves shapes and values alone."""
    models = (_Lowering(node, file, sink).model() for node, file in declarations(program, scope, nodes.Model))
    return {model.name: model for model in models}


class _Lowering:
    """One model."""

    def __init__(self, node: nodes.Model, file_scope: Scope, sink: Sink) -> None:
        self.node = node
        self.name = file_scope.qualify(node.name.text)
        self.sink = sink
        self.scope = file_scope.child(Place.model, title=f"model {node.name.text}")

    def model(self) -> Model:
        node, scope = self.node, self.scope
        items = node.items
        scope.announce([hyper.name for hyper in items if isinstance(hyper, nodes.Hyper)])
        hypers = self._hypers()
        for item in items:
            if isinstance(item, nodes.Let):
                scope.add_let(item, self.sink)
        lets = lower_lets(items, scope, (self.name,), self.sink)
        parts = self._parts()
        forwards = [item for item in items if isinstance(item, nodes.Forward)]
        self._at_most_one(forwards, "forward")
        if forwards:
            forward = self._body("forward", forwards[0])
        else:
            self.sink.report(
                "SPAK505", f"model `{node.name.text}` has no forward", node.name.span, "declared here"
            )
            forward = Part("forward", (), Value("logits", None, (), span=node.span), (), span=node.span)
        haltings = [item for item in items if isinstance(item, nodes.Halting)]
        self._at_most_one(haltings, "halting")
        supervised = [item for item in items if isinstance(item, nodes.Supervise)]
        self._at_most_one(supervised, "supervise")
        return Model(
            self.name,
            hypers,
            self._uses(),
            parts,
            forward,
            self._halting(haltings[0]) if haltings else None,
            self._supervise(supervised[0], parts) if supervised else None,
            lower_laws(items, scope.at(Place.law), (self.name,), self.sink),
            lets,
            span=node.name.span,
        )

    def _at_most_one(self, items: Sequence[nodes.Node], what: str) -> None:
        for extra in items[1:]:
            also = [(items[0].span, "the first one")]
            self.sink.report("SPAK506", f"a model has one `{what}`", extra.span, "one more", also=also)

    # ---- declarations -----------------------------------------------------------------------------------

    def _hypers(self) -> dict[str, Expr]:
        hypers: dict[str, Expr] = {}
        for item in self.node.items:
            if isinstance(item, nodes.Hyper):
                value = lower_expression(item.value, self.scope, self.sink)
                self.scope.add(item.name, "a hyper", RefKind.hyper, self.sink)
                hypers.setdefault(item.name.text, value)
        return hypers

    def _uses(self) -> dict[str, str]:
        uses: dict[str, str] = {}
        first: dict[str, nodes.Name] = {}
        for item in self.node.items:
            if not isinstance(item, nodes.Uses):
                continue
            entry = self.scope.find(item.kernel.text)
            if entry is None:
                report_unknown(item.kernel.text, item.kernel.span, self.scope, self.sink)
            elif entry.what != "a kernel":
                self.sink.report(
                    "SPAK507",
                    f"`{item.kernel.text}` is {entry.what}, no kernel",
                    item.kernel.span,
                    "expected a kernel",
                    also=[(entry.span, "declared here")] if entry.span else (),
                )
            for op in item.ops:
                if op.text not in OPERATIONS:
                    close = nearest(op.text, OPERATIONS, self.sink)
                    self.sink.report(
                        "SPAK508",
                        f"a model has no operation `{op.text}`",
                        op.span,
                        "no operation",
                        help=[f"did you mean `{close}`?" if close else f"one of {', '.join(OPERATIONS)}"],
                    )
                elif op.text in first:
                    also = [(first[op.text].span, "already given to a kernel here")]
                    self.sink.report(
                        "SPAK509", f"two kernels for `{op.text}`", op.span, "given again here", also=also
                    )
                else:
                    first[op.text] = op
                    if entry is not None:
                        uses[op.text] = entry.ref
        return uses

    # ---- bodies -----------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Part]:
        """In the order written; a part may call the parts above it, so no part can reach itself."""
        items = [item for item in self.node.items if isinstance(item, nodes.Part)]
        self.scope.announce([item.name for item in items])
        parts: dict[str, Part] = {}
        for item in items:
            part = self._body(item.name.text, item)
            self.scope.add(
                item.name, "a part", RefKind.entity, self.sink, ref=f"part.{item.name.text}", callee=True
            )
            parts.setdefault(item.name.text, part)
        return parts

    def _body(self, name: str, node: nodes.Part | nodes.Forward) -> Part:
        title = "forward" if isinstance(node, nodes.Forward) else f"part {name}"
        scope = self.scope.child(title=title)
        for size in SIZES:
            if scope.find(size) is None:
                span = node.span
                scope.add(nodes.Name(size, span=span), "a size", RefKind.dim, self.sink)
        params = tuple(self._value(param, scope) for param in node.params)
        inner = scope.child()
        for param in node.params:
            inner.add(param.name, "a value", RefKind.local, self.sink)
        body = self._steps(node.body, inner)
        result = self._value(node.result, scope)
        span = node.name.span if isinstance(node, nodes.Part) else node.result.span
        return Part(name, params, result, body, span=span)

    def _value(self, param: nodes.Param, scope: Scope) -> Value:
        shape = tuple(lower_expression(size, scope, self.sink) for size in param.shape)
        dtype = param.types[0].name if param.types else None
        if dtype not in (None, "int", "int32", "int64"):
            self.sink.report(
                "SPAK510",
                f"a model's value cannot be `{dtype}`",
                param.types[0].span,
                "tokens are `int`; everything else takes the model's own precision",
                help=["leave the type out, and say `precision` in `train(…)`"],
            )
        return Value(param.name.text, "int" if dtype else None, shape, span=param.name.span)

    def _steps(self, body: Sequence[nodes.Node], scope: Scope) -> tuple[Step, ...]:
        return tuple(step for node in body for step in self._step(node, scope))

    def _step(self, node: nodes.Node, scope: Scope) -> list[Step]:
        match node:
            case nodes.Assign():
                value = lower_expression(node.value, scope, self.sink)
                if node.name.text not in scope.entries:
                    self._local(node.name, scope)
                return [Assign(node.name.text, value, span=node.name.span)]
            case nodes.Repeat():
                count = lower_expression(node.count, scope, self.sink)
                return [Repeat(count, self._steps(node.body, scope), span=node.span)]
            case nodes.Loop():
                domain = lower_domain(node.domain, scope, self.sink)
                initial = lower_expression(node.initial, scope, self.sink)
                if node.carry.text not in scope.entries:
                    self._local(node.carry, scope)
                inner = scope.child()
                inner.entries.update(scope.entries)  # what the body assigns stays visible after it
                inner.add(node.index, "the index of a loop", RefKind.local, self.sink)
                body = self._steps(node.body, inner)
                return [Loop(node.index.text, domain, node.carry.text, initial, body, span=node.span)]
        return []

    def _local(self, name: nodes.Name, scope: Scope) -> None:
        outer = scope.find(name.text)
        if outer is not None and outer.kind is RefKind.hyper:
            self.sink.report(
                "SPAK511",
                f"`{name.text}` is a hyper and cannot be assigned",
                name.span,
                "assigned here",
                also=[(outer.span, "declared here")] if outer.span else (),
            )
            return
        scope.add(name, "a value", RefKind.local, self.sink)

    # ---- readout rules ----------------------------------------------------------------------------------

    def _halting(self, node: nodes.Halting) -> dict[str, Expr]:
        scope = self.scope.at(Place.halting)
        settings: dict[str, Expr] = {}
        for setting in node.settings:
            words = ("exit", "freeze") if setting.key == "mode" else ()
            value = lower_expression(setting.value, scope, self.sink, words=words)
            if setting.key in settings:
                self.sink.report("SPAK506", f"`{setting.key}` is set twice", setting.span, "again here")
            settings.setdefault(setting.key, value)
        return settings

    def _supervise(self, node: nodes.Supervise, parts: Mapping[str, Part]) -> Supervise:
        if node.part.text not in parts:
            report_unknown(node.part.text, node.part.span, self.scope, self.sink, words=tuple(parts))
        scope = self.scope.child()
        scope.add(node.index, "the index of a loop", RefKind.local, self.sink)
        domain = lower_domain(node.domain, self.scope, self.sink)
        return Supervise(node.part.text, node.index.text, domain, span=node.span)
