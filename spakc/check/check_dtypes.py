"""Kinds of values: truths, integers, real numbers, words. In kernel mathematics and in every proposition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import zip_longest

from spakc.check.propositions import Proposition
from spakc.diagnostics import Repair, Sink
from spakc.ir.facts import FACTS
from spakc.ir.module import Equation, Kernel
from spakc.ir.ops import (
    Apply,
    Const,
    Domain,
    Expr,
    Interval,
    Load,
    Members,
    Query,
    Reduce,
    Ref,
    RefKind,
)
from spakc.ir.queries import QUERIES, Kind
from spakc.ir.simplify import simplify
from spakc.ir.types import NUMBER, DType
from spakc.ir.visit import children, walk
from spakc.source import Span


class Sort(Enum):
    """What a value is. `anything`: not known here, fits everywhere."""

    truth = "a truth"
    integer = "an integer"
    real = "a real number"
    word = "a word"
    text = "a text"
    thing = "a declared thing"
    several = "several values"
    anything = "anything"


_NUMBERS = (Sort.integer, Sort.real, Sort.anything)
_BY_RESULT = {
    "number": Sort.real,
    "int": Sort.integer,
    "bool": Sort.truth,
    "text": Sort.text,
    "value": Sort.anything,
}
_BY_FACT = {bool: Sort.truth, int: Sort.integer, float: Sort.real, str: Sort.word}


def check_math_dtypes(kernel: Kernel, sink: Sink) -> Mapping[str, DType]:
    """The dtype of every intermediate: real ones are accumulated in `kernel.accumulate`, integers are int32.

    Needs equations in dependency order. Reports sizes (SPAK321) and indices (316) that are no integers, operands of the
    wrong kind (317), values that their target cannot hold (318). Leaves alone: precision, which is the
    kernel's to choose."""
    sorts = Sorts(kernel, sink, in_maths=True)
    for size in (size for tensor in kernel.tensors.values() for size in tensor.shape):
        sorts.size(size)
    dtypes: dict[str, DType] = {}
    for equation in kernel.math:
        sort = sorts.of(equation.value)
        tensor = kernel.tensors.get(equation.target)
        for index in equation.indices:
            sorts.index(index)
        if tensor is not None:
            _check_target(equation, sorts.of_tensor(equation.target), tensor.span, sort, sink)
        else:
            sorts.intermediates[equation.target] = sort
            dtypes[equation.target] = {Sort.truth: DType.bool, Sort.integer: DType.int32}.get(
                sort, kernel.accumulate
            )
    return dtypes


def _check_target(equation: Equation, target: Sort, declared: Span, sort: Sort, sink: Sink) -> None:
    fits = {
        Sort.real: _NUMBERS,
        Sort.integer: (Sort.integer, Sort.anything),
        Sort.truth: (Sort.truth, Sort.anything),
    }.get(target, tuple(Sort))
    if sort in fits:
        return
    help_ = {
        (Sort.real, Sort.truth): "write `where(…, 1, 0)`",
        (Sort.integer, Sort.real): "write `int32(…)` to convert, which rounds towards zero",
        (Sort.truth, Sort.integer): "compare it with something",
        (Sort.truth, Sort.real): "compare it with something",
    }.get((target, sort))
    sink.report(
        "SPAK318",
        f"`{equation.target}` holds {_plural(target)}",
        equation.value.span,
        f"this is {sort.value}",
        also=[(declared, "declared here")],
        help=[help_] if help_ else (),
        repairs=_converted(equation.value, sort, target),
    )


def _converted(expr: Expr, sort: Sort, wanted: Sort) -> list[Repair]:
    """How an expression is written where its value has to be a number, if there is one way."""
    if expr.span is None:
        return []
    if sort is Sort.truth and wanted in (Sort.integer, Sort.real):
        return [Repair(expr.span, f"where({expr.span.text}, 1, 0)")]
    if sort is Sort.real and wanted is Sort.integer:
        return [Repair(expr.span, f"int32({expr.span.text})")]
    return []


def _beyond_32_bits(index: Expr) -> Const | None:
    """A number in an index, written or folded, that no integer of 32 bits is. One place alone is SPAK303's."""
    folded = simplify(index)
    if isinstance(folded, Const):
        return None
    numbers = (node for node in (*walk(index), *walk(folded)) if isinstance(node, Const))
    return next((n for n in numbers if type(n.value) is int and not -(2**31) < n.value < 2**31), None)


def _plural(sort: Sort) -> str:
    return {Sort.real: "real numbers", Sort.integer: "integers", Sort.truth: "truths"}.get(sort, sort.value)


