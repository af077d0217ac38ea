"""Parameters and arithmetic of a model, counted from its text: known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

from spakc.check.model_shapes import Shapes
from spakc.ir.constraint import Env, evaluate
from spakc.ir.model import Assign, Loop, Model, Part, Step, runs_of
from spakc.ir.ops import Apply, Const, Expr, Interval, Query, Ref, RefKind
from spakc.ir.visit import children
from spakc.record import record
from spakc.source import Span

Value = bool | int | float | str


@record
class Sizes:
    """What a dataset adds to a model: tokens of the vocabulary, of the longest text, digits of the longest
    number, rows of a bias table beyond those for digits, digits of the longest number before an answer trained on."""

    vocabulary: int
    tokens: int
    digits: int
    other_kinds: int
    run: int = 1


@record
class Count:
    """`parameters`; `flops` of a forward pass per token, a multiply-add as two, attention over `tokens`
    keys."""

    parameters: int
    flops: int


class Unbuildable(Exception):
    """A size of a model that no weights can have, and where it stands."""

    def __init__(self, message: str, span: Span | None) -> None:
        super().__init__(message)
        self.message, self.span = message, span


MOST_PARAMETERS = 10**13
"""More is a slip of the keyboard: no machine holds them."""

MOST_LAYERS = MOST_LOOPS = 100_000
"""Blocks with weights of their own, and runs of one block in a pass."""


def count(model: Model, shapes: Shapes, hypers: Mapping[str, Value], sizes: Sizes) -> Count:
    """Counts a checked model at given values of its hypers. Weights shared by a loop count once, its arithmetic as
    often as it runs (where the input says how often: for the longest document trained on); a tied unembedding adds
    arithmetic alone. Raises Unbuildable at the first size that no model can have, or that it says of the loops it reads
    out."""
    found = _Counter(model, shapes, hypers, sizes).part(model.forward)
    if found.parameters > MOST_PARAMETERS:
        raise Unbuildable(f"a model of {found.parameters:.1e} parameters", model.span)
    _check_loops(model, hypers)
    return found


class _Counter:
    def __init__(self, model: Model, shapes: Shapes, hypers: Mapping[str, Value], sizes: Sizes) -> None:
        self.model = model
        self.shapes = shapes
        self.sizes = sizes
        refs = {(RefKind.hyper, name): value for name, value in hypers.items()}
        loops = [step for step in model.forward.body if isinstance(step, Loop)]
        asked = [query for loop in loops if (query := runs_of(loop)) is not None]
        known = Env(refs).dims({"vocab": sizes.vocabulary})
        self.env = known.bind(queries=dict.fromkeys(asked, sizes.run))
        for loop in loops:
            assert isinstance(loop.domain, Interval)
            fewest = evaluate(loop.domain.last, known.bind(queries=dict.fromkeys(asked, 0)))
            most = evaluate(loop.domain.last, self.env)
            if isinstance(fewest, int) and isinstance(most, int) and fewest > most:
                raise Unbuildable("a document of fewer digits takes no more loops", loop.domain.last.span)

    def value(self, node: Expr, what: str, least: int = 1, most: int | None = None) -> int:
        """A size as it is with these hypers."""
        value = evaluate(node, self.env)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unbuildable(f"{what} is a whole number, not {value}", node.span)
        if value < least:
            raise Unbuildable(f"{what} is at least {least}, not {value}", node.span)
        if most is not None and value > most:
            raise Unbuildable(f"{what} is at most {most}, not {value}", node.span)
        return value

    def part(self, part: Part) -> Count:
        return self.steps(part.body, 1, 1, 0)

    def steps(self, body: tuple[Step, ...], copies: int, runs: int, loops: int) -> Count:
        """`copies` of the weights, `runs` of the arithmetic; `loops` is the length of the innermost loop."""
        parameters = flops = 0
        for step in body:
            if isinstance(step, Assign):
                found = self.expr(step.value, loops)
                part = Count(found.parameters * copies, found.flops * runs)
            elif isinstance(step, Loop):
                assert isinstance(step.domain, Interval)
                length = self.value(step.domain.last, "the length of a loop", most=MOST_LOOPS)
                start = self.expr(step.initial, loops)
                inner = self.steps(step.body, copies, runs * length, length)
                part = Count(start.parameters * copies + inner.parameters, start.flops * runs + inner.flops)
            else:
                times = self.value(step.count, "the number of layers", 0, MOST_LAYERS)
                part = self.steps(step.body, copies * times, runs * times, loops)
            parameters, flops = parameters + part.parameters, flops + part.flops
        return Count(parameters, flops)

    def expr(self, node: Expr, loops: int) -> Count:
        inner = [self.expr(child, loops) for child in children(node)]
        parameters = sum(part.parameters for part in inner)
        flops = sum(part.flops for part in inner)
        if isinstance(node, Query):
            called = self.model.called(node)
            own = self.part(called) if called is not None else self.operation(node, loops)
            parameters, flops = parameters + own.parameters, flops + own.flops
        return Count(parameters, flops)

    def operation(self, node: Query, loops: int) -> Count:
        if node.name in ("rope", "relative", "window", "coupled"):
            return Count(0, 0)  # counted where they are used
        named = dict(node.named)
        if node.name == "dropout":
            self.probability(node)
            return Count(0, 0)
        size = self.shapes.width(node)
        assert size is not None, "checked before"
        width = self.value(size, "the width")
        bias = _flag(named.get("bias"), False)
        match node.name:
            case "embed":
                return Count(
                    self.sizes.vocabulary * width + self.positions(named.get("positions"), width, 0), 0
                )
            case "unembed":
                weights = self.sizes.vocabulary * width
                own = 0 if _flag(named.get("tied"), False) else weights + bias * self.sizes.vocabulary
                return Count(own, 2 * weights)
            case "norm":
                self.number(named.get("eps"), "`eps`")
                return Count((_flag(named.get("weight"), True) + bias) * width, 0)
            case "mlp":
                hidden = self.value(named["hidden"], "`hidden`")
                return Count(2 * width * hidden + bias * (hidden + width), 4 * width * hidden)
            case "linear":
                out = self.value(named["out"], "`out`")
                return Count(width * out + bias * out, 2 * width * out)
            case "step":
                return Count(loops * width, 0)
            case "attention":
                heads = self.divisor(named["heads"], "heads", width, "width")
                groups = (
                    self.divisor(named["groups"], "groups", heads, "heads") if "groups" in named else heads
                )
                shared = 2 * groups * (width // heads)
                weights = width * (width + shared) + width * width
                own = (
                    weights
                    + bias * (2 * width + shared)
                    + self.positions(named.get("positions"), width, heads)
                )
                return Count(own, 2 * weights + 4 * self.sizes.tokens * width)
        raise AssertionError(f"check lets no operation {node.name} through")

    def divisor(self, node: Expr, name: str, whole: int, of: str) -> int:
        """`heads` share out the width, `groups` the heads."""
        value = self.value(node, f"`{name}`")
        if whole % value:
            raise Unbuildable(f"{value} {name} do not divide the {of} {whole}", node.span)
        return value

    def probability(self, node: Query) -> None:
        for part in (*node.args[1:], *(value for _, value in node.named)):
            value = evaluate(part, self.env)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise Unbuildable("a share to drop lies from 0 to below 1", part.span)

    def number(self, node: Expr | None, what: str) -> None:
        """A number that is not negative, where one is given."""
        value = 0 if node is None else evaluate(node, self.env)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise Unbuildable(f"{what} is a number from 0 on", None if node is None else node.span)

    def base(self, node: Query) -> None:
        """Of the angles of `rope`: the slowest pair turns this much slower than the first."""
        for part in node.args:
            value = evaluate(part, self.env)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value < math.inf:
                raise Unbuildable(f"the base of `rope` is a number above 1, not {value}", part.span)

    def positions(self, node: Expr | None, width: int, heads: int) -> int:
        """Learned positions: a bias table by heads, or a vector for every place."""
        if isinstance(node, Ref) and node.name == "learned":
            return self.sizes.tokens * width
        if not isinstance(node, Query):
            return 0
        named = dict(node.named)
        if node.name == "rope":
            self.base(node)
        if node.name == "rope" and width // heads % 2:
            message = f"`rope` turns pairs, but each of {heads} heads has {width // heads} elements"
            raise Unbuildable(message, node.span)
        if node.name in ("relative", "window"):
            return (2 * self.value(named["clip"], "`clip`", 0) + 1 + self.sizes.other_kinds) * heads
        if node.name == "coupled":
            offset = (
                self.value(named["random_offset"], "`random_offset`", 0) if "random_offset" in named else 0
            )
            return (self.sizes.digits + offset + 1) * width
        return 0


def _flag(node: Expr | None, default: bool) -> bool:
    return bool(node.value) if isinstance(node, Const) else default


# ---- loops that are read out ----------------------------------------------------------------------------


def _check_loops(model: Model, hypers: Mapping[str, Value]) -> None:
    """Needs a checked model with a loop of a sound length. Raises Unbuildable at the first supervised loop or
    `earliest` that the loop never reaches, and at a threshold that is no probability."""
    env = Env({(RefKind.hyper, name): value for name, value in hypers.items()})
    loop = next((step for step in model.forward.body if isinstance(step, Loop)), None)
    if loop is None or not isinstance(loop.domain, Interval) or runs_of(loop) is not None:
        return
    length = evaluate(loop.domain.last, env)
    assert isinstance(length, int), "counted before"
    supervise, halting = model.supervise, model.halting or {}
    if supervise is not None and isinstance(supervise.domain, Interval):
        first = _loop_number(supervise.domain.first, "the first supervised loop", 1, length, env)
        _loop_number(supervise.domain.last, "the last supervised loop", first, length, env)
    if "earliest" in halting:
        _loop_number(halting["earliest"], "`earliest`", 1, length, env)
    if "threshold" in halting:
        _threshold(halting["threshold"], env)


def _loop_number(node: Expr, what: str, least: int, most: int, env: Env) -> int:
    value = evaluate(node, env)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Unbuildable(f"{what} is a whole number from {least} to {most}, not {value}", node.span)
    return value


def _threshold(node: Expr, env: Env) -> None:
    """A number, or a choice of such by the character before."""
    if isinstance(node, Apply) and node.op == "where":
        for branch in node.args[1:]:
            _threshold(branch, env)
        return
    if isinstance(node, Query):
        return
    value = evaluate(node, env)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Unbuildable(f"a threshold is a probability from 0 to 1, not {value}", node.span)
