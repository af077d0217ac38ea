"""Calls of the functions in spakc/ir/queries.py: are they allowed here, are the arguments what they must
be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from spakc.diagnostics import Sink
from spakc.ir.constraint import Env, Unknown, evaluate
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Expr, Query, Ref, RefKind
from spakc.ir.queries import BASELINES, Kind, Parameter, Place, QuerySpec
from spakc.ir.types import DType
from spakc.ir.visit import with_unit
from spakc.lower.resolve import UNRESOLVED, WORDS, Entry, Scope, nearest
from spakc.source import Span
from spakc.syntax import nodes


class Lower(Protocol):
    """`lower_expression`, handed in because it calls back here."""

    def __call__(self, node: nodes.Expr, scope: Scope, sink: Sink, *, words: Iterable[str] = ()) -> Expr: ...


def check_place(spec: QuerySpec, span: Span, scope: Scope, sink: Sink) -> None:
    """Reports SPAK130 when the function says nothing where this scope's expressions stand."""
    if scope.place is Place.let or scope.place in spec.places:
        return
    allowed = " or ".join(sorted(place.value for place in spec.places))
    sink.report(
        "SPAK130",
        f"`{spec.name}` has no meaning in {scope.place.value}",
        span,
        "not known here",
        help=[f"`{spec.signature}` belongs in {allowed}"],
    )


def lower_query(spec: QuerySpec, node: nodes.Call, scope: Scope, sink: Sink, lower: Lower) -> Query:
    """A call as a `Query`. Reports a wrong number or unknown name of arguments (SPAK129), an argument of the
    wrong kind (SPAK128), a word that is none of the choices (SPAK139), a wrong place (SPAK130); always
    returns a Query."""
    check_place(spec, node.span, scope, sink)
    positional = [argument for argument in node.arguments if argument.name is None]
    named = [argument for argument in node.arguments if argument.name is not None]
    _check_count(spec, len(positional), node.span, sink)
    subject = _subject(positional, scope)
    args: list[Expr] = []
    for position, argument in enumerate(positional):
        if position < len(spec.positional):
            parameter = spec.positional[position]
        elif spec.variadic:
            parameter = spec.positional[-1]
        else:
            continue
        if (
            parameter.kind is Kind.split
            and spec.positional[0].kind is Kind.experiment
            and _unknown_subject(args)
        ):
            args.append(args[0])  # whose split cannot be said, and the experiment has been reported
            continue
        args.append(_argument(parameter, argument.value, subject, scope, sink, lower))
    values = _named_arguments(spec, named, subject, node.span, scope, sink, lower)
    return Query(spec.name, tuple(args), values, span=node.span)


def _unknown_subject(args: list[Expr]) -> bool:
    """Whether the first argument was not understood."""
    return bool(args) and isinstance(args[0], Ref) and args[0].name == UNRESOLVED


def _check_count(spec: QuerySpec, count: int, span: Span, sink: Sink) -> None:
    fewest, most = spec.arity
    if count < fewest or (most is not None and count > most):
        sink.report(
            "SPAK129",
            f"`{spec.name}` is called with {count} argument{'' if count == 1 else 's'}",
            span,
            "wrong number of arguments",
            help=[f"write `{spec.signature}`"],
        )


def _subject(positional: list[nodes.Argument], scope: Scope) -> Entry | None:
    """What the first argument names: the kernel whose dims, the experiment whose splits may follow."""
    node = positional[0].value if positional else None
    path: list[str] = []
    while isinstance(node, nodes.Attribute):
        path.append(node.name.text)
        node = node.base
    entry = scope.find(node.name) if isinstance(node, nodes.NameExpr) else None
    for member in reversed(path):
        entry = entry.members.get(member) if entry is not None and entry.members is not None else None
    return entry