def check_proposition(proposition: Proposition, sink: Sink) -> None:
    """That a proposition is true or false (SPAK320), and that its parts fit together (SPAK316, 317)."""
    sorts = Sorts(proposition.kernel, sink)
    sort = sorts.of(proposition.expr)
    if sort not in (Sort.truth, Sort.anything) and not proposition.is_value:
        sink.report(
            "SPAK320",
            f"{proposition.what} is true or false",
            proposition.expr.span,
            f"this is {sort.value}",
            help=["compare it with something"] if sort in _NUMBERS else (),
        )
    elif proposition.is_value and sort not in _NUMBERS:
        sink.report(
            "SPAK317", f"{proposition.what} is a number", proposition.expr.span, f"this is {sort.value}"
        )


def check_values(values: Iterable[Expr], what: str, sink: Sink) -> None:
    """That expressions over hypers and values of a model are numbers or truths, of parts that fit together (SPAK317),
    without units (SPAK319)."""
    sorts = Sorts(None, sink)
    for value in values:
        before = len(sink.diagnostics)
        sort = sorts.of(value)
        if sort in (Sort.several, Sort.word, Sort.text, Sort.thing) and len(sink.diagnostics) == before:
            sink.report("SPAK317", f"{what} is a number or a truth", value.span, f"this is {sort.value}")
        for node in walk(value):
            if isinstance(node, Const) and node.unit != NUMBER:
                sink.report("SPAK319", f"{what} has no unit", node.span, "this number has one")
                break


