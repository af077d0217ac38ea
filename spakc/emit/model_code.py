"""A checked model as the pieces of a Python file: classes, constructor lines, forward lines.

Decides nothing: what each operation is and how wide it works comes from the model and from shape inference.
The template (templates/torch/model.py.j2) puts the pieces together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from spakc.check.model_shapes import Shapes
from spakc.emit.model_ops import AttentionClass, MlpClass, NormClass
from spakc.emit.model_part import Factors, PartWriter
from spakc.emit.model_text import (
    class_name,
    flag,
    hyper_name,
    scalar,
    signature,
    tensor_text,
    times,
    word,
    wrapped,
)
from spakc.ir.model import Loop, Model, runs_of
from spakc.ir.ops import Const, Interval, Query
from spakc.ir.visit import walk
from spakc.record import record

Form = TypeVar("Form", AttentionClass, MlpClass, NormClass)


@record
class LoopInfo:
    """Texts over `self.config`. `read` : the state after a loop can be read out by a supervised part."""

    count: str
    supervised_first: str
    supervised_last: str
    read: bool
    by_input: bool = False


@record
class HaltingInfo:
    mode: str
    earliest: str
    threshold: str


class ModelCode:
    """Everything the template asks. Needs a model that `check_model` accepted, its shapes, and the values of
    its hypers in the experiment (defaults of the generated Config)."""

    def __init__(self, model: Model, shapes: Shapes, hypers: Mapping[str, bool | int | float | str]) -> None:
        self.model = model
        self.shapes = shapes
        self.name = class_name(model.name.rpartition(".")[2])
        self.features: set[str] = set()
        self.ops: set[str] = set()
        self.norms: list[NormClass] = []
        self.mlps: list[MlpClass] = []
        self.attentions: list[AttentionClass] = []
        self.markers: list[str] = []
        self.places: dict[str, str] = {}  # how positions are made -> the variable that holds them
        self.writers: dict[str, Counter[Factors]] = {}  # part -> how often it writes to the residual stream
        self.extras: dict[str, list[str]] = {}  # part -> what it needs beside its declared arguments
        self.needs: dict[str, tuple[str, ...]] = {}  # part -> what its constructor takes
        self.embedding = "self.embed.weight"
        self.fields = [_config_field(name, value) for name, value in hypers.items()]
        self.halting = self._halting()
        self.loop = self._loop()
        self.parts = [PartWriter(self, part).written() for part in model.parts.values()]
        self.root = PartWriter(self, model.forward).written()
        self.residual = " | ".join(sorted([a.name for a in self.attentions] + [m.name for m in self.mlps]))
        self.branches = " + ".join(times(count, f) for f, count in self.writers["forward"].items()) or "1"

    def constructor(self, needs: Sequence[str]) -> str:
        """The first line of a class's constructor."""
        kinds = {"config": "config: Config", "ops": "ops: Any"}
        return self.signature("def __init__", [kinds[name] for name in needs], "None")

    def signature(self, start: str, parameters: list[str], result: str) -> str:
        """`def start(self, …) -> result:`, in several lines if it is long; indented as a method."""
        return "\n    ".join(signature(start, ["self", *parameters], result))

    def lines(self, statement: str) -> list[str]:
        """A statement in lines that are not too long."""
        return wrapped(statement)

    def has(self, feature: str) -> bool:
        return feature in self.features

    def uses(self, op: str) -> bool:
        return op in self.model.uses

    @property
    def windowed(self) -> bool:
        """Every attention is, so that a long document costs what its tokens do, not their square."""
        return all(attention.positions == "window" for attention in self.attentions)

    @property
    def by_kernel(self) -> str:
        return ", ".join(sorted(op for op in self.model.uses if op in self.ops))

    def linear(self, x: str, weight: str, bias: str = "") -> str:
        """The text of a product with a weight."""
        arguments = ", ".join(filter(None, (x, weight, bias)))
        return f"{'self.ops' if self.uses('linear') else 'F'}.linear({arguments})"

    # ---- forms of operations ------------------------------------------------------------------------

    def norm(self, node: Query, narrow: bool) -> NormClass:
        named = dict(node.named)
        kind = word(named.get("kind"), "layer")
        weight, bias = flag(named.get("weight"), True), flag(named.get("bias"), False)
        name = "LayerNorm" if kind == "layer" else "RMSNorm"
        return _form(self.norms, lambda suffix: NormClass(name + suffix, kind, weight, bias, narrow))

    def mlp(self, node: Query) -> MlpClass:
        named = dict(node.named)
        bias, act = self.bias(node), word(named.get("activation"), "gelu")
        linear = self.uses("linear")
        together = linear and act != "identity" and (self.uses("expand") or self.uses("contract"))
        if together:
            self.ops |= {"expand", "contract"}
        by_kernel = (self.uses("activation") or together) and act != "identity"
        return _form(
            self.mlps, lambda suffix: MlpClass("MLP" + suffix, act, bias, by_kernel, linear, together)
        )

    def attention(self, node: Query, positions: str) -> AttentionClass:
        named = dict(node.named)
        bias = self.bias(node)

        def form(suffix: str) -> AttentionClass:
            return AttentionClass(
                "Attention" + suffix,
                positions,
                flag(named.get("causal"), True),
                "groups" in named,
                "window" in named,
                "softcap" in named,
                bias,
                self.uses("attention"),
                self.uses("linear"),
            )

        return _form(self.attentions, form)

    def bias(self, node: Query) -> bool:
        bias = flag(dict(node.named).get("bias"), False)
        if bias:
            self.features.add("linear_bias")
        return bias

    def place(self, constructor: str, name: str) -> str:
        """The variable that holds some positions; the root makes it once in a forward pass."""
        if constructor not in self.places:
            taken = sum(other.rstrip("0123456789").rstrip("_") == name for other in self.places.values())
            self.places[constructor] = f"{name}_{taken + 1}" if taken else name
        return self.places[constructor]

    # ---- loops and halting --------------------------------------------------------------------------

    def _loop(self) -> LoopInfo | None:
        loop = next((step for step in self.model.forward.body if isinstance(step, Loop)), None)
        if loop is None:
            return None
        assert isinstance(loop.domain, Interval)
        count = scalar(loop.domain.last, "self.config.")
        supervise = self.model.supervise
        if supervise is None:
            return LoopInfo(count, count, count, read=False, by_input=runs_of(loop) is not None)
        domain = supervise.domain
        assert isinstance(domain, Interval)
        first, last = (scalar(bound, "self.config.") for bound in (domain.first, domain.last))
        return LoopInfo(count, first, last, read=True)

    def _halting(self) -> HaltingInfo | None:
        settings = self.model.halting
        if settings is None:
            return None
        for value in settings.values():
            for node in walk(value):
                if isinstance(node, Query) and node.name == "after" and isinstance(node.args[0], Const):
                    marker = str(node.args[0].value)
                    if marker not in self.markers:
                        self.markers.append(marker)
        threshold = tensor_text(settings["threshold"], "self.config.", self.markers)
        if not self.markers:
            threshold = f"torch.full(tokens.shape, float({threshold}), device=tokens.device)"
        earliest = scalar(settings.get("earliest", Const(1)), "self.config.")
        return HaltingInfo(word(settings.get("mode"), "exit"), earliest, threshold)


def _form(forms: list[Form], make: Callable[[str], Form]) -> Form:
    """The class for an operation's form: one that is there already, or a new one, numbered from 2 on."""
    for number, form in enumerate(forms, 1):
        if form == make("" if number == 1 else str(number)):
            return form
    new = make("" if not forms else str(len(forms) + 1))
    forms.append(new)
    return new


def _config_field(name: str, value: bool | int | float | str) -> str:
    return f"{hyper_name(name)}: {type(value).__name__} = {value!r}"
