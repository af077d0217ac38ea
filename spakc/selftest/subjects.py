"""The variants that judge mutants: for every template some that use it, with cases and what is right for each."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from spak_runtime.specialise import reachable
from spakc.check.statements import Statement, statements
from spakc.ir.constraint import Env
from spakc.plan.plan import Plan
from spakc.plan.templates import TEMPLATES
from spakc.record import record
from spakc.verification import concerns
from spakc.verify.borders import TILE, borders_of, corners_of, masks_of, sides_of, tiles_of
from spakc.verify.case import Case
from spakc.verify.examine import Observed
from spakc.verify.oracle import OracleError
from spakc.verify.properties import Reference, reference
from spakc.verify.search import NoCase, some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import Specialisation, pool
from spakc.verify.strategies import cases
from spakc.verify.tested import UnderTest

SPECIALISATIONS = 5
"""Of a variant: each next one has most choices that none before has."""

DRAWN, RAN = 16, 3
"""Of as many cases as are drawn, one is kept: the most telling ones. Of these, as many are run, to see what lines they
come to."""

LINE = 20
"""How much it counts that a case comes to a line that none before did."""

CORNER = 30
"""How much it counts that a mask is the same in a whole tile but for the element at a corner: what is wrong by one is
wrong there alone."""

HEADER_JUDGES = 6
"""Of the variants that reach a header."""

SOURCES, VARIANTS, KNOBS = 3, 4, 2
"""Of one template, as many generated sources are mutated for their lines; of the first as many variants are run, of the
others one. As many more are for what knobs of the template none of these has."""


_KNOB = re.compile(r"\bKNOB_(\w+)")

Builds = tuple[bytes, ...]
"""Digests, a source each."""


@record
class Trial:
    """A case and what is right for it."""

    case: Case
    right: Reference


@dataclass(frozen=True, eq=False)
class Subject:
    """A variant that judges mutants. `files` are those of its artifact, `templates` says from which template
    each of its sources was rendered. `laws` are about the counters of its runs, each with the facts of its
    device. `builds` are what the emulator's compiler makes of it unchanged, by the macros of a specialisation."""

    tested: UnderTest
    files: Mapping[str, str]
    templates: Mapping[str, str]
    laws: tuple[tuple[Statement, Env], ...]
    members: tuple[Specialisation, ...]
    trials: list[Trial] = field(default_factory=list)
    builds: dict[tuple[tuple[str, str], ...], Builds] = field(default_factory=dict)

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

    def draw(self, count: int, seed: int, ran: Callable[[Case], Observed | None]) -> None:
        """Draws the cases that it judges by; the same seed draws the same ones, others for each variant. `ran` runs a
        case of the kernel as it is. Leaves none where there is no case."""
        if self.trials or not self.members:
            return
        try:
            shapes = Shapes(self.tested)
            own = zlib.crc32(f"{seed} {self.name}".encode())
            drawn = some(cases(self.tested, self.members, shapes), DRAWN * count, own)
        except NoCase:
            return
        look = _Look(self.tested)
        looks = {case.token: look(case) for case in drawn}
        likely = _telling([(case, looks[case.token]) for case in drawn], RAN * count)
        shown = [(case, {**looks[case.token], **_reach(ran(case))}) for case in likely]
        for case in sorted(_telling(shown, count), key=lambda case: shapes.cost(case.dims)):
            try:
                self.trials.append(Trial(case, reference(self.tested, case)))
            except OracleError:
                continue


Features = dict[tuple[str, object], int]
"""What a case shows, and how much that counts."""