class Sorts:
    """The sort of every expression over the names of one kernel (or of none), reporting what does not fit."""

    def __init__(self, kernel: Kernel | None, sink: Sink, *, in_maths: bool = False) -> None:
        self.kernel = kernel
        self.sink = sink
        self.in_maths = in_maths
        self.intermediates: dict[str, Sort] = {}

    def of(self, expr: Expr) -> Sort:
        """The sort of an expression. A part that does not fit is reported and counts as what was expected."""
        if isinstance(expr, Const):
            return self._of_const(expr)
        if isinstance(expr, Ref):
            return self._of_ref(expr)
        if isinstance(expr, Load):
            for index in expr.indices:
                self.index(index)
            return self.of_tensor(expr.tensor)
        if isinstance(expr, Reduce):
            return self._of_reduction(expr)
        if isinstance(expr, Query):
            return self._of_query(expr)
        if isinstance(expr, Apply):
            return self._of_application(expr)
        said = len(self.sink.diagnostics)
        for child in children(expr):
            self.of(child)
        if not self.in_maths:
            return Sort.several
        if len(self.sink.diagnostics) == said:  # a set of sets is one mistake
            help_ = ["a set or a range stands behind `in`"]
            self.sink.report("SPAK317", "an element is one value", expr.span, "these are several", help=help_)
        return Sort.anything

    # ---- leaves -------------------------------------------------------------------------------------

    def _of_const(self, expr: Const) -> Sort:
        if self.in_maths and expr.unit != NUMBER:
            self.sink.report("SPAK319", "kernel mathematics has no units", expr.span, "this number has one")
        if isinstance(expr.value, bool):
            return Sort.truth
        if isinstance(expr.value, str):
            return Sort.text
        return Sort.integer if isinstance(expr.value, int) else Sort.real

    def _of_ref(self, expr: Ref) -> Sort:
        if expr.kind in (RefKind.dim, RefKind.index):
            return Sort.integer
        if expr.kind is RefKind.symbol:
            return Sort.word
        if expr.kind is RefKind.entity:
            return Sort.thing
        if expr.kind is RefKind.fact and self.in_maths:
            self.sink.report(
                "SPAK130",
                "kernel mathematics knows no device",
                expr.span,
                "a fact of a device",
                help=["the result of a kernel is the same on every device"],
            )
            return Sort.anything
        if expr.kind is RefKind.fact:
            return _BY_FACT[FACTS[expr.name].kind]
        if expr.kind is RefKind.option and self.kernel is not None and expr.name in self.kernel.options:
            option = self.kernel.options[expr.name]
            return Sort.word if option.dtype is None else _sort_of(option.dtype)
        if expr.kind is RefKind.knob and self.kernel is not None:
            found = {
                _sort_of_domain(schedule.knobs[expr.name].domain)
                for schedule in self.kernel.schedules.values()
                if expr.name in schedule.knobs
            }
            return found.pop() if len(found) == 1 else Sort.anything
        return Sort.anything

    def of_tensor(self, name: str) -> Sort:
        """What the elements of a tensor or intermediate are; of alternatives, the widest."""
        tensor = None if self.kernel is None else self.kernel.tensors.get(name)
        if tensor is None or self.kernel is None:
            return self.intermediates.get(name, Sort.anything)
        base = self.kernel.tensors.get(tensor.same_as) if tensor.same_as is not None else None
        dtypes = (*tensor.dtypes, *(base.dtypes if base is not None else ()))
        sorts = [_sort_of(dtype) for dtype in dtypes]
        for sort in (Sort.real, Sort.integer, Sort.truth):
            if sort in sorts:
                return sort
        return Sort.anything

    def index(self, expr: Expr) -> None:
        """Reports an index that is no integer, or has a number in it that none of 32 bits can be."""
        sort = self.of(expr)
        if (large := _beyond_32_bits(expr)) is not None:
            label = "this takes more than 32 bits"
            self.sink.report("SPAK316", "an index is an integer of 32 bits", large.span or expr.span, label)
            return
        if sort in (Sort.integer, Sort.anything):
            return
        divides = isinstance(expr, Apply) and expr.op == "div"
        help_ = "`//` divides integers" if divides else "write `int32(…)` to convert"
        repairs = self._whole_division(expr) or _converted(expr, sort, Sort.integer)
        label = f"this is {sort.value}"
        self.sink.report("SPAK316", "an index is an integer", expr.span, label, help=[help_], repairs=repairs)

    def _whole_division(self, expr: Expr) -> list[Repair]:
        """`//` for the sign of a division of integers, where nothing else stands between them."""
        if not (isinstance(expr, Apply) and expr.op == "div"):
            return []
        left, right = (operand.span for operand in expr.args)
        if left is None or right is None or any(self.of(each) is not Sort.integer for each in expr.args):
            return []
        between = Span(left.source, left.end, right.start)
        sign = left.end + between.text.find("/")
        return [Repair(Span(left.source, sign, sign + 1), "//")] if between.text.strip() == "/" else []

    def size(self, expr: Expr) -> None:
        """Reports the size of an axis that is no integer, whether or not an element of its tensor is ever read."""
        before = len(self.sink.diagnostics)
        sort = self.of(expr)
        if sort in (Sort.integer, Sort.anything) or len(self.sink.diagnostics) > before:
            return
        divided = any(isinstance(node, Apply) and node.op == "div" for node in walk(expr))
        help_ = ["`//` divides integers"] if divided else []
        self.sink.report("SPAK321", "a size is an integer", expr.span, f"this is {sort.value}", help=help_)

    # ---- compounds ----------------------------------------------------------------------------------

    def _of_query(self, expr: Query) -> Sort:
        spec = QUERIES.get(expr.name)
        kinds = () if spec is None else [parameter.kind for parameter in spec.positional]
        for argument, kind in zip_longest(expr.args, kinds[: len(expr.args)]):
            sort = self.of(argument)
            if sort is Sort.several:
                message = f"an argument of `{expr.name}` is one value"
                self.sink.report("SPAK317", message, argument.span, "these are several")
            elif sort is Sort.thing and kind is Kind.value and expr.name != "geomean":
                message = f"an argument of `{expr.name}` is a value"
                self.sink.report("SPAK317", message, argument.span, "this is a declared thing")
        for name, value in expr.named:
            if self.of(value) is Sort.thing:
                self.sink.report("SPAK317", f"`{name}` is a value", value.span, "this is a declared thing")
        if spec is None:
            return Sort.anything
        if spec.name == "geomean":
            self._expect(expr.args[0] if expr.args else expr, _NUMBERS, "`geomean` needs a number")
        return _BY_RESULT[spec.result]

    def _of_reduction(self, expr: Reduce) -> Sort:
        name = f"`{expr.op}[…]`"
        if expr.op in ("every", "any"):
            self._expect(expr.body, (Sort.truth, Sort.anything), f"{name} needs a truth")
            return Sort.truth
        sort = self._expect(expr.body, _NUMBERS, f"{name} needs numbers")
        return Sort.real if expr.op in ("logsumexp", "softmax") else sort

    def _of_application(self, expr: Apply) -> Sort:
        handler = _HANDLERS.get(expr.op)
        if handler is not None:
            return handler(self, expr)
        if expr.op.startswith("cast_"):
            sort = _sort_of(DType[expr.op.removeprefix("cast_")])
            self._expect(
                expr.args[0], (*_NUMBERS, Sort.truth), f"`{expr.op.removeprefix('cast_')}` converts numbers"
            )
            return sort
        self._expect(expr.args[0], _NUMBERS, f"`{expr.op}` needs a number")
        return Sort.real  # a function of one number: exp, tanh, gelu …

    def _expect(self, expr: Expr, allowed: Iterable[Sort], message: str) -> Sort:
        """The sort of an operand; SPAK317 when it is none of those allowed."""
        sort = self.of(expr)
        choices = tuple(allowed)
        if sort in choices:
            return sort
        help_: tuple[str, ...] = ()
        repairs: list[Repair] = []
        if sort is Sort.truth:
            help_ = ("write `where(…, 1, 0)` for the number of a truth",)
            repairs = _converted(expr, sort, Sort.integer)
        elif (
            sort is Sort.thing
            and self.kernel is not None
            and isinstance(expr, Ref)
            and expr.name in self.kernel.tensors
        ):
            help_ = (f"index it: `{expr.name}[…]`",)
        elif Sort.integer in choices and Sort.real not in choices and sort is Sort.real:
            help_ = ("`/` divides real numbers",)
            repairs = self._whole_division(expr)
        self.sink.report("SPAK317", message, expr.span, f"this is {sort.value}", help=help_, repairs=repairs)
        return choices[0]

    def _arithmetic(self, expr: Apply) -> Sort:
        sign = _SIGNS.get(expr.op, expr.op)
        sorts = [self._expect(operand, _NUMBERS, f"`{sign}` needs numbers") for operand in expr.args]
        if Sort.real in sorts:
            return Sort.real
        return Sort.anything if Sort.anything in sorts else Sort.integer

    def _real(self, expr: Apply) -> Sort:
        self._arithmetic(expr)
        return Sort.real

    def _integral(self, expr: Apply) -> Sort:
        sign = _SIGNS.get(expr.op, expr.op)
        for operand in expr.args:
            self._expect(operand, (Sort.integer, Sort.anything), f"`{sign}` needs integers")
        return Sort.integer

    def _logical(self, expr: Apply) -> Sort:
        for operand in expr.args:
            self._expect(operand, (Sort.truth, Sort.anything), f"`{expr.op}` needs truths")
        return Sort.truth

    def _order(self, expr: Apply) -> Sort:
        for operand in expr.args:
            self._expect(operand, _NUMBERS, f"`{_SIGNS[expr.op]}` compares numbers")
        return Sort.truth

    def _equality(self, expr: Apply) -> Sort:
        self._alike(expr.args[0], expr.args[1], "these are never equal")
        return Sort.truth

    def _alike(self, left: Expr, right: Expr, message: str) -> Sort:
        """The common sort of two operands; SPAK317 with both places when they have none."""
        a, b = self.of(left), self.of(right)
        if Sort.thing in (a, b):
            thing = left if a is Sort.thing else right
            self.sink.report("SPAK317", "a declared thing is no value", thing.span, "compared here")
            return Sort.anything
        if Sort.anything in (a, b):
            return b if a is Sort.anything else a
        if a is b:
            return a
        if a in _NUMBERS and b in _NUMBERS:
            return Sort.real
        also = [(right.span, f"this is {b.value}")] if right.span is not None else []
        self.sink.report("SPAK317", message, left.span, f"this is {a.value}", also=also)
        return a

    def _choice(self, expr: Apply) -> Sort:
        self._expect(expr.args[0], (Sort.truth, Sort.anything), "`where` chooses by a truth")
        return self._alike(expr.args[1], expr.args[2], "`where` chooses between values of one kind")

    def _member(self, expr: Apply) -> Sort:
        item, domain = expr.args
        if self.in_maths:
            self.sink.report(
                "SPAK130",
                "`in` has no meaning in kernel mathematics",
                expr.span,
                "not known here",
                help=["write comparisons: `0 <= i and i < 3`, `i == 1 or i == 2`"],
            )
            return Sort.truth
        for other in _items(domain):
            self._alike(item, other, "this is never in the set")
        return Sort.truth

    def _call(self, expr: Apply) -> Sort:
        self._expect(expr.args[1], _NUMBERS, "an activation needs a number")
        return Sort.real


