"""Every statement that a project's files write, with what it means: what `spakc diff` compares.

A statement is found in the syntax tree, its meaning in the module: in every scope where it is in force (a law of a
schedule is also one of each schedule that is `like` it), with everything that decides what it says: the values
of lets, device facts, the sizes of tensors, what an experiment trains. What says the same in other words means the same
(`spakc/ir/normal.py`), but for the order of roundings where a tolerance is measured by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from spakc.check.check_space import is_present, targets_of
from spakc.check.checked import CheckedModule
from spakc.check.statements import statements
from spakc.check.verdict import means_of_law
from spakc.ir.canonical import canonical, meaning
from spakc.ir.constraint import mentions
from spakc.ir.experiment import Dataset, Experiment
from spakc.ir.module import Declared, Implementation, Kernel, Law, Module
from spakc.ir.normal import normal, rounded
from spakc.ir.ops import Query, Ref, RefKind
from spakc.ir.queries import Means
from spakc.ir.visit import walk
from spakc.lower.program import Program
from spakc.record import record
from spakc.source import Span
from spakc.syntax import nodes

Place = tuple[str, int]


@record
class Entry:
    """`id` is stable under moving and formatting. `kinds` are the words that a role may own it by: its own, then
    those of the statements around it. `said` is the syntax tree, without what stands in its block; `meaning`
    the hash of what it says. `bodies` are its declarations in the module, one a scope. `file` is empty for
    the root file, whatever it is called. `content` are digests of the files that it names, `roundings` the orders in
    which what it is measured by is rounded."""

    id: str
    kinds: tuple[str, ...]
    path: tuple[str, ...]
    said: Any
    prose: str
    meaning: str
    bodies: tuple[Any, ...] = field(compare=False)
    span: Span = field(compare=False)
    file: str = ""
    content: tuple[str, ...] = ()
    roundings: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return self.kinds[0]


def entries(
    program: Program, checked: CheckedModule, corpora: Mapping[str, str] | None = None
) -> dict[str, Entry]:
    """The statements of all files by their ids, in the order written. `corpora` are digests of the files that datasets
    name, by dataset."""
    collector = _Collector(checked, corpora or {})
    for name, file in program.files.items():
        collector.file(file, "" if name == program.root else name)
    return collector.found


_WORDS: dict[type[Any], str] = {
    nodes.Intent: "intent", nodes.Law: "law", nodes.Let: "let", nodes.Claim: "claim", nodes.Device: "device",
    nodes.Roles: "roles", nodes.Kernel: "kernel", nodes.Dim: "dim", nodes.OptionDecl: "option", nodes.Math: "math",
    nodes.Accumulate: "accumulate", nodes.Gradient: "gradient", nodes.Schedule: "schedule", nodes.Knob: "knob",
    nodes.Config: "config", nodes.Prefer: "prefer", nodes.Verify: "verify", nodes.Implement: "implement",
    nodes.Model: "model", nodes.Hyper: "hyper", nodes.Uses: "uses", nodes.Part: "part", nodes.Forward: "forward",
    nodes.Halting: "halting", nodes.Supervise: "supervise", nodes.Dataset: "dataset", nodes.Sample: "sample",
    nodes.Text: "text", nodes.LossAfter: "loss", nodes.Answer: "answer", nodes.Split: "split",
    nodes.Protocol: "protocol", nodes.Gate: "gate", nodes.Experiment: "experiment", nodes.OfModel: "experiment",
    nodes.OfData: "experiment", nodes.OfProtocol: "experiment", nodes.Train: "train",
    nodes.Optimizer: "optimizer", nodes.LearningRate: "lr", nodes.Vary: "vary", nodes.Profile: "profile",
}  # fmt: skip
"""The word by which a role owns a statement."""

_CONTAINERS = (nodes.Kernel, nodes.Schedule, nodes.Model, nodes.Dataset, nodes.Protocol, nodes.Experiment)
_SAID: dict[type[Any], str] = {
    nodes.OfModel: "model of", nodes.OfData: "data of", nodes.OfProtocol: "protocol of",
}  # fmt: skip


class _Collector:
    def __init__(self, checked: CheckedModule, corpora: Mapping[str, str]) -> None:
        self.module = module = checked.module
        self.corpora = corpora
        self.sources = {_place(each.implementation.span): _digest(each.text) for each in checked.hand_written}
        self.objects = _objects(module)
        self.depends: dict[Place, set[str]] = {}
        self.roundings: dict[Place, set[str]] = {}
        for statement in statements(module):
            if statement.span is not None:
                key = _place(statement.span)
                known = self.depends.setdefault(key, set())
                known.add(meaning(normal(statement.depends)))
                if statement.kind in ("verify", "gradient", "implement"):
                    self.roundings.setdefault(key, set()).update(self._roundings(statement.kernels))
                known.update(self._corpora_of(statement.datasets, statement.experiments))
        self.found: dict[str, Entry] = {}
        self.name = ""

    def file(self, file: nodes.File, name: str) -> None:
        self.name, root = name, not name
        if root:
            for use in file.uses:
                what = use.path or use.file or ""
                self._add(
                    f"use {what}", ("use",), (what,), use, "", (use.alias and use.alias.text,), use.span
                )
            names = tuple(name.text for name in file.targets)
            if names:
                span = file.targets[0].span.to(file.targets[-1].span)
                self._add("targets", ("targets",), (), file.targets, "", (frozenset(names),), span)
        self._items(file.items, (), (), (), root=root)

    def _items(
        self,
        items: Iterable[nodes.Node],
        path: tuple[str, ...],
        kinds: tuple[str, ...],
        around: tuple[Any, ...],
        *,
        root: bool = True,
    ) -> None:
        for item in items:
            if isinstance(item, nodes.Roles):
                for role in item.roles:
                    owns = frozenset(name.text for name in role.owns)
                    place = (role.name.text,)
                    of = "" if root else f" in {self.name}"  # in force only where that file is the root
                    self._add(f"role {role.name.text}{of}", ("roles",), place, role, "", (owns,), role.span)
            elif type(item) in _WORDS or isinstance(item, nodes.TensorDecl):
                if isinstance(item, nodes.Intent) and not path and not root:
                    continue
                self._item(item, path, kinds, around)

    def _item(
        self, item: Any, path: tuple[str, ...], kinds: tuple[str, ...], around: tuple[Any, ...]
    ) -> None:
        word = item.role if isinstance(item, nodes.TensorDecl) else _WORDS[type(item)]
        name = _name(item)
        below = (*path, name) if name else path
        head = _SAID.get(type(item), word)
        found = self._objects_at(item)
        bodies = _bodies(item, around, found)
        said = _header(item) if isinstance(item, _CONTAINERS) else item
        self._add(
            f"{head} {'.'.join(below)}".strip(),
            (word, *kinds),
            below,
            said,
            _prose(item),
            bodies,
            item.span,
            item,
            around,
        )
        if isinstance(item, _CONTAINERS):
            self._items(item.items, below, (word, *kinds), found)

    def _objects_at(self, item: Any) -> tuple[Any, ...]:
        return next((tuple(found) for at in _places(item) if (found := self.objects.get(at))), ())

    def _add(
        self,
        id: str,
        kinds: tuple[str, ...],
        path: tuple[str, ...],
        said: Any,
        prose: str,
        bodies: tuple[Any, ...],
        span: Span,
        item: Any = None,
        around: tuple[Any, ...] = (),
    ) -> None:
        if id in self.found:
            id = f"{id} in {self.name}"
        base, n = id, 1
        while id in self.found:  # `use` of one file twice, two intents of one block
            n += 1
            id = f"{base} ({n})"
        parts = sorted(canonical(normal(body)) for body in bodies)
        content = tuple(self._content(item, around, bodies))
        depends = sorted(self._depends(item, bodies)) if item is not None else []
        depends += content
        if isinstance(item, nodes.OfData):
            depends += self._corpora_of((), [each.name for each in around if isinstance(each, Experiment)])
        says = meaning(tuple(parts), tuple(depends))
        roundings = self._roundings_of(item, around) if item is not None else ()
        self.found[id] = Entry(
            id, kinds, path, said, prose, says, bodies, span, self.name, content, roundings
        )

    def _content(self, item: Any, around: tuple[Any, ...], bodies: tuple[Any, ...]) -> Iterator[str]:
        """Digests of the files that a statement names."""
        if isinstance(item, nodes.Text):
            yield from self._corpora_of([each.name for each in around if isinstance(each, Dataset)], ())
        for body in bodies:
            if isinstance(body, Implementation) and _place(body.span) in self.sources:
                yield self.sources[_place(body.span)]

    def _roundings_of(self, item: Any, around: tuple[Any, ...]) -> tuple[str, ...]:
        """Mathematics answers for its roundings itself where no `verify` says how they are measured."""
        found = {each for at in _places(item) for each in self.roundings.get(at, ())}
        if isinstance(item, nodes.Math):
            found.update(self._roundings(kernel.name for kernel in around if kernel.verification is None))
        return tuple(sorted(found))

    def _roundings(self, kernels: Iterable[str]) -> Iterator[str]:
        """The order of roundings of kernels whose tolerance is measured by it."""
        for name in kernels:
            kernel = self.module.kernels.get(name)
            if kernel is not None and measures_roundings(kernel):
                yield meaning(rounded(frozenset(kernel.math)))

    def _corpora_of(self, datasets: Iterable[str], experiments: Iterable[str]) -> list[str]:
        """Digests of the files that datasets, and those of experiments, are read from."""
        trained = (name for each in experiments for name in self.module.experiments[each].data)
        return sorted(self.corpora[name] for name in {*datasets, *trained} if name in self.corpora)

    def _depends(self, item: Any, bodies: tuple[Any, ...]) -> Iterator[str]:
        if not isinstance(item, _CONTAINERS):
            yield from {each for at in _places(item) for each in self.depends.get(at, ())}
        for body in bodies:
            if isinstance(body, Law) and (archs := compiled_for(body, self.module)):
                yield f"compiled for {', '.join(archs)}"
            if isinstance(body, Law) and body.scope and body.scope[0] in self.module.kernels:
                yield from _of_tensors(body, self.module.kernels[body.scope[0]])
                yield f"in force on {', '.join(sorted(where_in_force(body, self.module)))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _place(span: Span) -> Place:
    return span.source.name, span.start


def _places(item: Any) -> tuple[Place, ...]:
    """Where a declaration of the module says that it was written: at its name, or as a whole."""
    named = getattr(item, "name", None)
    spans = (named.span, item.span) if isinstance(named, nodes.Name) else (item.span,)
    return tuple(map(_place, spans))


def _objects(module: Module) -> Mapping[Place, list[Any]]:
    """Every declaration of the module by the place where it was written, one for each scope it is in force."""
    table: dict[Place, list[Any]] = {}
    stack: list[Any] = [module]
    while stack:
        thing = stack.pop()
        if isinstance(thing, Declared):
            table.setdefault(_place(thing.span), []).append(thing)
        if is_dataclass(thing) and not isinstance(thing, Span):
            if isinstance(thing, (Module, Declared)):
                names = [f.name for f in fields(thing) if f.name != "span"]
                stack.extend(getattr(thing, name) for name in reversed(names))
        elif isinstance(thing, Mapping):
            stack.extend(reversed(tuple(thing.values())))
        elif isinstance(thing, tuple):
            stack.extend(reversed(thing))
    return table


def measures_roundings(kernel: Kernel) -> bool:
    """Whether the tolerance of a kernel is what its mathematics loses by rounding, step by step as it is written."""
    tolerance = kernel.verification.tolerance if kernel.verification is not None else None
    return tolerance is None or any(
        isinstance(each, Query) and each.name == "library_error" for each in walk(tolerance)
    )


def where_in_force(law: Law, module: Module) -> tuple[str, ...]:
    """The targets on which the schedule of a law is there: what its `needs` rule out is ruled out for its laws, too."""
    kernel = module.kernels.get(law.scope[0]) if law.scope else None
    schedule = kernel.schedules.get(law.scope[1]) if kernel is not None and len(law.scope) > 1 else None
    if schedule is None:
        return ()
    return tuple(device.name for device in targets_of(module) if is_present(schedule, device))


def compiled_for(law: Law, module: Module) -> tuple[str, ...]:
    """The architectures whose machine code a law is about; none for a law that needs no compiled kernel."""
    kernel = module.kernels.get(law.scope[0]) if law.scope else None
    if means_of_law(law, kernel) is not Means.compiled:
        return ()
    there = where_in_force(law, module) if kernel is not None and len(law.scope) > 1 else module.targets
    facts = (device.facts for device in targets_of(module) if device.name in there)
    return tuple(
        sorted({str(each["arch"]) for each in facts if "arch" in each and each.get("kind") != "emulator"})
    )


def _of_tensors(law: Law, kernel: Kernel) -> Iterator[str]:
    """What a law's kernel declares of the tensors, compiled sizes and options that the law is about."""
    for expr in mentions(law.proposition, law.when):
        names = [e for e in walk(expr) if isinstance(e, Ref)] if isinstance(expr, Query) else [expr]
        for ref in names:
            if not isinstance(ref, Ref):
                continue
            tensor = kernel.tensors.get(ref.name.partition(".")[0])
            if ref.kind is RefKind.entity and tensor is not None:
                yield canonical((tensor.dtypes, tensor.same_as))
                if (like := kernel.tensors.get(tensor.same_as or "")) is not None:
                    yield canonical(like.dtypes)
            elif ref.kind is RefKind.dim and ref.name in kernel.dims:
                yield canonical(normal(kernel.dims[ref.name]))
            elif ref.kind is RefKind.option and ref.name in kernel.options:
                yield canonical(kernel.options[ref.name])


