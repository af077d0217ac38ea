"""The one evaluator of scalar propositions: laws, guards, preferences, domains, lets.

Check, plan and tune ask it alike, for one point or for a whole tuning space at once: a value of the
environment may be an array, arrays broadcast, and the answer has a lane for every point. Truth is Kleene's:
what is not known stays unknown unless the rest decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from spakc.ir import lanes as arithmetic
from spakc.ir.lanes import Array, Lanes, Scalar, Value, np
from spakc.ir.ops import Apply, Const, Expr, Interval, Load, Members, Query, Reduce, Ref, RefKind, Tuple
from spakc.ir.visit import children, loads, with_children
from spakc.record import record

SYMBOLS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@record
class Unknown:
    """No value: `names` have none in the environment, `reasons` say what went wrong (a division by zero)."""

    names: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()

    def __str__(self) -> str:
        parts = [*sorted(self.reasons)]
        if self.names:
            parts.append("the value of " + ", ".join(f"`{n}`" for n in sorted(self.names)))
        return " and ".join(parts) or "a value"


@record
class Env:
    """What names and queries are worth. A query is looked up as it is written, structurally."""

    refs: Mapping[tuple[RefKind, str], Value] = field(default_factory=dict)
    queries: Mapping[Query, Value] = field(default_factory=dict)

    def bind(
        self,
        refs: Mapping[tuple[RefKind, str], Value] | None = None,
        queries: Mapping[Query, Value] | None = None,
    ) -> Env:
        """This environment with more bindings; later ones win."""
        return Env({**self.refs, **(refs or {})}, {**self.queries, **(queries or {})})

    def knobs(self, values: Mapping[str, Value]) -> Env:
        return self.bind({(RefKind.knob, name): value for name, value in values.items()})

    def dims(self, values: Mapping[str, Value]) -> Env:
        return self.bind({(RefKind.dim, name): value for name, value in values.items()})

    def options(self, values: Mapping[str, Value]) -> Env:
        return self.bind({(RefKind.option, name): value for name, value in values.items()})

    def facts(self, values: Mapping[str, Value]) -> Env:
        return self.bind({(RefKind.fact, name): value for name, value in values.items()})


@record
class Explanation:
    """The part of a proposition that decides it, with the values of both sides if it is a comparison.

    `text` is what a label says: "394240 <= 232448 is false"."""

    expr: Expr
    text: str
    left: Scalar | Unknown | None = None
    right: Scalar | Unknown | None = None


def evaluate(expr: Expr, env: Env) -> Scalar | Unknown:
    """The value of `expr` where every binding it needs is a scalar. Never raises for what a file says."""
    if isinstance(expr, Const):
        return expr.value
    result = lanes(expr, env)
    if isinstance(result.data, np.ndarray) and result.data.ndim:
        raise TypeError("evaluate() takes one point; lanes() takes a grid")
    if result.some_unknown:
        return Unknown(result.names, result.reasons)
    return scalar(result.data)


def scalar(data: Value) -> Scalar:
    """A Python scalar of a scalar or of an array with one element."""
    return data.item() if isinstance(data, (np.ndarray, np.generic)) else data


def lanes(expr: Expr, env: Env, memo: dict[int, Lanes] | None = None) -> Lanes:
    """The values of `expr` at every point of the broadcast of the bindings that it mentions.

    The traversal is iterative and visits a shared subexpression once, so neither depth nor sharing hurts.
    `memo` may be shared between expressions that live as long as it and are asked in the same environment.
    """
    memo = {} if memo is None else memo
    stack = [expr]
    while stack:
        node = stack[-1]
        if id(node) in memo:
            stack.pop()
            continue
        waiting = [child for child in operands(node) if id(child) not in memo]
        if waiting:
            stack.extend(waiting)
            continue
        memo[id(node)] = _node(node, [memo[id(child)] for child in operands(node)], env)
        stack.pop()
    return memo[id(expr)]


def operands(node: Expr) -> tuple[Expr, ...]:
    """The subexpressions whose values decide that of `node`. Queries and loads are asked as a whole."""
    if not isinstance(node, Apply) or node.op == "call":
        return ()
    if node.op == "member" and len(node.args) == 2:
        item, domain = node.args
        if isinstance(domain, (Members, Tuple)):
            return (item, *domain.items)
        if isinstance(domain, Interval):
            return (item, domain.first, domain.last, *((domain.by,) if domain.by is not None else ()))
    return node.args


def _node(node: Expr, values: list[Lanes], env: Env) -> Lanes:
    match node:
        case Const(value=value):
            return Lanes(value)
        case Ref(kind=RefKind.symbol, name=name):
            return Lanes(name)
        case Ref(kind=kind, name=name):
            return _bound(env.refs.get((kind, name)), f"device.{name}" if kind is RefKind.fact else name)
        case Query():
            return _bound(env.queries.get(node), describe(node))
        case Load(tensor=tensor):
            return arithmetic.nothing(names=frozenset((tensor,)))
        case Reduce():
            return arithmetic.nothing(names=frozenset(load.tensor for load in loads(node)))
        case Apply(op=op):
            return _apply(op, node, values)
        case _:
            return arithmetic.nothing(reason="a set where a value is expected")


def _bound(value: Value | None, name: str) -> Lanes:
    if value is None:
        return arithmetic.nothing(names=frozenset((name,)))
    return Lanes(scalar(value) if isinstance(value, np.generic) else value)


def _apply(op: str, node: Apply, values: list[Lanes]) -> Lanes:
    if op in arithmetic.COMPARISONS:
        return arithmetic.compare(op, *values)
    if op in arithmetic.BINARY:
        return arithmetic.arithmetic(op, *values)
    if op in arithmetic.UNARY:
        return arithmetic.function(op, *values)
    if op in ("and", "or"):
        return arithmetic.conjunction(*values, absorbing=op == "or")
    if op == "not":
        return arithmetic.negation(*values)
    if op == "where":
        return arithmetic.choice(*values)
    if op == "member":
        return _member(node.args[1], values)
    return arithmetic.nothing(reason=f"`{op}`, which only a kernel computes,")


def _member(domain: Expr, values: list[Lanes]) -> Lanes:
    item, *rest = values
    if isinstance(domain, Interval):
        first, last, *by = rest
        inside = arithmetic.conjunction(
            arithmetic.compare("ge", item, first), arithmetic.compare("le", item, last)
        )
        if by:
            offset = arithmetic.arithmetic("sub", item, first)
            on_step = arithmetic.compare("eq", arithmetic.arithmetic("mod", offset, by[0]), Lanes(0))
            inside = arithmetic.conjunction(inside, on_step)
        return inside
    found = Lanes(False)
    for candidate in rest:
        found = arithmetic.conjunction(found, arithmetic.compare("eq", item, candidate), absorbing=True)
    return found


# ---- what a proposition talks about -------------------------------------------------------------------


def mentions(*exprs: Expr | None) -> frozenset[Expr]:
    """Every reference (no symbols), query, load and reduction that the values of `exprs` depend on."""
    found: set[Expr] = set()
    seen: set[int] = set()
    stack = [e for e in exprs if e is not None]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, (Query, Load, Reduce)) or (
            isinstance(node, Ref) and node.kind is not RefKind.symbol
        ):
            found.add(node)
        stack.extend(operands(node))
    return frozenset(found)


def names_of(exprs: Iterable[Expr], kind: RefKind) -> frozenset[str]:
    """The names of one kind among `mentions`."""
    return frozenset(e.name for e in exprs if isinstance(e, Ref) and e.kind is kind)


def describe(expr: Expr) -> str:
    """A short text of an expression for a message: as it was written where that fits on a line."""
    if isinstance(expr, Query):
        args = [describe(a) for a in expr.args] + [f"{k} = {describe(v)}" for k, v in expr.named]
        return f"{expr.name}({', '.join(args)})" if args else expr.name
    if isinstance(expr, Ref):
        return f"device.{expr.name}" if expr.kind is RefKind.fact else expr.name
    if isinstance(expr, Const):
        return show(expr.value) if not isinstance(expr.value, str) else f'"{expr.value}"'
    if isinstance(expr, Load):
        return f"{expr.tensor}[{', '.join(describe(i) for i in expr.indices)}]"
    written = " ".join(expr.span.text.split()) if expr.span is not None else ""
    return written if written and len(written) <= 60 else type(expr).__name__.lower()


def show(value: Scalar | Unknown) -> str:
    """A value as a `.spak` file would write it."""
    if isinstance(value, Unknown):
        return "?"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


# ---- why ----------------------------------------------------------------------------------------------


def implication(proposition: Expr, when: Expr | None) -> Expr:
    """A law as one proposition: it says nothing where `when` is false."""
    if when is None:
        return proposition
    return Apply("or", (Apply("not", (when,), span=when.span), proposition), span=proposition.span)


def explain(expr: Expr, env: Env) -> Explanation:
    """Why `expr` is not true at the point `env`: the first comparison, truth or membership that decides it.

    Of an `and` the first part that is false (else unknown), of an `or` the last alternative; a negation is
    explained as it stands."""
    truth = evaluate(expr, env)
    if isinstance(expr, Apply):
        if expr.op == "and":
            parts = [(part, evaluate(part, env)) for part in expr.args]
            false = [part for part, value in parts if value is False]
            unknown = [part for part, value in parts if isinstance(value, Unknown)]
            if false or unknown:
                return explain((false or unknown)[0], env)
        if expr.op == "or" and truth is not True:
            return explain(expr.args[-1], env)
        if expr.op in SYMBOLS:
            left, right = (evaluate(side, env) for side in expr.args)
            verdict = "unknown" if isinstance(truth, Unknown) else show(truth)
            return Explanation(
                expr, f"{show(left)} {SYMBOLS[expr.op]} {show(right)} is {verdict}", left, right
            )
        if expr.op == "member":
            item = evaluate(expr.args[0], env)
            return Explanation(expr, f"{show(item)} is {'' if truth is True else 'not '}in the set", item)
    if isinstance(truth, Unknown):
        return Explanation(expr, f"{truth} is not known")
    return Explanation(expr, f"this is {show(truth)}")


def comparison_of(expr: Expr) -> Apply | None:
    """The comparison that a proposition is, or None: what a "best reachable value" is a value of."""
    return expr if isinstance(expr, Apply) and expr.op in SYMBOLS else None


def conjuncts(expr: Expr) -> tuple[Expr, ...]:
    """The parts of a proposition joined by `and`, in the order written."""
    if isinstance(expr, Apply) and expr.op == "and":
        return tuple(part for arg in expr.args for part in conjuncts(arg))
    return (expr,)


# ---- domains ------------------------------------------------------------------------------------------


@record
class TooMany:
    """A domain with more members than anyone enumerates."""

    count: int


def members(domain: Expr, env: Env, limit: int = 1 << 20) -> tuple[Scalar, ...] | TooMany | Unknown:
    """The members of a domain in the order written, without repetition; at most `limit` are enumerated."""
    if isinstance(domain, (Members, Tuple)):
        values = [evaluate(item, env) for item in domain.items]
        missing = [v for v in values if isinstance(v, Unknown)]
        if missing:
            return merge(missing)
        known = [v for v in values if not isinstance(v, Unknown)]
        return tuple({(type(v), v): v for v in known}.values())
    if not isinstance(domain, Interval):
        return Unknown(reasons=frozenset(("a domain that is no set",)))
    ends = [evaluate(e, env) for e in (domain.first, domain.last, domain.by or Const(1))]
    missing = [v for v in ends if isinstance(v, Unknown)]
    if missing:
        return merge(missing)
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in ends):
        return Unknown(reasons=frozenset(("a range whose ends are no integers",)))
    first, last, by = (int(v) for v in ends if not isinstance(v, Unknown))
    if by <= 0:
        return Unknown(reasons=frozenset(("a range whose step is not positive",)))
    count = max(0, (last - first) // by + 1)
    return TooMany(count) if count > limit else tuple(range(first, last + 1, by))


def rows(domain: Expr, env: Env, limit: int = 1 << 20) -> tuple[tuple[Scalar, ...], ...] | TooMany | Unknown:
    """The members of a domain of one or more names: `{(1, 2), (3, 4)}` has two of two values, `1..4` four of one."""
    if not (isinstance(domain, Members) and any(isinstance(item, Tuple) for item in domain.items)):
        values = members(domain, env, limit)
        return tuple((value,) for value in values) if isinstance(values, tuple) else values
    found: dict[tuple[Scalar, ...], None] = {}
    for item in domain.items:
        row = [evaluate(part, env) for part in (item.items if isinstance(item, Tuple) else (item,))]
        known = tuple(value for value in row if not isinstance(value, Unknown))
        if len(known) < len(row):
            return merge(value for value in row if isinstance(value, Unknown))
        found[known] = None
    return tuple(found)


def merge(parts: Iterable[Unknown]) -> Unknown:
    parts = list(parts)
    return Unknown(
        frozenset().union(*(p.names for p in parts)), frozenset().union(*(p.reasons for p in parts))
    )


def column(values: tuple[Scalar, ...]) -> Array:
    """An array of the members of one axis: words as words, integers exact."""
    if all(isinstance(v, bool) for v in values):
        return np.array(values, dtype=bool)
    if any(isinstance(v, str) for v in values):
        if not all(isinstance(v, str) for v in values):
            return np.array(values, dtype=object)
        return np.array(values, dtype=str)
    if all(isinstance(v, int) and -(2**62) < v < 2**62 for v in values):
        return np.array(values, dtype=np.int64)
    if all(isinstance(v, float) for v in values):
        return np.array(values, dtype=np.float64)
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result


def residual(expr: Expr, env: Env) -> Expr:
    """`expr` with everything that `env` decides replaced by its value, and what follows from it folded: what
    remains of a guard when knobs, dtypes and compiled dims are chosen."""
    value = evaluate(expr, env)
    if not isinstance(value, Unknown):
        if isinstance(value, str):
            return Ref(value, RefKind.symbol, span=expr.span)
        return expr if isinstance(expr, Const) else Const(value, span=expr.span)
    if not isinstance(expr, (Apply, Members, Interval, Tuple)):
        return expr
    parts = tuple(residual(child, env) for child in children(expr))
    if isinstance(expr, Apply) and expr.op in ("and", "or"):
        neutral = expr.op == "and"
        rest = [part for part in parts if not (isinstance(part, Const) and part.value is neutral)]
        if len(rest) == 1:
            return rest[0]
    return with_children(expr, parts)
