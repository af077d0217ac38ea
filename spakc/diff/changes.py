"""What changed between two states of a project, statement by statement, by meaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from spakc.check.checked import CheckedModule
from spakc.diff.entries import Entry, compiled_for, entries, where_in_force
from spakc.diff.strength import (
    Strength,
    by_sets,
    compare_claims,
    compare_gates,
    compare_laws,
    compare_verification,
    count_law,
    together,
)
from spakc.ir.constraint import Env, TooMany, Unknown, members
from spakc.ir.experiment import Claim, Gate
from spakc.ir.module import Knob, Law, Verification
from spakc.lower.program import Program
from spakc.record import record
from spakc.syntax import nodes

KINDS = ("added", "removed", "weakened", "strengthened", "changed", "renamed", "reworded", "moved")
"""Of a change. `changed` is what cannot be called weaker or stronger, `reworded` says the same in other words."""


@record
class Change:
    """One statement that is not as it was. `altered` says that its own text is as before: it says something else
    because of `causes`, the ids of statements that did change. `harmless` changes alter no meaning and no
    prose, so no role is asked."""

    kind: str
    old: Entry | None
    new: Entry | None
    detail: str = ""
    altered: bool = False
    causes: tuple[str, ...] = ()

    @property
    def entry(self) -> Entry:
        entry = self.new or self.old
        assert entry is not None
        return entry

    @property
    def harmless(self) -> bool:
        if self.kind == "moved":
            return True
        return self.kind == "reworded" and self.old is not None and self.old.prose == self.entry.prose


@record
class State:
    """A project as it is or was."""

    program: Program
    checked: CheckedModule
    corpora: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files that datasets name, by dataset."""


def changes(old: State, new: State) -> list[Change]:
    """Every change, in the order of the new files; what was removed comes last."""
    before, after = (entries(state.program, state.checked, state.corpora) for state in (old, new))
    renamed = _renamed(before, after)
    moved = _moved(before, after)
    found: list[Change] = []
    for id, entry in after.items():
        was = before.get(id) or renamed.get(id)
        change = _change(was, entry, old, new) if was is not None else Change("added", None, entry)
        if change is None and id in moved:
            change = Change("moved", was, entry, moved[id])
        if change is not None:
            found.append(change)
    taken = {entry.id for entry in renamed.values()}
    found += [Change("removed", e, None) for id, e in before.items() if id not in after and id not in taken]
    return [_with_causes(change, found, after) for change in found]


def _change(was: Entry, entry: Entry, old: State, new: State) -> Change | None:
    if was.meaning == entry.meaning and was.id == entry.id:
        if was.prose != entry.prose:
            return Change("reworded", was, entry, "its prose")
        return Change("reworded", was, entry, "it says the same") if was.said != entry.said else None
    if was.id != entry.id:
        return Change("renamed", was, entry, f"it was `{was.id}`")
    strength, detail = _strength(was, entry, old, new)
    kind = {Strength.weaker: "weakened", Strength.stronger: "strengthened"}.get(strength, "changed")
    if was.content != entry.content:
        return Change(kind, was, entry, detail or "the file that it names has another content")
    return Change(kind, was, entry, detail, altered=was.said == entry.said)


# ---- how much a statement demands -----------------------------------------------------------------------


def _strength(was: Entry, entry: Entry, old: State, new: State) -> tuple[Strength, str]:
    if entry.kind == "targets":
        lost = {*old.checked.module.targets} - {*new.checked.module.targets}
        gained = {*new.checked.module.targets} - {*old.checked.module.targets}
        if lost and gained:
            return Strength.unclear, ""
        names = ", ".join(sorted(lost or gained))
        return (
            (Strength.weaker, f"no longer for {names}") if lost else (Strength.stronger, f"now for {names}")
        )
    pairs = list(_pairs(was.bodies, entry.bodies))
    fewer, more = len(was.bodies) - len(pairs), len(entry.bodies) - len(pairs)
    if not pairs or ((fewer or more) and entry.kind != "law"):
        return Strength.unclear, ""
    found = [_of_pair(a, b, old, new) for a, b in pairs]
    if fewer or more:  # a law that binds other schedules than before
        text = f"it binds {len(was.bodies)} schedules, now {len(entry.bodies)}"
        found.insert(0, (by_sets(more > 0, fewer > 0), text))
    return together(*(strength for strength, _ in found)), next((text for _, text in found if text), "")


