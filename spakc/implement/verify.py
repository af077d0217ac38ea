"""Hand-written kernels in `spakc verify`: each examined in a process of its own, judged, told."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from spakc.check.checked import CheckedModule
from spakc.check.statements import Held, Statement, statements
from spakc.emit.artifact import Templates
from spakc.implement.candidates import Candidate, candidates
from spakc.implement.examine import Examined, examine_candidate, files_of
from spakc.implement.judge import judge_held
from spakc.verification import Established, Finished


def by_hand(
    checked: CheckedModule,
    templates: Templates,
    finished: Sequence[Finished],
    on: str,
    count_of: Callable[[Candidate], int],
    seed: int,
) -> Iterator[tuple[Examined, Established]]:
    """Every hand-written kernel of the finished kernels, examined and judged. Raises ToolError."""
    wires = {each.name: each.math.rejected if each.math is not None else {} for each in finished}
    known = {s.id: s for s in statements(checked.module) if s.kind == "implement"}
    for each in candidates(checked):
        if each.kernel.name in wires:
            own = zlib.crc32(f"{each.tested.name} {seed}".encode())
            statement = known[each.statement]
            files = files_of(each, checked, templates)
            examined = examine_candidate(each, statement.body, files, on, count_of(each), own)
            yield examined, established(statement, examined, wires[each.kernel.name], on)


def established(statement: Statement, examined: Examined, wires: Mapping[str, bool], on: str) -> Established:
    """The figures of a hand-written kernel and what they say."""
    held: Held = statement.body
    figures = {"checks": examined.figures | {"tripwires": dict(wires)}, "laws": list(examined.laws)}
    judged = judge_held(held, [figures])
    if examined.outcome.why_not:
        judged = replace(judged, note=examined.outcome.why_not)
    return Established(statement, figures, judged, "cases" if on == "emulator" else "device_cases")
