"""Devices: facts checked, `like` merged."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spakc.diagnostics import Sink
from spakc.ir.facts import FACTS, Fact
from spakc.ir.module import Device
from spakc.ir.ops import Const, Ref
from spakc.ir.queries import Place
from spakc.ir.types import NUMBER
from spakc.lower.const_eval import constant
from spakc.lower.expressions import lower_expression
from spakc.lower.files import declarations
from spakc.lower.inherit import ancestors
from spakc.lower.program import Program
from spakc.lower.resolve import Scope, nearest
from spakc.source import Span
from spakc.syntax import nodes

Value = bool | int | float | str

ARCHITECTURE = re.compile(r"host|sm_[1-9][0-9]{1,2}[af]?")


def lower_devices(program: Program, scope: Scope, sink: Sink) -> Mapping[str, Device]:
    """Every device of every file by its name in the module, with the facts of the one it is `like` merged in.

    Reports unknown facts (SPAK127), facts of the wrong kind or unit (SPAK314), a fact given twice (SPAK122),
    a device without an architecture (SPAK315), a `like` that leads nowhere (SPAK132)."""
    found = {
        file.qualify(node.name.text): (node, file)
        for node, file in declarations(program, scope, nodes.Device)
    }
    own = {name: _own_facts(node, file, sink) for name, (node, file) in found.items()}
    devices: dict[str, Device] = {}
    for name, (node, _) in found.items():
        chain, complete = ancestors(name, found, "a device", sink)
        facts: dict[str, Value] = {}
        for ancestor in chain:
            facts |= own[ancestor]
        stated = any(setting.key == "arch" for ancestor in chain for setting in found[ancestor][0].settings)
        if not stated and complete:
            sink.report(
                "SPAK315",
                f"device `{node.name.text}` does not say its architecture",
                node.name.span,
                "no `arch` here or in what it is like",
                help=["for example `arch = sm_90a`, or `arch = host` for the emulator"],
            )
        devices[name] = Device(name, facts, span=node.name.span)
    return devices


def _own_facts(node: nodes.Device, scope: Scope, sink: Sink) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    first: dict[str, Span] = {}
    for setting in node.settings:
        key = setting.key
        fact = FACTS.get(key)
        if fact is None:
            close = nearest(key, FACTS, sink)
            help_ = [f"did you mean `{close}`?"] if close else [f"the facts are {', '.join(FACTS)}"]
            sink.report(
                "SPAK127",
                f"no fact of a device is called `{key}`",
                setting.path[0].span,
                "unknown",
                help=help_,
            )
            continue
        if key in first:
            also = [(first[key], "first stated here")]
            sink.report("SPAK122", f"`{key}` is stated twice", setting.path[0].span, "again here", also=also)
            continue
        first[key] = setting.path[0].span
        value = _fact(fact, setting, scope, sink)
        if value is not None:
            facts[key] = value
    return facts


def _fact(fact: Fact, setting: nodes.Setting, scope: Scope, sink: Sink) -> Value | None:
    words = (setting.value.name,) if fact.kind is str and isinstance(setting.value, nodes.NameExpr) else ()
    inner = Scope(Place.declaration) if words else scope.at(Place.declaration)
    expr = lower_expression(setting.value, inner, sink, words=words)
    value = constant(expr, sink, f"`{fact.name}`")
    if value is None:
        return None
    wrong = _mismatch(fact, value, expr)
    if wrong is not None:
        sink.report("SPAK314", f"`{fact.name}` is {fact.meaning}", setting.value.span, wrong)
        return None
    return float(value) if fact.kind is float else value


def _mismatch(fact: Fact, value: Value, expr: object) -> str | None:
    """What is wrong with a value, or None. A bare number adapts to the unit of the fact."""
    unit = expr.unit if isinstance(expr, Const) else NUMBER
    if fact.kind is str:
        if not isinstance(value, str) or not isinstance(expr, Ref):
            return "expected a word"
        if fact.name == "arch" and ARCHITECTURE.fullmatch(value) is None:
            return "expected `host` or an architecture such as `sm_90a`"
        if fact.name == "kind" and value not in ("gpu", "emulator"):
            return "expected `gpu` or `emulator`"
        return None
    if fact.kind is bool:
        return None if isinstance(value, bool) else "expected `true` or `false`"
    if isinstance(value, (bool, str)):
        return "expected a number"
    if unit not in (NUMBER, fact.unit):
        return f"expected {fact.unit}, these are {unit}"
    if value < 0 or (fact.kind is int and not isinstance(value, int)):
        return "expected an integer, not negative" if fact.kind is int else "expected a number, not negative"
    return None