def _name(item: Any) -> str:
    if isinstance(item, nodes.Implement):
        return f"{item.kernel.text} as {item.name.text}"
    if isinstance(item, nodes.Gradient):
        return f"{', '.join(n.text for n in item.outputs)} wrt {', '.join(n.text for n in item.inputs)}"
    if isinstance(item, nodes.Prefer):
        return " ".join(item.proposition.span.text.split())
    if isinstance(item, nodes.Uses):
        return item.kernel.text
    if isinstance(item, nodes.OfProtocol):
        return ""
    named = getattr(item, "name", None)
    return named.text if isinstance(named, nodes.Name) else ""


def _prose(item: Any) -> str:
    if isinstance(item, nodes.Intent):
        return item.text
    if isinstance(item, nodes.Gate):
        return "\n".join(part.because or "" for part in item.items if isinstance(part, nodes.Require))
    return getattr(item, "because", None) or ""


def _header(item: Any) -> Any:
    """What a statement with a block says in front of it."""
    like = getattr(item, "like", None)
    return (
        item.family.text if isinstance(item, nodes.Kernel) else "",
        like.text if like is not None else "",
        item.needs if isinstance(item, nodes.Schedule) else (),
    )


def _bodies(item: Any, around: tuple[Any, ...], found: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a statement is in the module, by its own declarations or as a part of those around it."""
    like = getattr(item, "like", None)
    if isinstance(item, nodes.Intent):
        return ()
    if isinstance(item, nodes.Schedule):
        return tuple((like.text if like is not None else None, each.needs) for each in found)
    if isinstance(item, nodes.Kernel):
        return tuple(each.family for each in found)
    if isinstance(item, _CONTAINERS):
        return (like.text if like is not None else None,)
    part = _PARTS.get(type(item))
    if part is not None:
        return tuple(part(each, item) for each in around)
    return found


_PARTS: dict[type[Any], Any] = {
    nodes.Math: lambda kernel, _: frozenset(kernel.math),
    nodes.Accumulate: lambda kernel, _: kernel.accumulate,
    nodes.Hyper: lambda model, item: model.hypers.get(item.name.text),
    nodes.Uses: lambda model, item: tuple(model.uses.get(op.text) for op in item.ops),
    nodes.Forward: lambda model, _: model.forward,
    nodes.Part: lambda model, item: model.parts.get(item.name.text),
    nodes.Halting: lambda model, _: model.halting,
    nodes.Supervise: lambda model, _: model.supervise,
    nodes.Sample: lambda dataset, item: dataset.samples.get(item.name.text),
    nodes.Text: lambda dataset, _: dataset.text,
    nodes.LossAfter: lambda dataset, _: dataset.loss_after,
    nodes.Answer: lambda dataset, _: dataset.answer,
    nodes.OfModel: lambda experiment, _: (experiment.model, experiment.overrides),
    nodes.OfData: lambda experiment, _: experiment.data,
    nodes.OfProtocol: lambda experiment, _: experiment.protocol,
    nodes.Train: lambda experiment, _: experiment.train,
    nodes.Optimizer: lambda experiment, _: experiment.optimizer,
    nodes.LearningRate: lambda experiment, _: experiment.lr,
    nodes.Vary: lambda experiment, _: experiment.vary,
    nodes.Profile: lambda experiment, item: experiment.profiles.get(item.name.text),
}
"""Statements that are a part of the declaration around them."""
