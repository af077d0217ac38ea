"""Kernels and evidence that pretend, given to what accepts hand-written kernels: each must be refused, by what is there
to refuse it, and the honest kernel among them accepted. An edge."""

from __future__ import annotations

import datetime
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import spakc.selftest
from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.bench.questions import Call
from spakc.check.statements import Statement
from spakc.check.verdict import Verdict
from spakc.device_runner import device_name
from spakc.diagnostics import Sink
from spakc.evidence import Row, read_evidence, row_of_run
from spakc.implement.bench import races
from spakc.implement.candidates import Candidate, candidates
from spakc.implement.clock import Lap, disagreement
from spakc.implement.examine import Examined, files_of
from spakc.implement.parent import CHILD, Ended, InChild
from spakc.implement.selection import FASTER, TIMED, made_of, race_of, selections
from spakc.implement.verify import by_hand
from spakc.record import record
from spakc.status import status
from spakc.subjects import subject_now
from spakc.tune.rows import Where
from spakc.verification import Established, Finished
from spakc.verify.campaign import verify_math
from spakc.verify.properties import reference
from spakc.verify.search import some
from spakc.verify.sizes import Shapes
from spakc.verify.specialisations import pool
from spakc.verify.strategies import cases

PROJECT = Path(spakc.selftest.__file__).parent / "cheats" / "add.spak"

CONTROL = "honest"

CAUGHT: dict[str, str] = {
    "zeros": "the result is not that of the mathematics",
    "cached": "the result is not that of the mathematics",
    "answer_in_output": "y[0, 0] = nan",
    "writes_less": "were never written",
    "spoils_inputs": "x is not an output, and was changed",
    "judges_memory": "asks the host for `getppid`",
    "thread_of_its_own": "`pthread_create`, which no device has",
    "timer_from_inside": "asks the host for `PyRun_SimpleString`",
    "host_instructions": "instructions_of_the_host",
    "stream_of_its_own": "device-side kernel launch",
}
"""What must be said of a source. Refused for another reason, it would be refused by accident."""

OF_THE_HOST = frozenset(("judges_memory", "thread_of_its_own", "timer_from_inside", "host_instructions"))
"""On a device they are honest: there is nothing to find there."""

SAYS = {
    "SPAK802": "the result is not that of the mathematics",
    "SPAK752": "source that the device compiler refuses",
}


@record
class Outcome:
    """One cheat: `stopped` where it was refused as it should be, `by` what refused it or how it got through. Of a
    `control`, whether it was accepted. `ran` is False where only a device can try it."""

    name: str
    pretends: str
    stopped: bool
    by: str
    ran: bool = True
    control: bool = False

    @property
    def verdict(self) -> str:
        if not self.ran:
            return "skipped"
        if self.control:
            return "accepted" if self.stopped else "REFUSED"
        return "caught" if self.stopped else "GOT THROUGH"


@record
class Trial:
    """A copy of the project in a folder of its own, with what was seen of its kernels on one machine."""

    path: Path
    checked: driver.Checked
    on: str
    examined: Mapping[str, Examined]
    established: Mapping[str, Established]

    def statement(self, name: str) -> Statement:
        return self.established[name].statement

    def candidate(self, name: str) -> Candidate:
        return self.examined[name].candidate

    def row(self, name: str) -> Row:
        """The row that `spakc verify` writes of a kernel today."""
        mine = self.established[name]
        kind = "device_cases" if self.on == "gpu" else "cases"
        now = self.now()
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        return row_of_run(
            mine.statement, now, mine.figures, fact=kind, device=device_of(self.on), date=date, seed=0
        )

    def now(self) -> Any:
        files = driver.emit_files(driver.plan_file(self.checked, by_hand=False))
        return subject_now(self.checked.module, files, BASE_OPTIONS)

    def holds(self, name: str, rows: Sequence[Row]) -> bool:
        """Whether `spakc status` says that a kernel is known to be right."""
        page = status(self.checked.module, rows, self.now(), Sink())
        (found,) = [each for each in page if each.statement.id == self.statement(name).id]
        return found.status.verdict is Verdict.holds and found.status.fresh


def device_of(on: str) -> str:
    return device_name() or "" if on == "gpu" else "emulator"


def cheat(on: str, seed: int) -> Iterator[Outcome]:
    """Every cheat and the control. Raises ToolError where the machine cannot be had."""
    with tempfile.TemporaryDirectory(prefix="spak-cheats-") as folder:
        path = Path(shutil.copytree(PROJECT.parent, Path(folder) / "project")) / PROJECT.name
        trial = _tried(path, on, seed)
        control = _control(trial)
        yield control
        if not control.stopped:
            return  # what is refused says nothing where everything is
        yield from (_source(trial, name, said) for name, said in CAUGHT.items())
        yield from _clocks(trial, seed)
        yield from _evidence(trial)
        yield _right_on_the_emulator_only(trial)
        yield _only_where_it_was_before(trial)