def _items(domain: Expr) -> Iterator[Expr]:
    if isinstance(domain, Members):
        yield from domain.items
    elif isinstance(domain, Interval):
        yield domain.first
        yield domain.last


def _sort_of(dtype: DType) -> Sort:
    return Sort.truth if dtype is DType.bool else Sort.real if dtype.is_float else Sort.integer


def _sort_of_domain(domain: Domain) -> Sort:
    if isinstance(domain, Interval):
        return Sort.integer
    sorts = {Sorts(None, Sink()).of(item) for item in domain.items}
    if sorts == {Sort.integer, Sort.real}:
        return Sort.real
    return sorts.pop() if len(sorts) == 1 else Sort.anything


_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "mod": "%",
    "neg": "-",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
}

_HANDLERS: dict[str, Callable[[Sorts, Apply], Sort]] = {
    **dict.fromkeys(("add", "sub", "mul", "min", "max", "neg", "abs"), Sorts._arithmetic),
    **dict.fromkeys(("div", "pow"), Sorts._real),
    **dict.fromkeys(("floordiv", "mod", "ceil_div"), Sorts._integral),
    **dict.fromkeys(("and", "or", "not"), Sorts._logical),
    **dict.fromkeys(("lt", "le", "gt", "ge"), Sorts._order),
    **dict.fromkeys(("eq", "ne"), Sorts._equality),
    "where": Sorts._choice,
    "member": Sorts._member,
    "call": Sorts._call,
}
