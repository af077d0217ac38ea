"""Names and what they stand for. A `Scope` is one region of a file: the file itself, a kernel, a schedule, an
equation, a model, a part, a dataset … Scopes nest; an inner name hides an outer one only across the border
of a declaration (a kernel may reuse the name of a file's `let`; a schedule may not reuse that of its
kernel's dim).

How a stage uses it:

    scope = file_scope.child(Place.model, title="model GPT")
    scope.add(node.name, "a hyper", RefKind.hyper, sink)        # SPAK122 when declared twice
    value = lower_expression(node.value, scope, sink)           # spakc/lower/expressions.py

`announce` names that a later statement declares turns their early use into SPAK125 instead of SPAK120.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spakc.diagnostics import Repair, Sink
from spakc.ir.ops import ACTIVATIONS, Expr, Ref, RefKind
from spakc.ir.queries import NAMESPACES, Place
from spakc.ir.types import TYPE_NAMES
from spakc.ir.visit import walk
from spakc.source import Span
from spakc.syntax import nodes

WORDS: frozenset[str] = frozenset((*ACTIVATIONS, *TYPE_NAMES, "row", "column", "end"))
"""Words that stand for themselves everywhere, unless something of that name is declared."""

UNRESOLVED = "?"
"""Name of the symbol that stands for what was not understood; its mistake has been reported."""


@dataclass(eq=False, slots=True)
class Entry:
    """One declared name. Compared by identity: the same declaration reached on two ways is one entry.

    `what` says in words what it is ("a knob", "a split"). `ref` is the name in the IR. `members` are what may
    stand behind a dot (None: anything, decided later). `words` are the values of an enumerated option or
    knob. A `let` has `value` and the scope it stands in. A `callee` may be called: a part of a model. `varies` are
    the names that an experiment's sweep varies."""

    name: str
    what: str
    kind: RefKind
    ref: str
    span: Span | None = None
    members: Mapping[str, Entry] | None = field(default_factory=dict)
    words: tuple[str, ...] = ()
    value: nodes.Expr | None = None
    scope: Scope | None = None
    callee: bool = False
    varies: tuple[str, ...] = ()
    lowered: Expr | None = None
    size: int = 0  # operations of what it was lowered to


def unresolved(span: Span) -> Expr:
    """What stands where something was not understood."""
    return Ref(UNRESOLVED, RefKind.symbol, span=span)


def is_unresolved(expr: Expr) -> bool:
    """Whether a mistake in the expression, or in one of its parts, has been reported already."""
    return any(isinstance(node, Ref) and node.name == UNRESOLVED for node in walk(expr))


class Scope:
    """One region of names. `place` says what kind of expressions stand in it (which functions they may
    call)."""

    def __init__(
        self,
        place: Place,
        parent: Scope | None = None,
        *,
        title: str = "",
        prefix: str = "",
        inner: bool = False,
    ) -> None:
        self.place = place
        self.parent = parent
        self.title: str = title or (parent.title if parent else "")
        self.prefix: str = prefix or (parent.prefix if parent else "")
        self.inner = inner
        self.entries: dict[str, Entry] = {}
        self.later: dict[str, Span] = {}
        self.elsewhere: dict[str, tuple[Span, str]] = {}
        self.files: Mapping[str, Scope] = parent.files if parent else {}
        self.inlined: list[int] = (
            parent.inlined if parent else [0]
        )  # operations that lets brought into the file

    def child(self, place: Place | None = None, *, title: str = "", inner: bool = False) -> Scope:
        """A nested scope; its expressions stand in `place` (by default where this one's stand). An `inner`
        one is part of the same declaration: its names may not hide this one's (SPAK126)."""
        return Scope(place or self.place, self, title=title, inner=inner)

    def at(self, place: Place) -> Scope:
        """The same names, for expressions that stand elsewhere (a tolerance, a claim)."""
        return self if place is self.place else Scope(place, self)

    def qualify(self, name: str) -> str:
        """The name that a declaration of this file has in the module: `looplm.GPT` behind `use … as
        looplm`."""
        return self.prefix + name

    # ---- declaring ------------------------------------------------------------------------------------

    def add(
        self,
        name: nodes.Name,
        what: str,
        kind: RefKind,
        sink: Sink,
        *,
        ref: str | None = None,
        members: Mapping[str, Entry] | None = None,
        words: Iterable[str] = (),
        callee: bool = False,
    ) -> Entry:
        """Declares a name in this scope and returns its entry. Reports SPAK122 when the scope has it
        already."""
        entry = Entry(
            name.text,
            what,
            kind,
            name.text if ref is None else ref,
            name.span,
            {} if members is None else members,
            tuple(words),
            callee=callee,
        )
        return self.declare(entry, sink)

    def add_let(self, node: nodes.Let, sink: Sink) -> Entry:
        """Declares a `let`. It is lowered where it is first used, in this scope, and inlined."""
        entry = Entry(
            node.name.text, "a `let`", RefKind.local, node.name.text, node.name.span, {}, (), node.value, self
        )
        return self.declare(entry, sink)

    def declare(self, entry: Entry, sink: Sink) -> Entry:
        """Enters an entry. The first declaration of a name stays; a second is SPAK122 with both places."""
        first = self.entries.get(entry.name)
        if first is entry:
            return entry
        if first is not None and first.span is not None:
            report_twice(entry.name, entry.span, first.span, first.what, sink)
            return first
        hidden = self._hides(entry.name) if self.inner else None
        if hidden is not None and hidden.span is not None:
            sink.report(
                "SPAK126",
                f"`{entry.name}` already means something else here",
                entry.span,
                f"declared here, as {entry.what}",
                also=[(hidden.span, f"`{entry.name}` is {hidden.what} declared here")],
                help=["choose another name: inside one declaration a name has one meaning"],
            )
        self.later.pop(entry.name, None)
        self.entries[entry.name] = entry
        return entry

    def _hides(self, name: str) -> Entry | None:
        scope: Scope | None = self
        while scope is not None and scope.inner:
            scope = scope.parent
            if scope is not None and name in scope.entries:
                return scope.entries[name]
        return None

    def announce(self, names: Iterable[nodes.Name]) -> None:
        """Says that these names are declared further down: until then a use is SPAK125."""
        for name in names:
            if name.text not in self.entries:
                self.later.setdefault(name.text, name.span)

    def mention(self, name: nodes.Name, help: str) -> None:
        """Says that this name is known inside, but not here: a use of it gets this help."""
        self.elsewhere.setdefault(name.text, (name.span, help))

    def words(self, words: Iterable[str]) -> None:
        """Makes words stand for themselves here, where nothing else has that name."""
        for word in words:
            if self.find(word) is None:
                self.entries[word] = Entry(word, "a word", RefKind.symbol, word)

    # ---- finding --------------------------------------------------------------------------------------

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def find(self, name: str) -> Entry | None:
        """What the name stands for here, or None."""
        for scope in self.chain():
            entry = scope.entries.get(name)
            if entry is not None:
                return entry
        return None

    def find_later(self, name: str) -> Span | None:
        """Where the name is declared further down, if it is."""
        return next((scope.later[name] for scope in self.chain() if name in scope.later), None)

    def visible(self) -> dict[str, Entry]:
        """Every name that can be used here."""
        found: dict[str, Entry] = {}
        for scope in self.chain():
            for name, entry in scope.entries.items():
                found.setdefault(name, entry)
        return found