def _named_arguments(
    spec: QuerySpec,
    named: list[nodes.Argument],
    subject: Entry | None,
    span: Span,
    scope: Scope,
    sink: Sink,
    lower: Lower,
) -> tuple[tuple[str, Expr], ...]:
    known = {parameter.name: parameter for parameter in spec.named}
    if spec.open_named:
        known |= _subject_parameters(subject)
    if spec.swept and subject is not None:
        known |= {name: Parameter(name) for name in subject.varies}
    given: dict[str, nodes.Name] = {}
    values: list[tuple[str, Expr]] = []
    for argument in named:
        assert argument.name is not None
        name = argument.name.text
        if name in given:
            also = [(given[name].span, "first given here")]
            sink.report("SPAK129", f"`{name}` is given twice", argument.name.span, "again here", also=also)
            continue
        given[name] = argument.name
        if name not in known and not (spec.open_named and (subject is None or subject.members is None)):
            close = nearest(name, known, sink)
            sink.report(
                "SPAK129",
                f"`{spec.name}` takes no argument `{name}`",
                argument.name.span,
                "unknown argument",
                help=[f"did you mean `{close}`?" if close else f"write `{spec.signature}`"],
            )
            continue
        parameter = known.get(name, Parameter(name))
        value = _argument(parameter, argument.value, subject, scope, sink, lower)
        values.append((name, value))
        if subject is not None and subject.members is not None and spec.open_named:
            entry = subject.members.get(name)
            if entry is not None and entry.kind is RefKind.dim:
                _check_fixed(name, value, _is_size, "a size, a whole number from 1 on", sink)
            elif entry is not None and (united := with_unit(value)) is not None:
                sink.report("SPAK129", f"`{name}` has no unit", united.span, "this number has one")
            elif entry is None and name == "dtype":
                _check_fixed(name, value, _is_dtype, "the name of a dtype", sink)
    for parameter in spec.named:
        if parameter.required and parameter.name not in given and not sink.has("SPAK129", span):
            sink.report(
                "SPAK129",
                f"`{spec.name}` needs `{parameter.name} = …`",
                span,
                "an argument is missing",
                help=[f"write `{spec.signature}`"],
            )
    return tuple(values)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_dtype(value: object) -> bool:
    return value in {dtype.value for dtype in DType}


def _check_fixed(name: str, value: Expr, fits: Callable[[object], bool], meant: str, sink: Sink) -> None:
    """What a measurement fixes, as far as it is a constant; a quantified name has its value later."""
    if isinstance(value, Ref) and value.kind is RefKind.symbol:
        found: Scalar | Unknown = value.name
    else:
        found = evaluate(value, Env())
    if found == UNRESOLVED:
        return
    if not isinstance(found, Unknown) and (not fits(found) or with_unit(value) is not None):
        sink.report("SPAK129", f"`{name}` is {meant}", value.span, "this is none")


def _subject_parameters(subject: Entry | None) -> dict[str, Parameter]:
    """What a measurement of a kernel may fix: its dims and options, the dtypes, the schedule."""
    members = subject.members if subject is not None and subject.members is not None else {}
    fixed = {
        name: Parameter(name, words=entry.words)
        for name, entry in members.items()
        if entry.kind in (RefKind.dim, RefKind.option)
    }
    schedules = tuple(name for name, entry in members.items() if entry.what == "a schedule")
    return fixed | {"dtype": Parameter("dtype"), "schedule": Parameter("schedule", Kind.word, schedules)}


# ---- one argument -----------------------------------------------------------------------------------

_ENTITIES: dict[Kind, tuple[str, ...]] = {
    Kind.tensor: ("an input tensor", "an output tensor", "an inout tensor", "a stage of a tensor"),
    Kind.kernel: ("a kernel",),
    Kind.subject: ("a kernel", "an experiment"),
    Kind.trained: ("an experiment", "a model"),
    Kind.experiment: ("an experiment",),
    Kind.split: ("a split",),
}
"""What an entry must be for an argument of this kind."""


