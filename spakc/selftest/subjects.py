"""The variants that judge mutants: for every template some that use it, with cases and what is right for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spak_runtime.specialise import reachable
from spakc.check.statements import Statement, statements
from spakc.ir.constraint import Env
from spakc.plan.plan import Plan
from spakc.plan.templates import TEMPLATES
from spakc.verification import concerns
from spakc.verify.case import Case
from spakc.verify.oracle import OracleError
from spakc.verify.properties import Reference, reference
from spakc.verify.search import NoCase, some
from spakc.verify.specialisations import Specialisation, pool
from spakc.verify.strategies import Shapes, cases
from spakc.verify.tested import UnderTest

SPECIALISATIONS = 8
"""Of a variant: the first of its pool, among which nearly every pair of choices occurs."""

SOURCES, VARIANTS = 3, 4
"""Of one template, as many generated sources are mutated; of the first as many variants are run, of the
others one."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A case and what is right for it."""

    case: Case
    right: Reference


@dataclass(frozen=True, eq=False)
class Subject:
    """A variant that judges mutants. `files` are those of its artifact, `templates` says from which template
    each of its sources was rendered. `laws` are about the counters of its runs, each with the facts of its
    device."""

    tested: UnderTest
    files: Mapping[str, str]
    templates: Mapping[str, str]
    laws: tuple[tuple[Statement, Env], ...]
    members: tuple[Specialisation, ...]
    trials: list[Trial] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.tested.name

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(launch.source for launch in self.tested.variant.launches))

    @property
    def headers(self) -> dict[str, str]:
        """Every header of the artifact by include name."""
        return {n.removeprefix("include/"): t for n, t in self.files.items() if n.startswith("include/")}

    def reaches(self, header: str) -> bool:
        """Whether a source of the variant includes a header, directly or through others."""
        return any(header in reachable(self.files[source], self.headers) for source in self.sources)

    def draw(self, count: int, seed: int) -> None:
        """Draws the cases that it judges by; the same seed draws the same ones. Leaves none where there is
        no case."""
        if self.trials or not self.members:
            return
        try:
            drawn = some(cases(self.tested, self.members, Shapes(self.tested)), count, seed)
        except NoCase:
            return
        for case in drawn:
            try:
                self.trials.append(Trial(case, reference(self.tested, case)))
            except OracleError:
                continue


@dataclass(frozen=True, slots=True)
class Judged:
    """A generated source of a template, and the variants that run it."""

    source: str
    by: tuple[Subject, ...]

    @property
    def text(self) -> str:
        return self.by[0].files[self.source]


def subjects_of(decided: Plan, files: Mapping[str, str], variants: Iterable[UnderTest]) -> list[Subject]:
    """Every variant of a plan, without cases so far."""
    rendered = {
        launch.source: launch.template
        for kernel in decided.kernels.values()
        for variant in kernel.variants
        for launch in variant.launches
    }
    gradients = {g.kernel: name for name, plan in decided.kernels.items() for g in plan.gradients}
    module = decided.checked.module
    laws = [s for s in statements(module) if s.kind == "law" and s.fact == "counters" and s.kernels]
    found = []
    for tested in variants:
        names = {tested.spec.name, gradients.get(tested.spec.name)}
        mine = tuple(
            (s, Env().facts(module.devices[s.target].facts) if s.target in module.devices else Env())
            for s in laws
            if s.kernels & names and concerns(s, tested, gradients)
        )
        templates = {launch.source: rendered[launch.source] for launch in tested.variant.launches}
        found.append(Subject(tested, files, templates, mine, pool(tested)[:SPECIALISATIONS]))
    return found


def by_template(subjects: Sequence[Subject]) -> dict[str, tuple[Judged, ...]]:
    """For every template of the compiler the sources to mutate and who judges them; none where no variant uses
    it."""
    return {template.path: tuple(_chosen(template.path, subjects)) for template in TEMPLATES}


def _chosen(path: str, subjects: Sequence[Subject]) -> Iterator[Judged]:
    """The source of the fewest launches, then those that show most lines that none before has."""
    users: dict[str, list[Subject]] = {}
    for subject in subjects:
        for source, template in subject.templates.items():
            if template == path and subject.members:
                users.setdefault(source, []).append(subject)
    seen: set[str] = set()
    for number in range(SOURCES):
        if not users:
            return
        fresh = {source: len(_lines(by, source) - seen) for source, by in users.items()}
        fewest = {source: -len(by[0].tested.variant.launches) for source, by in users.items()}
        first, second = (fewest, fresh) if number == 0 else (fresh, fewest)
        rank = {source: (first[source], second[source]) for source in users}
        source = max(users, key=rank.__getitem__)
        if number and fresh[source] == 0:
            return
        mine = users.pop(source)
        seen |= _lines(mine, source)
        yield Judged(source, tuple(_unlike(mine, VARIANTS if number == 0 else 1)))


def _lines(users: Sequence[Subject], source: str) -> set[str]:
    """The lines of a generated source that come from its template, not from the mathematics."""
    return {line.strip() for _, line in numbered_template_lines(users[0].files[source])}


def _unlike(variants: Sequence[Subject], count: int) -> list[Subject]:
    """Variants that differ in their knobs: each next one has most values that none before has."""
    left = list(variants)
    chosen: list[Subject] = []
    seen: set[tuple[str, object]] = set()
    while left and len(chosen) < count:
        fresh = [len(set(each.tested.variant.config.items()) - seen) for each in left]
        best = left[fresh.index(max(fresh))]
        left.remove(best)
        chosen.append(best)
        seen |= set(best.tested.variant.config.items())
    return chosen


def numbered_template_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a generated source that come from its template, not from the mathematics, numbered from 1."""
    in_math = False
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#line "):
            in_math = line.endswith('.spak"')
        elif not in_math:
            yield number, line