def _pairs(old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """Declarations of one statement, before and after, in the same scope."""
    scopes = {getattr(body, "scope", ()): body for body in old}
    for body in new:
        if getattr(body, "scope", ()) in scopes:
            yield scopes[getattr(body, "scope", ())], body


def _of_pair(a: Any, b: Any, old: State, new: State) -> tuple[Strength, str]:
    if isinstance(a, Law) and isinstance(b, Law):
        there = [where_in_force(law, state.checked.module) for law, state in ((a, old), (b, new))]
        if set(there[0]) != set(there[1]):
            where = " and ".join(there[0]) or "no target", " and ".join(there[1]) or "none"
            text = f"it binds `{'.'.join(b.scope)}` on {where[0]}, now on {where[1]}"
            fewer, more = set(there[0]) - set(there[1]), set(there[1]) - set(there[0])
            said, _ = count_law(a, b, old.checked, new.checked)
            return together(by_sets(bool(more), bool(fewer)), said), text
        archs = [compiled_for(law, state.checked.module) for law, state in ((a, old), (b, new))]
        if archs[0] != archs[1]:
            code = [", ".join(each) or "none" for each in archs]
            more, fewer = set(archs[1]) - set(archs[0]), set(archs[0]) - set(archs[1])
            among = by_sets(bool(more), bool(fewer))
            return together(among, compare_laws(a, b)), f"it was about code for {code[0]}, now for {code[1]}"
        strength, counted = count_law(a, b, old.checked, new.checked)
        if not counted:
            return compare_laws(a, b), ""
        shown = next((each for each in counted if each.before != each.after), counted[0])
        of = f"{shown.before:,} of {shown.points:,} points of `{'.'.join(b.scope)}`"
        on = f" on {shown.target}" if shown.target else ""
        return strength, f"it let {of} through{on}, now {shown.after:,}"
    if isinstance(a, Verification) and isinstance(b, Verification):
        return compare_verification(a, b), _verification(a, b)
    if isinstance(a, Claim) and isinstance(b, Claim):
        return compare_claims(a, b), ""
    if isinstance(a, Gate) and isinstance(b, Gate):
        return compare_gates(a, b), ""
    if isinstance(a, Knob) and isinstance(b, Knob):
        sizes = [members(knob.domain, Env(), 1 << 16) for knob in (a, b)]
        if all(not isinstance(size, (TooMany, Unknown)) for size in sizes):
            return Strength.unclear, f"{len(sizes[0])} values, now {len(sizes[1])}"  # type: ignore[arg-type]
    return Strength.unclear, ""


def _verification(old: Verification, new: Verification) -> str:
    return f"{old.cases or 0} cases, now {new.cases or 0}" if old.cases != new.cases else ""


# ---- what moved, and why something changed --------------------------------------------------------------


def _renamed(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, Entry]:
    """Statements that are gone, by the ids of new ones that say the same under another name in the same place."""
    gone: dict[Any, list[Entry]] = {}
    for id, entry in before.items():
        if id not in after:
            gone.setdefault(_nameless(entry), []).append(entry)
    found = {}
    for id, entry in after.items():
        same = gone.get(_nameless(entry), []) if id not in before else []
        if len(same) == 1:
            found[id] = same.pop()
    return found


def _nameless(entry: Entry) -> Any:
    said = entry.said
    if isinstance(said, nodes.Node) and isinstance(getattr(said, "name", None), nodes.Name):
        values = tuple(value for value in said.said() if value is not said.name)  # type: ignore[attr-defined]
        return entry.kinds, entry.path[:-1], values
    return entry.id  # what has a block, or no name, is found by its id


def _moved(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, str]:
    """Statements that stand in another file, or elsewhere among those around them."""
    found: dict[str, str] = {}
    groups: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for side, table in enumerate((before, after)):
        other = after if side == 0 else before
        for id, entry in table.items():
            if id in other:
                key = (entry.file, *entry.path[:-1])
                groups.setdefault(key, ([], []))[side].append(id)
    for id, entry in after.items():
        if id in before and before[id].file != entry.file:
            found[id] = f"from {before[id].file or 'the file itself'}"
    for old, new in groups.values():
        old = [id for id in old if id not in found]
        kept: set[str] = set()
        for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
            kept.update(old[block.a : block.a + block.size])
        for id in old:
            if id not in kept and id in new:
                found[id] = "among the statements around it"
    return found


def _with_causes(change: Change, found: list[Change], after: Mapping[str, Entry]) -> Change:
    if not change.altered:
        return change
    direct = [other for other in found if not other.altered and not other.harmless]
    named = _names(change.entry, after)
    near = [c for c in direct if {c.entry.path[-1:], c.entry.path[:1]} & {(name,) for name in named}]
    if "device" in named:
        near += [c for c in direct if c.entry.kind in ("device", "targets") and c not in near]
    causes = near or direct
    return Change(
        change.kind, change.old, change.new, change.detail, True, tuple(cause.entry.id for cause in causes)
    )


def _names(entry: Entry, after: Mapping[str, Entry]) -> set[str]:
    """The words of a statement and of the lets that it names, to the last."""
    lets: dict[str, list[Entry]] = {}
    for other in after.values():
        if other.kind == "let":
            lets.setdefault(other.path[-1], []).append(other)
    found: set[str] = set()
    waiting: list[Any] = [entry.said]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, nodes.Node):
            words = [thing.name] if isinstance(thing, nodes.NameExpr) else []
            for word in words:
                if word not in found:
                    found.add(word)
                    waiting += [let.said for let in lets.get(word, ())]
            waiting += thing.said()
        elif isinstance(thing, tuple):
            waiting += thing
    if not isinstance(entry.said, (nodes.Law, nodes.Let, nodes.Prefer)):
        found.update(entry.path[:1])  # a check or gradient depends on its kernel's mathematics
    return found


def summary(found: Iterable[Change]) -> str:
    """How many changes of which kind."""
    rows = list(found)
    counts = [(kind, sum(change.kind == kind for change in rows)) for kind in KINDS]
    said = ", ".join(f"{n} {kind}" for kind, n in counts if n)
    return f"{len(rows)} changes: {said}" if rows else "nothing changed"
