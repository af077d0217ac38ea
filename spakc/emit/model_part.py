"""One part of a model as a class: its constructor lines and its forward lines, statement by statement."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spakc.emit.model_ops import place_type
from spakc.emit.model_text import (
    STRENGTH,
    attribute,
    bare,
    class_name,
    factor,
    flag,
    indented,
    located,
    safe,
    scalar,
    tensor_text,
    word,
    wrapped,
)
from spakc.ir.model import Assign, Loop, Part, Repeat, Step, queries, runs_of
from spakc.ir.ops import Apply, Const, Expr, Interval, Query, Ref, RefKind

if TYPE_CHECKING:
    from spakc.emit.model_code import ModelCode

Factors = tuple[str, ...]

_EPSILON = {"layer": 1e-5, "rms": 1e-6}


@dataclass(slots=True)
class Class:
    """A generated module: a part of the model, or its root. Lines have their relative indentation."""

    name: str
    title: str
    parameters: list[str]
    needs: tuple[str, ...]  # of config and ops, what its constructor takes
    init: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)


class PartWriter:
    """One part as a class. Every call in the text has weights of its own; a loop runs the same call again."""

    def __init__(self, code: ModelCode, part: Part) -> None:
        self.code = code
        self.part = part
        self.is_root = part is code.model.forward
        self.total = Counter(_base(node) for node in queries(part.body))
        self.seen: Counter[str] = Counter()
        self.init: list[tuple[str, str]] = []
        self.extras: list[str] = []
        self.writes: Counter[Factors] = Counter()
        self.repeats: list[tuple[str, str, str]] = []  # variable, count over `config.`, over `self.config.`
        self.around: list[str] = []  # counts of the repeats and loops around the current line
        self.multiplied: Expr | None = None  # what products are about to read, and nothing else does
        self.calls: dict[str, str] = {}  # part -> the attribute of its last call
        self.tokens = safe(part.params[0].name)

    def written(self) -> Class:
        code, part = self.code, self.part
        body = self.steps(part.body)
        result = safe(part.result.name)
        if body and body[-1].startswith(f"{result} = "):
            body[-1] = "return " + body[-1].removeprefix(f"{result} = ")
        else:
            body.append(f"return {result}")
        if self.is_root:
            body = [f"{variable} = {made}" for made, variable in self._made_places()] + body
        code.writers[part.name] = self.writes
        code.extras[part.name] = self.extras
        init = [f"self.{name} = {constructor}" for name, constructor in self.init]
        if self.is_root:
            init += [
                f"self.{variable} = {made}" for made, variable in code.places.items() if "torch." not in made
            ]
        else:
            init = ["self.config = config"] * any("self.config." in line for line in body) + init
        if any("self.ops." in line for line in body):
            init.insert(0, "self.ops = ops")
        code.needs[part.name] = tuple(
            name for name in ("config", "ops") if any(re.search(rf"\b(?<!\.){name}\b", line) for line in init)
        )
        parameters = [f"{safe(value.name)}: Tensor" for value in part.params]
        parameters += [f"{extra}: {_type_of(extra)}" for extra in self.extras]
        return Class(
            code.name if self.is_root else class_name(part.name),
            f"`{part.name}` of {located(part.span)}.",
            parameters,
            code.needs[part.name],
            [line for statement in init for line in wrapped(statement)],
            [line for statement in body for line in wrapped(statement)],
        )

    def _made_places(self) -> list[tuple[str, str]]:
        return [
            (made if "torch." in made else f"self.{variable}({self.tokens})", variable)
            for made, variable in self.code.places.items()
        ]

    # ---- statements -------------------------------------------------------------------------------------

    def steps(self, body: tuple[Step, ...]) -> list[str]:
        lines: list[str] = []
        for step in body:
            match step:
                case Assign():
                    lines.append(f"{safe(step.name)} = {bare(self.text(step.value))}  # {located(step.span)}")
                case Repeat():
                    lines += self._repeat(step)
                case Loop():
                    lines += self._loop(step, lines)
        return lines

    def _repeat(self, step: Repeat) -> list[str]:
        variable = "ijkmn"[len(self.repeats) % 5]
        count, inner = scalar(step.count, "config."), scalar(step.count, "self.config.")
        self.repeats.append((variable, count, inner))
        self.around.append(count)
        body = self.steps(step.body)
        self.repeats.pop()
        self.around.pop()
        if not any(f"[{variable}]" in line for line in body):
            variable = "_"
        return [f"for {variable} in range({inner}):  # {located(step.span)}", *indented(body)]

    def _loop(self, step: Loop, before: list[str]) -> list[str]:
        code = self.code
        assert isinstance(step.domain, Interval)
        carry, index = safe(step.carry), safe(step.index)
        lines = (
            [f"{carry} = {self.text(step.initial)}"] if Ref(step.carry, RefKind.local) != step.initial else []
        )
        if lines and before and before[-1].partition("  # ")[0] == lines[0]:
            lines = []  # the line above says so already
        self.around.append(scalar(step.domain.last, "config."))
        body = self.steps(step.body)
        self.around.pop()
        last = scalar(step.domain.last, "self.config.")
        if runs_of(step) is not None:
            return [*lines, *self._by_input(step, carry, index, body)]
        if not (self.is_root and code.loop):
            return [*lines, self._turns(index, last, step), *indented(body)]
        lines.append("readings = []" if code.loop.read else "")
        after: list[str] = []
        if code.loop.read:
            assert code.model.supervise is not None
            read = self._part_call(code.model.supervise.part, [carry])
            if code.halting is not None:
                lines.append(f"halted = torch.zeros_like({self.tokens}, dtype=torch.bool)")
                body.insert(0, f"previous = {carry}")
                body += [
                    "if freeze:",
                    f"    {carry} = torch.where(halted[..., None], previous, {carry})",
                    f"    if {index} >= {code.halting.earliest}:",
                    f"        sure = {read}.float().softmax(-1).amax(-1)",
                    f"        halted = halted | (sure >= self.threshold({self.tokens}))",
                ]
            body += [f"if {index} in read_at:", f"    readings.append({read})"]
            after = ["if read_at:", "    return readings"]
        head = self._turns(index, f"(loops or {last})", step)
        return [*filter(None, lines), head, *indented(body), *after]

    def _turns(self, index: str, last: str, step: Loop) -> str:
        """The head of a loop. Turns whose products are a kernel's put their gradients together."""
        numbers = f"range(1, {last} + 1)"
        numbers = f"self.ops.turns({numbers})" if self.code.uses("linear") else numbers
        return f"for {index} in {numbers}:  # {located(step.span)}"

    def _by_input(self, step: Loop, carry: str, index: str, body: list[str]) -> list[str]:
        """A loop that every document goes through as often as it needs. A training step has no time to ask the
        device how often that is, and runs as often as any document trained on needs."""
        code = self.code
        assert isinstance(step.domain, Interval)
        code.features.update(("kinds", "digit_run", "longest_run"))
        longest = code.place("LongestRun(config.kinds, config.blank)", "longest")
        needed = tensor_text(step.domain.last, "self.config.", (), lambda _: longest)
        most = scalar(step.domain.last, "self.config.")
        return [
            f"count = {needed}  # of each document",
            "if loops is not None:",
            "    count = torch.full_like(count, loops)",
            self._turns(index, f"({most} if self.training else int(count.max()))", step),
            f"    previous = {carry}",
            *indented(body),
            f"    {carry} = torch.where(({index} <= count)[:, None, None], {carry}, previous)",
        ]

    # ---- expressions ------------------------------------------------------------------------------------

    def text(self, node: Expr) -> str:
        if self.code.uses("residual") and isinstance(node, Apply) and node.op == "add":
            self.code.ops.add("residual")
            return f"self.ops.sum({', '.join(self._terms(node))})"
        return self._written(node)

    def _terms(self, node: Expr) -> list[str]:
        """What a sum adds. A term that hypers switch off is False then."""
        match node:
            case Apply("add", (some, more)):
                return [*self._terms(some), *self._terms(more)]
            case Apply("where", (wanted, more, Const(value=0))):
                condition = self._written(wanted, "and")
                if "seen_" not in condition:
                    return [f"{condition} and {self._written(more, 'and', right=True)}"]
        return [self._written(node)]

    def _written(self, node: Expr, around: str = "", right: bool = False) -> str:
        """An expression as the operand, on the right or not, of an operation `around` it."""
        strength = STRENGTH[around] + right if around else 0
        written = tensor_text(node, "self.config.", self.code.markers, self._query, strength)
        self.code.features |= {"added"} if "_plus(" in written else set()
        return written

    def _query(self, node: Query) -> str:
        code = self.code
        part = code.model.called(node)
        if part is not None:
            return self._part_call(part.name, [self.text(argument) for argument in node.args])
        code.ops.add(node.name)
        if node.name in ("attention", "mlp", "unembed"):
            code.ops.add("linear")
        if node.name == "mlp":
            code.ops.add("activation")
        named = dict(node.named)
        if node.name in ("attention", "mlp", "linear", "unembed") and not _places_added(
            named.get("positions")
        ):
            self.multiplied = node.args[0]
        match node.name:
            case "embed":
                return self._embed(node)
            case "unembed" if flag(named.get("tied"), False):
                return code.linear(self.text(node.args[0]), self._extra("table"))
            case "unembed":
                return self._module(node, self._linear(node, "config.vocab"))
            case "norm":
                narrow, self.multiplied = self.multiplied is node, None
                narrow = narrow and code.uses("norm") and code.uses("linear")
                form = code.norm(node, narrow)
                epsilon = scalar(named["eps"], "config.") if "eps" in named else str(_EPSILON[form.kind])
                ops = ["ops"] * code.uses("norm")
                return self._module(node, f"{form.name}({', '.join([self._width(node), epsilon, *ops])})")
            case "mlp":
                self._writes()
                mlp = code.mlp(node)
                sizes = [self._width(node), scalar(named["hidden"], "config.")]
                arguments = ", ".join([*sizes, *["ops"] * mlp.needs_ops])
                return self._module(node, f"{mlp.name}({arguments})")
            case "linear":
                return self._module(node, self._linear(node, scalar(named["out"], "config.")))
            case "dropout":
                rate = scalar(node.args[1], "self.config.")
                return f"F.dropout({self.text(node.args[0])}, {rate}, self.training)"
            case "step":
                code.features.update(
                    {"steps"} | ({"steps_none"} if word(named.get("beyond"), "last") == "none" else set())
                )
                given = [self.around[-1], self._width(node), *["ops"] * code.uses("residual")]
                return self._module(node, f"Steps({', '.join(given)})")
            case "attention":
                return self._attention(node)
        raise AssertionError(f"check lets no operation {node.name} through")

    def _linear(self, node: Query, out: str) -> str:
        bias = ["bias=True"] if self.code.bias(node) else []
        ops = ["ops"] * self.code.uses("linear")
        return f"Linear({', '.join([self._width(node), out, *ops, *bias])})"

    def _embed(self, node: Query) -> str:
        code = self.code
        code.features.add("embed")
        width = self._width(node)
        ops = ", ops" * code.uses("linear")
        text = self._module(node, f"Embedding(config.vocab, {width}{ops})")
        code.embedding = text.partition("(")[0] + ".weight"
        kind, place, count = self._positions(dict(node.named).get("positions"), "")
        if kind != "places":
            return text
        code.features.add("places")
        self.init.append(("places", f"Places({count}, {width})"))
        return f"({text} + self.places({place}))"

    def _attention(self, node: Query) -> str:
        code = self.code
        self._writes()
        named = dict(node.named)
        width, heads = self._width(node), scalar(named["heads"], "config.")
        kind, place, count = self._positions(named.get("positions"), f"{factor(width)} // {factor(heads)}")
        form = code.attention(node, kind)
        arguments = [width, heads]
        arguments += [scalar(named[name], "config.") for name in ("groups",) if name in named]
        if form.biased:
            positions = named["positions"]
            assert isinstance(positions, Query)
            options = dict(positions.named)
            scale = scalar(options["scale"], "config.") if "scale" in options else "1.0"
            arguments += [scalar(options["clip"], "config."), scale, "max(config.kinds)"]
        if kind == "places":
            code.features.add("places")
            arguments.append(count)
        arguments += [scalar(named[name], "config.") for name in ("window", "softcap") if name in named]
        if kind == "rope":
            code.ops.add("rotation")
            if form.by_kernel:
                arguments.append(self._base_of(named["positions"]))
        arguments += ["ops"] * (form.by_kernel or form.linear_by_kernel)
        call = self._module(node, f"{form.name}({', '.join(arguments)})")
        return call if kind == "none" else f"{call[:-1]}, {self._extra(place)})"

    def _positions(self, node: Expr | None, head_size: str) -> tuple[str, str, str]:
        """The kind of positions, the variable that holds them, and how many places a table needs."""
        code = self.code
        if node is None or (isinstance(node, Ref) and node.name == "none"):
            return "none", "", ""
        if isinstance(node, Ref):
            code.features.add("max_length")
            tokens = safe(code.model.forward.params[0].name)
            made = f"torch.arange({tokens}.shape[1], device={tokens}.device)"
            return "places", code.place(made, "position"), "config.max_length"
        assert isinstance(node, Query)
        named = dict(node.named)
        runs = word(named.get("index"), "position" if node.name == "rope" else "digit_run") == "digit_run"
        if runs:
            code.features.update(("kinds", "digit_run"))
        match node.name:
            case "rope":
                code.features.update({"rope"} | ({"rope_run"} if runs else set()))
                base = self._base_of(node)
                kinds = ", config.kinds" * runs
                return "rope", code.place(f"Rope({head_size}, {base}{kinds})", "rope"), ""
            case "relative" | "window":
                code.features.add(node.name)
                made = f"{node.name.title()}({scalar(named['clip'], 'config.')}, config.kinds)"
                return node.name, code.place(made, node.name), ""
            case "coupled":
                code.features.update(("coupled", "max_digits"))
                offset = scalar(named["random_offset"], "config.") if "random_offset" in named else "0"
                variable = code.place(f"Coupled({offset}, config.kinds)", "coupled")
                return "places", variable, f"config.max_digits + {factor(offset)} + 1"
        raise AssertionError(f"check lets no positions {node.name} through")

    def _base_of(self, rope: Expr) -> str:
        """Of the angles of rotary positions."""
        assert isinstance(rope, Query)
        return scalar(rope.args[0], "config.") if rope.args else "10000"

    # ---- modules ----------------------------------------------------------------------------------------

    def _part_call(self, name: str, arguments: list[str]) -> str:
        """A call of a part. The readout that `supervise` names is the one that forward calls."""
        code = self.code
        supervise = code.model.supervise
        supervised = self.is_root and supervise is not None and supervise.part == name
        if supervised and name in self.calls:
            attr = self.calls[name]
        else:
            attr = self._attribute(f"part.{name}", f"{class_name(name)}({', '.join(code.needs[name])})")
            self.calls[name] = attr
        for factors, count in code.writers[name].items():
            if not supervised:
                self.writes[tuple(sorted((*factors, *self.around)))] += count
        extras = [self._extra(extra) for extra in code.extras[name]]
        return f"self.{attr}({', '.join([*arguments, *extras])})"

    def _module(self, node: Query, constructor: str) -> str:
        attr = self._attribute(node.name, constructor)
        return f"self.{attr}({self.text(node.args[0])})"

    def _attribute(self, base: str, constructor: str) -> str:
        """Enters a submodule (a list of them inside a repeat) and returns how a line reaches it."""
        self.seen[base] += 1
        name = attribute(base.rpartition(".")[2])
        if self.total[base] > 1:
            name = f"{name}_{self.seen[base]}"
        for _, count, _ in reversed(self.repeats):
            constructor = f"nn.ModuleList({constructor} for _ in range({count}))"
        self.init.append((name, constructor))
        return name + "".join(f"[{variable}]" for variable, _, _ in self.repeats)

    def _extra(self, name: str) -> str:
        """How this part reaches something that the root has: as an argument, or (the root) itself."""
        if self.is_root:
            return self.code.embedding if name == "table" else name
        if name not in self.extras:
            self.extras.append(name)
        return name

    def _width(self, node: Query) -> str:
        width = self.code.shapes.width(node)
        assert width is not None, "check settles every width"
        return scalar(width, "config.")

    def _writes(self) -> None:
        self.writes[tuple(sorted(self.around))] += 1


def _places_added(positions: Expr | None) -> bool:
    """Whether attention adds a vector for every place to what it reads, before any product does."""
    return isinstance(positions, Ref | Query) and positions.name in ("learned", "coupled")


def _base(node: Query) -> str:
    return node.name


def _type_of(extra: str) -> str:
    """Of a variable that `place` has named (`window`, `window_2` …), or of the embedding's table."""
    return place_type(extra.partition("_")[0])