class _Look:
    """What can be seen of a case: long dims above all, for these take several tiles, stages and turns; what is left of
    a dim beside whole tiles, or of the difference of two, or of the place where a mask begins; where its border passes
    the corner of a tile; and which of these come together."""

    def __init__(self, tested: UnderTest) -> None:
        self.tiles = tiles_of(tested.variant.config)
        self.sides = sides_of(tested.variant.config)
        self.borders = borders_of(tested.source)
        self.masks = masks_of(tested.source)

    def __call__(self, case: Case) -> Features:
        return {**self._lengths(case), **self._corners(case), **self._choices(case)}

    def _lengths(self, case: Case) -> Features:
        found: Features = {}
        places = {f"border {n}": border.at(case.dims, case.options) for n, border in enumerate(self.borders)}
        for tile in self.tiles:
            for one, other in itertools.combinations((*case.dims, ""), 2):
                length = case.dims[one] - case.dims.get(other, 0)
                found.update(_beside(f"{one} - {other}", length, tile, tile - 2))
            for border, place in places.items():
                if place is not None:
                    found.update(_beside(border, place, tile, 0))
        return found

    def _corners(self, case: Case) -> Features:
        found: Features = {}
        for number, mask in enumerate(self.masks):
            truth = mask.truth(case.dims, case.options)
            for corner in corners_of(truth, self.sides) if truth is not None else ():
                found[f"mask {number}", corner] = CORNER
                found[f"mask {number}", (corner, case.values)] = 4
        return found

    def _choices(self, case: Case) -> Features:
        classes = {name: _class_of(size, self.tiles) for name, size in case.dims.items()}
        options = tuple(
            sorted(
                (name, (type(value) is bool and value) or value == 0) for name, value in case.options.items()
            )
        )
        found: Features = {}
        for name, size in case.dims.items():
            found[name, size.bit_length()] = size.bit_length()
            found[name, (classes[name], options)] = 2
        for pair in itertools.combinations(classes.items(), 2):
            found["classes", pair] = 2
        for kind, table in (("layout", case.layouts), ("dtype", case.dtypes), ("option", case.options)):
            for each in table.items():
                found[kind, each] = 4 if kind != "option" or type(each[1]) is bool else 1
                found[kind, (each, case.values)] = 2
        found["values", case.values] = 4
        found["mode", case.mode] = 4
        found["again", case.again] = 2
        found["sms", case.sms] = 4
        found["dense", not case.pads] = 4
        found["points", math.prod(case.dims.values()).bit_length()] = 8
        return found


def _beside(what: str, length: int, tile: int, least: int) -> Features:
    """Whether a length is about that of whole tiles."""
    rest = min(length % tile, -length % tile)
    return {(what, (tile, length % tile, length > 0)): 3} if abs(length) >= least and rest <= 2 else {}


def _class_of(size: int, tiles: Sequence[int]) -> str:
    """How a dim is cut into the largest tiles: one tile or several, whole or not."""
    tile = max(tiles, default=TILE)
    return f"{'one' if size <= tile else 'several'} {'whole' if size % tile == 0 else 'ragged'}"


