"""Whether a role may make a change: the roles of the old state judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spakc.diagnostics import Sink
from spakc.diff.changes import Change
from spakc.diff.entries import Entry
from spakc.ir.module import Role
from spakc.lower.resolve import nearest
from spakc.source import Span


def owner(entry: Entry, roles: Mapping[str, Role]) -> str | None:
    """The role that owns a statement: by its own word, else by that of the statement around it."""
    for word in entry.kinds:
        for role in roles.values():
            if word in role.owns:
                return role.name
    return None


def known_role(name: str, roles: Mapping[str, Role], place: Span | None, sink: Sink) -> bool:
    """Whether the old state has a role of this name; SPAK602 if not."""
    if name in roles:
        return True
    close = nearest(name, roles)
    help_ = [f"did you mean `{close}`?"] if close else []
    if roles and not close:
        help_ = [f"the roles are {', '.join(f'`{role}`' for role in roles)}"]
    if not roles:
        help_ = ["write `roles { architect owns law, math  implementer owns schedule, knob }`"]
    sink.report("SPAK602", f"there is no role `{name}`", place, help=help_)
    return False


def judge(found: Iterable[Change], role: str, roles: Mapping[str, Role], sink: Sink) -> dict[str, bool]:
    """Whether `role` may make each change, by the id of its statement. Reports every one that it may not: SPAK601
    for a statement of another role, SPAK603 for one that says something else because of another change,
    SPAK604 for one that nobody owns."""
    verdicts: dict[str, bool] = {}
    for change in found:
        held_by = owner(change.old or change.entry, roles)
        allowed = change.harmless or held_by == role
        verdicts[change.entry.id] = allowed
        if not allowed:
            _report(change, role, held_by, sink)
    return verdicts


def _report(change: Change, role: str, held_by: str | None, sink: Sink) -> None:
    entry = change.entry
    also = []
    if change.old is not None and change.new is not None:
        also.append((change.old.span, "this is how it was"))
    said = f"{change.kind}: {change.detail}" if change.detail else change.kind
    if held_by is None:
        sink.report(
            "SPAK604",
            f"`{entry.id}` is {change.kind}, and no role owns `{entry.kind}`",
            entry.span,
            said,
            also=also,
            help=(f"whoever owns `roles` may give `{entry.kind}` to a role",),
        )
    elif change.altered:
        because = ", ".join(f"`{cause}`" for cause in change.causes[:3]) or "another change"
        sink.report(
            "SPAK603",
            f"`{entry.id}` of role `{held_by}` says something else because of {because}",
            entry.span,
            said,
            also=also,
            help=(f"ask `{held_by}` to make this change, or leave its meaning as it was",),
        )
    else:
        sink.report(
            "SPAK601",
            f"`{entry.id}` is {change.kind}, but role `{role}` does not own `{entry.kind}`",
            entry.span,
            said,
            also=also,
            help=(f"it belongs to `{held_by}`",),
        )
