"""Which mutants are made, and who judges each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from spakc.record import record
from spakc.selftest.cuda_text import synchronising, wrapping
from spakc.selftest.mutants import SYNCHRONISING, Mutant, mutants_of
from spakc.selftest.subjects import (
    HEADER_JUDGES,
    VARIANTS,
    Judged,
    Subject,
    knobs_in,
    numbered_template_lines,
    unlike,
)

_PRIMITIVES = "spak/primitives"

LINES = 200
"""For each so many of a source it needs the usual cases once more: long ones have ways that few calls take."""


@record
class Task:
    """A mutant and the variants that judge it. `elsewhere` is the same change of the template in other generated
    sources, and who judges it there: asked where it lives."""

    mutant: Mutant
    by: tuple[Subject, ...]
    elsewhere: tuple[tuple[Mutant, tuple[Subject, ...]], ...] = ()

    @property
    def judges(self) -> tuple[Subject, ...]:
        return tuple(dict.fromkeys((*self.by, *(subject for _, by in self.elsewhere for subject in by))))


def tasks_of(chosen: Mapping[str, Sequence[Judged]], always: Sequence[Subject] = ()) -> list[Task]:
    """All mutants of the templates' sources and of the headers that these include, primitives excepted. `always` judge
    every header that they reach, one that all of them reach by the first alone, and what lives of their templates."""
    judges = [judged for sources in chosen.values() for judged in sources]
    if not judges:
        return []
    headers = judges[0].by[0].headers
    primitives = [text for name, text in headers.items() if name.startswith(_PRIMITIVES)]
    shared = {name: text for name, text in headers.items() if not name.startswith(_PRIMITIVES)}
    known = synchronising(primitives)
    wrappers = wrapping(shared.values(), known)
    found = []
    for template, sources in chosen.items():
        further = [
            Judged(source, (subject,))
            for subject in always
            for source, path in subject.templates.items()
            if path == template
        ]
        found += list(_of_template(template, sources, further, known, wrappers))
    every = tuple(dict.fromkeys(subject for judged in judges for subject in judged.by))
    for name, text in shared.items():
        by = tuple(_judges_of_header(name, [subject for subject in every if subject.reaches(name)], judges))
        asked = [subject for subject in always if subject.reaches(name)]
        if by:
            by = (*(asked if len(asked) < len(always) else asked[:1]), *by)
            found += [Task(mutant, by) for mutant in mutants_of(name, "", text, known, wrappers)]
    return found


def _of_template(
    template: str,
    sources: Sequence[Judged],
    further: Sequence[Judged],
    known: frozenset[str],
    wrappers: frozenset[str],
) -> Iterator[Task]:
    """The mutants of its first source, the mathematics included, and of the others where a line is new; of `further`
    ones, whose masks and sizes are made for judging, where it is a call that synchronises."""
    found: dict[tuple[str, str, int], list[tuple[Mutant, tuple[Subject, ...]]]] = {}
    for place, judged in enumerate((*sources, *further)):
        own = {number for number, _ in numbered_template_lines(judged.text)}
        for mutant in mutants_of(template, judged.source, judged.text, known, wrappers):
            what = (mutant.line, mutant.becomes, mutant.nth)
            fresh = place < len(sources) or mutant.kind in SYNCHRONISING
            if place == 0 or (mutant.number in own and (fresh or what in found)):
                found.setdefault(what, []).append((mutant, judged.by))
    for (mutant, by), *elsewhere in found.values():
        yield Task(mutant, by, tuple(elsewhere))


def _judges_of_header(header: str, reaching: Sequence[Subject], judges: Sequence[Judged]) -> list[Subject]:
    """Variants that are unlike each other, one of each template that is not among them, and of each source that
    includes it itself one with other knobs of its template."""
    chosen = unlike(reaching, HEADER_JUDGES)
    templates = {template for subject in chosen for template in subject.templates.values()}
    for subject in reaching:
        if not templates.issuperset(subject.templates.values()):
            chosen.append(subject)
            templates.update(subject.templates.values())
    for judged in judges:
        if f'#include "{header}"' in judged.text:
            template = judged.by[0].templates[judged.source]
            there = {
                knobs_in(s, source) for s in chosen for source, t in s.templates.items() if t == template
            }
            other = next((s for s in judged.by if knobs_in(s, judged.source) not in there), None)
            if other is not None:
                chosen.append(other)
    return list(dict.fromkeys(chosen))


def cases_of_each(tasks: Sequence[Task]) -> dict[Subject, int]:
    """The variants that judge, each with how many times the usual cases it needs: one that judges alone as many as
    VARIANTS that judge together, one of long sources more."""
    found: dict[Subject, int] = {}
    for task in tasks:
        for by in (task.by, *(by for _, by in task.elsewhere)):
            for subject in by:
                longest = max(subject.files[source].count("\n") for source in subject.sources)
                found[subject] = max(found.get(subject, 1), VARIANTS // len(by), 1 + longest // LINES)
    return found


def slice_of(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """As many of them as asked for, drawn at random, in their order."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    places = sorted(random.Random(seed).sample(range(len(tasks)), limit))
    return [tasks[place] for place in places]