# ---- sources --------------------------------------------------------------------------------------------


def _tried(path: Path, on: str, seed: int) -> Trial:
    checked = driver.check_file(path)
    written = list(candidates(checked.module))
    kernel = written[0].kernel.name
    finished = [Finished(kernel, (), verify_math(written[0].tested, seed))]

    def count(each: Candidate) -> int:
        checks = each.tested.verification
        return (checks.cases or 0) if checks is not None else 0

    found = list(by_hand(checked.module, driver.templates(), finished, on, count, seed))
    return Trial(
        path,
        checked,
        on,
        {each.candidate.name: each for each, _ in found},
        {each.candidate.name: judged for each, judged in found},
    )


def _control(trial: Trial) -> Outcome:
    """The one that must be accepted: else nothing that is refused says anything."""
    judged = trial.established[CONTROL].judgement
    accepted = judged.verdict is Verdict.holds and trial.holds(CONTROL, [trial.row(CONTROL)])
    failure = trial.examined[CONTROL].outcome.failure
    why = (
        f"{judged.witnesses} cases are right" if accepted else "; ".join(failure.messages if failure else ())
    )
    return Outcome(CONTROL, _pretends(trial, CONTROL), accepted, why or judged.note, control=True)


def _source(trial: Trial, name: str, said: str) -> Outcome:
    if trial.on == "gpu" and name in OF_THE_HOST:
        return Outcome(name, _pretends(trial, name), False, "it cheats on the emulator only", ran=False)
    failure = trial.examined[name].outcome.failure
    judged = trial.established[name].judgement
    if failure is None or judged.verdict is not Verdict.violated:
        return Outcome(name, _pretends(trial, name), False, f"{judged.verdict.value} {judged.note}".strip())
    told = "; ".join(filter(None, (failure.code, SAYS.get(failure.code, ""), *failure.messages)))
    if trial.on == "emulator" and said not in told:
        return Outcome(name, _pretends(trial, name), False, f"caught by accident: {told}")
    return Outcome(name, _pretends(trial, name), True, f"{failure.code}: {_plain(failure.messages)}")


def _plain(messages: Sequence[str]) -> str:
    last = " ".join(messages).strip().splitlines()[-1].strip()
    return last.removeprefix("SPAK752: ")


def _pretends(trial: Trial, name: str) -> str:
    """The first comment of its source."""
    lines = (trial.path.parent / f"{name}.cu").read_text(encoding="utf-8").splitlines()
    said = " ".join(line.removeprefix("//").strip() for line in lines[: lines.index(_first_code(lines))])
    return said.partition(". ")[0].rstrip(".")


def _first_code(lines: Sequence[str]) -> str:
    return next(line for line in lines if not line.startswith("//"))


# ---- clocks ---------------------------------------------------------------------------------------------

SLOW_CLOCK = (
    "import time; real = time.perf_counter; time.perf_counter = lambda: real() / 50; "
    "from spakc.implement.child import main; main()"
)

LAPS = 4, 24
"""Calls of the shorter and of the longer lap by the second clock."""

TIMES = 3
"""As often is each lap run; the least counts, for a machine that does something else in between makes one longer."""


def _clocks(trial: Trial, seed: int) -> Iterator[Outcome]:
    """The honest kernel by a process that tells the truth, and by one whose clock was patched."""
    truthful, lying = _timed(trial, CHILD, seed), _timed(trial, (sys.executable, "-c", SLOW_CLOCK), seed)
    honest = "The control: the process of the honest kernel tells the time"
    yield Outcome("clock", honest, not truthful, truthful or "both clocks agree", control=True)
    caught = "the clock of the judge" in lying
    yield Outcome(
        "patched_timer", "Its process has a clock that goes 50 times too slowly", caught, lying or "believed"
    )


def _timed(trial: Trial, command: Sequence[str], seed: int) -> str:
    """What the second clock has against the times of a process; empty where it agrees."""
    candidate = trial.candidate(CONTROL)
    tested = candidate.tested
    (case,) = some(cases(tested, pool(tested), Shapes(tested)), 1, seed)
    given = reference(tested, case).given
    files = files_of(candidate, trial.checked.module, driver.templates())
    try:
        with InChild(candidate, files, trial.on, command=command) as child:
            child.calls(tested, case, given, 1)  # builds and loads
            few, many = (
                min((child.calls(tested, case, given, count) for _ in range(TIMES)), key=lambda done: done[2])
                for count in LAPS
            )
    except Ended as error:
        return str(error)
    return disagreement(many[1], Lap(LAPS[0], few[2]), Lap(LAPS[1], many[2]))


