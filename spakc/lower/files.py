"""Which names every file sees: its own declarations and what it uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from spakc.diagnostics import Sink
from spakc.ir.ops import RefKind
from spakc.ir.queries import Place
from spakc.lower.program import Program
from spakc.lower.resolve import Entry, Scope, check_unique
from spakc.syntax import nodes

_DECLARATIONS: dict[type[nodes.Node], str] = {
    nodes.Device: "a device",
    nodes.Kernel: "a kernel",
    nodes.Model: "a model",
    nodes.Dataset: "a dataset",
    nodes.Protocol: "a protocol",
    nodes.Experiment: "an experiment",
}

_ROLES = {"input": "an input tensor", "output": "an output tensor", "inout": "an inout tensor"}

Item = TypeVar("Item", bound=nodes.Node)


def file_scopes(program: Program, sink: Sink) -> Scope:
    """The scope of the root file; `scope.files` has that of every file by path.

    A plain `use` brings in every name that the used file sees (so a diamond meets the same entry twice,
    which is fine); `use … as alias` puts them behind `alias.`. Two different declarations of one name are
    SPAK122 in one file, SPAK124 across files. Every declaration gets the name it has in the module: its own,
    behind the aliases on the shortest way from the root. Members are entered for kernels (dims, options,
    tensors, schedules), datasets (splits) and experiments (the splits of their data).
    """
    prefixes = _prefixes(program)
    scopes: dict[str, Scope] = {}
    for path in in_order(program):
        scope = Scope(Place.law, title="this file", prefix=prefixes[path])
        scope.files = scopes
        scopes[path] = scope
        for use, used in program.uses[path]:
            _bring_in(use, scopes[used], scope, sink)
        _declare(program.files[path], scope, sink)
    return scopes[program.root]


def in_order(program: Program) -> tuple[str, ...]:
    """Paths of the files, every one after those it uses; the root is last."""
    done: dict[str, None] = {}

    def visit(path: str) -> None:
        if path not in done:
            for _, used in program.uses[path]:
                visit(used)
            done[path] = None

    visit(program.root)
    return tuple(done)


def declarations(program: Program, scope: Scope, kind: type[Item]) -> Iterator[tuple[Item, Scope]]:
    """Every top-level statement of one class in all files, with the scope of its file, used files first.

    `scope` is that of the root file. The name in the module is `file_scope.qualify(node.name.text)`."""
    for path in in_order(program):
        for item in program.files[path].items:
            if isinstance(item, kind):
                yield item, scope.files[path]


def _prefixes(program: Program) -> dict[str, str]:
    """What stands before the names of each file: the aliases on the way to it, as few as possible."""
    best: dict[str, tuple[int, str]] = {program.root: (0, "")}
    level = [program.root]
    while level:
        behind_alias: list[str] = []
        while level:
            path = level.pop(0)
            aliases, prefix = best[path]
            for use, used in program.uses[path]:
                found = (aliases, prefix)
                if use.alias is not None:
                    found = (aliases + 1, f"{prefix}{use.alias.text}.")
                if used not in best or found[0] < best[used][0]:
                    best[used] = found
                    (level if use.alias is None else behind_alias).append(used)
        level = behind_alias
    return {path: prefix for path, (_, prefix) in best.items()}


def _bring_in(use: nodes.Use, used: Scope, scope: Scope, sink: Sink) -> None:
    visible = {name: entry for name, entry in used.entries.items() if entry.what != "a file"}
    if use.alias is not None:
        entry = scope.add(use.alias, "a file", RefKind.entity, sink, members=visible)
        entry.ref = scope.qualify(use.alias.text)
        return
    for name, entry in visible.items():
        first = scope.entries.setdefault(name, entry)
        if first is not entry:
            sink.report(
                "SPAK124",
                f"two used files declare `{name}`",
                use.span,
                f"brings in another `{name}`",
                also=[(other.span, f"{other.what} declared here") for other in (first, entry) if other.span],
                help=["write `use … as alias` for one of them, and `alias.name`"],
            )


def _declare(file: nodes.File, scope: Scope, sink: Sink) -> None:
    own: list[tuple[nodes.Node, Entry]] = []
    for item in file.items:
        if isinstance(item, nodes.Let):
            name = item.name
            let = Entry(
                name.text, "a `let`", RefKind.local, name.text, name.span, value=item.value, scope=scope
            )
            _enter(let, scope, sink)
        elif type(item) in _DECLARATIONS:
            name = item.name  # type: ignore[attr-defined]
            ref = scope.qualify(name.text)
            entry = Entry(name.text, _DECLARATIONS[type(item)], RefKind.entity, ref, name.span)
            if _enter(entry, scope, sink):
                own.append((item, entry))
    for item, entry in own:
        entry.members = _members(item, entry.ref)
    experiments = {item.name.text: item for item, _ in own if isinstance(item, nodes.Experiment)}
    for item, entry in own:
        if isinstance(item, nodes.Experiment):
            entry.members = _splits_of(item, experiments, scope)
    check_unique([item.name for item in file.items if isinstance(item, nodes.Law)], "a law", sink)
    check_unique([item.name for item in file.items if isinstance(item, nodes.Claim)], "a claim", sink)


def _enter(entry: Entry, scope: Scope, sink: Sink) -> bool:
    first = scope.entries.get(entry.name)
    if first is None or first.span is None or entry.span is None or first.span.source is entry.span.source:
        return scope.declare(entry, sink) is entry
    sink.report(
        "SPAK124",
        f"`{entry.name}` is declared here and in a used file",
        entry.span,
        f"{entry.what} declared here",
        also=[(first.span, f"{first.what} declared there")],
        help=["rename this one, or write `use … as alias` for that file"],
    )
    return False


# ---- members ----------------------------------------------------------------------------------------


def tensor_members(name: str) -> dict[str, Entry]:
    """Where a tensor may be met on its way: `A.shared`, `A.global`."""
    return {
        stage: Entry(stage, "a stage of a tensor", RefKind.entity, f"{name}.{stage}")
        for stage in ("shared", "global")
    }


def _members(item: nodes.Node, ref: str) -> Mapping[str, Entry]:
    members: dict[str, Entry] = {}

    def member(
        name: nodes.Name, what: str, kind: RefKind = RefKind.entity, words: tuple[str, ...] = ()
    ) -> None:
        entry = Entry(name.text, what, kind, f"{ref}.{name.text}", name.span, words=words)
        members.setdefault(name.text, entry)

    if isinstance(item, nodes.Dataset):
        for part in item.items:
            if isinstance(part, nodes.Split):
                member(part.name, "a split")
    elif isinstance(item, nodes.Kernel):
        for part in item.items:
            if isinstance(part, nodes.Dim):
                member(part.name, "a dim", RefKind.dim)
            elif isinstance(part, nodes.OptionDecl):
                member(part.name, "an option", RefKind.option, tuple(kind.name for kind in part.types))
            elif isinstance(part, nodes.TensorDecl):
                member(part.name, _ROLES[part.role])
            elif isinstance(part, nodes.Schedule):
                member(part.name, "a schedule")
    return members


def _splits_of(
    item: nodes.Experiment, experiments: Mapping[str, nodes.Experiment], scope: Scope
) -> Mapping[str, Entry] | None:
    """The splits of an experiment's data, its own or that of the experiment it is like. None: not known
    here."""
    seen: set[str] = set()
    while True:
        data = [part for part in item.items if isinstance(part, nodes.OfData)]
        if data:
            return _splits_named(data[-1].values, scope)
        if item.like is None or item.like.text in seen:
            return None
        seen.add(item.like.text)
        if item.like.text not in experiments:
            parent = scope.find(item.like.text)
            return parent.members if parent is not None and parent.what == "an experiment" else None
        item = experiments[item.like.text]


def _splits_named(values: tuple[nodes.Expr, ...], scope: Scope) -> Mapping[str, Entry] | None:
    splits: dict[str, Entry] = {}
    for value in values:
        path: list[str] = []
        while isinstance(value, nodes.Attribute):
            path.append(value.name.text)
            value = value.base
        entry = scope.find(value.name) if isinstance(value, nodes.NameExpr) else None
        for name in reversed(path):
            entry = entry.members.get(name) if entry is not None and entry.members is not None else None
        if entry is None or entry.what != "a dataset" or entry.members is None:
            return None
        for name, split in entry.members.items():
            splits.setdefault(name, split)
    return splits
