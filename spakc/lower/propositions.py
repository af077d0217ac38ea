"""Laws and lets, which look alike in files, kernels, schedules, models, datasets and experiments."""

from __future__ import annotations

from collections.abc import Iterable

from spakc.diagnostics import Sink
from spakc.ir import module as ir
from spakc.ir.ops import Expr
from spakc.lower.expressions import lower_expression
from spakc.lower.lets import lower_let
from spakc.lower.resolve import Scope, check_unique, nearest
from spakc.source import Span
from spakc.syntax import nodes


def lower_laws(
    items: Iterable[nodes.Node], scope: Scope, owner: tuple[str, ...], sink: Sink, *, prefix: str = ""
) -> tuple[ir.Law, ...]:
    """The laws among some statements. `owner` is where they stand, as names in the module: () for a file,
    (kernel,), (kernel, schedule), (model,) …; `prefix` goes before the names of a file's own laws.
    Two laws of one name are SPAK122."""
    laws = [item for item in items if isinstance(item, nodes.Law)]
    check_unique([law.name for law in laws], "a law", sink)
    return tuple(lower_law(law, scope, owner, sink, prefix=prefix) for law in laws)


def lower_law(
    node: nodes.Law, scope: Scope, owner: tuple[str, ...], sink: Sink, *, prefix: str = ""
) -> ir.Law:
    """One law, its names resolved in `scope`."""
    return ir.Law(
        prefix + node.name.text,
        lower_expression(node.proposition, scope, sink),
        optional(node.when, scope, sink),
        node.because,
        owner,
        span=node.name.span,
    )


def lower_lets(
    items: Iterable[nodes.Node], scope: Scope, owner: tuple[str, ...], sink: Sink, *, prefix: str = ""
) -> tuple[ir.Let, ...]:
    """The lets among some statements, each declared in `scope` already (`Scope.add_let`). Lowers those that
    nothing uses, too, so that their mistakes are reported."""
    lets: list[ir.Let] = []
    for node in items:
        entry = scope.entries.get(node.name.text) if isinstance(node, nodes.Let) else None
        if isinstance(node, nodes.Let) and entry is not None and entry.value is node.value:
            value = lower_let(entry, node.name.span, sink, lower_expression)
            lets.append(ir.Let(prefix + node.name.text, value, owner, span=node.name.span))
    return tuple(lets)


def optional(node: nodes.Expr | None, scope: Scope, sink: Sink) -> Expr | None:
    """An expression that may have been left out."""
    return None if node is None else lower_expression(node, scope, sink)


def lower_devices(names: Iterable[nodes.Name], scope: Scope, sink: Sink) -> tuple[str, ...]:
    """The module's names of some devices (`on h100, a100`). Unknown ones are SPAK131, repeated ones
    SPAK122."""
    found: dict[str, Span] = {}
    for name in names:
        entry = scope.find(name.text)
        if entry is None or entry.what != "a device":
            _report_device(name, scope, sink)
        elif entry.ref in found:
            sink.report(
                "SPAK122",
                f"`{name.text}` is named twice",
                name.span,
                "again here",
                also=[(found[entry.ref], "first here")],
            )
        else:
            found[entry.ref] = name.span
    return tuple(found)


def _report_device(name: nodes.Name, scope: Scope, sink: Sink) -> None:
    devices = {key: entry for key, entry in scope.visible().items() if entry.what == "a device"}
    close = nearest(name.text, devices, sink)
    also: list[tuple[Span, str]] = []
    if close is not None and (span := devices[close].span) is not None:
        also.append((span, f"`{close}` is declared here"))
    if close is not None:
        help_ = [f"did you mean `{close}`?"]
    elif devices:
        help_ = [f"the devices known here are {', '.join(f'`{device}`' for device in devices)}"]
    else:
        help_ = ["`use std.devices` brings the usual ones in"]
    sink.report(
        "SPAK131", f"no device is called `{name.text}`", name.span, "unknown device", also=also, help=help_
    )