# ---- evidence -------------------------------------------------------------------------------------------

EARLIER = "2001-01-01T00:00:00+00:00"
SLOWER = 0.8
"""How much slower on fresh values shows that a kernel repeats itself rather than computes."""

LATER = "2999-01-01T00:00:00+00:00"


def _evidence(trial: Trial) -> Iterator[Outcome]:
    """Rows of a kernel that writes zeros, edited until they say that it is right."""
    wrong, right = trial.row("zeros"), trial.row(CONTROL)
    figures = json.dumps(right.figures["checks"])
    edited = wrong.to_json().replace(json.dumps(wrong.figures["checks"], separators=(",", ":")), figures)
    assert edited != wrong.to_json()
    yield _of_rows(trial, "figures_edited", "The figures of its row are edited by hand", [edited], "checksum")
    moved = replace(right, statement=wrong.statement, meaning=wrong.meaning)
    yield _of_rows(
        trial,
        "row_of_another",
        "Its row is that of the honest kernel, under its own name, with a new checksum",
        [moved.to_json()],
        "its keys: what was examined is another source",
    )
    forged = replace(wrong, figures={**wrong.figures, "checks": right.figures["checks"]})
    assert trial.holds("zeros", [forged]), (
        "by itself it is believed: whoever can write it could run `verify`, too"
    )
    later = replace(forged, date=LATER)
    yield _of_rows(
        trial,
        "row_of_tomorrow",
        "Its row is made up, keys and checksum and all, and dated so that no other comes after it",
        [wrong.to_json(), later.to_json()],
        "no date may lie ahead",
    )
    yield _of_rows(
        trial,
        "row_made_up",
        "Its row is made up, keys and checksum and all, before somebody verifies anew",
        [trial.row("zeros").to_json(), replace(forged, date=EARLIER).to_json()],
        "the next `spakc verify`, whose row is the later one",
    )


def _of_rows(trial: Trial, name: str, pretends: str, lines: Sequence[str], by: str) -> Outcome:
    sink = Sink()
    path = trial.path.with_name(f"{name}.evidence.jsonl")
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    through = trial.holds("zeros", read_evidence(path, sink))
    said = "; ".join(diagnostic.message.partition("ignored: ")[2] for diagnostic in sink.diagnostics)
    return Outcome(name, pretends, not through, said or by)


# ---- what a choice asks for -----------------------------------------------------------------------------


def _right_on_the_emulator_only(trial: Trial) -> Outcome:
    name = "emulator_only"
    pretends = _pretends(trial, name)
    if trial.on == "gpu":
        return replace(_source(trial, name, ""), name=name)
    files = driver.emit_files(driver.plan_file(trial.checked, by_hand=False))
    variant = next(iter(_variants(files)))
    times = {"ours": [1e-6], "theirs": [1e-5]}
    figures = {"call": {"dims": {"M": 64, "N": 64}}, **times, "fresh": times, "rival": variant.id}
    statement = trial.statement(name)
    row = row_of_run(statement, trial.now(), {**figures, "made": made_of(files, variant)}, fact="time")
    assert race_of(row.figures) is not None
    rows = [trial.row(name), replace(row, statement=TIMED + statement.id)]
    (found,) = [s for s in selections(trial.checked, files, rows) if s.candidate.name == name]
    return Outcome(name, pretends, found.chosen is None, f"not selected: {found.why}")


def _variants(files: Mapping[str, str]) -> Sequence[Any]:
    from spak_runtime.manifest import Manifest

    return Manifest.from_json(files["manifest.json"]).kernels["add"].variants


def _only_where_it_was_before(trial: Trial) -> Outcome:
    """Replayed it is the fastest; what counts is the time on values that it has not seen."""
    name = "output_already_there"
    pretends = _pretends(trial, name)
    if trial.on != "gpu":
        return Outcome(name, pretends, False, "no device: `make gpu` tries it on one", ran=False)
    where = Where("", device_of("gpu"))
    call = Call("add", {"M": 4096, "N": 4096}, {}, "f32", {})
    found = races(trial.checked, [trial.row(name)], lambda _: [call], where)
    (raced,) = [each for each in found if each.statement == trial.statement(name).id]
    race = race_of(raced.row.figures) if raced.row is not None else None
    if race is None:
        return Outcome(name, pretends, False, raced.why)
    told = f"{race.replayed.ratio:.3f} times as fast replayed, {race.fresh.ratio:.3f} on values never seen: that counts"
    seen_through = race.fresh.ratio < SLOWER * race.replayed.ratio and race.ratio == race.fresh.ratio
    return Outcome(name, pretends, seen_through or race.ratio <= FASTER, told)
