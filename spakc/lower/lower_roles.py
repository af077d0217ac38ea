"""Roles: who owns which statements of the root file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spakc.diagnostics import Sink
from spakc.ir.module import Role
from spakc.lower.resolve import check_unique, nearest, report_twice
from spakc.source import Span
from spakc.syntax import nodes

STATEMENTS = (
    *("use", "targets", "intent", "let", "law", "claim", "roles", "device"),
    *("kernel", "dim", "input", "output", "inout", "option", "math", "accumulate", "gradient", "verify"),
    *("schedule", "knob", "config", "prefer", "implement"),
    *("model", "hyper", "uses", "part", "forward", "halting", "supervise"),
    *("dataset", "sample", "text", "loss", "answer", "split"),
    *("protocol", "gate", "experiment", "train", "optimizer", "lr", "vary", "profile"),
)
"""What a role may own: the words that statements begin with."""


def lower_roles(items: Iterable[nodes.Node], sink: Sink) -> Mapping[str, Role]:
    """The roles that a file names. SPAK122 for a role that is named twice or a statement with two owners,
    SPAK139 for a word that begins no statement. What nobody owns stays unowned."""
    written = [role for item in items if isinstance(item, nodes.Roles) for role in item.roles]
    check_unique([role.name for role in written], "a role", sink)
    owner: dict[str, Span] = {}
    roles: dict[str, Role] = {}
    for role in written:
        owns: list[str] = []
        for name in role.owns:
            if name.text not in STATEMENTS:
                _report_statement(name, sink)
            elif name.text in owner:
                report_twice(name.text, name.span, owner[name.text], "owned by a role", sink)
            else:
                owner[name.text] = name.span
                owns.append(name.text)
        roles.setdefault(role.name.text, Role(role.name.text, tuple(owns), span=role.name.span))
    return roles


def _report_statement(name: nodes.Name, sink: Sink) -> None:
    close = nearest(name.text, STATEMENTS, sink)
    sink.report(
        "SPAK139",
        f"no statement begins with `{name.text}`",
        name.span,
        "a role owns statements",
        help=[f"did you mean `{close}`?"] if close else ["for example `schedule`, `knob`, `law`"],
    )
