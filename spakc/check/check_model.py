"""Models: shapes line by line, and whether every operation says something that can be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spakc.check.check_divisors import check_divisors
from spakc.check.check_dtypes import check_values
from spakc.check.model_shapes import Shapes, infer_model
from spakc.diagnostics import Sink
from spakc.ir.model import Loop, Model, Part, Repeat, Step, queries, runs_of
from spakc.ir.module import Module
from spakc.ir.ops import ACTIVATIONS, Apply, Const, Expr, Interval, Query, Ref, RefKind
from spakc.ir.visit import children, walk
from spakc.source import Span

_TENSOR_OPS = frozenset(ACTIVATIONS) | frozenset(
    "add sub mul div neg where exp log exp2 log2 sqrt rsqrt sin cos erf".split()  # noqa: SIM905
)
_FLAGS = ("causal", "tied", "bias", "weight")
_ABSOLUTE = ("learned", "none", "coupled")
_TOLD = ("SPAK513", "SPAK517", "SPAK518")
HALTING = ("mode", "earliest", "confidence", "threshold")


def check_models(module: Module, sink: Sink) -> Mapping[str, Shapes]:
    """The shapes of every model.

    Needs a lowered module. Guarantees for a model without a diagnostic: every value has a shape that fits,
    every width is known, every operation, loop, supervision and halting rule can be built. Reports
    SPAK501-519. Leaves laws and the values of hypers to the experiments that choose them."""
    shapes = {}
    for name, model in module.models.items():
        shapes[name] = infer_model(model, sink)
        _Check(model, sink).run()
    return shapes


class _Check:
    """One model."""

    def __init__(self, model: Model, sink: Sink) -> None:
        self.model = model
        self.sink = sink

    def error(self, code: str, message: str, span: Span | None, label: str, *help: str) -> None:
        self.sink.report(code, message, span, label, help=help)

    def run(self) -> None:
        model = self.model
        self._forward(model.forward)
        for part in (*model.parts.values(), model.forward):
            for step, loop in _steps(part.body, None):
                self._step(step, loop)
                for expr in _expressions(step):
                    self._expression(expr, part, loop)
                self._values(step)
        for name, value in model.hypers.items():
            if not (isinstance(value, Const | Apply | Ref)):
                self.error(
                    "SPAK518", f"hyper `{name}` is no number and no truth value", value.span, "its value"
                )
        self._embeddings()
        self._supervision()
        self._halting()

    def _forward(self, forward: Part) -> None:
        if len(forward.params) != 1 or forward.params[0].dtype != "int" or len(forward.params[0].shape) != 2:
            span = forward.params[0].span if forward.params else forward.span
            self.error("SPAK512", "forward takes the tokens", span, "expected `tokens: int [B, T]`")

    # ---- statements ---------------------------------------------------------------------------------

    def _step(self, step: Step, outer: Loop | None) -> None:
        if isinstance(step, Loop):
            domain = step.domain
            if not isinstance(domain, Interval) or domain.by is not None or domain.first != Const(1):
                self.error("SPAK513", "a loop counts from 1 in steps of 1", domain.span, "not such a range")
            if outer is not None:
                self.error("SPAK513", "a loop stands inside another", step.span, "the inner one")
            self._by_input(step)
        if isinstance(step, Repeat):
            self._known(step.count, "the number of layers")

    def _by_input(self, loop: Loop) -> None:
        """A loop that each document goes through as often as its longest number says."""
        asked = runs_of(loop)
        if asked is None:
            return
        forward = self.model.forward
        tokens = forward.params[0].name if forward.params else ""
        others = [
            n for bound in children(loop.domain) for n in walk(bound) if isinstance(n, Query) and n != asked
        ]
        argument = asked.args[0] if asked.args else None
        if asked.name != "longest_run" or others or loop not in forward.body:
            self.error(
                "SPAK513",
                "a loop runs as often as hypers say, or in forward as `longest_run(tokens)` says",
                asked.span,
                "neither",
            )
        elif not (isinstance(argument, Ref) and argument.name == tokens):
            self.error("SPAK513", f"`longest_run` is that of `{tokens}`", asked.span, "of something else")
        elif (odd := _uncounted(loop)) is not None:
            message = "loops that the input counts grow with `longest_run(tokens)`: `+`, `*`, less hypers, over hypers"
            self.error("SPAK513", message, odd.span, "no number for each document")
        elif self.model.supervise is not None:
            message = "`supervise` counts loops, whose number is the input's here"
            self.error("SPAK516", message, self.model.supervise.span, "only the last one is read")

    def _values(self, step: Step) -> None:
        """What a statement computes with: numbers and truths."""
        values = children(step.domain) if isinstance(step, Loop) else ()
        values += (step.count,) if isinstance(step, Repeat) else _expressions(step)
        if not any(self.sink.has(code, value.span) for code in _TOLD for value in values):
            check_values(values, "a value of a model", self.sink)
            for value in values:
                check_divisors(value, self.sink)
                self._foreign(value)

    def _foreign(self, value: Expr) -> None:
        """What a model computes is the same on every device, and is written down as arithmetic."""
        for node in walk(value):
            if isinstance(node, Ref) and node.kind is RefKind.fact:
                self.error("SPAK517", "a model knows no device", node.span, "a fact of a device")
            if isinstance(node, Apply) and node.op == "member":
                advice = "write comparisons: `n == 8 or n == 16`"
                self.error(
                    "SPAK517", "`in` has no meaning in what a model computes", node.span, "used here", advice
                )

    def _known(self, expr: Expr, what: str) -> None:
        """Over hypers alone: known before training."""
        for node in walk(expr):
            if isinstance(node, Query) or (isinstance(node, Ref) and node.kind is not RefKind.hyper):
                self.error("SPAK517", f"{what} is known before training", node.span, "this is not")
                return

    # ---- operations ---------------------------------------------------------------------------------

    def _expression(self, expr: Expr, part: Part, loop: Loop | None) -> None:
        for node in walk(expr):
            if isinstance(node, Query):
                self._operation(node, part, loop)
            elif isinstance(node, Apply) and _over_tensors(node) and node.op not in _TENSOR_OPS:
                self.error(
                    "SPAK517", f"`{node.op}` does not work on tensors of a model", node.span, "used here"
                )
            elif isinstance(node, Apply) and node.op == "where":
                self._known(node.args[0], "the condition of `where` in a model")

    def _operation(self, node: Query, part: Part, loop: Loop | None) -> None:
        named = dict(node.named)
        for flag in _FLAGS:
            value = named.get(flag)
            if value is not None and not (isinstance(value, Const) and isinstance(value.value, bool)):
                self.error("SPAK518", f"`{flag}` is `true` or `false`", value.span, "neither")
        for name in (
            "heads",
            "groups",
            "hidden",
            "out",
            "window",
            "softcap",
            "eps",
            "clip",
            "scale",
            "random_offset",
        ):
            if name in named:
                self._known(named[name], f"`{name}`")
        if "positions" in named:
            self._positions(node, named["positions"])
        if node.name == "embed" and part is not self.model.forward:
            self.error("SPAK514", "tokens are embedded in forward", node.span, "in a part")
        if node.name == "unembed" and named.get("tied") == Const(True) and "bias" in named:
            self.error("SPAK514", "a tied unembedding has no bias", node.span, "here")
        if node.name == "step":
            index = node.args[0]
            if loop is None or not (isinstance(index, Ref) and index.name == loop.index):
                self.error(
                    "SPAK513", "`step` takes the index of the loop around it", node.span, "no such loop"
                )
            elif runs_of(loop) is not None:
                message = "`step` has a vector for every loop, but their number is the input's"
                self.error("SPAK513", message, node.span, "no table of a known size")
        if node.name == "longest_run":
            self.error("SPAK517", "`longest_run` says how often a loop runs", node.span, "in a body")
        if node.name == "after":
            self.error("SPAK517", "`after` belongs in a halting rule", node.span, "in a body")

    def _positions(self, node: Query, positions: Expr) -> None:
        name = positions.name if isinstance(positions, Query | Ref) else ""
        known = ("rope", "relative", "window", *_ABSOLUTE)
        if name not in known or (isinstance(positions, Ref) and name not in ("learned", "none")):
            self.error("SPAK515", "these are no positions", positions.span, "none of " + ", ".join(known))
            return
        if node.name == "embed" and name not in _ABSOLUTE:
            self.error(
                "SPAK515",
                f"`{name}` compares two places",
                positions.span,
                "an embedding sees one",
                "give it to `attention`",
            )
        if isinstance(positions, Query) and name in ("relative", "window", "coupled"):
            index = dict(positions.named).get("index")
            if isinstance(index, Ref) and index.name != "digit_run":
                self.error(
                    "SPAK515", f"`{name}` counts in runs of digits", index.span, "write `index = digit_run`"
                )
        causal = dict(node.named).get("causal")
        if name in ("relative", "window") and causal == Const(False):
            self.error("SPAK515", f"`{name}` looks to the left only", node.span, "not causal")

    def _embeddings(self) -> None:
        nodes = [e for part in _parts(self.model) for e in queries(part.body)]
        embeds = [node for node in nodes if node.name == "embed"]
        tied = [n for n in nodes if n.name == "unembed" and dict(n.named).get("tied") == Const(True)]
        if tied and len(embeds) != 1:
            how = "no embedding" if not embeds else f"{len(embeds)} embeddings"
            self.error(
                "SPAK514",
                f"a tied unembedding shares one embedding; this model has {how}",
                tied[0].span,
                "tied",
            )

    # ---- readout rules ------------------------------------------------------------------------------

    def _supervision(self) -> None:
        supervise = self.model.supervise
        if supervise is None:
            return
        loops = [step for step in self.model.forward.body if isinstance(step, Loop)]
        if len(loops) != 1:
            self.error(
                "SPAK516", "`supervise` reads one loop of forward", supervise.span, f"it has {len(loops)}"
            )
        elif loops[0].index != supervise.index:
            self.error(
                "SPAK516",
                f"no loop counts `{supervise.index}`",
                supervise.span,
                f"it counts `{loops[0].index}`",
            )
        part = self.model.parts.get(supervise.part)
        if part is not None and len(part.params) != 1:
            self.error(
                "SPAK516", f"part `{part.name}` reads the state of a loop alone", part.span, "takes more"
            )
        if not isinstance(supervise.domain, Interval) or supervise.domain.by is not None:
            self.error(
                "SPAK516",
                "the supervised loops are a range `first .. last`",
                supervise.domain.span,
                "no range",
            )
        else:
            self._known(supervise.domain.first, "the first supervised loop")
            self._known(supervise.domain.last, "the last supervised loop")

    def _halting(self) -> None:
        settings = self.model.halting
        if settings is None:
            return
        where = next((value.span for value in settings.values()), self.model.span)
        if self.model.supervise is None:
            self.error(
                "SPAK519", "a model that halts says what is read out: `supervise part at …`", where, "here"
            )
        for name, value in settings.items():
            if name not in HALTING:
                self.error("SPAK519", f"halting has no `{name}`", value.span, "one of " + ", ".join(HALTING))
        if "threshold" not in settings:
            self.error("SPAK519", "halting needs a threshold", where, "`threshold = …` is missing")
        mode = settings.get("mode")
        if mode is not None and not (isinstance(mode, Ref) and mode.name in ("exit", "freeze")):
            self.error("SPAK519", "the mode is `exit` or `freeze`", mode.span, "neither")
        confidence = settings.get("confidence")
        if confidence is not None and not (
            isinstance(confidence, Query) and confidence.name == "max_probability"
        ):
            self.error("SPAK519", "the confidence is `max_probability`", confidence.span, "another")
        if "earliest" in settings:
            self._known(settings["earliest"], "`earliest`")
        if "threshold" in settings:
            check_values((settings["threshold"],), "a threshold", self.sink)
            check_divisors(settings["threshold"], self.sink)
        for node in walk(settings.get("threshold", Const(1.0))):
            if isinstance(node, Query) and node.name == "after":
                marker = node.args[0]
                if isinstance(marker, Const) and len(str(marker.value)) != 1:
                    self.error(
                        "SPAK519", "`after` waits for one token", marker.span, "more than one character"
                    )
            elif isinstance(node, Query):
                self.error("SPAK519", "a threshold is over hypers and `after`", node.span, "not this")


def _parts(model: Model) -> tuple[Part, ...]:
    return (*model.parts.values(), model.forward)


def _steps(body: tuple[Step, ...], loop: Loop | None) -> Iterator[tuple[Step, Loop | None]]:
    """Every statement with the loop around it."""
    for step in body:
        yield step, loop
        if isinstance(step, Loop):
            yield from _steps(step.body, step)
        elif isinstance(step, Repeat):
            yield from _steps(step.body, loop)


def _expressions(step: Step) -> tuple[Expr, ...]:
    if isinstance(step, Loop):
        return (step.initial,)
    return () if isinstance(step, Repeat) else (step.value,)


def _over_tensors(node: Apply) -> bool:
    """Whether an element-wise operation touches a value of the model."""
    inside = [n for argument in node.args for n in walk(argument)]
    return any(isinstance(n, Query) or (isinstance(n, Ref) and n.kind is RefKind.local) for n in inside)


def _uncounted(loop: Loop) -> Apply | None:
    """What in the number of loops does not grow with `longest_run(tokens)`, or is not computed for every document of a
    batch at once: a training step runs as often as its longest document needs, and a document without a digit divides
    nothing."""
    for bound in children(loop.domain):
        for node in walk(bound):
            if isinstance(node, Apply) and (
                node.op not in ("add", "mul", "sub", "floordiv")
                or (node.op in ("sub", "floordiv") and any(isinstance(n, Query) for n in walk(node.args[1])))
            ):
                return node
    return None
