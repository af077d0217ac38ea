"""Schedules: `like` merged, knobs and configs constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spakc.diagnostics import Sink
from spakc.ir import module as ir
from spakc.ir.constraint import Env, evaluate
from spakc.ir.lanes import Scalar
from spakc.ir.ops import Apply, Const, Expr, Interval, Ref, RefKind
from spakc.ir.queries import Place
from spakc.lower.const_eval import constant, constant_domain
from spakc.lower.expressions import lower_domain, lower_expression
from spakc.lower.inherit import ancestors
from spakc.lower.propositions import lower_devices, lower_law, lower_lets, optional
from spakc.lower.resolve import Scope, check_unique, nearest
from spakc.record import record
from spakc.source import Span
from spakc.syntax import nodes


def lower_schedules(
    declared: Sequence[nodes.Schedule], kernel: str, scope: Scope, sink: Sink
) -> dict[str, ir.Schedule]:
    """The schedules of a kernel. One that is `like` another has its needs, knobs, lets and laws, its own ones
    overriding by name; an inherited law is read anew, so it speaks of the overridden `let`. Configs and
    `prefer` are not inherited: they are points and rankings of one space.

    Reports SPAK122, 132, 133 (configs), 305 (domains), 306 (a value outside its domain)."""
    check_unique([node.name for node in declared], "a schedule", sink)
    by_name = {node.name.text: (node, None) for node in reversed(declared)}
    merged = {name: _merge(name, by_name, sink) for name in by_name}
    return {
        node.name.text: _schedule(node, merged[node.name.text], kernel, scope, sink)
        for node in declared
        if by_name[node.name.text][0] is node
    }


@record
class _Merged:
    """The statements of a schedule and of all it is like, in the order of the ancestors."""

    needs: tuple[nodes.Expr, ...]
    knobs: tuple[nodes.Knob, ...]
    lets: tuple[nodes.Let, ...]
    laws: tuple[nodes.Law, ...]


def _merge(name: str, declared: Mapping[str, tuple[nodes.Schedule, None]], sink: Sink) -> _Merged:
    chain, _ = ancestors(name, declared, "a schedule", sink)
    needs: list[nodes.Expr] = []
    knobs: dict[str, nodes.Knob] = {}
    lets: dict[str, nodes.Let] = {}
    laws: dict[str, nodes.Law] = {}
    for ancestor in chain:
        node = declared[ancestor][0]
        needs += [need for need in node.needs if need not in needs]
        for item in _first_of_each(node):
            if isinstance(item, nodes.Knob):
                knobs[item.name.text] = item
            elif isinstance(item, nodes.Let):
                lets[item.name.text] = item
            elif isinstance(item, nodes.Law):
                laws[item.name.text] = item
    return _Merged(tuple(needs), tuple(knobs.values()), tuple(lets.values()), tuple(laws.values()))


def _first_of_each(node: nodes.Schedule) -> list[nodes.Node]:
    """The statements without those whose name the same schedule gives a second time (reported elsewhere)."""
    seen: set[tuple[bool, str]] = set()
    kept: list[nodes.Node] = []
    for item in node.items:
        if isinstance(item, (nodes.Knob, nodes.Let, nodes.Law)):
            key = (isinstance(item, nodes.Law), item.name.text)
            if key in seen:
                continue
            seen.add(key)
        kept.append(item)
    return kept


def _schedule(node: nodes.Schedule, merged: _Merged, kernel: str, outer: Scope, sink: Sink) -> ir.Schedule:
    scope = outer.child(title=f"schedule `{node.name.text}`", inner=True)
    _check_own_names(node, sink)
    knobs = {knob.name.text: _knob(knob, scope, sink) for knob in merged.knobs}
    for let in merged.lets:
        scope.add_let(let, sink)
    owner = (kernel, node.name.text)
    configs = [item for item in node.items if isinstance(item, nodes.Config)]
    check_unique([config.name for config in configs], "a config", sink)
    return ir.Schedule(
        node.name.text,
        None if node.like is None else node.like.text,
        tuple(lower_expression(need, scope, sink) for need in merged.needs),
        knobs,
        tuple(_config(config, knobs, node, scope, sink) for config in configs),
        tuple(
            ir.Prefer(
                lower_expression(item.proposition, scope, sink),
                optional(item.when, scope, sink),
                item.because,
                span=item.span,
            )
            for item in node.items
            if isinstance(item, nodes.Prefer)
        ),
        tuple(lower_law(law, scope, owner, sink) for law in merged.laws),
        lower_lets(merged.lets, scope, owner, sink),
        span=node.name.span,
    )


def _check_own_names(node: nodes.Schedule, sink: Sink) -> None:
    """A name twice in one schedule; overriding an inherited one is no mistake."""
    values = [item.name for item in node.items if isinstance(item, (nodes.Knob, nodes.Let))]
    check_unique(values, "a knob or `let`", sink)
    check_unique([item.name for item in node.items if isinstance(item, nodes.Law)], "a law", sink)


def _knob(node: nodes.Knob, scope: Scope, sink: Sink) -> ir.Knob:
    outside = (scope.parent or scope).at(Place.declaration)
    domain = lower_domain(node.domain, outside, sink, open_words=True)
    domain = constant_domain(domain, sink, f"knob `{node.name.text}`")
    words = () if isinstance(domain, Interval) else tuple(i.name for i in domain.items if isinstance(i, Ref))
    scope.add(node.name, "a knob", RefKind.knob, sink, words=words)
    scope.words(words)
    return ir.Knob(node.name.text, domain, node.at_launch, span=node.name.span)


# ---- configs ----------------------------------------------------------------------------------------


def _config(
    node: nodes.Config, knobs: Mapping[str, ir.Knob], schedule: nodes.Schedule, scope: Scope, sink: Sink
) -> ir.Config:
    values: dict[str, Scalar] = {}
    spans: dict[str, Span] = {}
    keys: dict[str, Span] = {}
    for setting in node.settings:
        key, span = setting.key, setting.path[0].span
        if key not in knobs:
            close = nearest(key, knobs, sink)
            sink.report(
                "SPAK133",
                f"schedule `{schedule.name.text}` has no knob `{key}`",
                span,
                "unknown knob",
                also=[(knobs[close].span, f"`{close}` is declared here")] if close else (),
                help=[f"did you mean `{close}`?"] if close else (),
            )
            continue
        if key in keys:
            sink.report("SPAK133", f"`{key}` is given twice", span, "again", also=[(keys[key], "first here")])
            continue
        keys[key] = span
        spans[key] = setting.value.span
        value = _value(setting, knobs[key], scope, sink)
        if value is not None:
            values[key] = value
    missing = [name for name in knobs if name not in spans]
    if missing:
        sink.report(
            "SPAK133",
            f"config `{node.name.text}` says nothing about {', '.join(f'`{name}`' for name in missing)}",
            node.name.span,
            "gives no whole point of the space",
            also=[(knobs[name].span, "this knob needs a value") for name in missing[:4]],
        )
    devices = lower_devices(node.on, scope, sink)
    return ir.Config(node.name.text, devices, values, spans, span=node.name.span)


def _value(setting: nodes.Setting, knob: ir.Knob, scope: Scope, sink: Sink) -> Scalar | None:
    value = constant(lower_expression(setting.value, scope, sink), sink, f"the value of `{knob.name}`")
    if value is None:
        return None
    item: Expr = Ref(value, RefKind.symbol) if isinstance(value, str) else Const(value)
    inside = evaluate(Apply("member", (item, knob.domain)), Env())
    known = isinstance(knob.domain, Interval) or bool(knob.domain.items)
    if inside is not True and known:
        sink.report(
            "SPAK306",
            f"`{knob.name}` cannot be {setting.value.span.text}",
            setting.value.span,
            "outside of its domain",
            also=[(knob.domain.span, "the domain")] if knob.domain.span is not None else (),
        )
        return None
    return value
