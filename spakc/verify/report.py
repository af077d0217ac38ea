"""What a verification says: a line a variant, each failure with the command that replays it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from spakc.diagnostics.codes import CODES
from spakc.verify.campaign import MathOutcome, VariantOutcome
from spakc.verify.examine import quoting
from spakc.verify.failure import Failure, Line

SCHEMA = "spak-verification/1"


def replay_command(file: str, failure: Failure, on: str) -> str:
    """One command that runs the failing case again."""
    assert failure.case is not None
    where = "" if on == "emulator" else f" --on {on}"
    return f"spakc verify {shlex.quote(file)}{where} --replay {failure.case.token}"


def failure_text(failure: Failure, file: str, on: str, sources: Mapping[str, str]) -> str:
    """A failure in full: what is wrong, where in the file and in the CUDA, for which call, and how to see
    it again."""
    lines = [f"{failure.code}: {failure.about}: {CODES[failure.code].title}"]
    lines += [f"  {message}" for message in failure.messages]
    lines += [f"  at {line}" for line in with_cuda(failure.lines, sources)]
    if failure.case is not None:
        lines.append(f"  call: {failure.case}")
        lines.append(f"  again: {replay_command(file, failure, on)}")
    return "\n".join(lines)


def failure_json(failure: Failure, file: str, on: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """The same as plain data."""
    found: dict[str, Any] = {
        "code": failure.code,
        "about": failure.about,
        "messages": list(failure.messages),
        "lines": [
            {"file": line.file, "line": line.number, "text": line.text}
            for line in with_cuda(failure.lines, sources)
        ],
    }
    if failure.case is not None:
        found |= {"call": str(failure.case), "replay": replay_command(file, failure, on)}
    return found


def with_cuda(lines: Iterable[Line], sources: Mapping[str, str]) -> tuple[Line, ...]:
    """Lines of the file, each followed by the CUDA that was generated from it."""
    found: dict[tuple[str, int], Line] = {}
    for line in lines:
        for each in (line, *quoting(sources, line)):
            found.setdefault((each.file, each.number), each)
    return tuple(found.values())


def variant_text(outcome: VariantOutcome) -> str:
    """One line."""
    name = outcome.tested.variant.id
    if outcome.left_out:
        return f"  {name}: left out: {outcome.left_out}"
    if outcome.why_not:
        return f"  {name}: not run: {outcome.why_not}"
    built = f"{len(outcome.pool)} specialisations"
    if outcome.failure is None:
        sizes = ", ".join(f"{dim} {low:,} to {high:,}" for dim, (low, high) in outcome.sizes.items())
        return f"  {name}: {outcome.cases} cases of {built}, all right" + (f"; {sizes}" if sizes else "")
    return f"  {name}: wrong after {outcome.cases} cases of {built}"


def math_text(outcome: MathOutcome) -> list[str]:
    """The tripwires in a line, those that passed or could not be tried by name."""
    rejected = [name for name, fine in outcome.rejected.items() if fine]
    lines = [f"  tripwires: {len(rejected)} rejected ({', '.join(rejected)})"]
    untried = [wire.name for wire in outcome.tripwires if wire.rejected is None]
    if untried:
        lines.append(f"  not tried, for in no case it showed: {', '.join(untried)}")
    if outcome.differences:
        lines.append(f"  derivative: {outcome.differences} slopes compared with differences of the math")
    return lines
