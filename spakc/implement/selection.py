"""Which hand-written kernels a plan takes: those that fresh evidence says are right, lawful, and faster than what is
generated. An edge."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spak_runtime.manifest import Guard, Manifest, Variant
from spak_runtime.nvrtc import BASE_OPTIONS
from spakc.check.statements import Statement, statements
from spakc.check.verdict import Verdict
from spakc.diagnostics import Sink
from spakc.evidence import Row, hash_source, hash_text
from spakc.figures import Malformed
from spakc.implement.candidates import Candidate, candidates
from spakc.implement.judge import judge_held
from spakc.plan.hand_written import Chosen, hull, with_chosen
from spakc.plan.plan import Plan, devices_of
from spakc.record import record
from spakc.subjects import plain, subject_now

if TYPE_CHECKING:
    from spakc.driver import Checked

TIMED = "timing of "
"""How a row of times names the statement that it belongs to."""

ON_DEVICE = "device_cases"
"""The kind of the rows that a choice needs: a source can tell a device from the emulator, and be right on one."""

FASTER = 1.0
"""A hand-written kernel must be more than this many times as fast as what is generated, by medians of interleaved
rounds."""


@record
class Pair:
    """Seconds of one call by both: medians of rounds."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


@record
class Race:
    """One call that both computed in the same rounds, seconds each: `replayed` on the same values again and again, and
    on `fresh` ones. `rival` is the generated variant that answered, `made` what it was made of."""

    dims: Mapping[str, int]
    replayed: Pair
    fresh: Pair
    rival: str
    made: str

    @property
    def ratio(self) -> float:
        """How many times as fast it is: the worse of the two. What only repeats itself faster computes nothing
        faster."""
        return min(self.replayed.ratio, self.fresh.ratio)


@record
class Selection:
    """What became of a hand-written kernel. `unfit` says why it is not known to be right, empty where it is; `why` why
    it is chosen or not."""

    candidate: Candidate
    chosen: Chosen | None
    unfit: str
    why: str

    def __str__(self) -> str:
        return f"{self.candidate.statement}: {'selected' if self.chosen else 'not selected'}: {self.why}"


def with_selected(
    checked: Checked, decided: Plan, rows: Sequence[Row], emit: Callable[[Plan], dict[str, str]]
) -> Plan:
    """The plan with the hand-written kernels that passed."""
    if not checked.module.hand_written or not rows:
        return decided
    files = emit(decided)
    devices = devices_of(checked.module.module, decided.archs, Sink())
    found = selections(checked, files, rows)
    return with_chosen(decided, [each.chosen for each in found if each.chosen is not None], devices)


def selections(checked: Checked, files: Mapping[str, str], rows: Sequence[Row]) -> Iterator[Selection]:
    """Every hand-written kernel that is for a target of the file. `files` are those of the plan without any."""
    now = subject_now(checked.module, files, BASE_OPTIONS)
    known = {s.id: s for s in statements(checked.module.module) if s.kind == "implement"}
    for each in candidates(checked.module):
        statement = known[each.statement]
        fresh = [r for r in rows if r.meaning == statement.meaning and _is_fresh(r, statement, now)]
        mine = [r for r in fresh if r.statement == statement.id]
        why = _is_right(statement, mine)
        if not why and (unknown := _is_right(statement, [r for r in mine if r.kind == ON_DEVICE])):
            why = f"{unknown} on a device"
        if why:
            yield Selection(each, None, why, why)
            continue
        there = {r.device for r in mine if r.kind == ON_DEVICE}
        timed = [r for r in fresh if r.statement == TIMED + statement.id and r.device in there]
        races = list(_races(timed, files, each))
        chosen, why = _faster(each, races)
        yield Selection(each, chosen, "", why)


def _is_fresh(row: Row, statement: Statement, now: Any) -> bool:
    return bool(now.about(statement, fact=row.kind).parts == row.subject.parts)


def _is_right(statement: Statement, rows: Sequence[Row]) -> str:
    """Why it is not known to be right; empty where it is. A run that was made again with the same seed counts once,
    unless it failed."""
    sound: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for number, row in enumerate(rows):
        try:
            failed = judge_held(statement.body, [row.figures]).verdict is Verdict.violated
            sound[(number,) if failed else (row.seed, row.device, row.kind)] = row.figures
        except Malformed:
            continue
    judged = judge_held(statement.body, list(sound.values()))
    if judged.verdict is Verdict.holds:
        return ""
    return judged.note or ("not verified" if not sound else judged.verdict.value)


def _races(rows: Sequence[Row], files: Mapping[str, str], candidate: Candidate) -> Iterator[Race]:
    """What rows of times say, the last of each call. One against a variant that is another today says nothing."""
    spec = Manifest.from_json(files["manifest.json"]).kernels[candidate.kernel.name]
    today = {variant.id: made_of(files, variant) for variant in spec.variants}
    found: dict[str, Race] = {}
    for row in rows:
        race = race_of(row.figures)
        if race is not None and today.get(race.rival) == race.made:
            found[repr(sorted(race.dims.items()))] = race
    yield from found.values()


def made_of(files: Mapping[str, str], variant: Variant) -> str:
    """What a generated variant is made of, but for its estimates: to tell later whether it is the same."""
    sources = [hash_source(files[launch.source]) for launch in variant.launches]
    data = plain(variant)
    return hash_text(json.dumps([data["launches"], data["config"], data["defines"], sources], sort_keys=True))


def race_of(figures: Mapping[str, Any]) -> Race | None:
    """The race that figures of a row record; None where they make no sense."""
    try:
        dims = {str(name): int(size) for name, size in figures["call"]["dims"].items()}
        pairs = _pair(figures), _pair(figures["fresh"])
        race = Race(dims, *pairs, str(figures["rival"]), str(figures["made"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, statistics.StatisticsError):
        return None
    seconds = (each for pair in pairs for each in (pair.ours, pair.theirs))
    return race if all(0 < each < 1e6 for each in seconds) else None


def _pair(figures: Mapping[str, Any]) -> Pair:
    ours, theirs = (statistics.median(map(float, figures[side])) for side in ("ours", "theirs"))
    return Pair(ours, theirs)


def _faster(candidate: Candidate, races: Sequence[Race]) -> tuple[Chosen | None, str]:
    """Whether it was faster, at which calls, in words. Faster at every call that was timed, it answers those between
    them, too; else those alone at which it was."""
    if not races:
        return None, "not timed beside what is generated (`spakc bench`, on a device)"
    won = [race for race in races if race.ratio > FASTER]
    if not won:
        best = max(races, key=lambda race: race.ratio)
        return None, f"{best.ratio:.3f} times as fast as {best.rival} at {_at(best)}, at best"
    all_won = len(won) == len(races)
    condition = hull([race.dims for race in won], all_won)
    ratios = sorted(race.ratio for race in won)
    between = f"{ratios[0]:.3f} to {ratios[-1]:.3f}" if len(ratios) > 1 else f"{ratios[0]:.3f}"
    why = f"measured {between} times as fast as {won[0].rival} at {_at(won[0])}"
    why += f" and {len(won) - 1} other calls" if len(won) > 1 else ""
    guard = Guard(
        "faster by hand", condition, "the calls at which the hand-written kernel was measured to be faster"
    )
    source = str(getattr(candidate.written.implementation.settings["source"], "value", ""))
    return Chosen(candidate.written, guard, f"written by hand in {source}; {why}"), why


def _at(race: Race) -> str:
    return ", ".join(f"{name} = {size}" for name, size in race.dims.items())
