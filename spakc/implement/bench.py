"""Hand-written kernels in `spakc bench`: timed beside what is generated for the same calls. An edge."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spak_runtime.manifest import Manifest
from spak_runtime.nvrtc import BASE_OPTIONS
from spakc import driver
from spakc.bench.questions import Call, options_of
from spakc.check.statements import Statement, statements
from spakc.diagnostics import Sink
from spakc.evidence import Row, Subject, row_of_run
from spakc.implement.candidates import Candidate
from spakc.implement.race import race
from spakc.implement.selection import TIMED, made_of, race_of, selections
from spakc.plan.hand_written import variant_of
from spakc.plan.plan import devices_of
from spakc.record import record
from spakc.subjects import subject_now
from spakc.tune.rows import Where

Race = Callable[[Candidate, Call, Mapping[str, Any], Path, Sequence[str]], dict[str, Any] | str]


@record
class Raced:
    """One call of one hand-written kernel: the row that records it, or why there is none."""

    statement: str
    call: Call | None
    row: Row | None
    why: str = ""

    def __str__(self) -> str:
        if self.row is None:
            return f"{self.statement}: not timed{f' at {self.call}' if self.call else ''}: {self.why}"
        figures = self.row.figures
        race = race_of(figures)
        assert race is not None, "a row is made of figures that were read"
        both = f"{race.replayed.ours * 1e6:.1f} us, {race.rival} {race.replayed.theirs * 1e6:.1f} us"
        ratios = (
            f"{race.replayed.ratio:.3f} times as fast, {race.fresh.ratio:.3f} on values never seen before"
        )
        return f"{self.statement}: {self.call}: {both}: {ratios} ({figures['l2']})"


def races(
    checked: driver.Checked,
    rows: Sequence[Row],
    calls: Callable[[str], Sequence[Call]],
    where: Where,
    run: Race = race,
) -> Iterator[Raced]:
    """Every hand-written kernel that is known to be right, at every call of its kernel. `calls` by kernel."""
    module = checked.module.module
    decided = driver.plan_file(checked, by_hand=False)
    files = driver.emit_files(decided)
    now = subject_now(checked.module, files, BASE_OPTIONS)
    known = {s.id: s for s in statements(module) if s.kind == "implement"}
    devices = devices_of(module, decided.archs, Sink())
    for found in selections(checked, files, rows):
        each = found.candidate
        asked = calls(each.kernel.name)
        planned = variant_of(each.kernel, each.written, devices, "in a race with what is generated")
        unfit = found.unfit or ("" if planned is not None else "it is for no device of the file")
        unfit = unfit or ("" if asked else "no claim is about times of its kernel, and `--at` names no call")
        if unfit or planned is None:
            yield Raced(each.statement, None, None, unfit)
            continue
        kernel = decided.kernels[each.kernel.name]
        both = {**decided.kernels, each.kernel.name: replace(kernel, variants=(*kernel.variants, planned))}
        spec = Manifest.from_json(files["manifest.json"]).kernels[each.kernel.name]
        rivals = {variant.id: variant for variant in spec.variants}
        with tempfile.TemporaryDirectory(prefix="spak-race-") as folder:
            place = Path(folder) / "artifact"
            driver.write_artifact(driver.emit_files(replace(decided, kernels=both)), place)
            for call in asked:
                seen = run(each, call, options_of(each.kernel, call), place, list(rivals))
                if isinstance(seen, str) or seen["rival"] not in rivals:
                    why = seen if isinstance(seen, str) else f"its rival was {seen['rival']}"
                    yield Raced(each.statement, call, None, why)
                    continue
                figures = seen | {"made": made_of(files, rivals[seen["rival"]])}
                if race_of(figures) is None:
                    yield Raced(each.statement, call, None, "its process gave no times that make sense")
                    continue
                yield Raced(each.statement, call, _row(known[each.statement], now, figures, where))


def _row(statement: Statement, now: Subject, figures: Mapping[str, Any], where: Where) -> Row:
    row = row_of_run(
        statement,
        now,
        figures,
        fact="time",
        target=where.target,
        device=where.device,
        toolchain=where.toolchain,
        driver=where.driver,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
    )
    return replace(row, statement=TIMED + statement.id)
