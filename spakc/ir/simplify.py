"""The normal form of mathematical expressions: small constructors that fold as they build, and `simplify`.

Everything that makes or changes an expression (inlining, matching, differentiating) builds through these, so
equal meanings mostly end in equal trees. The rules are identities of real arithmetic: `x * 0` is 0 although a
float NaN would survive it. Whoever must keep the letter of the file (the oracle) does not simplify.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from operator import is_

from spakc.ir.ops import Apply, Const, Expr, Ref, RefKind
from spakc.ir.visit import children, with_children
from spakc.source import Span

ZERO, ONE, MINUS_ONE = Const(0), Const(1), Const(-1)
TRUE, FALSE = Const(True), Const(False)
MINUS_INFINITY = Const(-math.inf)


def rebuild(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The same node over changed operands (the very same object where nothing changed)."""
    old = children(expr)
    new = tuple(map(change, old))
    if all(map(is_, old, new)):
        return expr
    return with_children(expr, new)


def number(expr: Expr) -> int | float | None:
    """The value of a numeric constant."""
    if isinstance(expr, Const) and isinstance(expr.value, (int, float)) and not isinstance(expr.value, bool):
        return expr.value
    return None


def is_minus_infinity(expr: Expr) -> bool:
    return number(expr) == -math.inf


def add(*terms: Expr, span: Span | None = None) -> Expr:
    """The sum. Constants are folded; equal terms are counted (`x + x` is `2 * x`), opposite ones vanish."""
    constant: int | float = 0
    constant_leads = False
    counts: dict[Expr, int | float] = {}
    for term in _flatten_sum(terms):
        value = number(term)
        if value is not None and math.isfinite(value):
            constant_leads = constant_leads or not counts
            constant += value
            continue
        factor, rest = split_constant(term)
        counts[rest] = counts.get(rest, 0) + factor
    result: Expr | None = Const(constant) if constant_leads and constant != 0 else None
    if result is not None:
        constant = 0
    for rest, count in counts.items():
        if count == 0:
            continue
        if result is None:
            result = mul(Const(count), rest) if count != 1 else rest
        elif count < 0:
            positive = mul(Const(-count), rest) if count != -1 else rest
            result = Apply("sub", (result, positive), span=span or rest.span)
        else:
            result = Apply("add", (result, mul(Const(count), rest)), span=span or rest.span)
    if result is None:
        return Const(constant, span=span)
    if constant > 0:
        return Apply("add", (result, Const(constant)), span=span)
    return Apply("sub", (result, Const(-constant)), span=span) if constant < 0 else result


def sub(left: Expr, right: Expr, span: Span | None = None) -> Expr:
    return add(left, neg(right), span=span)


def neg(value: Expr, span: Span | None = None) -> Expr:
    constant = number(value)
    if constant is not None:
        return Const(-constant, span=span or value.span)
    match value:
        case Apply("neg", (inner,)):
            return inner
        case Apply("sub", (left, right)):
            return Apply("sub", (right, left), span=span or value.span)
        case Apply("mul", (left, right)) if number(left) is not None:
            return mul(neg(left), right, span=span or value.span)
    return Apply("neg", (value,), span=span or value.span)


def mul(*factors: Expr, span: Span | None = None) -> Expr:
    """The product. Numeric factors are gathered in front; a zero wins, a one vanishes."""
    constant: int | float = 1
    rest: list[Expr] = []
    for factor in factors:
        coefficient, bare = split_constant(factor)
        constant *= coefficient
        if bare != ONE:
            rest.append(bare)
    if constant == 0:
        return Const(0, span=span)
    if not rest:
        return Const(constant, span=span)
    result = rest[0]
    for factor in rest[1:]:
        if isinstance(factor, Apply) and factor.op == "div" and factor.args[0] == ONE:
            result = div(result, factor.args[1], span=span or factor.span)
        else:
            result = Apply("mul", (result, factor), span=span or factor.span)
    if constant == 1:
        return result
    if constant == -1:
        return Apply("neg", (result,), span=span or result.span)
    return Apply("mul", (Const(constant), result), span=span or result.span)