def _reach(observed: Observed | None) -> Features:
    """The lines that a case comes to, and how often a block does, in powers of two: what goes wrong when a ring has
    gone round needs many turns of one block."""
    if observed is None or observed.counters is None:
        return {}
    blocks = max(1, observed.counters.blocks)
    found: Features = {}
    for line, visits in observed.visits.items():
        found["line", line] = LINE
        for turns in range((visits // blocks).bit_length()):
            found["turns", (line, turns)] = 1
    return found


def _telling(drawn: Sequence[tuple[Case, Features]], count: int) -> list[Case]:
    """Cases that show much: each next one has most features that none before has."""
    left = list(drawn)
    chosen: list[Case] = []
    seen: set[tuple[str, object]] = set()
    while left and len(chosen) < count:
        best = max(left, key=lambda each: sum(n for feature, n in each[1].items() if feature not in seen))
        left.remove(best)
        chosen.append(best[0])
        seen |= set(best[1])
    return chosen


@record
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
        found.append(Subject(tested, files, templates, mine, _unlike_members(pool(tested))))
    return found


def _unlike_members(every: Sequence[Specialisation]) -> tuple[Specialisation, ...]:
    """Few specialisations that show many choices. Whether products are fused with sums is no matter here."""

    def choices(made: Specialisation) -> set[tuple[str, str, object]]:
        tables = {"dtype": made.dtypes, "layout": made.layouts, "option": made.options, "dim": made.dims}
        found = {(kind, name, value) for kind, table in tables.items() for name, value in table.items()}
        return found | {("absent", name, True) for name in made.absent}

    left = [made for made in every if made.contract] or list(every)
    chosen: list[Specialisation] = []
    seen: set[tuple[str, str, object]] = set()
    while left and len(chosen) < SPECIALISATIONS:
        best = max(left, key=lambda made: len(choices(made) - seen))
        left.remove(best)
        if chosen and not choices(best) - seen:
            break
        chosen.append(best)
        seen |= choices(best)
    return tuple(chosen)


def by_template(subjects: Sequence[Subject]) -> dict[str, tuple[Judged, ...]]:
    """For every template of the compiler the sources to mutate and who judges them; none where no variant uses
    it."""
    return {template.path: tuple(_chosen(template.path, subjects)) for template in TEMPLATES}


def _chosen(path: str, subjects: Sequence[Subject]) -> list[Judged]:
    """The source of the fewest launches, then those that show most lines that none before has, then those with other
    knobs."""
    users: dict[str, list[Subject]] = {}
    for subject in subjects:
        for source, template in subject.templates.items():
            if template == path and subject.members:
                users.setdefault(source, []).append(subject)
    seen: set[str] = set()
    chosen: list[Judged] = []
    while users and len(chosen) < SOURCES:
        fresh = {source: len(_lines(by, source) - seen) for source, by in users.items()}
        fewest = {source: -len(by[0].tested.variant.launches) for source, by in users.items()}
        first, second = (fresh, fewest) if chosen else (fewest, fresh)
        rank = {source: (first[source], second[source]) for source in users}
        source = max(users, key=rank.__getitem__)
        if chosen and fresh[source] == 0:
            break
        mine = users.pop(source)
        seen |= _lines(mine, source)
        chosen.append(Judged(source, tuple(unlike(mine, 1 if chosen else VARIANTS))))
    return [*chosen, *_with_other_knobs(users, chosen)]


def _with_other_knobs(users: Mapping[str, Sequence[Subject]], known: Sequence[Judged]) -> Iterator[Judged]:
    """Sources with a variant each, the one with most values of the template's knobs that none before has."""
    seen = {
        knob for judged in known for subject in judged.by for knob in knobs_in(subject, judged.source) or ()
    }
    left = {
        (source, subject): set(knobs_in(subject, source) or ())
        for source, by in users.items()
        for subject in by
    }
    for _ in range(KNOBS):
        best = max(left, key=lambda each: len(left[each] - seen), default=None)
        if best is None or not left[best] - seen:
            return
        seen |= left[best]
        yield Judged(best[0], (best[1],))
        left = {each: knobs for each, knobs in left.items() if each[0] != best[0]}


def knobs_in(subject: Subject, source: str) -> tuple[tuple[str, object], ...] | None:
    """The knobs that a source uses, as a variant has them; None where it has no such source."""
    if source not in subject.sources:
        return None
    used = set(_KNOB.findall(subject.files[source]))
    return tuple((name, value) for name, value in subject.tested.variant.config.items() if name in used)


def _lines(users: Sequence[Subject], source: str) -> set[str]:
    """The lines of a generated source that come from its template, not from the mathematics."""
    return {line.strip() for _, line in numbered_template_lines(users[0].files[source])}


def unlike(variants: Sequence[Subject], count: int) -> list[Subject]:
    """Variants that differ in their schedules and knobs: each next one has most that none before has."""

    def shows(each: Subject) -> set[tuple[str, object]]:
        return {("schedule", each.tested.variant.schedule), *each.tested.variant.config.items()}

    left = list(variants)
    chosen: list[Subject] = []
    seen: set[tuple[str, object]] = set()
    while left and len(chosen) < count:
        fresh = [len(shows(each) - seen) for each in left]
        best = left[fresh.index(max(fresh))]
        left.remove(best)
        chosen.append(best)
        seen |= shows(best)
    return chosen


def numbered_template_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a generated source that come from its template, not from the mathematics, numbered from 1."""
    in_math = False
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#line "):
            in_math = line.endswith('.spak"')
        elif not in_math:
            yield number, line