def _argument(
    parameter: Parameter, node: nodes.Expr, subject: Entry | None, scope: Scope, sink: Sink, lower: Lower
) -> Expr:
    if parameter.kind is Kind.value:
        return lower(node, scope, sink, words=parameter.words)
    if parameter.kind is Kind.word:
        return _word(parameter, node, scope, sink, lower)
    if parameter.kind is Kind.string:
        if not isinstance(node, nodes.String):
            sink.report(
                "SPAK128", f"`{parameter.name}` is a string", node.span, "expected a string in quotes"
            )
        return lower(node, scope, sink)
    if parameter.kind is Kind.split and isinstance(node, nodes.NameExpr):
        split = _split_of(node, subject, scope, sink)
        if split is not None:
            return split
    if not isinstance(node, (nodes.NameExpr, nodes.Attribute)):
        sink.report("SPAK128", f"expected {parameter.kind.value}", node.span, "this is no name of one")
        return lower(node, scope, sink)
    value = lower(node, scope, sink)
    if isinstance(value, Ref) and value.kind is RefKind.parameter:
        return value  # bound by a quantifier over such things
    if isinstance(value, Ref) and value.name in BASELINES and parameter.kind is Kind.subject:
        return value
    word = isinstance(value, Ref) and value.kind is RefKind.symbol and value.name in WORDS
    if (word or isinstance(value, Query)) and isinstance(
        node, nodes.NameExpr
    ):  # has a value of its own: `text`, `end`
        sink.report("SPAK128", f"expected {parameter.kind.value}", node.span, "this is no name of one")
        return value
    entry = _subject([nodes.Argument(None, node, span=node.span)], scope)
    if entry is not None and entry.what not in _ENTITIES[parameter.kind] and entry.members is not None:
        also = [] if entry.span is None else [(entry.span, "declared here")]
        name = node.span.text
        sink.report(
            "SPAK128",
            f"expected {parameter.kind.value}, but `{name}` is {entry.what}",
            node.span,
            f"not {parameter.kind.value}",
            also=also,
        )
    return value


def _word(parameter: Parameter, node: nodes.Expr, scope: Scope, sink: Sink, lower: Lower) -> Expr:
    if isinstance(node, nodes.NameExpr):
        if node.name in parameter.words:
            return Ref(node.name, RefKind.symbol, span=node.span)
        entry = scope.find(node.name)
        if entry is not None and entry.kind in (RefKind.parameter, RefKind.hyper, RefKind.option):
            return lower(node, scope, sink)
    close = nearest(node.span.text, parameter.words, sink)
    choices = ", ".join(f"`{word}`" for word in parameter.words)
    sink.report(
        "SPAK139",
        f"`{parameter.name}` cannot be `{node.span.text}`",
        node.span,
        "none of the choices",
        help=[f"did you mean `{close}`?" if close else f"it is one of {choices}"],
    )
    return Ref(UNRESOLVED, RefKind.symbol, span=node.span)


def _split_of(node: nodes.NameExpr, subject: Entry | None, scope: Scope, sink: Sink) -> Expr | None:
    """A split named alone belongs to the data of the experiment before it. None: look the name up as
    usual."""
    own = scope.find(node.name)
    if own is not None and own.what in ("a split", "a quantified name"):
        return None
    if subject is None or subject.what != "an experiment":
        return None
    if subject.members is None:
        return Ref(node.name, RefKind.entity, span=node.span)
    split = subject.members.get(node.name)
    if split is not None:
        return Ref(node.name, RefKind.entity, span=node.span)
    close = nearest(node.name, subject.members, sink)
    also = [] if subject.span is None else [(subject.span, "of this experiment")]
    if close is not None and (span := subject.members[close].span) is not None:
        also.append((span, f"`{close}` is declared here"))
    sink.report(
        "SPAK120",
        f"the data of `{subject.name}` has no split `{node.name}`",
        node.span,
        "unknown split",
        also=also,
        help=[f"did you mean `{close}`?"] if close else (),
    )
    return Ref(UNRESOLVED, RefKind.symbol, span=node.span)
