"""What changed between two states of a project, statement by statement, by meaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from spakc.check.checked import CheckedModule
from spakc.diff.difference import Difference, Strength, by_sets, differs, said, together
from spakc.diff.entries import Entry, compiled_for, entries, where_in_force
from spakc.diff.strength import (
    differences_of_claims,
    differences_of_gates,
    differences_of_laws,
    differences_of_verification,
)
from spakc.ir.constraint import Env, members, show
from spakc.ir.experiment import Claim, Gate
from spakc.ir.module import Device, Knob, Law, Let, Verification
from spakc.lower.program import Program
from spakc.record import record
from spakc.syntax import nodes

KINDS = ("added", "removed", "weakened", "strengthened", "changed", "renamed", "reworded", "moved")
"""Of a change. `changed` is what cannot be called weaker or stronger, `reworded` says the same in other words."""


@record
class Change:
    """One statement that is not as it was. `altered` says that its own text is as before: it says something else
    because of `causes`, the ids of statements that did change. `differences` say in which respects it demands more or
    less, `detail` says it in a line. `harmless` changes alter no meaning and no prose, so no role is asked."""

    kind: str
    old: Entry | None
    new: Entry | None
    detail: str = ""
    differences: tuple[Difference, ...] = ()
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
    moved, reordered = _moved(before, after), _reordered(before, after)
    found: list[Change] = []
    for id, entry in after.items():
        was = before.get(id) or renamed.get(id)
        change = _change(was, entry, old, new) if was is not None else Change("added", None, entry)
        if change is None and id in reordered:
            change = Change("changed", was, entry, reordered[id])
        if change is None and id in moved:
            change = Change("moved", was, entry, moved[id])
        if change is not None:
            found.append(change)
    taken = {entry.id for entry in renamed.values()}
    found += [Change("removed", e, None) for id, e in before.items() if id not in after and id not in taken]
    return [_with_causes(change, found, after) for change in found]


_ROUNDED = "its tolerance is measured in the order in which the mathematics is written, which is another one"


def _change(was: Entry, entry: Entry, old: State, new: State) -> Change | None:
    if was.meaning == entry.meaning and (was.id == entry.id or entry.kind == "prefer"):
        if was.roundings != entry.roundings:
            return Change("changed", was, entry, _ROUNDED, altered=was.said == entry.said)
        if was.prose != entry.prose:
            return Change("reworded", was, entry, "its prose")
        return Change("reworded", was, entry, "it says the same") if was.said != entry.said else None
    if was.id != entry.id:
        return Change("renamed", was, entry, f"it was `{was.id}`")
    every = dict.fromkeys(_differences(was, entry, old, new))
    found = tuple(each for each in every if each.old != each.new) or tuple(every)[:1]
    strength = together(*(each.strength for each in found))
    kind = {Strength.weaker: "weakened", Strength.stronger: "strengthened"}.get(strength, "changed")
    detail = "; ".join(map(str, found))
    if was.content != entry.content:
        detail = detail or "the file that it names has another content"
        return Change(kind, was, entry, detail, found)
    return Change(kind, was, entry, detail, found, altered=was.said == entry.said)


# ---- how much a statement demands -----------------------------------------------------------------------


def _differences(was: Entry, entry: Entry, old: State, new: State) -> Iterator[Difference]:
    if entry.kind == "targets":
        names = [state.checked.module.targets for state in (old, new)]
        strength = by_sets(bool({*names[1]} - {*names[0]}), bool({*names[0]} - {*names[1]}))
        yield differs("for", (", ".join(each) for each in names), strength)
        return
    pairs = [*_pairs(was.bodies, entry.bodies)]
    fewer, more = len(was.bodies) - len(pairs), len(entry.bodies) - len(pairs)
    if entry.kind == "law" and (fewer or more):  # it binds other schedules than before
        count = [str(len(each.bodies)) for each in (was, entry)]
        yield differs("schedules that it binds", count, by_sets(more > 0, fewer > 0))
    elif not pairs or fewer or more:
        return
    for a, b in pairs:
        yield from _of_pair(a, b, old, new)


def _pairs(old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """Declarations of one statement, before and after, in the same scope."""
    scopes = {getattr(body, "scope", ()): body for body in old}
    for body in new:
        if getattr(body, "scope", ()) in scopes:
            yield scopes[getattr(body, "scope", ())], body


def _of_pair(a: Any, b: Any, old: State, new: State) -> Iterator[Difference]:
    if isinstance(a, Law) and isinstance(b, Law):
        yield from _of_laws(a, b, old, new)
    elif isinstance(a, Verification) and isinstance(b, Verification):
        yield from differences_of_verification(a, b)
    elif isinstance(a, Claim) and isinstance(b, Claim):
        yield from differences_of_claims(a, b)
    elif isinstance(a, Gate) and isinstance(b, Gate):
        yield from differences_of_gates(a, b)
    elif isinstance(a, Knob) and isinstance(b, Knob):
        yield from _of_knobs(a, b)
    elif isinstance(a, Let) and isinstance(b, Let) and said(a.value) != said(b.value):
        yield Difference("value", said(a.value), said(b.value), Strength.unclear)
    elif isinstance(a, Device) and isinstance(b, Device):
        for fact in {**a.facts, **b.facts}:
            if a.facts.get(fact) != b.facts.get(fact):
                yield differs(fact, (_fact(each.facts.get(fact)) for each in (a, b)), Strength.unclear)


def _of_laws(a: Law, b: Law, old: State, new: State) -> Iterator[Difference]:
    there = [where_in_force(law, state.checked.module) for law, state in ((a, old), (b, new))]
    archs = [compiled_for(law, state.checked.module) for law, state in ((a, old), (b, new))]
    if set(there[0]) != set(there[1]):
        fewer, more = set(there[0]) - set(there[1]), set(there[1]) - set(there[0])
        where = [" and ".join(each) or "no target" for each in there]
        yield differs(f"binds `{'.'.join(b.scope)}` on", where, by_sets(bool(more), bool(fewer)))
    elif archs[0] != archs[1]:
        fewer, more = set(archs[0]) - set(archs[1]), set(archs[1]) - set(archs[0])
        code = [", ".join(each) or "none" for each in archs]
        yield differs("about code for", code, by_sets(bool(more), bool(fewer)))
    yield from differences_of_laws(a, b, old.checked, new.checked)


def _of_knobs(a: Knob, b: Knob) -> Iterator[Difference]:
    """More values are no less demanding: the space is another one."""
    found = [members(knob.domain, Env(), 1 << 16) for knob in (a, b)]
    if isinstance(found[0], tuple) and isinstance(found[1], tuple):
        more = [show(value) for value in found[1] if value not in found[0]]
        fewer = [show(value) for value in found[0] if value not in found[1]]
        texts = [said(knob.domain) for knob in (a, b)]
        yield differs("values", texts, Strength.unclear, ", ".join(more), ", ".join(fewer))
    if a.at_launch != b.at_launch:
        yield differs(
            "chosen", ("at launch" if k.at_launch else "when compiled" for k in (a, b)), Strength.unclear
        )


def _fact(value: bool | int | float | str | None) -> str:
    return "" if value is None else show(value)


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
    if entry.kind == "prefer":
        return entry.kinds, entry.path[:-1], entry.meaning
    if isinstance(said, nodes.Node) and isinstance(getattr(said, "name", None), nodes.Name):
        values = tuple(value for value in said.said() if value is not said.name)  # type: ignore[attr-defined]
        return entry.kinds, entry.path[:-1], values
    return entry.id  # what has a block, or no name, is found by its id


_SEQUENCES = {
    "input": "a call takes its tensors in another order", "output": "a call takes its tensors in another order",
    "inout": "a call takes its tensors in another order", "option": "a call takes its options in another order",
    "gate": "gates run in another order",
}  # fmt: skip
"""Statements whose order among those of their block is what they say, too."""


def _reordered(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, str]:
    """Statements that another one of their sequence has overtaken."""
    groups: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for side, table in enumerate((before, after)):
        for id, entry in table.items():
            if entry.kind in _SEQUENCES and id in before and id in after:
                key = (_SEQUENCES[entry.kind], *entry.path[:-1])
                groups.setdefault(key, ([], []))[side].append(id)
    return {id: key[0] for key, (old, new) in groups.items() for id in _overtaken(old, new)}


def _overtaken(old: list[str], new: list[str]) -> list[str]:
    """What does not stand in both lists in the same order, as few as possible."""
    kept: set[str] = set()
    for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        kept.update(old[block.a : block.a + block.size])
    return [id for id in old if id not in kept]


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
        for id in _overtaken([id for id in old if id not in found], new):
            if id in new:
                found[id] = "among the statements around it"
    return found


def _with_causes(change: Change, found: list[Change], after: Mapping[str, Entry]) -> Change:
    if not change.altered:
        return change
    direct = [
        c
        for c in found
        if not c.altered and (not c.harmless or (c.entry.kind == "math" and c.kind != "moved"))
    ]
    named = _names(change.entry, after)
    near = [c for c in direct if {c.entry.path[-1:], c.entry.path[:1]} & {(name,) for name in named}]
    if "device" in named:
        near += [c for c in direct if c.entry.kind in ("device", "targets") and c not in near]
    causes = near or direct
    return replace(change, causes=tuple(cause.entry.id for cause in causes))


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