def div(left: Expr, right: Expr, span: Span | None = None) -> Expr:
    above, below = number(left), number(right)
    if below == 1:
        return left
    if above == 0:
        return Const(0, span=span)
    if below is not None and below != 0:
        if above is not None and math.isfinite(above) and math.isfinite(below):
            return Const(above / below, span=span)
        if below == -1:
            return neg(left, span=span)
    return Apply("div", (left, right), span=span)


def square(value: Expr) -> Expr:
    return mul(value, value)


def power(base: Expr, exponent: Expr, span: Span | None = None) -> Expr:
    value = number(exponent)
    if value == 0:
        return ONE
    if value == 1:
        return base
    if value == 2:
        return square(base)
    return Apply("pow", (base, exponent), span=span)


def where(condition: Expr, yes: Expr, no: Expr, span: Span | None = None) -> Expr:
    if isinstance(condition, Const):
        return yes if condition.value else no
    if yes == no:
        return yes
    match condition:
        case Apply("not", (inner,)):
            return where(inner, no, yes, span=span)
    if ZERO in (yes, no):
        factor, rest = split_constant(no if yes == ZERO else yes)
        if factor != 1 and rest != ONE:
            branches = (ZERO, rest) if yes == ZERO else (rest, ZERO)
            return mul(Const(factor), Apply("where", (condition, *branches), span=span))
    return Apply("where", (condition, yes, no), span=span)


def conjunction(*parts: Expr, span: Span | None = None) -> Expr:
    result: Expr | None = None
    for part in parts:
        if part == TRUE or (result is not None and part == result):
            continue
        if part == FALSE:
            return FALSE
        result = part if result is None else Apply("and", (result, part), span=span)
    return TRUE if result is None else result


def disjunction(left: Expr, right: Expr, span: Span | None = None) -> Expr:
    if TRUE in (left, right):
        return TRUE
    if left in (FALSE, right):
        return right
    return left if right == FALSE else Apply("or", (left, right), span=span)


def negation(value: Expr, span: Span | None = None) -> Expr:
    if isinstance(value, Const):
        return Const(not value.value, span=span)
    match value:
        case Apply("not", (inner,)):
            return inner
    return Apply("not", (value,), span=span)


def compare(op: str, left: Expr, right: Expr, span: Span | None = None) -> Expr:
    if left == right and op in ("eq", "le", "ge"):
        return TRUE
    if left == right and op in ("ne", "lt", "gt"):
        return FALSE
    first, second = _known(left), _known(right)
    if first is not None and second is not None and first[0] == second[0]:
        return Const(bool(_COMPARE[op](first[1], second[1])), span=span)
    return Apply(op, (left, right), span=span)


def simplify(expr: Expr) -> Expr:
    """The normal form of an expression, bottom up. Spans stay with the nodes they came from."""
    expr = rebuild(expr, simplify)
    if not isinstance(expr, Apply):
        return expr
    args, span = expr.args, expr.span
    match expr.op:
        case "add":
            return add(*args, span=span)
        case "sub":
            return sub(args[0], args[1], span=span)
        case "neg":
            return neg(args[0], span=span)
        case "mul":
            return mul(*args, span=span)
        case "div":
            return div(args[0], args[1], span=span)
        case "pow":
            return power(args[0], args[1], span=span)
        case "where":
            return where(args[0], args[1], args[2], span=span)
        case "and":
            return conjunction(*args, span=span)
        case "or":
            return disjunction(args[0], args[1], span=span)
        case "not":
            return negation(args[0], span=span)
        case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
            return compare(expr.op, args[0], args[1], span=span)
        case "identity":
            return args[0]
        case "call" if isinstance(args[0], Ref) and args[0].kind is RefKind.symbol:
            return simplify(Apply(args[0].name, (args[1],), span=span))
        case "floordiv" | "mod" | "ceil_div":
            return _fold_integers(expr)
        case "rsqrt" | "sqrt" | "exp" | "log":
            return _fold_function(expr)
    return expr