def nearest(name: str, candidates: Iterable[str], sink: Sink | None = None) -> str | None:
    """The spelling closest to `name`, or None when nothing is close. Case alone always counts as close. Nothing is
    looked for once the `sink` holds so many mistakes that nobody reads what is suggested for another."""
    if sink is not None and not sink.suggests:
        return None
    pool = sorted(set(candidates))
    folded = [candidate for candidate in pool if candidate.lower() == name.lower() and candidate != name]
    if folded:
        return folded[0]
    from difflib import get_close_matches  # of mistakes only

    matches = get_close_matches(name, pool, n=1, cutoff=0.6)
    return matches[0] if matches else None


def report_unknown(name: str, span: Span, scope: Scope, sink: Sink, *, words: Iterable[str] = ()) -> None:
    """SPAK120 (or SPAK125 when it is declared further down), with the nearest name and where that is
    declared."""
    later = scope.find_later(name)
    if later is not None:
        sink.report(
            "SPAK125",
            f"`{name}` is used before it is defined",
            span,
            "used here",
            also=[(later, "defined here")],
            help=["move the definition above its first use"],
        )
        return
    inside = next((around.elsewhere[name] for around in scope.chain() if name in around.elsewhere), None)
    if inside is not None:
        span_inside, help_inside = inside
        also_inside = [(span_inside, f"`{name}` is declared here")]
        text = f"`{name}` is not known here"
        sink.report("SPAK120", text, span, "unknown name", also=also_inside, help=[help_inside])
        return
    visible = scope.visible() if sink.suggests else {}
    close = nearest(name, (*visible, *words), sink)
    also: list[tuple[Span, str]] = []
    help_: list[str] = []
    if close is not None:
        help_.append(f"did you mean `{close}`?")
        entry = visible.get(close)
        if entry is not None and entry.span is not None:
            also.append((entry.span, f"`{close}` is {entry.what} declared here"))
    elif words and not set(words) & set(NAMESPACES):
        help_.append(f"expected one of {', '.join(f'`{word}`' for word in words)}")
    where = f" in {scope.title}" if scope.title else ""
    sink.report(
        "SPAK120", f"nothing here is called `{name}`", span, f"unknown name{where}", also=also, help=help_
    )


def report_twice(name: str, span: Span | None, first: Span, what: str, sink: Sink) -> None:
    """SPAK122 with both places."""
    sink.report(
        "SPAK122",
        f"`{name}` is declared twice",
        span,
        "declared again here",
        also=[(first, f"first declared here, as {what}")],
        help=["rename one of them, or remove it"],
    )


def report_again(what: str, span: Span | None, first: Span | None, sink: Sink) -> None:
    """SPAK140 with both places: a member of a set or of a choice that stands there already."""
    if span is None or not sink.has("SPAK140", span):
        also = [(first, "first here")] if first is not None else []
        sink.report(
            "SPAK140",
            f"{what} stands here twice",
            span,
            "again here",
            also=also,
            help=["remove one"],
            repairs=_without(span),
        )


def _without(member: Span | None) -> list[Repair]:
    """A list without one of its members, which is not the first: it goes with the sign in front of it."""
    before = "" if member is None else member.source.text[: member.start].rstrip()
    if member is None or before[-1:] not in (",", "|"):
        return []  # a comment stands between them
    return [Repair(Span(member.source, len(before[:-1].rstrip()), member.end), "")]


def check_unique(names: Sequence[nodes.Name], what: str, sink: Sink) -> None:
    """Reports SPAK122 for names that occur twice in a namespace of their own (laws, schedules, configs,
    gates)."""
    first: dict[str, Span] = {}
    for name in names:
        if name.text in first:
            report_twice(name.text, name.span, first[name.text], what, sink)
        else:
            first[name.text] = name.span