def split_constant(expr: Expr) -> tuple[int | float, Expr]:
    """`(c, e)` with expr == c * e and c as much of a numeric factor as shows."""
    value = number(expr)
    if value is not None:
        return (value, ONE) if math.isfinite(value) else (1, expr)
    match expr:
        case Apply("neg", (inner,)):
            factor, rest = split_constant(inner)
            return -factor, rest
        case Apply("mul", (left, right)):
            first, one_side = split_constant(left)
            second, other_side = split_constant(right)
            if one_side == ONE:
                return first * second, other_side
            if other_side == ONE:
                return first * second, one_side
    return 1, expr


def factors_of(expr: Expr) -> list[Expr]:
    """The factors of a product, flattened; `a / b` counts as `a` and `1 / b`, `-a` as `-1` and `a`."""
    match expr:
        case Apply("mul", (left, right)):
            return factors_of(left) + factors_of(right)
        case Apply("neg", (inner,)):
            return [MINUS_ONE, *factors_of(inner)]
        case Apply("div", (left, right)) if left != ONE:
            return [*factors_of(left), Apply("div", (ONE, right), span=expr.span)]
    return [expr]


def _flatten_sum(terms: Iterable[Expr]) -> list[Expr]:
    flat: list[Expr] = []
    for term in terms:
        match term:
            case Apply("add", (left, right)):
                flat += _flatten_sum((left, right))
            case Apply("sub", (left, right)):
                flat += _flatten_sum((left,)) + [neg(part) for part in _flatten_sum((right,))]
            case Apply("neg", (Apply("add", (left, right)),)):
                flat += [neg(part) for part in _flatten_sum((left, right))]
            case Apply("neg", (Apply("sub", (left, right)),)):
                flat += [neg(part) for part in _flatten_sum((left,))] + _flatten_sum((right,))
            case _:
                flat.append(term)
    return flat


def _fold_integers(expr: Apply) -> Expr:
    left, right = number(expr.args[0]), number(expr.args[1])
    if right == 1 and expr.op in ("floordiv", "ceil_div"):
        return expr.args[0]
    if isinstance(left, int) and isinstance(right, int) and right != 0:
        folded = {"floordiv": left // right, "mod": left % right, "ceil_div": -(-left // right)}
        return Const(folded[expr.op], span=expr.span)
    return expr


def _fold_function(expr: Apply) -> Expr:
    value = number(expr.args[0])
    if value is None or not math.isfinite(value):
        return expr
    try:
        match expr.op:
            case "sqrt":
                return Const(math.sqrt(value), span=expr.span)
            case "rsqrt":
                return Const(1.0 / math.sqrt(value), span=expr.span)
            case "exp":
                return Const(math.exp(value), span=expr.span)
            case "log":
                return Const(math.log(value), span=expr.span)
    except (ValueError, ZeroDivisionError, OverflowError):
        return expr  # no real value: whoever evaluates it says so at its place
    return expr


def _known(expr: Expr) -> tuple[str, bool | int | float | str] | None:
    """A value that two equal comparisons may decide now: a number, a bool, a word."""
    if isinstance(expr, Const):
        return ("number" if number(expr) is not None else type(expr.value).__name__, expr.value)
    if isinstance(expr, Ref) and expr.kind is RefKind.symbol:
        return "symbol", expr.name
    return None


_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,  # type: ignore[operator]
    "le": lambda a, b: a <= b,  # type: ignore[operator]
    "gt": lambda a, b: a > b,  # type: ignore[operator]
    "ge": lambda a, b: a >= b,  # type: ignore[operator]
}
